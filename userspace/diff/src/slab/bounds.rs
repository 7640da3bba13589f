// SPDX-License-Identifier: GPL-2.0

//! What must hold of a pair of caches whatever was done to it: what is derived in
//! tests/differential/README.md.
//!
//! ```text
//! live                  objects that are taken: the same on both sides
//! used                  slabs that they lie in
//! cached                free objects that a side keeps outside its slabs' freelists
//!
//!   objects = live + cached,  cached <= what the per-CPU layer can hold
//!   used <= slabs <= used + cached + empty,  empty <= min_partial on each node
//! ```

use serde::Serialize;
use shadowmm_client::PairState;
use shadowmm_core::slab::barn_capacity;
use shadowmm_core::slab::cpu_capacity;
use shadowmm_core::slab::Geometry;
use shadowmm_core::slab::SlabFlags;

/// Linux keeps so many full sheaves in a node's barn (`MAX_FULL_SHEAVES`).
const MAX_FULL_SHEAVES: u64 = 10;
/// A CPU of Linux has a main and a spare sheaf.
const CPU_SHEAVES: u64 = 2;

/// The machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// CPUs.
    pub cpus: u64,
    /// Nodes.
    pub nodes: u64,
}

/// What the kernel counts of a cache (`/sys/kernel/slab/NAME`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostState {
    /// `slabs`.
    pub slabs: u64,
    /// `total_objects`.
    pub total: u64,
    /// `objects`: those that are in no slab's freelist, as `active_objs` of slabinfo.
    pub objects: u64,
    /// `partial`: slabs with free objects.
    pub partial: u64,
}

/// What the two sides have of a pair.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Look {
    /// The kernel.
    pub host: HostState,
    /// The shadow, and the slots.
    pub shadow: PairState,
}

impl Look {
    /// Free objects that the kernel keeps in sheaves.
    fn host_cached(&self) -> u64 {
        self.host.objects.saturating_sub(self.shadow.live)
    }

    /// Whether both have the same numbers of slabs and objects.
    pub fn is_equal(&self) -> bool {
        let ours = &self.shadow;
        let host = (self.host.slabs, self.host.total, self.host.objects);
        host == (ours.slabs, ours.total, ours.objects)
    }

    /// How far the numbers of slabs are apart.
    pub fn slabs_apart(&self) -> u64 {
        self.host.slabs.abs_diff(self.shadow.slabs)
    }

    /// Whether the shadow has or had slabs that are smaller than they should be: what depends
    /// on their size can't be judged as closely then.
    pub fn has_fallbacks(&self) -> bool {
        self.shadow.fallbacks != 0
    }

