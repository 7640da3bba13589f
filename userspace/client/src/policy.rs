// SPDX-License-Identifier: GPL-2.0

//! From which nodes pages come, where a request names none.

use crate::device::Device;
use crate::error::Error;
use crate::error::Result;
use serde::Serialize;
use shadowmm_abi as abi;

/// A NUMA policy, as set_mempolicy(2) has them. It belongs to the open device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "mode", content = "nodes")]
pub enum Policy {
    /// From the running CPU's node first.
    #[default]
    Local,
    /// From this node first.
    Preferred(u32),
    /// From these nodes only.
    Bind(Vec<u32>),
    /// From these nodes in turn.
    Interleave(Vec<u32>),
}

impl Policy {
    /// The name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Preferred(_) => "preferred",
            Self::Bind(_) => "bind",
            Self::Interleave(_) => "interleave",
        }
    }

    /// The nodes that it names.
    pub fn nodes(&self) -> &[u32] {
        match self {
            Self::Local => &[],
            Self::Preferred(nid) => std::slice::from_ref(nid),
            Self::Bind(nodes) | Self::Interleave(nodes) => nodes,
        }
    }
}

/// The mask of some nodes; `None` where a number is too large for one.
fn mask(nodes: &[u32]) -> Option<u64> {
    nodes
        .iter()
        .try_fold(0u64, |mask, &nid| Some(mask | 1u64.checked_shl(nid)?))
}

fn nodes(mask: u64) -> Vec<u32> {
    (0..u64::BITS)
        .filter(|nid| (mask >> nid) & 1 != 0)
        .collect()
}

impl Device {
    /// Sets the policy of this open device.
    ///
    /// # Errors
    ///
    /// Refused when a node is not there, or none is named where one is needed.
    pub fn set_policy(&self, policy: &Policy) -> Result<()> {
        const WHAT: &str = "set the policy";
        // The ABI has no bit for such a node: it is refused as one that is not
        // there, by the module's own sentence.
        let nodes = mask(policy.nodes()).ok_or(Error::Refused {
            what: WHAT,
            reason: crate::Reason::NodeOffline,
            errno: nix::errno::Errno::EINVAL,
        })?;
        let mut request = abi::shadowmm_policy {
            op: abi::SHADOWMM_POLICY_SET,
            mode: match policy {
                Policy::Local => abi::SHADOWMM_POLICY_LOCAL,
                Policy::Preferred(_) => abi::SHADOWMM_POLICY_PREFERRED,
                Policy::Bind(_) => abi::SHADOWMM_POLICY_BIND,
                Policy::Interleave(_) => abi::SHADOWMM_POLICY_INTERLEAVE,
            },
            nodes,
            ..Default::default()
        };
        self.request(WHAT, &mut request)
    }

    /// The policy of this open device.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub fn policy(&self) -> Result<Policy> {
        const WHAT: &str = "ask for the policy";
        let mut request = abi::shadowmm_policy {
            op: abi::SHADOWMM_POLICY_GET,
            ..Default::default()
        };
        self.request(WHAT, &mut request)?;
        match request.mode {
            abi::SHADOWMM_POLICY_LOCAL => Ok(Policy::Local),
            abi::SHADOWMM_POLICY_PREFERRED => Ok(Policy::Preferred(request.nodes.trailing_zeros())),
            abi::SHADOWMM_POLICY_BIND => Ok(Policy::Bind(nodes(request.nodes))),
            abi::SHADOWMM_POLICY_INTERLEAVE => Ok(Policy::Interleave(nodes(request.nodes))),
            mode => Err(Error::Unexpected {
                what: WHAT,
                value: mode.into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_bits() {
        assert_eq!(mask(&[]), Some(0));
        assert_eq!(mask(&[0, 2, 63, 2]), Some((1 << 63) | 5));
        assert_eq!(mask(&[64]), None);
        assert_eq!(nodes((1 << 63) | 5), [0, 2, 63]);
        assert_eq!(nodes(0), []);
    }

    #[test]
    fn a_policy_names_its_nodes() {
        assert_eq!(Policy::Local.nodes(), []);
        assert_eq!(Policy::Preferred(3).nodes(), [3]);
        assert_eq!(Policy::Interleave(vec![0, 1]).nodes(), [0, 1]);
        assert_eq!(Policy::Bind(vec![1]).name(), "bind");
    }
}
