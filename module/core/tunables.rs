// SPDX-License-Identifier: GPL-2.0

//! The knobs of `/proc/sys/vm` that the page allocator has: what they are called,
//! which values they take, and what follows from a change.
//!
//! ```text
//! name                           values     what follows from a change
//! min_free_kbytes                0 ...      watermarks, pagesets
//! watermark_boost_factor         0 ...      the next fallback boosts by it
//! watermark_scale_factor         1 .. 3000  watermarks, pagesets
//! percpu_pagelist_high_fraction  0, 8 ...   pagesets
//! lowmem_reserve_ratio           0 ...      reserves; one for each kind of zone
//! compaction_proactiveness       0 .. 100   kcompactd looks at once
//! extfrag_threshold              0 .. 1000  the next compaction judges by it
//! transparent_hugepages          0, 1       min_free_kbytes, and what follows
//! ```
//!
//! Texts are read and written as the kernel's `proc_dointvec_minmax()` does it.
//! The last one is a file of its own in Linux, below `/sys/kernel/mm`.

use crate::error::Error;
use crate::error::Result;
use crate::page::NR_ZONE_TYPES;
use core::fmt;

/// The largest value of those without a limit of their own (`INT_MAX`).
const INT_MAX: u32 = i32::MAX as u32;
/// The least fraction of a zone that CPUs may be told to keep at most
/// (`MIN_PERCPU_PAGELIST_HIGH_FRACTION`).
pub const MIN_PERCPU_PAGELIST_HIGH_FRACTION: u32 = 8;
/// How many kinds of zones Linux has: those of the shadow, and ZONE_DEVICE.
pub const NR_LINUX_ZONES: usize = NR_ZONE_TYPES + 1;
/// How many characters of a number are looked at (`TMPBUFLEN`).
const NUMBER_LEN: usize = 21;

macro_rules! tunables {
    ($($(#[$doc:meta])* $tunable:ident = $name:literal, $least:expr, $most:expr;)*) => {
        /// A knob.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum Tunable { $($(#[$doc])* $tunable,)* }

        /// How many there are.
        pub const NR_TUNABLES: usize = [$($name,)*].len();

        impl Tunable {
            /// All of them: their places are their numbers in the glue.
            pub const ALL: [Tunable; NR_TUNABLES] = [$(Self::$tunable,)*];

            /// The name of its file and its parameter.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$tunable => $name,)* }
            }

            /// The least and the largest value that it takes.
            pub const fn range(self) -> (u32, u32) {
                match self { $(Self::$tunable => ($least, $most),)* }
            }
        }
    };
}

tunables! {
    /// What is kept free, in KiB.
    MinFreeKbytes = "min_free_kbytes", 0, INT_MAX;
    /// How far fallbacks raise the watermarks at most, in ten-thousandths of the
    /// high one.
    WatermarkBoostFactor = "watermark_boost_factor", 0, INT_MAX;
    /// The gap between the watermarks, in hundredths of a percent of the zone.
    WatermarkScaleFactor = "watermark_scale_factor", 1, 3000;
    /// Which fraction of a zone the CPUs may keep; 0 leaves it to them.
    PercpuPagelistHighFraction = "percpu_pagelist_high_fraction", 0, INT_MAX;
    /// One page of a zone is kept for this many of the zones above it.
    LowmemReserveRatio = "lowmem_reserve_ratio", 0, INT_MAX;
    /// How eager background compaction is; 0 is not at all.
    CompactionProactiveness = "compaction_proactiveness", 0, 100;
    /// Up to which index of fragmentation a failure is taken for lack of memory.
    ExtfragThreshold = "extfrag_threshold", 0, 1000;
    /// Whether there are transparent huge pages, for which more is kept free.
    TransparentHugepages = "transparent_hugepages", 0, 1;
}

impl Tunable {
    /// The knob of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|which| which.name() == name)
    }

    /// The value of those with one value that nobody has turned; of
    /// `min_free_kbytes`, which is computed, and of the ratios, 0.
    pub const fn default_value(self) -> u32 {
        let all = Tunables::DEFAULT;
        match self {
            Self::MinFreeKbytes | Self::LowmemReserveRatio => 0,
            Self::WatermarkBoostFactor => all.watermark_boost_factor,
            Self::WatermarkScaleFactor => all.watermark_scale_factor,
            Self::PercpuPagelistHighFraction => all.percpu_pagelist_high_fraction,
            Self::CompactionProactiveness => all.compaction_proactiveness,
            Self::ExtfragThreshold => all.extfrag_threshold,
            Self::TransparentHugepages => all.transparent_hugepages as u32,
        }
    }

    /// Whether it takes this value.
    const fn takes(self, value: u32) -> bool {
        let (least, most) = self.range();
        let too_large_a_part = matches!(self, Self::PercpuPagelistHighFraction)
            && value != 0
            && value < MIN_PERCPU_PAGELIST_HIGH_FRACTION;
        least <= value && value <= most && !too_large_a_part
    }
}

