// SPDX-License-Identifier: GPL-2.0

//! The tour's screen about exec: the command's own file is mapped as execve would map it.

use super::elf::Elf;
use super::elf::NotElf;
use super::elf::Segment;
use super::elf::PF_R;
use super::elf::PF_W;
use super::elf::PF_X;
use super::window::address;
use super::window::holding;
use super::window::length;
use super::window::name;
use super::window::offset;
use super::window::open;
use super::window::place;
use super::window::range;
use super::window::size;
use super::window::WINDOW;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::render::bytes;
use crate::render::plural;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use nix::sys::mman::MapFlags;
use nix::sys::mman::ProtFlags;
use serde::Serialize;
use shadowmm_client::mm::Space;
use shadowmm_client::mm::Vma;
use shadowmm_client::mm::Window;
use shadowmm_client::Device;
use std::fs;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

/// This command's file.
const OWN: &str = "/proc/self/exe";
/// What malloc would ask of the heap first.
const HEAP: isize = 132 << 10;

/// What exec has made.
#[derive(Debug, Serialize)]
pub struct Executed {
    /// Each segment, and the VMA that it is in.
    parts: Vec<Part>,
    /// Whether it may lie anywhere.
    is_anywhere: bool,
    interpreter: Option<String>,
    space: Space,
}

#[derive(Debug, Serialize)]
struct Part {
    /// `LOAD r-x`, or what comes with it.
    segment: String,
    /// Whose it is.
    of: String,
    vma: Vma,
}

/// What a file's segments were mapped to: what, and from where on.
struct Loaded {
    elf: Elf,
    parts: Vec<(String, u64)>,
}

fn read(path: &Path) -> Result<(File, Elf)> {
    let failed = |why: String| Error::failed(format!("{}: {why}", path.display()));
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let elf = Elf::read(&file).map_err(|error| match error {
        NotElf::Read(error) => failed(error.to_string()),
        NotElf::Broken(why) => failed(why.to_owned()),
    })?;
    Ok((file, elf))
}

/// The permissions of a segment (`make_prot`).
fn prot(segment: &Segment) -> ProtFlags {
    let bits = [
        (PF_R, ProtFlags::PROT_READ),
        (PF_W, ProtFlags::PROT_WRITE),
        (PF_X, ProtFlags::PROT_EXEC),
    ];
    let set = bits.into_iter().filter(|(bit, _)| segment.flags & bit != 0);
    set.fold(ProtFlags::empty(), |all, (_, prot)| all | prot)
}

/// A free place for so many bytes, a multiple of `align`.
fn free_place(window: &Window<'_>, bytes: u64, align: u64) -> Result<u64> {
    let room = length(bytes.saturating_add(align))?;
    let all = window.mmap(
        None,
        room,
        ProtFlags::PROT_NONE,
        MapFlags::MAP_PRIVATE,
        None,
    )?;
    window.munmap(all, room.get())?;
    Ok(address(all).next_multiple_of(align))
}

/// Maps a file's segments (`elf_load`).
fn load(window: &Window<'_>, path: &Path) -> Result<Loaded> {
    let (file, elf) = read(path)?;
    let (low, high) = elf.span();
    let bias = free_place(window, high - low, elf.align())?.wrapping_sub(low);
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
    let mut parts = Vec::new();
    for segment in &elf.segments {
        let prot = prot(segment);
        if let Some((start, end, from)) = segment.of_file() {
            let at = bias.wrapping_add(start);
            let fixed = place(at)?.addr();
            let from = Some((file.as_fd(), from));
            window.mmap(Some(fixed), length(end - start)?, prot, flags, from)?;
            parts.push((format!("LOAD {}", segment.permissions()), at));
        }
        if let Some((start, end)) = segment.of_zeroes() {
            let at = bias.wrapping_add(start);
            let fixed = place(at)?.addr();
            window.mmap(Some(fixed), length(end - start)?, prot, flags, None)?;
            parts.push(("  zeroes".to_owned(), at));
        }
    }
    Ok(Loaded { elf, parts })
}

impl Executed {
    /// Maps the command's own file, its interpreter, and the heap; the stack is there.
    pub fn see(device: &Device) -> Result<Self> {
        let window = open(device, WINDOW)?;
        let own = fs::read_link(OWN).map_err(|error| Error::failed(format!("{OWN}: {error}")))?;
        let program = load(&window, Path::new(OWN))?;
        let mut found: Vec<(String, String, u64)> = Vec::new();
        let mut add = |path: &Path, parts: Vec<(String, u64)>| {
            let of = path.file_name().unwrap_or_default().to_string_lossy();
            found.extend(
                parts
                    .into_iter()
                    .map(|(what, at)| (what, of.to_string(), at)),
            );
        };
        add(&own, program.parts);
        let interpreter = program.elf.interpreter;
        if let Some(path) = interpreter.as_deref().map(Path::new) {
            add(path, load(&window, path)?.parts);
        }
        let heap = window.sbrk(HEAP)? as u64;
        let space = window.space()?;
        found.push(("brk".to_owned(), String::new(), heap));
        found.push(("stack".to_owned(), String::new(), space.start_stack));
        let vmas = window.vmas()?;
        let parts = found.into_iter().filter_map(|(segment, of, at)| {
            let vma = holding(&vmas, at)?;
            let of = match of.is_empty() || vma.file == 0 {
                true => name(&vma, &space).to_owned(),
                false => of,
            };
            Some(Part { segment, of, vma })
        });
        Ok(Self {
            parts: parts.collect(),
            is_anywhere: program.elf.is_anywhere,
            interpreter,
            space,
        })
    }

