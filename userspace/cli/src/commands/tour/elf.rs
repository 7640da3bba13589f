// SPDX-License-Identifier: GPL-2.0

//! What of an ELF file exec looks at (`load_elf_binary`): the head, and the program headers.
//!
//! ```text
//! Elf64_Ehdr  e_ident, e_type, e_machine, ... e_entry, e_phoff, ... e_phentsize, e_phnum
//! Elf64_Phdr  PT_LOAD     p_offset, p_filesz bytes of the file, go to p_vaddr; to p_memsz: zeroes
//!             PT_INTERP   the name of the interpreter
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The head's size, and a program header's.
const EHDR: usize = 64;
const PHDR: usize = 56;
/// The most that all program headers together may have (`load_elf_phdrs`).
const PHDRS_MAX: usize = 65_536;
/// The longest name of a file.
const PATH_MAX: u64 = 4096;
/// No address of a program is above this (`TASK_SIZE`).
const TASK_SIZE: u64 = 0x7fff_ffff_f000;

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;

/// `p_flags`.
pub const PF_X: u32 = 1;
pub const PF_W: u32 = 2;
pub const PF_R: u32 = 4;

/// What exec needs of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// Whether it may lie anywhere (`ET_DYN`).
    pub is_anywhere: bool,
    /// The `PT_LOAD` segments, lowest address first.
    pub segments: Vec<Segment>,
    /// The interpreter, where it names one.
    pub interpreter: Option<String>,
}

/// A `PT_LOAD` segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// `PF_R`, `PF_W`, `PF_X`.
    pub flags: u32,
    /// Where in the file.
    pub offset: u64,
    /// Where in memory.
    pub vaddr: u64,
    /// Bytes of the file.
    pub filesz: u64,
    /// Bytes in memory.
    pub memsz: u64,
    /// What its address is a multiple of, but for its place in that.
    pub align: u64,
}

