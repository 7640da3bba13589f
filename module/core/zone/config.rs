// SPDX-License-Identifier: GPL-2.0

//! `zones=`: which kinds of zones there are, and how large they get.
//!
//! ```text
//! zones=ITEM[,ITEM...]
//!
//! dma[=END]          the zone for ISA devices, up to the address END
//! dma32[=END]        the zone for 32-bit devices, up to the address END
//! normal             the rest of the memory that the kernel may use freely
//! movable[=AMOUNT]   as `movablecore=`: at least this much is ZONE_MOVABLE
//! kernelcore=AMOUNT  as `kernelcore=`: at least this much is not
//!
//! END, AMOUNT        SIZE, or N% of the shadow's end or amount of memory
//! SIZE               as memparse() reads it: 16M, 0x1000000, 4194304
//! ```
//!
//! A kind that is not named is left out; the highest of dma, dma32 and normal
//! that is named reaches to the end of memory, as DMA32 does on a PC with less
//! than 4 GiB. Without a text, or with an empty one, all four kinds are there:
//! `dma,dma32,normal,movable`, which means `movable=25%` and the limits of a
//! 16 GiB PC in proportion.

use crate::error::Error;
use crate::error::Result;
use crate::page::ZoneType;
use crate::page::NR_ZONE_TYPES;
use crate::phys::Bytes;
use crate::phys::PageOrder;
use crate::phys::Pages;
use crate::phys::Pfn;
use crate::slices;

/// Where ISA devices' addresses end: 16 MiB (`MAX_DMA_PFN`).
pub const MAX_DMA_PFN: Pfn = Pfn(4096);
/// Where 32-bit devices' addresses end: 4 GiB (`MAX_DMA32_PFN`).
pub const MAX_DMA32_PFN: Pfn = Pfn(1 << 20);

/// Where a zone ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// In proportion to the shadow's size.
    Auto,
    /// At this address.
    Size(Bytes),
    /// At this percentage of the shadow's end of memory.
    Percent(u8),
}

/// How much memory `movablecore=` or `kernelcore=` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// This much.
    Size(Bytes),
    /// This percentage of all memory.
    Percent(u8),
}

impl Amount {
    /// In pages, out of `total` (as `find_zone_movable_pfns_for_nodes` does).
    pub fn pages(self, total: Pages) -> Pages {
        match self {
            Self::Size(size) => size.pages_down(),
            Self::Percent(percent) => {
                Pages(total.0.saturating_mul(100).saturating_mul(percent.into()) / 10_000)
            }
        }
    }
}

/// The kinds of zones that a shadow has, and their sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneConfig {
    /// The end of the DMA zone; `None` leaves it out.
    pub dma: Option<Limit>,
    /// The end of the DMA32 zone; `None` leaves it out.
    pub dma32: Option<Limit>,
    /// Whether there is a Normal zone.
    pub normal: bool,
    /// `movablecore=`; `None` leaves it unset.
    pub movablecore: Option<Amount>,
    /// `kernelcore=`; `None` leaves it unset.
    pub kernelcore: Option<Amount>,
}

impl Default for ZoneConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl ZoneConfig {
    /// All kinds, a quarter of the memory movable.
    pub const DEFAULT: Self = Self {
        dma: Some(Limit::Auto),
        dma32: Some(Limit::Auto),
        normal: true,
        movablecore: Some(Amount::Percent(25)),
        kernelcore: None,
    };

    /// What an x86-64 PC does without parameters: 16 MiB, 4 GiB, the rest.
    pub const PC: Self = Self {
        dma: Some(Limit::Size(Bytes(16 << 20))),
        dma32: Some(Limit::Size(Bytes(4 << 30))),
        normal: true,
        movablecore: None,
        kernelcore: None,
    };

    const NOTHING: Self = Self {
        dma: None,
        dma32: None,
        normal: false,
        movablecore: None,
        kernelcore: None,
    };