    /// What does not hold. `shrunk`: both have just given up what nobody uses.
    pub fn flaw(&self, of: &Geometry, machine: &Machine, shrunk: bool) -> Option<String> {
        let (host, ours) = (&self.host, &self.shadow);
        let live = ours.live;
        let empty = u64::from(of.min_partial) * machine.nodes;
        let sheaves = CPU_SHEAVES * machine.cpus + MAX_FULL_SHEAVES * machine.nodes;
        let mut sheaves = sheaves * u64::from(of.sheaf_capacity);
        // For what the shadow's own code has room. A cache may have sheaves larger than
        // usual, and with them its stores are, but no magazine is larger than 63.
        let by_cpu = u64::from(cpu_capacity(of.sheaf_capacity)) * machine.cpus;
        let by_node = u64::from(barn_capacity(of.sheaf_capacity)) * machine.nodes;
        let mut kept = by_cpu + by_node;
        if of.flags.has(SlabFlags::DEBUG) {
            kept = 0;
        }
        if shrunk {
            (sheaves, kept) = (0, 0);
        }
        let objects = u64::from(of.objects);
        let rcu = of.flags.has(SlabFlags::TYPESAFE_BY_RCU);
        // Where memory was short, slabs are as small as the least order has them, and those
        // that objects lie in can't be told apart by their addresses.
        let smaller = self.has_fallbacks();
        let least = u64::from(if smaller { of.min_objects } else { of.objects });
        let least_order = if smaller { of.min_order } else { of.order };
        let checks: [(&str, u64, std::ops::RangeInclusive<u64>); 12] = [
            ("objects of the kernel", host.objects, live..=live + sheaves),
            ("active objects of the shadow", ours.active, live..=live),
            ("different objects of the shadow", ours.apart, live..=live),
            (
                "objects that the shadow keeps at hand",
                ours.cached,
                0..=kept,
            ),
            (
                "objects of the shadow",
                ours.objects,
                live + ours.cached..=live + ours.cached,
            ),
            (
                "all objects of the kernel",
                host.total,
                host.slabs * objects..=host.slabs * objects,
            ),
            (
                "all objects of the shadow",
                ours.total,
                ours.slabs * least..=ours.slabs * objects,
            ),
            ("pages of the shadow", ours.pages, {
                // Those of slabs that wait for a grace period are the cache's still.
                let pages = ours.slabs << of.order.get();
                let least = ours.slabs << least_order.get();
                least..=if rcu && !shrunk { u64::MAX } else { pages }
            }),
            ("slabs of the kernel", host.slabs, {
                let most = ours.host_used + self.host_cached() + empty;
                ours.host_used..=if shrunk { ours.host_used } else { most }
            }),
            ("slabs of the shadow", ours.slabs, {
                let most = ours.shadow_used + ours.cached + empty;
                let most = if shrunk { ours.shadow_used } else { most };
                ours.shadow_used..=if smaller { u64::MAX } else { most }
            }),
            ("empty slabs of the shadow", ours.empty, {
                0..=if shrunk { 0 } else { empty }
            }),
            // All that is not full stands on the kernel's list.
            ("partial slabs of the kernel", host.partial, 0..=host.slabs),
        ];
        let wrong = checks
            .into_iter()
            .find(|(_, found, range)| !range.contains(found));
        wrong.map(|(what, found, range)| match range.start() == range.end() {
            true => format!("{what}: {found}, not {}", range.start()),
            false => format!(
                "{what}: {found}, not from {} to {}",
                range.start(),
                range.end()
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shadowmm_core::slab::geometry;
    use shadowmm_core::slab::CacheArgs;
    use shadowmm_core::slab::Surroundings;

    /// 100 objects of 64 bytes in 2 slabs of 64 on both sides; each keeps 20.
    fn look() -> Look {
        Look {
            host: HostState {
                slabs: 2,
                total: 128,
                objects: 120,
                partial: 1,
            },
            shadow: PairState {
                live: 100,
                host_used: 2,
                shadow_used: 2,
                slabs: 2,
                partial: 1,
                total: 128,
                objects: 120,
                cached: 20,
                active: 100,
                pages: 2,
                apart: 100,
                ..PairState::default()
            },
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_said() {
        let args = CacheArgs::new("cache", 64);
        let of = geometry(&args, &Surroundings::new(2)).unwrap();
        let machine = Machine { cpus: 2, nodes: 1 };
        let flaw = |change: fn(&mut Look), shrunk| {
            let mut look = look();
            change(&mut look);
            look.flaw(&of, &machine, shrunk)
        };
        assert_eq!(flaw(|_| (), false), None);
        assert_eq!(
            flaw(|_| (), true).as_deref(),
            Some("objects of the kernel: 120, not 100")
        );
        // 14 sheaves of 60 objects, and 5 empty slabs.
        let most = |look: &mut Look| {
            (look.host.slabs, look.host.total) = (2 + 840 + 5, 847 * 64);
            look.host.objects = 940;
        };
        assert_eq!(flaw(most, false), None);
        assert!(flaw(|look| look.host.objects = 941, false).is_some());
        // 63 in each magazine and 32 on their way elsewhere, and 512 in the store.
        fn caches(look: &mut Look, cached: u64) {
            look.shadow.cached = cached;
            look.shadow.objects = 100 + cached;
        }
        assert_eq!(flaw(|look| caches(look, 2 * 95 + 512), false), None);
        assert!(flaw(|look| caches(look, 2 * 95 + 513), false).is_some());
        assert!(flaw(|look| look.shadow.active = 99, false).is_some());
        assert!(flaw(|look| look.shadow.slabs = 1, false).is_some());
        assert!(flaw(|look| look.shadow.empty = 6, false).is_some());
        assert!(flaw(|look| look.shadow.pages = 3, false).is_some());
        // The same object, twice.
        assert!(flaw(|look| look.shadow.apart = 99, false).is_some());
        assert!(look().is_equal());
        assert_eq!(look().slabs_apart(), 0);
    }

    #[test]
    fn smaller_slabs_are_no_reason_to_look_at_nothing() {
        // 32 objects of 1024 bytes in a slab of order 3, or 4 in a single page.
        let args = CacheArgs::new("cache", 1024);
        let of = geometry(&args, &Surroundings::new(2)).unwrap();
        assert!(of.min_order < of.order);
        let (most, least) = (u64::from(of.objects), u64::from(of.min_objects));
        let machine = Machine { cpus: 2, nodes: 1 };
        let live = 2 * most;
        let look = Look {
            host: HostState {
                slabs: 2,
                total: live,
                objects: live,
                partial: 0,
            },
            shadow: PairState {
                live,
                host_used: 2,
                shadow_used: 2,
                fallbacks: 1,
                slabs: 1 + most / least,
                total: live,
                objects: live,
                active: live,
                pages: (1 << of.order.get()) + ((most / least) << of.min_order.get()),
                apart: live,
                ..PairState::default()
            },
        };
        let flaw = |change: fn(&mut Look)| {
            let mut look = look;
            change(&mut look);
            look.flaw(&of, &machine, false)
        };
        assert_eq!(flaw(|_| ()), None);
        assert!(flaw(|look| look.shadow.fallbacks = 0).is_some());
        assert!(flaw(|look| look.shadow.apart -= 1).is_some());
        assert!(flaw(|look| look.shadow.active -= 1).is_some());
        assert!(flaw(|look| look.shadow.pages = 1).is_some());
        assert!(flaw(|look| look.shadow.slabs = 1).is_some());
    }
}
