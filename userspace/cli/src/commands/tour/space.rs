// SPDX-License-Identifier: GPL-2.0

//! The tour's screen about address spaces: neighbours are mapped and become one VMA, which
//! mprotect and munmap take apart.

use super::window::address;
use super::window::length;
use super::window::name;
use super::window::offset;
use super::window::open;
use super::window::place;
use super::window::range;
use super::window::size;
use super::window::Touch;
use super::window::WINDOW;
use crate::context::Report;
use crate::error::Result;
use crate::render::bytes;
use crate::render::plural;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use nix::sys::mman::ProtFlags;
use serde::Serialize;
use shadowmm_client::mm::Space;
use shadowmm_client::mm::Tree;
use shadowmm_client::mm::Vma;
use shadowmm_client::mm::Window;
use shadowmm_client::Device;
use shadowmm_client::PAGE_SIZE;

/// What is mapped at a time.
const EACH: u64 = 64 << 10;

/// How the VMAs change.
#[derive(Debug, Serialize)]
pub struct AddressSpace {
    steps: Vec<Step>,
    /// After mprotect.
    vmas: Vec<Vma>,
    /// After all of it.
    space: Space,
    touched_pages: u64,
    /// Of the faults that this made.
    by_vma_lock: u64,
    by_mmap_lock: u64,
}

#[derive(Debug, Serialize)]
struct Step {
    what: &'static str,
    map_count: u32,
    /// Those of the mappings.
    vmas: Vec<Vma>,
}

/// Looks at what there is of the mappings.
fn look(window: &Window<'_>, what: &'static str, low: u64, high: u64) -> Result<Step> {
    let mut vmas = window.vmas()?;
    vmas.retain(|vma| low <= vma.start && vma.end <= high);
    Ok(Step {
        what,
        map_count: window.space()?.map_count,
        vmas,
    })
}

impl AddressSpace {
    /// Maps, protects, unmaps, touches.
    pub fn see(device: &Device) -> Result<Self> {
        let window = open(device, WINDOW)?;
        let mut steps = vec![look(&window, "a new window", 0, 0)?];
        let (mut low, mut high) = (u64::MAX, 0);
        for what in ["mmap of 64 KiB", "another of 64 KiB", "and another"] {
            let at = address(window.mmap_anonymous(length(EACH)?)?);
            (low, high) = (low.min(at), high.max(at + EACH));
            steps.push(look(&window, what, low, high)?);
        }
        let middle = place(low + EACH)?;
        window.mprotect(middle, EACH as usize, ProtFlags::PROT_READ)?;
        steps.push(look(&window, "mprotect of the middle", low, high)?);
        let vmas = window.vmas()?;
        window.munmap(middle, EACH as usize)?;
        steps.push(look(&window, "munmap of the middle", low, high)?);
        let before = window.space()?;
        let mut touch = Touch::new(&window)?;
        for addr in (low..low + EACH).step_by(PAGE_SIZE as usize) {
            touch.write(addr, 1)?;
        }
        let space = window.space()?;
        Ok(Self {
            steps,
            vmas,
            touched_pages: EACH / PAGE_SIZE,
            by_vma_lock: space.faults_vma_lock - before.faults_vma_lock,
            by_mmap_lock: space.faults_mmap_lock - before.faults_mmap_lock,
            space,
        })
    }

    /// How many VMAs the mappings had after a step.
    fn count(&self, step: usize) -> Option<usize> {
        self.steps.get(step).map(|step| step.vmas.len())
    }
}

