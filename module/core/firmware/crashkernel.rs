// SPDX-License-Identifier: GPL-2.0

//! The boot parameter `crashkernel=`: how much memory is kept for the kernel
//! that saves this one's state when it has crashed.
//!
//! ```text
//! crashkernel=256M            256 MiB wherever there is room
//! crashkernel=256M@64M        at 64 MiB and nowhere else
//! crashkernel=2G-8G:128M,8G-:256M   as much as the machine's RAM tells
//! crashkernel=1G,high crashkernel=128M,low   above 4 GiB, and a bit below
//! ```
//!
//! Follows `kernel/crash_reserve.c`. All sizes are the original machine's.

use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::PhysAddr;
use crate::slices;

/// What the reservation is aligned to (`CRASH_ALIGN` of x86).
pub const CRASH_ALIGN: Bytes = Bytes(16 << 20);
/// Where "low" ends (`CRASH_ADDR_LOW_MAX` of x86-64).
pub const CRASH_ADDR_LOW_MAX: PhysAddr = PhysAddr(4 << 30);
/// What is reserved below 4 GiB for a crash kernel above it when nothing is
/// said (`crash_low_size_default()`: the bounce buffers and 8 MiB fit in).
pub const DEFAULT_CRASH_KERNEL_LOW_SIZE: Bytes = Bytes(256 << 20);

/// What `crashkernel=` asks for, in sizes of the original machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashKernel {
    /// How much.
    pub size: Bytes,
    /// Where; anywhere if not said.
    pub offset: Option<PhysAddr>,
    /// Look above 4 GiB first (`,high`).
    pub high: bool,
    /// How much to add below 4 GiB when `size` went above it: only with
    /// `high`. A plain request that finds no room below takes
    /// [`DEFAULT_CRASH_KERNEL_LOW_SIZE`].
    pub low_size: Bytes,
    /// How much more to take from CMA (`,cma`).
    pub cma_size: Bytes,
}

/// Reads a number with a size suffix: K, M, G, T, P, E of either case; the
/// number decimal, octal after 0, hexadecimal after 0x (`memparse()`). Returns
/// it, saturated, and the rest of the text; `None` where no number stands.
pub fn memparse(text: &str) -> Option<(u64, &str)> {
    let after_x = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let after_x = after_x.filter(|t| t.starts_with(|c: char| c.is_ascii_hexdigit()));
    let (radix, digits) = match after_x {
        Some(digits) => (16, digits),
        None if text.starts_with('0') => (8, text),
        None => (10, text),
    };
    let end = digits.find(|c: char| !c.is_digit(radix));
    let (digits, rest) = digits.split_at_checked(end.unwrap_or(digits.len()))?;
    if digits.is_empty() {
        return None;
    }
    // All characters are digits, so the only failure is a number too large.
    let number = u64::from_str_radix(digits, radix).unwrap_or(u64::MAX);
    let shift = match rest.bytes().next().map(|b| b.to_ascii_uppercase()) {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        Some(b'P') => 50,
        Some(b'E') => 60,
        _ => return Some((number, rest)),
    };
    let number = number.saturating_mul(1 << shift);
    Some((number, rest.get(1..).unwrap_or("")))
}

/// Reads a kernel command line, or the value of `crashkernel=` alone, for a
/// machine with `system_ram` (`parse_crashkernel()`). `None` when nothing is
/// asked for, or a range list that gives this machine nothing.
///
/// # Errors
///
/// [`Error::BadParameter`] for text that Linux refuses, and for a size that is
/// not below `system_ram`.
pub fn parse_crashkernel(text: &str, system_ram: Bytes) -> Result<Option<CrashKernel>> {
    let plain = last_value(text, None);
    let cma_size = match last_value(text, Some(",cma")) {
        // Linux goes on without what it cannot read here.
        Some(value) => sized(value, ",cma").unwrap_or(Bytes::ZERO),
        None => Bytes::ZERO,
    };
    let mut wanted = CrashKernel {
        size: Bytes::ZERO,
        offset: None,
        high: false,
        low_size: Bytes::ZERO,
        cma_size,
    };
    if let Some(value) = plain {
        (wanted.size, wanted.offset) = if value.contains(':') {
            by_ranges(value, system_ram)?
        } else {
            simple(value)?
        };
    } else if let Some(value) = last_value(text, Some(",high")) {
        wanted.high = true;
        wanted.size = sized(value, ",high")?;
        wanted.low_size = match last_value(text, Some(",low")) {
            Some(value) => sized(value, ",low")?,
            None => DEFAULT_CRASH_KERNEL_LOW_SIZE,
        };
        if wanted.size.is_zero() {
            return Err(Error::BadParameter);
        }
    }
    if wanted.size.is_zero() {
        return Ok(None);
    }
    if wanted.size >= system_ram {
        return Err(Error::BadParameter);
    }
    Ok(Some(wanted))
}