/// The values of the knobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunables {
    /// `min_free_kbytes` as the user has set it, in KiB
    /// (`user_min_free_kbytes`).
    pub user_min_free_kbytes: Option<u32>,
    /// See [`Tunable::WatermarkBoostFactor`].
    pub watermark_boost_factor: u32,
    /// See [`Tunable::WatermarkScaleFactor`].
    pub watermark_scale_factor: u32,
    /// See [`Tunable::PercpuPagelistHighFraction`].
    pub percpu_pagelist_high_fraction: u32,
    /// One page of a kind is kept for this many of the kinds above it; 0 keeps
    /// none. The last is ZONE_DEVICE's, which the shadow does not have.
    pub lowmem_reserve_ratio: [u32; NR_LINUX_ZONES],
    /// See [`Tunable::CompactionProactiveness`].
    pub compaction_proactiveness: u32,
    /// See [`Tunable::ExtfragThreshold`].
    pub extfrag_threshold: u32,
    /// Whether transparent huge pages are on (`hugepage_enabled`).
    pub transparent_hugepages: bool,
}

impl Default for Tunables {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Tunables {
    /// Those of a booted Debian kernel.
    pub const DEFAULT: Self = Self {
        user_min_free_kbytes: None,
        watermark_boost_factor: 15_000,
        watermark_scale_factor: 10,
        percpu_pagelist_high_fraction: 0,
        lowmem_reserve_ratio: [256, 256, 32, 0, 0],
        compaction_proactiveness: 20,
        extfrag_threshold: 500,
        transparent_hugepages: true,
    };

    /// Whether the files would take these values.
    ///
    /// # Errors
    ///
    /// [`Error::BadParameter`] for one that is out of its range.
    pub fn check(&self) -> Result<()> {
        let fits = |which: Tunable| self.values(which).iter().all(|&value| which.takes(value));
        match Tunable::ALL.into_iter().all(fits) {
            true => Ok(()),
            false => Err(Error::BadParameter),
        }
    }

    /// The values of a knob.
    pub fn values(&self, which: Tunable) -> Values {
        let one = match which {
            Tunable::LowmemReserveRatio => {
                return Values {
                    values: self.lowmem_reserve_ratio,
                    len: NR_LINUX_ZONES,
                }
            }
            Tunable::MinFreeKbytes => self.user_min_free_kbytes.unwrap_or(0),
            Tunable::WatermarkBoostFactor => self.watermark_boost_factor,
            Tunable::WatermarkScaleFactor => self.watermark_scale_factor,
            Tunable::PercpuPagelistHighFraction => self.percpu_pagelist_high_fraction,
            Tunable::CompactionProactiveness => self.compaction_proactiveness,
            Tunable::ExtfragThreshold => self.extfrag_threshold,
            Tunable::TransparentHugepages => self.transparent_hugepages.into(),
        };
        Values::one(one)
    }

