// SPDX-License-Identifier: GPL-2.0

//! The flags of a request, by Linux's names.

use crate::flag_names;
use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::gfp::Gfp;

macro_rules! names {
    ($($name:ident)*) => { &[$((stringify!($name), gfp::$name),)*] };
}

/// Every name of `include/linux/gfp_types.h` that shadowmm knows.
const NAMES: &[(&str, Gfp)] = names! {
    GFP_ATOMIC GFP_KERNEL GFP_KERNEL_ACCOUNT GFP_NOWAIT GFP_NOIO GFP_NOFS GFP_USER GFP_DMA
    GFP_DMA32 GFP_HIGHUSER GFP_HIGHUSER_MOVABLE GFP_TRANSHUGE_LIGHT GFP_TRANSHUGE
    __GFP_DMA __GFP_HIGHMEM __GFP_DMA32 __GFP_MOVABLE __GFP_RECLAIMABLE __GFP_HIGH __GFP_IO
    __GFP_FS __GFP_ZERO __GFP_DIRECT_RECLAIM __GFP_KSWAPD_RECLAIM __GFP_RECLAIM __GFP_WRITE
    __GFP_NOWARN __GFP_RETRY_MAYFAIL __GFP_NOFAIL __GFP_NORETRY __GFP_MEMALLOC __GFP_COMP
    __GFP_NOMEMALLOC __GFP_HARDWALL __GFP_THISNODE __GFP_ACCOUNT __GFP_ZEROTAGS
};

/// The bits of names joined by `|`, commas or white space. A number in their
/// place goes through as it is, for the module to judge.
pub fn parse(text: &str) -> Result<u32, String> {
    let named = |word: &str| {
        let mut all = NAMES.iter();
        let found = all.find(|(name, _)| name.eq_ignore_ascii_case(word));
        found.map(|(_, flags)| flags.bits())
    };
    flag_names::parse(text, named, || NAMES.iter().map(|(name, _)| *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_joined_in_every_way() {
        assert_eq!(parse("GFP_KERNEL"), Ok(gfp::GFP_KERNEL.bits()));
        let both = gfp::GFP_KERNEL.bits() | gfp::__GFP_ZERO.bits();
        for text in [
            "GFP_KERNEL|__GFP_ZERO",
            "gfp_kernel,__gfp_zero",
            "GFP_KERNEL | 0x100",
        ] {
            assert_eq!(parse(text), Ok(both), "{text}");
        }
    }

    #[test]
    fn what_is_no_flag_is_named() {
        assert!(parse("GFP_KERNEL|GFP_CHEESE").is_err_and(|error| error.contains("GFP_CHEESE")));
        assert!(parse("").is_err());
        assert!(parse("|").is_err());
        assert!(parse("0x1ffffffff").is_err());
    }
}
