// SPDX-License-Identifier: GPL-2.0

//! What is seen of a side's address space, as text in which equal things are equal:
//! places are distances in the arena, and objects have numbers in the order in which
//! they come.

use super::arena;
use super::arena::hex;
use super::arena::range_of;
use super::generate::PAGE;
use super::side::Side;
use super::side::Who;
use super::side::MOST_PAGES;
use super::side::NOT_ANSWERED;
use super::text::Text;
use super::touch;
use super::window::Window;
use nix::libc;
use shadowmm_abi::shadowmm_rec_vma;
use std::ffi::CStr;
use std::fmt::Write;
use std::ops::Range;

/// The name that the test's file has in maps.
pub const FILE_NAME: &CStr = c"shadowmm-diff-file";
/// Objects that are told apart.
const OBJECTS: usize = 256;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Aspect {
    /// The VMAs: range, permissions, sharing, what is behind them.
    Maps,
    /// Which pages are there.
    Pages,
    /// Of each VMA its flags and how much of it is there.
    Smaps,
    /// Of each VMA what mincore says.
    Mincore,
    /// Sizes of the address space by kind, how large it has been, and what is locked.
    Counters,
    /// What is read. Reading it has pages come.
    Contents,
}

impl Aspect {
    /// All of them, in the order in which they are looked at.
    pub const ALL: [Self; 6] = [
        Self::Maps,
        Self::Pages,
        Self::Smaps,
        Self::Mincore,
        Self::Counters,
        Self::Contents,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Maps => "maps",
            Self::Pages => "pages",
            Self::Smaps => "smaps",
            Self::Mincore => "mincore",
            Self::Counters => "counters",
            Self::Contents => "contents",
        }
    }
}

/// What is behind a VMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// Private memory.
    Nothing,
    /// The test's file.
    File,
    /// Shared memory, with a number that nothing else has.
    Object(u64),
}

/// A VMA of the arena.
#[derive(Clone, Copy, Debug, Default)]
struct Vma {
    start: u64,
    end: u64,
    is_readable: bool,
    is_writable: bool,
    is_file: bool,
}

/// Looks at a side. What it needs is allocated once.
#[derive(Debug)]
pub struct Looker {
    /// What was seen last.
    pub seen: Text,
    raw: Text,
    vmas: Box<[Vma]>,
    count: usize,
    records: Box<[shadowmm_rec_vma]>,
    entries: Box<[u64]>,
    /// Objects that have a number in what is seen.
    objects: Box<[u64; OBJECTS]>,
    known: usize,
    /// What there was when the test began.
    before: Sizes,
    /// The most resident pages that were seen of a window.
    most_resident: u64,
}

/// Sizes of an address space, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    /// `VmSize`.
    pub total: u64,
    /// `VmPeak`.
    pub peak: u64,
    /// `VmData`.
    pub data: u64,
    /// `VmStk`.
    pub stack: u64,
    /// `VmLck`.
    pub locked: u64,
}

impl Looker {
    /// Has seen nothing.
    pub fn new() -> Self {
        Self {
            seen: Text::new(1 << 20),
            raw: Text::new(8 << 20),
            vmas: vec![Vma::default(); MOST_PAGES].into_boxed_slice(),
            count: 0,
            records: vec![Default::default(); MOST_PAGES + 1].into_boxed_slice(),
            objects: Box::new([0; OBJECTS]),
            known: 0,
            entries: vec![0; MOST_PAGES].into_boxed_slice(),
            before: Sizes::default(),
            most_resident: 0,
        }
    }

    /// Room for what has to be read before a side is there.
    pub fn room(&mut self) -> &mut Text {
        &mut self.raw
    }

