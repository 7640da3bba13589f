// SPDX-License-Identifier: GPL-2.0

//! The types of e820, as numbers and as the names that sysfs and iomem give them.

use shadowmm_core::firmware::E820Type;

/// RAM.
pub const RAM: u32 = E820Type::RAM.0;

/// The number of the type that `/sys/firmware/memmap` names.
pub fn from_memmap(name: &str) -> Option<u32> {
    E820Type::from_resource_name(name).map(|kind| kind.0)
}

/// The name of a type, as iomem has it.
pub fn name(kind: u32) -> &'static str {
    E820Type::from_raw(kind).map_or("Unknown E820 type", E820Type::resource_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_linux() {
        assert_eq!(from_memmap("System RAM"), Some(RAM));
        assert_eq!(from_memmap("ACPI Tables"), Some(3));
        assert_eq!(from_memmap("Cheese"), None);
        assert_eq!(name(4), "ACPI Non-volatile Storage");
        assert_eq!(name(99), "Unknown E820 type");
    }
}