    /// Turns a knob to `values`, which it takes.
    pub fn set(&mut self, which: Tunable, values: Values) {
        let one = values.first();
        match which {
            Tunable::LowmemReserveRatio => self.lowmem_reserve_ratio = values.values,
            Tunable::MinFreeKbytes => self.user_min_free_kbytes = Some(one),
            Tunable::WatermarkBoostFactor => self.watermark_boost_factor = one,
            Tunable::WatermarkScaleFactor => self.watermark_scale_factor = one,
            Tunable::PercpuPagelistHighFraction => self.percpu_pagelist_high_fraction = one,
            Tunable::CompactionProactiveness => self.compaction_proactiveness = one,
            Tunable::ExtfragThreshold => self.extfrag_threshold = one,
            Tunable::TransparentHugepages => self.transparent_hugepages = one != 0,
        }
    }

    /// Turns a knob as the text says that is written to its file, and says how
    /// much of the text was read: what follows the last value is not
    /// (`do_proc_vec`).
    ///
    /// # Errors
    ///
    /// [`Error::BadParameter`] for what is no number or not in the range; nothing
    /// has changed then.
    pub fn read(&mut self, which: Tunable, text: &str) -> Result<usize> {
        let mut values = self.values(which);
        let mut rest = skip_spaces(text);
        let mut first = true;
        for slot in values.values.iter_mut().take(values.len) {
            if rest.is_empty() {
                break;
            }
            let (value, after) = number(rest).ok_or(Error::BadParameter)?;
            if !which.takes(value) {
                return Err(Error::BadParameter);
            }
            *slot = value;
            first = false;
            rest = skip_spaces(after);
        }
        if first {
            return Err(Error::BadParameter);
        }
        self.set(which, values);
        Ok(text.len() - rest.len())
    }
}

/// The values of one knob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values {
    values: [u32; NR_LINUX_ZONES],
    len: usize,
}

impl Values {
    /// A single one.
    pub const fn one(value: u32) -> Self {
        let mut values = [0; NR_LINUX_ZONES];
        values[0] = value;
        Self { values, len: 1 }
    }

    /// The first, or only, one.
    pub fn first(&self) -> u32 {
        self.values.first().copied().unwrap_or(0)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &u32> {
        self.values.iter().take(self.len)
    }
}

/// As the knob's file reads, without the end of the line.
impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, value) in self.iter().enumerate() {
            let before = if i == 0 { "" } else { "\t" };
            write!(f, "{before}{value}")?;
        }
        Ok(())
    }
}

/// The text without the white space that it begins with (`proc_skip_spaces`).
fn skip_spaces(text: &str) -> &str {
    // What isspace() has, which also knows 0xa0 in Latin-1.
    text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r'])
}

/// The number that the text begins with, behind white space, and what follows that
/// behind it.
pub(crate) fn first_number(text: &str) -> Option<(u32, &str)> {
    let (value, rest) = number(skip_spaces(text))?;
    Some((value, skip_spaces(rest)))
}

/// The number that the text begins with, and what follows (`proc_get_long`):
/// decimal, octal after 0, hexadecimal after 0x. No knob takes one below zero.
fn number(text: &str) -> Option<(u32, &str)> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) if !rest.is_empty() => (true, rest),
        _ => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let hexadecimal = digits.strip_prefix("0x").or(digits.strip_prefix("0X"));
    let hexadecimal = hexadecimal.filter(|rest| rest.starts_with(|c: char| c.is_ascii_hexdigit()));
    let (radix, digits) = match hexadecimal {
        Some(rest) => (16, rest),
        None if digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    let end = digits.find(|c: char| !c.is_digit(radix));
    let (digits, rest) = digits.split_at_checked(end.unwrap_or(digits.len()))?;
    // No longer than what the kernel copies; and then white space or the end.
    let is_long = text.len() - rest.len() >= NUMBER_LEN;
    if is_long || !(rest.is_empty() || rest.starts_with([' ', '\t', '\n'])) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    let value = u32::try_from(value)
        .ok()
        .filter(|&value| value <= INT_MAX)?;
    (!negative || value == 0).then_some((value, rest))
}
