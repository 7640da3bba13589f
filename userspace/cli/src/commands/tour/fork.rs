// SPDX-License-Identifier: GPL-2.0

//! The tour's screen about fork: two have a page, neither for writing, until one writes; and
//! what a thread has.
//!
//! ```text
//! parent  write, fork  look       |            look  write  look
//! child                | look     write  look  |            | end
//! ```

use super::window::address;
use super::window::length;
use super::window::open;
use super::window::Child;
use super::window::Talk;
use super::window::Touch;
use super::window::WINDOW;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use shadowmm_client::mm::Window;
use shadowmm_client::Device;
use shadowmm_client::PAGE_SIZE;
use std::thread;

/// The bit of an entry that allows writing.
const WRITE: u64 = 1 << 1;

/// What one process has at the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Has {
    space_id: u64,
    pfn: u64,
    references: u64,
    writable: bool,
    /// The table that its entry is in.
    table_pfn: u64,
}

impl Has {
    fn look(window: &Window<'_>, addr: u64) -> Result<Self> {
        let device = window.device();
        let walk = device.walk(0, addr)?;
        let (Some(pfn), Some(level)) = (walk.pfn, walk.levels.last()) else {
            return Err(Error::failed("the page is not there"));
        };
        Ok(Self {
            space_id: window.space()?.id.into(),
            pfn,
            references: device.page(pfn)?.count.into(),
            writable: level.entry & WRITE != 0,
            table_pfn: level.table_pfn,
        })
    }

    fn numbers(self) -> [u64; 5] {
        let writable = u64::from(self.writable);
        [
            self.space_id,
            self.pfn,
            self.references,
            writable,
            self.table_pfn,
        ]
    }

    fn hear(talk: &mut Talk) -> Result<Self> {
        let [space_id, pfn, references, writable, table_pfn] = talk.hear()?;
        Ok(Self {
            space_id,
            pfn,
            references,
            writable: writable != 0,
            table_pfn,
        })
    }
}

/// What both have, in the order of what happened.
#[derive(Debug, Serialize)]
pub struct Forked {
    /// The parent's before.
    written: Has,
    /// Both after the fork.
    parent_forked: Has,
    child_forked: Has,
    /// Both after the child has written.
    child_written: Has,
    parent_left: Has,
    /// The parent's after it has written, too.
    parent_written: Has,
    /// A thread's.
    thread: Has,
}

impl Forked {
    /// Writes, forks, has both write, and starts a thread.
    pub fn see(device: &Device) -> Result<Self> {
        let window = open(device, WINDOW)?;
        let addr = address(window.mmap_anonymous(length(PAGE_SIZE)?)?);
        let mut touch = Touch::new(&window)?;
        touch.write(addr, 1)?;
        let written = Has::look(&window, addr)?;
        let mut child = Child::fork(|talk| {
            talk.say(&Has::look(&window, addr)?.numbers())?;
            talk.hear::<1>()?;
            Touch::new(&window)?.write(addr, 2)?;
            talk.say(&Has::look(&window, addr)?.numbers())?;
            talk.hear::<1>()?;
            Ok(())
        })?;
        let parent_forked = Has::look(&window, addr)?;
        let child_forked = Has::hear(child.talk()?)?;
        child.talk()?.say(&[0])?;
        let child_written = Has::hear(child.talk()?)?;
        let parent_left = Has::look(&window, addr)?;
        touch.write(addr, 3)?;
        let parent_written = Has::look(&window, addr)?;
        child.talk()?.say(&[0])?;
        child.end()?;
        let looks = thread::scope(|scope| scope.spawn(|| Has::look(&window, addr)).join());
        let thread = looks.map_err(|_| Error::failed("the thread has not come to its end"))??;
        Ok(Self {
            written,
            parent_forked,
            child_forked,
            child_written,
            parent_left,
            parent_written,
            thread,
        })
    }

