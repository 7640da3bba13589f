// SPDX-License-Identifier: GPL-2.0

//! What the next access to an address meets (`handle_mm_fault`), as far as it can be known
//! from the VMA, the entry and the page.

use super::entry;
use super::list::Text;
use crate::context::Context;
use crate::render::bytes;
use crate::render::pages;
use crate::render::plural;
use nix::libc;
use serde::Serializer;
use shadowmm_client::mm::Space;
use shadowmm_client::mm::Vma;
use shadowmm_client::mm::Walk;
use shadowmm_client::Page;
use shadowmm_client::PAGE_SIZE;
use shadowmm_core::mm::VmFlags;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// What the next access meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The address is not the window's.
    Outside,
    /// SIGSEGV: no VMA is there.
    Unmapped,
    /// The stack above grows, by as many pages in all then, or SIGSEGV.
    Stack { was: u64, pages: u64 },
    /// SIGSEGV: the VMA allows nothing.
    NoAccess,
    /// SIGSEGV: a guard.
    Guard,
    /// SIGBUS: the file, which has so many bytes, has ended before.
    FileEnd(u64),
    /// A page of anonymous memory comes; whether a write may be.
    Anonymous { writable: bool },
    /// A page with the file's content comes.
    File { end_is_known: bool },
    /// The page of a shared object comes.
    Object,
    /// The page is there, for writing, too.
    Writable,
    /// The page is there, and the VMA allows no write.
    ReadOnly,
    /// A write puts a page in the zero page's place.
    ZeroPage,
    /// A write copies it: it is a file's.
    FilePage,
    /// A write copies it, or makes it writable where nobody else has any of the 2 MiB that it is a part of.
    Part,
    /// A write copies it, or of 2 MiB the page: there are so many references more.
    Copied { others: u32, huge: bool },
    /// A write makes it writable: nobody else has it.
    Alone,
    /// A write makes it writable: it is shared memory.
    Shared,
}

impl Next {
    /// Finds out. `file` is how large the VMA's file is, where that is known.
    pub fn of(walk: &Walk, page: Option<&Page>, space: Option<&Space>, file: Option<u64>) -> Self {
        // Of what others may not see the window's place is not told, either.
        let window = space.filter(|space| space.window_end != 0);
        if window.is_some_and(|it| !(it.window_start..it.window_end).contains(&walk.addr)) {
            return Self::Outside;
        }
        let start = walk.addr & !(PAGE_SIZE - 1);
        let Some(vma) = walk.vma else {
            return Self::Unmapped;
        };
        let flags = VmFlags(vma.flags.0);
        if !walk.mapped {
            return match flags.has(VmFlags::GROWSDOWN) {
                true => Self::Stack {
                    was: (vma.end - vma.start) / PAGE_SIZE,
                    pages: vma.end.saturating_sub(start) / PAGE_SIZE,
                },
                false => Self::Unmapped,
            };
        }
        if !flags.any(VmFlags::ACCESS) {
            return Self::NoAccess;
        }
        let last = walk.levels.last().map_or(0, |level| level.entry);
        if entry::is_guard(last) {
            return Self::Guard;
        }
        match page {
            Some(page) => Self::there(flags, last, page.count),
            None => Self::missing(flags, vma, start, file),
        }
    }

    /// No page is there yet (`do_pte_missing`).
    fn missing(flags: VmFlags, vma: Vma, start: u64, file: Option<u64>) -> Self {
        if flags.has(VmFlags::SHARED) {
            return Self::Object;
        }
        if vma.file == 0 {
            return Self::Anonymous {
                writable: flags.has(VmFlags::WRITE),
            };
        }
        let index = vma.pgoff.saturating_add((start - vma.start) / PAGE_SIZE);
        match file {
            Some(size) if index >= size.div_ceil(PAGE_SIZE) => Self::FileEnd(size),
            file => Self::File {
                end_is_known: file.is_some(),
            },
        }
    }

    /// A page is there (`do_wp_page`).
    fn there(flags: VmFlags, last: u64, count: u32) -> Self {
        let has = |bit| last & bit != 0;
        match () {
            () if has(entry::RW) => Self::Writable,
            () if !flags.has(VmFlags::WRITE) => Self::ReadOnly,
            () if flags.has(VmFlags::SHARED) => Self::Shared,
            () if has(entry::ZERO) => Self::ZeroPage,
            () if has(entry::FILE) => Self::FilePage,
            () if has(entry::PART) => Self::Part,
            () if count > 1 => Self::Copied {
                others: count - 1,
                huge: has(entry::PS),
            },
            () => Self::Alone,
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::Unmapped => "unmapped",
            Self::Stack { .. } => "stack",
            Self::NoAccess => "no_access",
            Self::Guard => "guard",
            Self::FileEnd(_) => "file_end",
            Self::Anonymous { .. } => "anonymous",
            Self::File { .. } => "file",
            Self::Object => "object",
            Self::Writable => "writable",
            Self::ReadOnly => "read_only",
            Self::ZeroPage => "zero_page",
            Self::FilePage => "file_page",
            Self::Part => "part",
            Self::Copied { .. } => "copied",
            Self::Alone => "alone",
            Self::Shared => "shared",
        }
    }