/// The value of the last `crashkernel=` that ends in `suffix`, or in none of
/// the known ones (`get_last_crashkernel()`).
fn last_value<'t>(text: &'t str, suffix: Option<&str>) -> Option<&'t str> {
    const KNOWN: [&str; 3] = [",high", ",low", ",cma"];
    let words = text.split_ascii_whitespace();
    let alone = words.clone().count() == 1;
    let values = words.enumerate().filter_map(|(i, word)| {
        match slices::split_once(word, "crashkernel=") {
            Some((_, value)) => Some(value),
            // The value alone, as a module's parameter has it.
            None if i == 0 && (alone || word.starts_with(|c: char| c.is_ascii_digit())) => {
                Some(word).filter(|w| !w.contains('='))
            }
            None => None,
        }
    });
    let fits = |value: &&str| match suffix {
        Some(suffix) => value.ends_with(suffix),
        None => !KNOWN.iter().any(|known| value.ends_with(known)),
    };
    values.filter(fits).last()
}

fn number(text: &str) -> Result<(u64, &str)> {
    memparse(text).ok_or(Error::BadParameter)
}

/// `size[@offset]` (`parse_crashkernel_simple()`). An offset of 0 is none.
fn simple(value: &str) -> Result<(Bytes, Option<PhysAddr>)> {
    let (size, rest) = number(value)?;
    let offset = match rest.strip_prefix('@') {
        Some(at) => memparse(at).map_or(0, |(offset, _)| offset),
        None if rest.is_empty() => 0,
        None => return Err(Error::BadParameter),
    };
    Ok((Bytes(size), Some(PhysAddr(offset)).filter(|o| o.0 != 0)))
}

/// `size,suffix` (`parse_crashkernel_suffix()`).
fn sized(value: &str, suffix: &str) -> Result<Bytes> {
    let (size, rest) = number(value)?;
    if rest == suffix {
        Ok(Bytes(size))
    } else {
        Err(Error::BadParameter)
    }
}

/// `from-[to]:size[,...][@offset]` (`parse_crashkernel_mem()`). The first
/// range that holds the machine's RAM, rounded up to 128 MiB, counts; what
/// stands behind it is not looked at.
fn by_ranges(value: &str, system_ram: Bytes) -> Result<(Bytes, Option<PhysAddr>)> {
    const ROUND: u64 = 128 << 20;
    let ram = system_ram.0.div_ceil(ROUND).saturating_mul(ROUND);
    let mut text = value;
    let mut found = 0;
    loop {
        let (start, rest) = number(text)?;
        let rest = rest.strip_prefix('-').ok_or(Error::BadParameter)?;
        let (end, rest) = if rest.starts_with(':') {
            (u64::MAX, rest)
        } else {
            number(rest)?
        };
        let rest = rest.strip_prefix(':').ok_or(Error::BadParameter)?;
        let (size, rest) = number(rest)?;
        if end <= start || size >= ram {
            return Err(Error::BadParameter);
        }
        text = rest;
        if (start..end).contains(&ram) {
            found = size;
            break;
        }
        match text.strip_prefix(',') {
            Some(next) => text = next,
            None => break,
        }
    }
    if found == 0 {
        return Ok((Bytes::ZERO, None));
    }
    let offset = match text.split_once('@') {
        Some((_, at)) => number(at)?.0,
        None => 0,
    };
    Ok((Bytes(found), Some(PhysAddr(offset)).filter(|o| o.0 != 0)))
}
