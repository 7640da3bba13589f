// SPDX-License-Identifier: GPL-2.0

//! The bits of an entry of a table, as x86-64 and the module have them
//! (module/core/mm/page_table/entry.rs).

/// `_PAGE_PRESENT`.
pub const P: u64 = 1 << 0;
/// `_PAGE_RW`.
pub const RW: u64 = 1 << 1;
/// `_PAGE_PSE`: 2 MiB, in a table of the second level.
pub const PS: u64 = 1 << 7;
/// `_PAGE_SPECIAL`: the zero page.
pub const ZERO: u64 = 1 << 9;
/// The content of a file, which nobody has written to.
pub const FILE: u64 = 1 << 10;
/// A guard; it has `ZERO`, too.
pub const GUARD: u64 = 1 << 11;
/// A page of a larger block.
pub const PART: u64 = 1 << 52;
/// `_PAGE_NX`.
pub const NX: u64 = 1 << 63;

/// Where the frame is.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// What they are called, and what that means.
const BITS: [(u64, &str, &str); 12] = [
    (P, "P", "present"),
    (RW, "RW", "writable"),
    (1 << 2, "US", "for programs, too"),
    (1 << 5, "A", "accessed"),
    (1 << 6, "D", "written to (dirty)"),
    (PS, "PS", "2 MiB here, no table"),
    (1 << 8, "none", "a page that nobody may touch (PROT_NONE)"),
    (ZERO, "zero", "the zero page"),
    (FILE, "file", "a file's content, not written to"),
    (GUARD, "guard", "no page, and none will come"),
    (PART, "part", "one page of 2 MiB that were split"),
    (NX, "NX", "not to be executed"),
];

/// Whether it is a guard.
pub fn is_guard(entry: u64) -> bool {
    entry & GUARD != 0
}

/// The frame that it leads to.
pub fn pfn(entry: u64) -> u64 {
    (entry & FRAME) >> 12
}

/// A guard is named as such alone.
fn shown(entry: u64) -> u64 {
    match is_guard(entry) {
        true => entry & !ZERO,
        false => entry,
    }
}

/// The bits by name.
pub fn bits(entry: u64) -> String {
    let set = BITS.iter().filter(|(bit, ..)| shown(entry) & bit != 0);
    let names: Vec<_> = set.map(|&(_, name, _)| name).collect();
    names.join(" ")
}

/// What the bits of these entries mean: `all` has each that is in one of them.
pub fn legend(all: u64) -> String {
    let set = BITS.iter().filter(|(bit, ..)| shown(all) & bit != 0);
    let texts: Vec<_> = set
        .map(|(_, name, what)| format!("{name} {what}"))
        .collect();
    match texts.is_empty() {
        true => "No bit is set".to_owned(),
        false => texts.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_names() {
        assert_eq!(bits(0x8000_0001_2345_6067), "P RW US A D NX");
        assert_eq!(bits(GUARD | ZERO), "guard");
        assert_eq!(bits(0), "");
        assert_eq!(pfn(0x8010_0001_2345_6267), 0x12_3456);
        assert_eq!(bits(0x8010_0001_2345_6265), "P US A D zero part NX");
    }

    #[test]
    fn the_legend_has_what_occurs() {
        assert_eq!(legend(P | PS), "P present; PS 2 MiB here, no table");
        assert_eq!(legend(0), "No bit is set");
    }
}
