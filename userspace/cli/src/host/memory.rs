// SPDX-License-Identifier: GPL-2.0

//! What the host's own memory went to, as far as it shows that.
//!
//! ```text
//! /sys/firmware/dmi/tables/DMI     what the DIMMs have              (dmidecode)
//! /sys/firmware/memmap             RAM of the e820 table; else the System RAM of /proc/iomem
//! /proc/iomem                      the crash kernel, and the kernel itself
//! /proc/meminfo                    MemTotal
//! ```
//!
//! To those without CAP_SYS_ADMIN all addresses of `/proc/iomem` are zero.

use crate::e820;
use crate::error::Error;
use crate::error::Result;
use procfs::FromRead;
use shadowmm_client::PAGE_SIZE;
use std::fs;
use std::path::Path;

/// Bytes of a `struct page`.
pub const STRUCT_PAGE: u64 = 64;
/// A structure of SMBIOS that is a DIMM's (`DMI_ENTRY_MEM_DEVICE`).
const MEMORY_DEVICE: u8 = 17;
/// What `/proc/iomem` calls the parts of the kernel.
const IMAGE: [&str; 4] = ["Kernel code", "Kernel rodata", "Kernel data", "Kernel bss"];

/// Memory of the host, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostMemory {
    /// What its DIMMs have, if the firmware tells.
    pub installed: Option<u64>,
    /// RAM that the firmware leaves to the kernel.
    pub usable: u64,
    /// What is reserved, if addresses are shown.
    pub reserved: Option<Reserved>,
    /// `MemTotal`.
    pub total: u64,
}

/// What `/proc/iomem` tells of reservations, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// The crash kernel's.
    pub crash_kernel: u64,
    /// The kernel's own code and data.
    pub image: u64,
}

impl HostMemory {
    /// Looks around below `root`.
    pub fn read(root: &Path) -> Result<Self> {
        let iomem = super::read(root, "proc/iomem")?;
        let resources = Resources::parse(&iomem)?;
        let usable = match super::map::firmware_ranges(root) {
            Ok(ranges) => {
                let ram = ranges.iter().filter(|range| range.kind == e820::RAM);
                ram.map(|range| range.size).fold(0, u64::saturating_add)
            }
            Err(_) if resources.shown() => resources.bytes(&["System RAM"]),
            Err(error) => return Err(error),
        };
        let meminfo = procfs::Meminfo::from_file(root.join("proc/meminfo"));
        Ok(Self {
            installed: fs::read(root.join("sys/firmware/dmi/tables/DMI"))
                .ok()
                .and_then(|table| installed(&table)),
            usable,
            reserved: resources.shown().then(|| Reserved {
                crash_kernel: resources.bytes(&["Crash kernel"]),
                image: resources.bytes(&IMAGE),
            }),
            total: meminfo
                .map_err(|error| Error::failed(format!("could not read MemTotal: {error}")))?
                .mem_total,
        })
    }

    /// What descriptors of all usable pages take.
    pub fn descriptors(&self) -> u64 {
        self.usable / PAGE_SIZE * STRUCT_PAGE
    }
}

/// The lines of `/proc/iomem`: first byte, last byte, name.
struct Resources<'t>(Vec<(u64, u64, &'t str)>);

impl<'t> Resources<'t> {
    fn parse(text: &'t str) -> Result<Self> {
        let lines = text.lines().map(|line| {
            let parsed = || {
                let (range, name) = line.trim().split_once(" : ")?;
                let (first, last) = range.split_once('-')?;
                Some((super::hexadecimal(first)?, super::hexadecimal(last)?, name))
            };
            parsed().ok_or_else(|| {
                Error::failed(format!("/proc/iomem has a line of another form: {line:?}"))
            })
        });
        Ok(Self(lines.collect::<Result<_>>()?))
    }

    /// Whether whoever asks may see the addresses.
    fn shown(&self) -> bool {
        self.0.iter().any(|&(_, last, _)| last != 0)
    }

    /// Bytes of all resources of these names.
    fn bytes(&self, names: &[&str]) -> u64 {
        let ours = self.0.iter().filter(|(.., name)| names.contains(name));
        ours.map(|&(first, last, _)| last.saturating_sub(first).saturating_add(1))
            .fold(0, u64::saturating_add)
    }
}

/// What the DIMMs of a table of SMBIOS have; `None` where it names no size.
fn installed(mut table: &[u8]) -> Option<u64> {
    let mut sum = 0u64;
    // A structure: its kind, its length, a handle and its data; then strings, of
    // which the last is empty.
    while let [kind, length, ..] = *table {
        let data = table.get(..usize::from(length).max(4))?;
        if kind == MEMORY_DEVICE {
            sum = sum.saturating_add(dimm(data)?);
        }
        let strings = table.get(data.len()..)?;
        let end = strings.windows(2).position(|bytes| bytes == [0, 0]);
        match end {
            Some(end) => table = strings.get(end + 2..)?,
            None => break,
        }
    }
    (sum > 0).then_some(sum)
}