/// Why a file can't be executed.
#[derive(Debug)]
pub enum NotElf {
    /// It could not be read.
    Read(io::Error),
    /// It is not such a file, or a broken one.
    Broken(&'static str),
}

impl From<io::Error> for NotElf {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// A little-endian number of `N` bytes.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], NotElf> {
    let end = at.saturating_add(N);
    let part = bytes.get(at..end).and_then(|part| part.try_into().ok());
    part.ok_or(NotElf::Broken("it ends too early"))
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, NotElf> {
    Ok(u16::from_le_bytes(number(bytes, at)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, NotElf> {
    Ok(u32::from_le_bytes(number(bytes, at)?))
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, NotElf> {
    Ok(u64::from_le_bytes(number(bytes, at)?))
}

impl Elf {
    /// Reads what exec needs. Nothing is believed: whatever is said to be in the file has to
    /// be in it.
    pub fn read(file: &File) -> Result<Self, NotElf> {
        let len = file.metadata()?.len();
        let part = |offset: u64, bytes: u64| {
            let end = offset.checked_add(bytes).filter(|&end| end <= len);
            end.ok_or(NotElf::Broken("what it names is behind its end"))?;
            let mut part = vec![0; bytes as usize];
            file.read_exact_at(&mut part, offset)?;
            Ok::<_, NotElf>(part)
        };
        if len < EHDR as u64 {
            return Err(NotElf::Broken("it is too short"));
        }
        let head = part(0, EHDR as u64)?;
        // ELFCLASS64, ELFDATA2LSB.
        if !head.starts_with(b"\x7fELF\x02\x01") {
            return Err(NotElf::Broken("it is no ELF file of 64 bits"));
        }
        let kind = u16_at(&head, 16)?;
        if kind != ET_EXEC && kind != ET_DYN {
            return Err(NotElf::Broken("it is no program"));
        }
        let phoff = u64_at(&head, 32)?;
        let (phentsize, phnum) = (u16_at(&head, 54)?, u16_at(&head, 56)?);
        let size = usize::from(phnum) * PHDR;
        if usize::from(phentsize) != PHDR || size == 0 || size > PHDRS_MAX {
            return Err(NotElf::Broken("its program headers are of another size"));
        }
        let mut elf = Self {
            is_anywhere: kind == ET_DYN,
            segments: Vec::new(),
            interpreter: None,
        };
        for header in part(phoff, size as u64)?.chunks_exact(PHDR) {
            let segment = Segment {
                flags: u32_at(header, 4)?,
                offset: u64_at(header, 8)?,
                vaddr: u64_at(header, 16)?,
                filesz: u64_at(header, 32)?,
                memsz: u64_at(header, 40)?,
                align: u64_at(header, 48)?,
            };
            match u32_at(header, 0)? {
                PT_LOAD if segment.memsz != 0 => {
                    elf.segments
                        .push(segment.checked(len, elf.segments.last())?);
                }
                PT_INTERP if elf.interpreter.is_none() => {
                    if !(2..=PATH_MAX).contains(&segment.filesz) {
                        return Err(NotElf::Broken("its interpreter's name has no length"));
                    }
                    let name = part(segment.offset, segment.filesz)?;
                    elf.interpreter = Some(name_of(name)?);
                }
                _ => {}
            }
        }
        match elf.segments.is_empty() {
            true => Err(NotElf::Broken("it has nothing to be loaded")),
            false => Ok(elf),
        }
    }

    /// From the first page of the lowest segment to behind the highest.
    pub fn span(&self) -> (u64, u64) {
        let first = self.segments.first().copied().unwrap_or_default();
        let last = self.segments.last().copied().unwrap_or_default();
        (page_down(first.vaddr), page_up(last.vaddr + last.memsz))
    }

    /// What the place has to be a multiple of (`maximum_alignment`).
    pub fn align(&self) -> u64 {
        let aligns = self.segments.iter().map(|segment| segment.align);
        let valid = aligns.filter(|align| align.is_power_of_two());
        valid.max().unwrap_or(0).max(PAGE)
    }
}

const PAGE: u64 = shadowmm_client::PAGE_SIZE;

fn page_down(addr: u64) -> u64 {
    addr & !(PAGE - 1)
}

fn page_up(addr: u64) -> u64 {
    page_down(addr + (PAGE - 1))
}

/// A name that ends in a zero byte.
fn name_of(mut bytes: Vec<u8>) -> Result<String, NotElf> {
    let broken = NotElf::Broken("its interpreter's name has no end");
    if bytes.pop() != Some(0) || bytes.contains(&0) {
        return Err(broken);
    }
    String::from_utf8(bytes).map_err(|_| broken)
}

impl Segment {
    /// Itself, if it can be mapped behind `below`, out of a file of so many bytes.
    fn checked(self, len: u64, below: Option<&Self>) -> Result<Self, NotElf> {
        let end = self.vaddr.checked_add(self.memsz);
        if end.is_none_or(|end| end > TASK_SIZE) || self.filesz > self.memsz {
            return Err(NotElf::Broken("a segment has no room in memory"));
        }
        let end = self.offset.checked_add(self.filesz);
        if end.is_none_or(|end| end > len) {
            return Err(NotElf::Broken("a segment is behind its end"));
        }
        if self.vaddr % PAGE != self.offset % PAGE {
            return Err(NotElf::Broken("a segment can't be mapped by pages"));
        }
        if below.is_some_and(|below| page_up(below.vaddr + below.memsz) > page_down(self.vaddr)) {
            return Err(NotElf::Broken("its segments lie in each other"));
        }
        Ok(self)
    }

    /// The pages that have the file's content: from where to where, and where in the file.
    pub fn of_file(&self) -> Option<(u64, u64, u64)> {
        let (start, end) = (page_down(self.vaddr), page_up(self.vaddr + self.filesz));
        (self.filesz > 0).then_some((start, end, page_down(self.offset)))
    }

    /// The pages behind these, which have zeroes.
    pub fn of_zeroes(&self) -> Option<(u64, u64)> {
        let start = match self.filesz {
            0 => page_down(self.vaddr),
            _ => page_up(self.vaddr + self.filesz),
        };
        let end = page_up(self.vaddr + self.memsz);
        (start < end).then_some((start, end))
    }

    /// Its permissions: `r-x`.
    pub fn permissions(&self) -> String {
        let letters = [(PF_R, 'r'), (PF_W, 'w'), (PF_X, 'x')];
        let letter = |(bit, letter)| if self.flags & bit != 0 { letter } else { '-' };
        letters.map(letter).iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const NAME: &[u8] = b"/lib/ld.so\0";
    const LEN: usize = 0x3000;

    fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn header(file: &mut [u8], nr: usize, kind: u32, flags: u32, rest: [u64; 5]) {
        let at = EHDR + nr * PHDR;
        put(file, at, &kind.to_le_bytes());
        put(file, at + 4, &flags.to_le_bytes());
        let [offset, vaddr, filesz, memsz, align] = rest;
        for (place, number) in [
            (8, offset),
            (16, vaddr),
            (32, filesz),
            (40, memsz),
            (48, align),
        ] {
            put(file, at + place, &u64::to_le_bytes(number));
        }
    }

    /// A program with an interpreter, code, and data with a tail of zeroes.
    fn program() -> Vec<u8> {
        let mut file = vec![0; LEN];
        put(&mut file, 0, b"\x7fELF\x02\x01\x01");
        put(&mut file, 16, &ET_DYN.to_le_bytes());
        put(&mut file, 32, &(EHDR as u64).to_le_bytes());
        put(&mut file, 54, &(PHDR as u16).to_le_bytes());
        put(&mut file, 56, &3u16.to_le_bytes());
        let length = NAME.len() as u64;
        header(
            &mut file,
            0,
            PT_INTERP,
            PF_R,
            [0x400, 0x400, length, length, 1],
        );
        header(
            &mut file,
            1,
            PT_LOAD,
            PF_R | PF_X,
            [0, 0, 0x1234, 0x1234, 0x1000],
        );
        header(
            &mut file,
            2,
            PT_LOAD,
            PF_R | PF_W,
            [0x2e00, 0x4e00, 0x100, 0x2300, 0x1000],
        );
        put(&mut file, 0x400, NAME);
        file
    }

    fn read(bytes: &[u8]) -> Result<Elf, NotElf> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Elf::read(&file)
    }

    fn broken(at: usize, bytes: &[u8]) -> &'static str {
        let mut file = program();
        put(&mut file, at, bytes);
        match read(&file) {
            Err(NotElf::Broken(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_program_is_read() {
        let elf = read(&program()).unwrap();
        assert!(elf.is_anywhere);
        assert_eq!(elf.interpreter.as_deref(), Some("/lib/ld.so"));
        assert_eq!(elf.span(), (0, 0x8000));
        assert_eq!(elf.align(), 0x1000);
        let [code, data] = elf.segments[..] else {
            panic!("two segments")
        };
        assert_eq!(code.permissions(), "r-x");
        assert_eq!(code.of_file(), Some((0, 0x2000, 0)));
        assert_eq!(code.of_zeroes(), None);
        assert_eq!(data.permissions(), "rw-");
        assert_eq!(data.of_file(), Some((0x4000, 0x5000, 0x2000)));
        assert_eq!(data.of_zeroes(), Some((0x5000, 0x8000)));
    }

    #[test]
    fn this_test_is_a_program() {
        let file = File::open("/proc/self/exe").unwrap();
        let elf = Elf::read(&file).unwrap();
        let has = |flag: u32| elf.segments.iter().any(|s| s.flags & flag != 0);
        assert!(has(PF_X) && has(PF_W));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_refused() {
        let whole = program();
        for len in [
            0,
            1,
            63,
            64,
            100,
            64 + 3 * 56 - 1,
            0x400,
            0x40a,
            0x1233,
            0x2eff,
        ] {
            assert!(
                matches!(read(&whole[..len]), Err(NotElf::Broken(_))),
                "{len}"
            );
        }
        assert!(read(&whole[..0x2f00]).is_ok());
    }

    #[test]
    fn what_is_broken_is_refused() {
        let at = |nr: usize, place: usize| EHDR + nr * PHDR + place;
        let all = u64::MAX.to_le_bytes();
        assert!(broken(0, b"\x7fELG").contains("no ELF"));
        assert!(broken(4, b"\x01").contains("64 bits"));
        assert!(broken(5, b"\x02").contains("64 bits"));
        assert!(broken(16, &[4, 0]).contains("no program"));
        assert!(broken(32, &all).contains("behind its end"));
        assert!(broken(32, &(LEN as u64).to_le_bytes()).contains("behind its end"));
        assert!(broken(54, &[32, 0]).contains("another size"));
        assert!(broken(56, &[0, 0]).contains("another size"));
        assert!(broken(56, &[255, 255]).contains("another size"));
        assert!(broken(56, &[1, 0]).contains("nothing to be loaded"));
        assert!(broken(at(0, 32), &all).contains("no length"));
        assert!(broken(at(0, 32), &[1, 0]).contains("no length"));
        assert!(broken(at(0, 32), &[4, 0]).contains("no end"));
        assert!(broken(at(0, 8), &all).contains("behind its end"));
        assert!(broken(0x402, &[0]).contains("no end"));
        assert!(broken(0x402, &[0xff]).contains("no end"));
        assert!(broken(at(1, 16), &all).contains("no room"));
        assert!(broken(at(2, 40), &[1, 0]).contains("no room"));
        assert!(broken(at(2, 40), &all).contains("no room"));
        assert!(broken(at(2, 8), &all).contains("behind its end"));
        assert!(broken(at(2, 16), &0x4f00u64.to_le_bytes()).contains("by pages"));
        assert!(broken(at(2, 16), &0x1e00u64.to_le_bytes()).contains("lie in each other"));
    }
}