    fn table(&self) -> Table {
        let mut table = Table::new([
            Column::text("when"),
            Column::text("who"),
            Column::number("space"),
            Column::number("PFN"),
            Column::number("references"),
            Column::text("entry"),
            Column::number("in table"),
        ]);
        for (when, who, has) in [
            ("before fork()", "parent", &self.written),
            ("after it", "parent", &self.parent_forked),
            ("", "child", &self.child_forked),
            ("the child writes", "child", &self.child_written),
            ("", "parent", &self.parent_left),
            ("the parent writes", "parent", &self.parent_written),
            ("a thread", "thread", &self.thread),
        ] {
            table.row([
                when.to_owned(),
                who.to_owned(),
                has.space_id.to_string(),
                has.pfn.to_string(),
                has.references.to_string(),
                match has.writable {
                    true => "rw".to_owned(),
                    false => "r-".to_owned(),
                },
                has.table_pfn.to_string(),
            ]);
        }
        table
    }

    /// Whether both have the page, and neither may write to it.
    fn is_shared(&self) -> bool {
        let (parent, child) = (&self.parent_forked, &self.child_forked);
        parent.pfn == child.pfn && !parent.writable && !child.writable && parent.references == 2
    }
}

impl Report for Forked {
    fn print(&self, screen: &mut Screen) {
        screen.para("fork() copies the mm (dup_mm()): VMAs and page tables, but not the pages. A page is written to, then the process forks, then both write. What each has there, by the walk of its own table:");
        screen.blank();
        self.table().print(screen);
        screen.blank();
        screen.para(match self.is_shared() {
            true => "After the fork both have the same page, with two references, and neither may write to it: copy-on-write.",
            false => "After the fork the two have not the one page, read-only, with two references: somebody else has had a part in it.",
        });
        screen.para(
            &match self.parent_forked.table_pfn == self.child_forked.table_pfn {
                true => "The entry is in one table for both.".to_owned(),
                false => format!(
                    "The child's address space is {}, with a table of its own.",
                    self.child_forked.space_id
                ),
            },
        );
        screen.para(match self.child_written.pfn == self.child_forked.pfn {
            true => "The child's write found nobody else at the page, which became its own.",
            false => "The child's write faulted, and do_wp_page() made a copy, which is its own.",
        });
        let left = &self.parent_left;
        screen.para(
            match (left.references, self.parent_written.pfn == left.pfn) {
                (1, true) => "The parent's page then had one reference: its write was let through, and nothing was copied.",
                (_, true) => "The parent's write went to the page that it had.",
                (_, false) => "The parent's write made a copy, too.",
            },
        );
        screen.para(&match self.thread.space_id == self.written.space_id {
            true => format!(
                "A thread takes a reference to the mm and no more: it is in space {}, by the same tables.",
                self.thread.space_id
            ),
            false => "The thread is in another space.".to_owned(),
        });
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing;

    fn has(space_id: u64, pfn: u64, references: u64, writable: bool) -> Has {
        Has {
            space_id,
            pfn,
            references,
            writable,
            table_pfn: 98_000 + space_id,
        }
    }

    pub fn sample() -> Forked {
        Forked {
            written: has(16, 114_500, 1, true),
            parent_forked: has(16, 114_500, 2, false),
            child_forked: has(17, 114_500, 2, false),
            child_written: has(17, 114_777, 1, true),
            parent_left: has(16, 114_500, 1, false),
            parent_written: has(16, 114_500, 1, true),
            thread: has(16, 114_500, 1, true),
        }
    }

    #[test]
    fn it_says_what_was_seen() {
        let mut seen = sample();
        let text = testing::text(&seen, 300);
        assert!(text.contains("both have the same page, with two references"));
        assert!(text.contains("The child's address space is 17, with a table of its own."));
        assert!(text.contains("do_wp_page() made a copy"));
        assert!(text.contains("nothing was copied"));
        assert!(text.contains("it is in space 16"));
        seen.parent_forked.references = 3;
        seen.child_forked.table_pfn = seen.parent_forked.table_pfn;
        seen.child_written.pfn = seen.child_forked.pfn;
        seen.parent_written.pfn += 1;
        seen.thread.space_id = 99;
        let text = testing::text(&seen, 300);
        assert!(text.contains("somebody else has had a part"));
        assert!(text.contains("in one table for both"));
        assert!(text.contains("which became its own"));
        assert!(text.contains("made a copy, too"));
        assert!(text.contains("in another space"));
    }

    #[test]
    fn what_a_process_has_goes_through_the_pipe() {
        let all = has(3, 77, 2, true);
        let mut child = Child::fork(|talk| talk.say(&all.numbers())).unwrap();
        assert_eq!(Has::hear(child.talk().unwrap()).unwrap(), all);
    }
}