    fn table(&self) -> Table {
        let mut table = Table::new([
            Column::text("segment"),
            Column::text("VMA"),
            Column::text(""),
            Column::text("offset"),
            Column::text("of"),
        ]);
        for part in &self.parts {
            table.row([
                part.segment.clone(),
                range(&part.vma),
                part.vma.flags.permissions(),
                format!("{:08x}", offset(&part.vma)),
                part.of.clone(),
            ]);
        }
        table
    }

    /// The VMAs that segments are in.
    fn loaded(&self) -> (usize, usize) {
        let is_load = |part: &&Part| part.segment.starts_with("LOAD");
        let mut starts: Vec<u64> = self
            .parts
            .iter()
            .filter(is_load)
            .map(|part| part.vma.start)
            .collect();
        let segments = starts.len();
        starts.sort_unstable();
        starts.dedup();
        (segments, starts.len())
    }
}

impl Report for Executed {
    fn print(&self, screen: &mut Screen) {
        let (segments, vmas) = self.loaded();
        screen.para(&format!(
            "exec makes a new mm and maps a file into it: each PT_LOAD segment of the ELF, private, by its own permissions, and zeroes where it is longer in memory than in the file. Here this very command is mapped so: {} became {}.",
            plural(segments as u64, "segment"),
            plural(vmas as u64, "VMA"),
        ));
        screen.blank();
        self.table().print(screen);
        screen.blank();
        let place = match self.is_anywhere {
            true => "",
            false => "The file has addresses of its own (ET_EXEC); here it lies elsewhere. ",
        };
        let stack = self.parts.iter().find(|part| part.of == "[stack]");
        screen.para(&format!(
            "{place}{}{}",
            match &self.interpreter {
                Some(path) => format!(
                    "PT_INTERP names {path}, mapped likewise: it is started, and maps the libraries by mmap()."
                ),
                None => "It names no interpreter: it is linked statically.".to_owned(),
            },
            stack.map_or(String::new(), |stack| format!(
                " The stack begins with {}, of which exec fills the topmost page.",
                bytes(size(&stack.vma))
            ))
        ));
        screen.para("Nothing is executed in a window; and its heap begins where the window does, a process's behind the program's zeroes.");
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    pub fn sample() -> Executed {
        let mut space = testing::space(14);
        space.brk += HEAP as u64;
        let at = 0x7f00_37c0_0000;
        let own = ["r", "rx", "r", "rw"].into_iter().enumerate();
        let mut parts: Vec<Part> = own
            .flat_map(|(nr, permissions)| {
                let start = at + 0x10_0000 * nr as u64;
                let part = |of: &str, start| {
                    let mut vma = testing::vma(start, start + 0x8_0000, permissions);
                    vma.pgoff = (start - at) >> 12;
                    vma.file = 4711;
                    Part {
                        segment: format!("LOAD {permissions}"),
                        of: of.to_owned(),
                        vma,
                    }
                };
                [
                    part("shadowmm", start),
                    part("ld-linux-x86-64.so.2", start + 0x8_0000),
                ]
            })
            .collect();
        for (segment, of, start, end) in [
            ("  zeroes", "", at + 0x60_0000, at + 0x60_1000),
            ("brk", "[heap]", space.start_brk, space.brk),
            ("stack", "[stack]", 0x7f00_3ffd_f000, space.window_end),
        ] {
            parts.push(Part {
                segment: segment.to_owned(),
                of: of.to_owned(),
                vma: testing::vma(start, end, "rw"),
            });
        }
        Executed {
            parts,
            is_anywhere: true,
            interpreter: Some("/lib64/ld-linux-x86-64.so.2".to_owned()),
            space,
        }
    }

    #[test]
    fn it_says_what_was_seen() {
        let mut seen = sample();
        let text = testing::text(&seen, 200);
        assert!(text.contains("8 segments became 8 VMAs."));
        assert!(text.contains("PT_INTERP names /lib64/ld-linux-x86-64.so.2"));
        assert!(text.contains("The stack begins with 132 KiB"));
        seen.parts.retain(|part| part.of != "[stack]");
        seen.parts[1].vma = seen.parts[0].vma;
        seen.interpreter = None;
        seen.is_anywhere = false;
        let text = testing::text(&seen, 200);
        assert!(text.contains("8 segments became 7 VMAs."));
        assert!(text.contains("linked statically") && text.contains("ET_EXEC"));
        assert!(!text.contains("The stack begins"));
    }

    #[test]
    fn permissions_are_the_segments() {
        let of = |flags| {
            prot(&Segment {
                flags,
                ..Segment::default()
            })
        };
        assert_eq!(of(PF_R | PF_X), ProtFlags::PROT_READ | ProtFlags::PROT_EXEC);
        assert_eq!(of(PF_W), ProtFlags::PROT_WRITE);
        assert_eq!(of(0), ProtFlags::PROT_NONE);
    }
}