/// The size of a memory device: 0 of an empty slot, `None` of one that is unknown.
fn dimm(data: &[u8]) -> Option<u64> {
    let size = u16::from_le_bytes(data.get(0xc..0xe)?.try_into().ok()?);
    match size {
        0xffff => None,
        // Too large for the word: it is in megabytes further down.
        0x7fff => {
            let size = u32::from_le_bytes(data.get(0x1c..0x20)?.try_into().ok()?);
            Some(u64::from(size & 0x7fff_ffff) << 20)
        }
        size if size & 0x8000 != 0 => Some(u64::from(size & 0x7fff) << 10),
        size => Some(u64::from(size) << 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const MEMINFO: &str = "MemTotal:         900000 kB\nMemFree:          800000 kB\n\
         Buffers:               0 kB\nCached:                0 kB\nSwapCached:            0 kB\n\
         Active:                0 kB\nInactive:              0 kB\nSwapTotal:             0 kB\n\
         SwapFree:              0 kB\nDirty:                 0 kB\nWriteback:             0 kB\n\
         AnonPages:             0 kB\nMapped:                0 kB\nSlab:                  0 kB\n\
         VmallocTotal:          0 kB\nVmallocUsed:           0 kB\nVmallocChunk:          0 kB\n\
         Committed_AS:          0 kB\n";
    const IOMEM: &str = "00000000-00000fff : Reserved\n00001000-0009ffff : System RAM\n\
         00100000-3fffffff : System RAM\n  01000000-017fffff : Kernel code\n\
         01800000-019fffff : Kernel data\n  20000000-27ffffff : Crash kernel\n";

    fn root(iomem: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join("proc")).expect("a directory");
        fs::write(root.path().join("proc/iomem"), iomem).expect("a file");
        fs::write(root.path().join("proc/meminfo"), MEMINFO).expect("a file");
        root
    }

    #[test]
    fn what_the_host_shows_is_read() {
        let root = root(IOMEM);
        let memory = HostMemory::read(root.path()).expect("an account");
        assert_eq!(memory.installed, None);
        assert_eq!(memory.usable, 1023 * MIB + (0x9f << 12));
        let reserved = memory.reserved.expect("addresses");
        assert_eq!(reserved.crash_kernel, 128 * MIB);
        assert_eq!(reserved.image, 10 * MIB);
        assert_eq!(memory.total, 900_000 << 10);
        assert_eq!(memory.descriptors(), (1023 * 256 + 0x9f) * 64);
    }

    #[test]
    fn addresses_that_are_hidden_are_none() {
        let hidden = "00000000-00000000 : System RAM\n  00000000-00000000 : Crash kernel\n";
        let root = root(hidden);
        let error = HostMemory::read(root.path()).expect_err("nothing says what is usable");
        assert!(error.to_string().contains("sys/firmware/memmap"), "{error}");

        let memmap = root.path().join("sys/firmware/memmap/0");
        fs::create_dir_all(&memmap).expect("directories");
        for (file, text) in [
            ("start", "0x0"),
            ("end", "0x3fffffff"),
            ("type", "System RAM"),
        ] {
            fs::write(memmap.join(file), text).expect("a file");
        }
        let memory = HostMemory::read(root.path()).expect("an account");
        assert_eq!((memory.usable, memory.reserved), (1024 * MIB, None));
    }

    #[test]
    fn lines_of_another_form_are_named() {
        let root = root("cheese\n");
        let error = HostMemory::read(root.path()).expect_err("no resources");
        assert!(error.to_string().contains("cheese"), "{error}");
    }

    /// A structure of SMBIOS with a size, and one string behind it.
    fn device(size: u16, extended: u32) -> Vec<u8> {
        let mut data = vec![0u8; 0x28];
        data[0] = MEMORY_DEVICE;
        data[1] = 0x28;
        data[0xc..0xe].copy_from_slice(&size.to_le_bytes());
        data[0x1c..0x20].copy_from_slice(&extended.to_le_bytes());
        data.extend(b"DIMM 0\0\0");
        data
    }

    #[test]
    fn dimms_are_added_up() {
        let other = [1, 6, 0, 0, 9, 9, 0, 0];
        let table = [
            &other[..],
            &device(2048, 0),
            &device(0, 0),
            &device(0x7fff, 65536),
        ]
        .concat();
        assert_eq!(installed(&table), Some((2048 + 65536) * MIB));
        assert_eq!(installed(&device(0x8000 | 512, 0)), Some(512 << 10));
        assert_eq!(installed(&device(0xffff, 0)), None);
        assert_eq!(installed(&other), None);
        assert_eq!(installed(&[]), None);
        // Cut short.
        for length in 0..table.len() {
            let _ = installed(&table[..length]);
        }
    }
}