    /// Reads a `zones=` text.
    ///
    /// # Errors
    ///
    /// [`Error::BadParameter`] for an unknown or repeated kind, a size of zero
    /// or with rubbish behind it, a percentage outside 1 to 100, a value where
    /// none belongs, or a list without any of dma, dma32 and normal.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::DEFAULT);
        }
        let mut config = Self::NOTHING;
        for item in slices::split(text, ',') {
            let (kind, value) = match item.split_once('=') {
                Some((kind, value)) => (kind.trim(), Some(value.trim())),
                None => (item.trim(), None),
            };
            config.add(kind, value)?;
        }
        if config.dma.is_none() && config.dma32.is_none() && !config.normal {
            return Err(Error::BadParameter);
        }
        Ok(config)
    }

    fn add(&mut self, kind: &str, value: Option<&str>) -> Result<()> {
        let is = |name: &str| kind.eq_ignore_ascii_case(name);
        if is("normal") && value.is_none() && !self.normal {
            self.normal = true;
            return Ok(());
        }
        let limit = |value| match value {
            None => Ok(Limit::Auto),
            Some(text) => Ok(match parse_amount(text)? {
                Amount::Size(size) => Limit::Size(size),
                Amount::Percent(percent) => Limit::Percent(percent),
            }),
        };
        if is("dma") {
            set_once(&mut self.dma, limit(value)?)
        } else if is("dma32") {
            set_once(&mut self.dma32, limit(value)?)
        } else if is("movable") {
            let default = Ok(Amount::Percent(25));
            set_once(&mut self.movablecore, value.map_or(default, parse_amount)?)
        } else if is("kernelcore") {
            let value = value.ok_or(Error::BadParameter)?;
            set_once(&mut self.kernelcore, parse_amount(value)?)
        } else {
            Err(Error::BadParameter)
        }
    }

    /// The same configuration for a shadow of a larger machine: the limits
    /// that are not given become those of a PC, 16 MiB and 4 GiB, scaled as
    /// its memory was, so that each zone keeps its share.
    #[must_use]
    pub fn scaled(mut self, shadow: Pages, machine: Pages) -> Self {
        let scale = |limit, pc: Pfn| match limit {
            Some(Limit::Auto) => {
                let end = pc.0.saturating_mul(shadow.0).checked_div(machine.0);
                Some(Limit::Size(
                    Pages(end.unwrap_or(pc.0).clamp(1, pc.0)).bytes(),
                ))
            }
            given => given,
        };
        self.dma = scale(self.dma, MAX_DMA_PFN);
        self.dma32 = scale(self.dma32, MAX_DMA32_PFN);
        self
    }

    /// The first page behind each kind, for a shadow whose memory ends at
    /// `max_pfn`; 0 for a kind that is left out (`arch_zone_limits_init`).
    ///
    /// No limit splits a block of the largest order, because the hand-off
    /// relies on that: limits are rounded up to whole blocks. A limit in
    /// proportion is 1/1024 of the end of memory for DMA and a quarter of it
    /// for DMA32, as 16 MiB and 4 GiB are on a 16 GiB PC, never more than on a
    /// PC, and at least a block.
    pub fn max_zone_pfns(&self, max_pfn: Pfn) -> [Pfn; NR_ZONE_TYPES] {
        let resolve = |limit, share: u64, most: Pfn| {
            let end = match limit {
                None => return Pfn(0),
                Some(Limit::Auto) => Pfn(max_pfn.0.div_ceil(share)).min(most),
                Some(Limit::Size(size)) => Pfn(size.pages_up().0),
                Some(Limit::Percent(percent)) => {
                    Pfn(max_pfn.0.saturating_mul(percent.into()).div_ceil(100))
                }
            };
            end.align_up(PageOrder::MAX).min(max_pfn)
        };
        let mut ends = [Pfn(0); NR_ZONE_TYPES];
        let [dma, dma32, normal, _] = &mut ends;
        *dma = resolve(self.dma, 1024, MAX_DMA_PFN);
        *dma32 = resolve(self.dma32, 4, MAX_DMA32_PFN);
        // On a tiny shadow DMA's least block could be all that DMA32 gets.
        if self.dma32 == Some(Limit::Auto) && *dma32 <= *dma {
            *dma32 = (*dma + PageOrder::MAX.pages()).min(max_pfn);
        }
        match (self.normal, self.dma32) {
            (true, _) => *normal = max_pfn,
            (false, Some(_)) => *dma32 = max_pfn,
            (false, None) => *dma = max_pfn,
        }
        ends
    }

    /// Whether `kind` may exist at all.
    pub fn has(&self, kind: ZoneType) -> bool {
        match kind {
            ZoneType::Dma => self.dma.is_some(),
            ZoneType::Dma32 => self.dma32.is_some(),
            ZoneType::Normal => self.normal,
            ZoneType::Movable => self.movablecore.is_some() || self.kernelcore.is_some(),
        }
    }
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::BadParameter),
    }
}

/// `N%`, or a size (`cmdline_parse_core`).
fn parse_amount(text: &str) -> Result<Amount> {
    if let Some(number) = text.strip_suffix('%') {
        return match parse_number(number)? {
            percent @ 1..=100 => Ok(Amount::Percent(percent as u8)),
            _ => Err(Error::BadParameter),
        };
    }
    let shift = match text.as_bytes().last() {
        Some(b'k' | b'K') => 10,
        Some(b'm' | b'M') => 20,
        Some(b'g' | b'G') => 30,
        Some(b't' | b'T') => 40,
        _ => 0,
    };
    let number = match shift {
        0 => text,
        _ => text.get(..text.len().saturating_sub(1)).unwrap_or(""),
    };
    match parse_number(number)?.checked_mul(1 << shift) {
        None | Some(0) => Err(Error::BadParameter),
        Some(size) => Ok(Amount::Size(Bytes(size))),
    }
}

/// Decimal, hexadecimal (0x) or octal (0), as `simple_strtoull` tells them.
fn parse_number(text: &str) -> Result<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (text.get(2..).unwrap_or(""), 16),
        [b'0', _, ..] => (text.get(1..).unwrap_or(""), 8),
        _ => (text, 10),
    };
    // from_str_radix would take a sign.
    if !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(Error::BadParameter);
    }
    u64::from_str_radix(digits, radix).map_err(|_| Error::BadParameter)
}