    /// What happens then.
    pub fn sentence(self) -> String {
        match self {
            Self::Outside => "It is not in the window: the shadow has no part in what is there.".to_owned(),
            Self::Unmapped => "No page is there, and none will come: whoever touches it gets SIGSEGV.".to_owned(),
            Self::Stack { was, pages: then } => format!(
                "No page is there. The stack above grows down to it with the first access, from {} to {}, if RLIMIT_STACK and the gap to what is below allow that; else it is SIGSEGV.",
                pages(was),
                pages(then)
            ),
            Self::NoAccess => "Nobody may touch it (PROT_NONE): whoever does gets SIGSEGV.".to_owned(),
            Self::Guard => "A guard is there: whoever touches it gets SIGSEGV.".to_owned(),
            Self::FileEnd(size) => format!(
                "No page is there, and none will come: the file has {} and ends before it, so whoever touches it gets SIGBUS.",
                bytes(size)
            ),
            Self::Anonymous { writable: true } => "No page is there: the first access brings one, a read the zero page, a write a zeroed page of its own.".to_owned(),
            Self::Anonymous { writable: false } => "No page is there: the first read brings the zero page; a write is SIGSEGV.".to_owned(),
            Self::File { end_is_known } => format!(
                "No page is there: the first access brings one with the file's content{}.",
                match end_is_known {
                    true => "",
                    false => ", or SIGBUS where the file has ended",
                }
            ),
            Self::Object => "No page is there: the first access brings that of the shared object, or SIGBUS behind its end.".to_owned(),
            Self::Writable => "It may be read and written to; where the host has lost its own entry, a fault enters it again.".to_owned(),
            Self::ReadOnly => "The VMA allows no write: that is SIGSEGV.".to_owned(),
            Self::ZeroPage => "It is the zero page, one for all who have only read: the first write puts a zeroed page in its place (copy-on-write).".to_owned(),
            Self::FilePage => "The VMA may be written to, the entry not yet: the first write copies the file's page (copy-on-write).".to_owned(),
            Self::Part => "The VMA may be written to, the entry not: it is a page of 2 MiB that others have or had, too. The first write copies it (copy-on-write), or makes it writable if nobody else has any of these any more.".to_owned(),
            Self::Copied { others, huge } => format!(
                "The VMA may be written to, the entry not: it is shared with {}, and the first write {} (copy-on-write).",
                match others {
                    1 => "another who has a reference".to_owned(),
                    others => format!("others, who have {}", plural(others.into(), "reference")),
                },
                match huge {
                    true => "splits the 2 MiB and copies a page",
                    false => "copies it",
                }
            ),
            Self::Alone => "The VMA may be written to, the entry not yet. Nobody else has the page: the first write makes it writable, without a copy.".to_owned(),
            Self::Shared => "The VMA may be written to, the entry not yet. It is shared memory: the first write makes it writable, without a copy.".to_owned(),
        }
    }
}

/// Its stable name.
pub fn name<S: Serializer>(next: &Next, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(next.key())
}

/// How large the file of a VMA is, if the process has it still under the name that maps
/// tells.
pub fn file_bytes(context: &Context, space: &Space, vma: Vma) -> Option<u64> {
    if vma.file == 0 || VmFlags(vma.flags.0).has(VmFlags::SHARED) {
        return None;
    }
    let maps = Text::read(context, space.id, "maps").ok()?.text;
    let (device, inode, path) = file_at(&maps, vma.start)?;
    let root = context.root.join(format!("proc/{}/root", space.pid));
    let file = fs::metadata(root.join(path.trim_start_matches('/'))).ok()?;
    let number = (libc::major(file.dev()), libc::minor(file.dev()));
    (file.ino() == inode && number == device).then(|| file.size())
}

