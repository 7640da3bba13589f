// SPDX-License-Identifier: GPL-2.0

//! What the command reads of the host, all below one root directory, which is
//! `/` outside of tests.
//!
//! ```text
//! dmesg.rs      another machine's firmware map: its boot log
//! map.rs        the host's firmware map: /sys/firmware/memmap, /sys/devices/system/node
//! buddyinfo.rs  the host's free blocks: /proc/buddyinfo
//! machine.rs    what the machine is: kernel, memory, CMA areas, clock
//! memory.rs     what the host's memory went to: /proc/iomem, SMBIOS
//! ```

pub mod buddyinfo;
pub mod dmesg;
pub mod machine;
pub mod map;
pub mod memory;

use crate::error::Error;
use crate::error::Result;
use std::fs;
use std::path::Path;

/// Reads a small file below `root`, without the white space at its ends.
pub fn read(root: &Path, path: &str) -> Result<String> {
    let path = root.join(path);
    fs::read_to_string(&path)
        .map(|text| text.trim().to_owned())
        .map_err(|error| Error::failed(format!("could not read {}: {error}", path.display())))
}

/// The number behind a name in a file of `/proc`, which ends with a colon if it has one.
pub fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let mut line = lines.find_map(|mut words| (words.next()? == name).then_some(words))?;
    line.next()?.parse().ok()
}

/// The numbers N of the entries `prefixN` of a directory, in order.
pub fn numbered(root: &Path, directory: &str, prefix: &str) -> Result<Vec<u64>> {
    let path = root.join(directory);
    let failed = |error| Error::failed(format!("could not read {}: {error}", path.display()));
    let mut numbers = Vec::new();
    for entry in fs::read_dir(&path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A hexadecimal number, with or without 0x.
fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}