impl Report for AddressSpace {
    fn print(&self, screen: &mut Screen) {
        screen.para("A process is a task_struct with an mm, its address space: a set of VMAs that don't overlap, each with what is allowed there and what is behind it. The tour opens a window, which has an address space of the shadow's, and changes it:");
        screen.blank();
        let mut table = Table::new([
            Column::text("step"),
            Column::number("VMAs"),
            Column::text("those of the mappings"),
        ]);
        for step in &self.steps {
            let shown = step.vmas.iter().map(|vma| {
                let permissions = vma.flags.permissions();
                format!("{permissions} {}", bytes(size(vma)))
            });
            table.row([
                step.what.to_owned(),
                step.map_count.to_string(),
                shown.collect::<Vec<_>>().join(", "),
            ]);
        }
        table.print(screen);
        screen.blank();
        let merged = match self.count(3) {
            Some(1) => "Three neighbours that are alike are one VMA",
            _ => "The three are not one VMA: they did not come side by side",
        };
        let split = match self.count(4) {
            Some(3) => "with a middle of other permissions, three",
            _ => "mprotect made something else of it",
        };
        screen.para(&format!(
            "{merged}; {split}. Then, of /proc/shadowmm/mm/{}/maps:",
            self.space.id
        ));
        for vma in &self.vmas {
            let line = format!(
                "{} {} {:08x} {}",
                range(vma),
                vma.flags.permissions(),
                offset(vma),
                name(vma, &self.space)
            );
            match line.trim_end().chars().count() <= screen.width() {
                true => screen.line(&line),
                false => screen.para(&line),
            }
        }
        screen.blank();
        screen.para(match self.space.tree {
            Some(Tree::Maple) => "A maple tree finds them, and is read without a lock. Until Linux 6.1 it was a red-black tree and a list: who rebalanced the one and mended the other kept all who read out by the mmap lock, and machines have many threads.",
            Some(Tree::Rbtree) => "A red-black tree and a list find them, as before Linux 6.1. Since then it is a maple tree, which is read without a lock: rebalancing the one and mending the other made every reader take the mmap lock, and machines have many threads.",
            None => "How they are found this program does not know.",
        });
        screen.para(&format!(
            "Of {} {} found the VMA by its lock alone, {} took the mmap lock.",
            plural(self.touched_pages, "first write"),
            self.by_vma_lock,
            self.by_mmap_lock
        ));
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    pub fn sample() -> AddressSpace {
        let space = testing::space(12);
        let at = 0x7f00_37fd_0000;
        let stack = testing::vma(space.start_stack - 0x20000, space.window_end, "rw");
        let all = testing::vma(at, at + 3 * EACH, "rw");
        let three = [(0, "rw"), (1, "r"), (2, "rw")].map(|(nr, permissions)| {
            testing::vma(at + nr * EACH, at + (nr + 1) * EACH, permissions)
        });
        let step = |what, vmas: &[Vma]| Step {
            what,
            map_count: vmas.len() as u32 + 1,
            vmas: vmas.to_vec(),
        };
        AddressSpace {
            steps: vec![
                step("a new window", &[]),
                step("mmap of 64 KiB", &[testing::vma(at, at + EACH, "rw")]),
                step("another of 64 KiB", &[testing::vma(at, at + EACH, "rw")]),
                step("and another", &[all]),
                step("mprotect of the middle", &three),
                step("munmap of the middle", &[three[0], three[2]]),
            ],
            vmas: three.into_iter().chain([stack]).collect(),
            space,
            touched_pages: 16,
            by_vma_lock: 15,
            by_mmap_lock: 1,
        }
    }

    #[test]
    fn it_says_what_was_seen() {
        let mut seen = sample();
        let text = testing::text(&seen, 200);
        assert!(text.contains("are one VMA; with a middle of other permissions, three."));
        assert!(text.contains("A maple tree finds them,"));
        assert!(text.contains("[stack]"));
        seen.steps[3].vmas = seen.steps[4].vmas.clone();
        seen.steps[4].vmas.clear();
        seen.space.tree = Some(Tree::Rbtree);
        let text = testing::text(&seen, 200);
        assert!(text.contains("are not one VMA"));
        assert!(text.contains("made something else of it"));
        assert!(text.contains("A red-black tree and a list find them"));
    }
}
