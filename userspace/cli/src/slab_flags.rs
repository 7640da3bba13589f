// SPDX-License-Identifier: GPL-2.0

//! The flags of a cache, by Linux's names.

use crate::flag_names;
use shadowmm_core::slab::SlabFlags;

/// The bits of names joined by `|`, commas or white space, with or without
/// `SLAB_` before them. A number in their place goes through as it is, for the
/// module to judge.
pub fn parse(text: &str) -> Result<u32, String> {
    let named = |word: &str| {
        let upper = word.to_ascii_uppercase();
        let bare = upper.strip_prefix("SLAB_").unwrap_or(&upper);
        let mut all = SlabFlags::NAMES.iter();
        let found = all.find(|(_, name)| *name == bare);
        found.map(|(flag, _)| flag.bits())
    };
    let all = || SlabFlags::NAMES.iter().map(|(_, name)| *name);
    flag_names::parse(text, named, all)
}

/// The bits of the letters of `slab_debug=`.
pub fn letters(text: &str) -> Result<u32, String> {
    let mut flags = SlabFlags::NONE;
    for letter in text.bytes() {
        let flag = SlabFlags::from_letter(letter);
        flags |= flag.ok_or("the letters are F, Z, P, U and T")?;
    }
    if flags.is_empty() {
        return Err("no letter is named; they are F, Z, P, U and T".to_owned());
    }
    Ok(flags.bits())
}

/// The names of bits, and those that have none as a number.
pub fn names(bits: u32) -> Vec<String> {
    let mut names: Vec<String> = SlabFlags::NAMES
        .iter()
        .filter(|(flag, _)| bits & flag.bits() != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    match bits & !SlabFlags::KNOWN.bits() {
        0 => {}
        rest => names.push(format!("{rest:#x}")),
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_the_names_of_linux() {
        let both = SlabFlags::HWCACHE_ALIGN.bits() | SlabFlags::RED_ZONE.bits();
        for text in [
            "SLAB_HWCACHE_ALIGN|SLAB_RED_ZONE",
            "hwcache_align,red_zone",
            "HWCACHE_ALIGN 0x2",
        ] {
            assert_eq!(parse(text), Ok(both), "{text}");
        }
        assert!(parse("SLAB_CHEESE").is_err_and(|told| told.contains("HWCACHE_ALIGN")));
        assert!(parse("").is_err());
        assert_eq!(names(both), ["RED_ZONE", "HWCACHE_ALIGN"]);
        assert_eq!(names(0x8000_0001), ["CONSISTENCY_CHECKS", "0x80000000"]);
        assert!(names(0).is_empty());
    }

    #[test]
    fn debugging_has_letters() {
        let all = SlabFlags::DEBUG.bits();
        assert_eq!(letters("FZPUT"), Ok(all));
        assert_eq!(letters("z"), Ok(SlabFlags::RED_ZONE.bits()));
        assert!(letters("FX").is_err());
        assert!(letters("").is_err());
    }
}