/// Device, inode and path of the VMA that begins there, in maps.
fn file_at(maps: &str, start: u64) -> Option<((u32, u32), u64, &str)> {
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let mut lines = maps.lines();
    let line = lines.find(|line| line.split_once('-').and_then(|it| hex(it.0)) == Some(start))?;
    let mut words = line.split_ascii_whitespace().skip(3);
    let (major, minor) = words.next()?.split_once(':')?;
    let device = (hex(major)? as u32, hex(minor)? as u32);
    let inode = words.next()?.parse().ok()?;
    let path = line.find('/').and_then(|at| line.get(at..))?;
    Some((device, inode, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shadowmm_client::mm::VmaFlags;

    fn vma(flags: VmFlags, file: u64) -> Vma {
        Vma {
            start: 0x10_0000,
            end: 0x10_8000,
            flags: VmaFlags(flags.0),
            pgoff: 2,
            file,
            anon: 0,
        }
    }

    fn walk(addr: u64, vma: Option<Vma>) -> Walk {
        Walk {
            addr,
            mapped: vma.is_some_and(|vma| (vma.start..vma.end).contains(&addr)),
            vma,
            levels: Vec::new(),
            pfn: None,
        }
    }

    const RW: VmFlags = VmFlags::READ.with(VmFlags::WRITE);

    #[test]
    fn where_no_page_is_it_depends_on_the_vma() {
        let next = |addr, vma| Next::of(&walk(addr, vma), None, None, None);
        assert_eq!(next(0x1000, None), Next::Unmapped);
        assert_eq!(next(0x1000, Some(vma(RW, 0))), Next::Unmapped);
        let stack = Some(vma(VmFlags::STACK, 0));
        let grown = Next::Stack { was: 8, pages: 10 };
        assert_eq!(next(0xf_e123, stack), grown);
        assert!(grown.sentence().contains("from 32 KiB to 40 KiB"));
        assert_eq!(next(0x10_0000, Some(vma(VmFlags::NONE, 0))), Next::NoAccess);
        assert_eq!(
            next(0x10_0000, Some(vma(RW, 0))),
            Next::Anonymous { writable: true }
        );
        assert_eq!(
            next(0x10_0000, Some(vma(VmFlags::READ, 0))),
            Next::Anonymous { writable: false }
        );
        assert_eq!(
            next(0x10_0000, Some(vma(RW.with(VmFlags::SHARED), 7))),
            Next::Object
        );
        for next in [Next::Unmapped, Next::NoAccess, Next::Guard] {
            let text = next.sentence();
            assert!(
                text.contains("SIGSEGV") && !text.contains("brings"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_file_may_have_ended() {
        let at = |addr, size| Next::of(&walk(addr, Some(vma(RW, 7))), None, None, size);
        // The VMA begins with the file's third page.
        assert_eq!(
            at(0x10_0000, Some(0x2001)),
            Next::File { end_is_known: true }
        );
        assert_eq!(at(0x10_0000, Some(0x2000)), Next::FileEnd(0x2000));
        assert_eq!(at(0x10_1000, Some(0x3000)), Next::FileEnd(0x3000));
        let unknown = at(0x10_0000, None);
        assert_eq!(
            unknown,
            Next::File {
                end_is_known: false
            }
        );
        assert!(unknown.sentence().contains("or SIGBUS"));
        assert!(Next::FileEnd(0x2000).sentence().contains("has 8 KiB"));
    }

    #[test]
    fn a_page_that_is_there_is_written_to_or_copied() {
        let there = |flags, entry, count| Next::there(flags, entry, count);
        assert_eq!(there(RW, entry::P | entry::RW, 1), Next::Writable);
        assert_eq!(there(VmFlags::READ, entry::P, 1), Next::ReadOnly);
        assert_eq!(there(RW, entry::P | entry::ZERO, 1), Next::ZeroPage);
        assert_eq!(there(RW, entry::P | entry::FILE, 1), Next::FilePage);
        assert_eq!(there(RW, entry::P | entry::PART, 512), Next::Part);
        assert_eq!(there(RW, entry::P, 1), Next::Alone);
        assert_eq!(there(RW.with(VmFlags::SHARED), entry::P, 3), Next::Shared);
        let copied = there(RW, entry::P, 3);
        assert_eq!(
            copied,
            Next::Copied {
                others: 2,
                huge: false
            }
        );
        assert!(copied.sentence().contains("others, who have 2 references"));
        assert!(there(RW, entry::P | entry::PS, 2)
            .sentence()
            .contains("splits the 2 MiB"));
    }

    #[test]
    fn what_is_outside_of_the_window_is_not_the_shadows() {
        let space = |start, end| Space {
            window_start: start,
            window_end: end,
            ..Space::default()
        };
        let of = |space: &Space| Next::of(&walk(0x1000, None), None, Some(space), None);
        assert_eq!(of(&space(0x2000, 0x9000)), Next::Outside);
        assert_eq!(of(&space(0x1000, 0x9000)), Next::Unmapped);
        // Of what may not be seen the place is not known.
        assert_eq!(of(&space(0, 0)), Next::Unmapped);
    }

    #[test]
    fn a_file_has_its_line_in_maps() {
        let maps =
            "00100000-00108000 rw-p 00002000 fe:01 77                             /run/a file\n\
                    7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n";
        assert_eq!(
            file_at(maps, 0x10_0000),
            Some(((0xfe, 1), 77, "/run/a file"))
        );
        assert_eq!(file_at(maps, 0x7f00_0000_0000), None);
        assert_eq!(file_at(maps, 0x5000), None);
    }
}