    /// What there is now is what the test begins with.
    ///
    /// # Errors
    ///
    /// Where it has had more at some time: how high it rises could not be compared; where it
    /// does not tell.
    pub fn begin(&mut self, side: &mut Side) -> Result<(), &'static str> {
        let sizes = self.sizes(side);
        self.before = sizes.ok_or("the address space does not tell how large it is")?;
        let Sizes {
            total, peak, data, ..
        } = self.before;
        side.remember(total << 10, data << 10);
        match peak == total {
            true => Ok(()),
            false => Err("the address space was larger before the test began"),
        }
    }

    /// The address space is a child's now, which begins with what it has.
    pub fn forked(&mut self) {
        self.most_resident = 0;
    }

    /// Looks at one thing; [`Looker::seen`] is what is seen, unless it can't be. Maps come
    /// first.
    pub fn look(&mut self, side: &mut Side, aspect: Aspect) -> bool {
        self.seen.clear();
        match aspect {
            Aspect::Maps => return self.maps(side),
            Aspect::Pages => return self.pages(side),
            Aspect::Smaps => return self.smaps(side),
            Aspect::Mincore => self.mincore(side),
            Aspect::Counters => return self.counters(side),
            Aspect::Contents => self.contents(side),
        }
        true
    }

    fn maps(&mut self, side: &Side) -> bool {
        self.count = 0;
        self.known = 0;
        match &side.who {
            Who::Host(_) => self.maps_of_file(side),
            Who::Window(window) => self.maps_of_window(window, side.end()),
        }
    }

    /// From the records of a window.
    fn maps_of_window(&mut self, window: &Window, end: u64) -> bool {
        let Some(count) = window.vmas(&mut self.records) else {
            return false;
        };
        let count = count.min(self.records.len());
        for index in 0..count {
            let record = self.records[index];
            if record.start >= end {
                break;
            }
            let flag = |bit: u32, set: u8, unset: u8| match (record.flags >> bit) & 1 {
                0 => unset,
                _ => set,
            };
            // VM_READ, VM_WRITE, VM_EXEC, VM_MAYSHARE.
            let perms = [
                flag(0, b'r', b'-'),
                flag(1, b'w', b'-'),
                flag(2, b'x', b'-'),
                flag(7, b's', b'p'),
            ];
            let behind = match record.file {
                0 => Behind::Nothing,
                _ if perms[3] == b'p' => Behind::File,
                object => Behind::Object(object),
            };
            let offset = record.pgoff.wrapping_mul(PAGE);
            self.vma(
                window.base,
                record.start..record.end,
                &perms,
                behind,
                offset,
            );
        }
        true
    }

    /// From a process's file.
    fn maps_of_file(&mut self, side: &Side) -> bool {
        let (base, end) = (side.base(), side.end());
        // The last whole line says whether the rest matters.
        let mut raw = std::mem::replace(&mut self.raw, Text::new(0));
        let is_there = arena::read(side.files.maps, &mut raw, |text| {
            let text = &text[..text.len().saturating_sub(1)];
            let last = text.iter().rposition(|&byte| byte == b'\n');
            let line = last.map_or(text, |at| &text[at + 1..]);
            range_of(line).is_some_and(|(start, _)| start >= end)
        });
        for line in raw.as_bytes().split(|&byte| byte == b'\n') {
            let Some((start, stop)) = range_of(line) else {
                continue;
            };
            if start >= end {
                break;
            }
            if stop <= base {
                continue;
            }
            let mut words = line
                .split(|&byte| byte == b' ')
                .filter(|word| !word.is_empty());
            let [_, perms, offset, _, inode] =
                std::array::from_fn(|_| words.next().unwrap_or_default());
            let name = FILE_NAME.to_bytes();
            let behind = match number(inode) {
                0 => Behind::Nothing,
                _ if line.windows(name.len()).any(|part| part == name) => Behind::File,
                inode => Behind::Object(inode),
            };
            self.vma(base, start..stop, perms, behind, hex(offset).unwrap_or(0));
        }
        self.raw = raw;
        is_there
    }

    /// A VMA has been seen.
    fn vma(&mut self, base: u64, range: Range<u64>, perms: &[u8], behind: Behind, offset: u64) {
        self.seen.hex(range.start.wrapping_sub(base));
        self.seen.push(b"-");
        self.seen.hex(range.end.wrapping_sub(base));
        self.seen.push(b" ");
        self.seen.push(perms);
        match behind {
            Behind::Nothing => {}
            Behind::File => self.seen.push(b" file "),
            Behind::Object(object) => {
                let known = &self.objects[..self.known];
                let number = known.iter().position(|&other| other == object);
                let number = number.unwrap_or_else(|| {
                    let number = self.known.min(OBJECTS - 1);
                    self.objects[number] = object;
                    self.known = number + 1;
                    number
                });
                self.seen.push(b" object ");
                self.seen.hex(number as u64);
                self.seen.push(b" ");
            }
        }
        // Of private memory it follows from the place, or from where it was.
        if behind != Behind::Nothing {
            self.seen.hex(offset);
        }
        self.seen.push(b"\n");
        if let Some(vma) = self.vmas.get_mut(self.count) {
            *vma = Vma {
                start: range.start,
                end: range.end,
                is_readable: perms.first() == Some(&b'r'),
                is_writable: perms.get(1) == Some(&b'w'),
                is_file: behind == Behind::File,
            };
            self.count += 1;
        }
    }

    fn pages(&mut self, side: &Side) -> bool {
        let entries = &mut self.entries[..side.pages as usize];
        entries.fill(0);
        // SAFETY: The words are there to be written.
        let got = unsafe {
            libc::pread(
                side.files.pagemap,
                entries.as_mut_ptr().cast(),
                entries.len() * 8,
                (side.base() / PAGE * 8) as libc::off_t,
            )
        };
        // Part of it would be compared with nothing.
        if usize::try_from(got) != Ok(entries.len() * 8) {
            return false;
        }
        let kind = |entry: u64| match (entry >> 63, (entry >> 61) & 1) {
            (0, _) if (entry >> 58) & 1 != 0 => b'g',
            (0, _) => b'.',
            (_, 0) => b'a',
            _ => b'f',
        };
        // Which pages of a file a fault maps depends on what is in the page cache.
        let base = side.base();
        for vma in self.vmas[..self.count].iter().filter(|vma| vma.is_file) {
            let pages = (vma.start - base) / PAGE..(vma.end - base) / PAGE;
            for entry in &mut entries[pages.start as usize..pages.end as usize] {
                if kind(*entry) == b'f' {
                    *entry = 0;
                }
            }
        }
        for (line, entries) in entries.chunks(64).enumerate() {
            if entries.iter().all(|&entry| kind(entry) == b'.') {
                continue;
            }
            self.seen.hex(line as u64 * 64 * PAGE);
            self.seen.push(b" ");
            for &entry in entries {
                self.seen.push(&[kind(entry)]);
            }
            self.seen.push(b"\n");
        }
        true
    }

    fn smaps(&mut self, side: &Side) -> bool {
        let (base, end) = (side.base(), side.end());
        let mut is_behind = false;
        let mut looked = 0;
        let is_there = arena::read(side.files.smaps, &mut self.raw, |text| {
            for line in text[looked..].split_inclusive(|&byte| byte == b'\n') {
                if line.ends_with(b"\n") {
                    looked += line.len();
                    is_behind |= range_of(line).is_some_and(|(start, _)| start >= end);
                }
            }
            is_behind
        });
        let mut is_inside = false;
        let mut is_file = false;
        for line in self.raw.as_bytes().split(|&byte| byte == b'\n') {
            if let Some((start, stop)) = range_of(line) {
                is_inside = start < end && stop > base;
                let vma = self.vmas[..self.count]
                    .iter()
                    .find(|vma| vma.start == start);
                is_file = vma.is_some_and(|vma| vma.is_file);
                if is_inside {
                    self.seen.hex(start.wrapping_sub(base));
                    self.seen.push(b"-");
                    self.seen.hex(stop.wrapping_sub(base));
                }
                continue;
            }
            if !is_inside {
                continue;
            }
            if let Some(flags) = line.strip_prefix(b"VmFlags:") {
                for flag in flags.split(|&byte| byte == b' ') {
                    // Whether a page was written to since somebody asked for it, which
                    // only they know who ask.
                    if !flag.is_empty() && flag != b"sd" {
                        self.seen.push(b" ");
                        self.seen.push(flag);
                    }
                }
                self.seen.push(b"\n");
            }
            for key in [&b"Rss:"[..], b"Anonymous:", b"AnonHugePages:"] {
                // As above: of a file, what was written to alone.
                if is_file && key == b"Rss:" {
                    continue;
                }
                if let Some(value) = line.strip_prefix(key) {
                    self.seen.push(b" ");
                    self.seen.push(key);
                    self.seen.hex(number(value));
                }
            }
        }
        is_there
    }

    fn mincore(&mut self, side: &mut Side) {
        for vma in &self.vmas[..self.count] {
            // What is in the page cache of a file is the same for all who ask.
            if vma.is_file {
                continue;
            }
            self.seen.hex(vma.start - side.base());
            self.seen.push(b" ");
            for &there in side.residency(vma.start, vma.end) {
                self.seen.push(if there & 1 == 0 { b"." } else { b"x" });
            }
            self.seen.push(b"\n");
        }
    }

    /// What the step that was a mincore of this range has answered, as a number: also where
    /// it came to a hole, behind what it had told. The maps are those before it.
    pub fn answered(&mut self, side: &Side, at: u64, len: u64) -> u64 {
        self.seen.clear();
        let vmas = &self.vmas[..self.count];
        let pages = (side.base().wrapping_add(at)..).step_by(PAGE as usize);
        for (&there, page) in side.answered(len).iter().zip(pages) {
            // As above: of files it tells what others have done.
            let is_file = |vma: &Vma| vma.is_file && vma.start <= page && page < vma.end;
            let is_file = vmas.iter().any(is_file);
            self.seen.push(&[residency(there, is_file)]);
        }
        self.seen.digest()
    }

    fn sizes(&mut self, side: &Side) -> Option<Sizes> {
        if let Who::Window(window) = &side.who {
            return window.sizes();
        }
        if !arena::read(side.files.status, &mut self.raw, |_| false) {
            return None;
        }
        let text = self.raw.as_bytes();
        let of = |key: &[u8]| {
            let mut lines = text.split(|&byte| byte == b'\n');
            lines
                .find_map(|line| line.strip_prefix(key))
                .map_or(0, number)
        };
        Some(Sizes {
            total: of(b"VmSize:"),
            peak: of(b"VmPeak:"),
            data: of(b"VmData:"),
            stack: of(b"VmStk:"),
            locked: of(b"VmLck:"),
        })
    }

    fn counters(&mut self, side: &Side) -> bool {
        let Some(now) = self.sizes(side) else {
            return false;
        };
        let before = self.before;
        // Mlockall locks what is around the arena, too.
        let around = match now.locked {
            0 => Some(0),
            _ => self.locked_around(side),
        };
        let Some(around) = around else {
            return false;
        };
        let counters = [
            ("VmSize", now.total, before.total),
            ("VmPeak", now.peak, before.peak),
            ("VmData", now.data, before.data),
            ("VmStk", now.stack, before.stack),
            ("VmLck", now.locked, around),
        ];
        for (name, now, before) in counters {
            let more = now as i64 - before as i64;
            // There is room for it.
            let _ = writeln!(self.seen, "{name} {more}");
        }
        // A process's would be all that this program has. A window's may not have been
        // less than what was there.
        if let Who::Window(window) = &side.who {
            let Some([resident, most]) = window.resident() else {
                return false;
            };
            self.most_resident = self.most_resident.max(resident);
            if most < self.most_resident {
                let _ = writeln!(self.seen, "VmHWM {most} of {}", self.most_resident);
            }
        }
        true
    }

    /// How much of the address space is locked outside of the arena, in KiB, as the VMAs'
    /// flags say.
    fn locked_around(&mut self, side: &Side) -> Option<u64> {
        let (base, end) = (side.base(), side.end());
        if !arena::read(side.files.smaps, &mut self.raw, |_| false) {
            return None;
        }
        let mut vma = (0, 0);
        let mut locked = 0;
        for line in self.raw.as_bytes().split(|&byte| byte == b'\n') {
            if let Some(range) = range_of(line) {
                vma = range;
            } else if let Some(flags) = line.strip_prefix(b"VmFlags:") {
                let is_around = vma.1 <= base || vma.0 >= end;
                if is_around && flags.split(|&byte| byte == b' ').any(|flag| flag == b"lo") {
                    locked += (vma.1 - vma.0) >> 10;
                }
            }
        }
        Some(locked)
    }

    fn contents(&mut self, side: &Side) {
        for vma in &self.vmas[..self.count] {
            if !vma.is_readable {
                continue;
            }
            let mut last = (0, 0);
            for page in (vma.start..vma.end).step_by(PAGE as usize) {
                let content = match touch::page(page) {
                    Ok(value) => (0, value),
                    Err(fault) => (fault.signal, fault.code as u64),
                };
                // Of many alike, only the first is told.
                if page != vma.start && content == last {
                    continue;
                }
                last = content;
                self.seen.hex(page - side.base());
                self.seen.push(b" ");
                self.seen.hex(content.0 as u64);
                self.seen.push(b" ");
                self.seen.hex(content.1);
                self.seen.push(b"\n");
            }
        }
    }

    /// Writes to some pages of each VMA that allows it, another value to each.
    pub fn scribble(&self, value: u64) {
        for vma in &self.vmas[..self.count] {
            if !vma.is_writable {
                continue;
            }
            let pages = (vma.end - vma.start) / PAGE;
            for page in [0, pages / 2, pages - 1] {
                let at = vma.start + page * PAGE;
                // Behind a file's end there is nothing to be written to.
                let _ = touch::store(at + 8 * (page & 63), value.wrapping_add(page));
            }
        }
    }
}

/// What a step's mincore has answered of a page.
fn residency(there: u8, is_file: bool) -> u8 {
    match there {
        NOT_ANSWERED => b'-',
        _ if is_file => b'f',
        _ if there & 1 == 0 => b'.',
        _ => b'x',
    }
}

/// The number that a text begins with, behind spaces.
fn number(text: &[u8]) -> u64 {
    let digits = text.iter().skip_while(|byte| byte.is_ascii_whitespace());
    digits
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |number, &byte| number * 10 + u64::from(byte - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_mincore_has_come_is_seen_and_what_it_says_of_memory() {
        let told = |answer: &[u8], is_file| -> String {
            let pages = answer.iter().map(|&there| residency(there, is_file));
            pages.map(char::from).collect()
        };
        assert_eq!(told(&[1, 0, NOT_ANSWERED], false), "x.-");
        // Which pages of a file are cached is chance; how many were told is not.
        assert_eq!(told(&[1, 0, NOT_ANSWERED], true), "ff-");
    }
}
