// SPDX-License-Identifier: GPL-2.0

//! When VMAs become one: decided as `mm/vma.c` decides it, and nothing is changed
//! before the tree has the nodes for it.
//!
//! ```text
//! a new range                      a range whose flags change
//!   prev ****      prev grows        prev MMMM next    prev takes both
//!        **** next next grows        prev MMMM         prev takes middle, or its head
//!   prev **** next prev takes next        MMMM next    next takes middle, or its tail
//! ```

use super::flags::VmFlags;
use super::host::HostTable;
use super::system::MmapWrite;
use super::types::VirtAddr;
use super::vma::Vma;
use crate::error::Result;
use crate::phys::PAGE_SHIFT;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use core::sync::atomic::Ordering::Relaxed;

/// What is to be merged, and with whom (`struct vma_merge_struct`).
#[derive(Clone, Copy)]
pub(super) struct Merge<'m> {
    /// The VMA before, or the one that the range lies in when it does not begin it.
    pub(super) prev: Option<Vma<'m>>,
    /// The VMA whose flags change; none for a new range.
    pub(super) middle: Option<Vma<'m>>,
    /// The VMA behind.
    pub(super) next: Option<Vma<'m>>,
    /// The VMA that a new one is a copy of.
    pub(super) copied_from: Option<Vma<'m>>,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) pgoff: u64,
    pub(super) anon_pgoff: u64,
    pub(super) flags: VmFlags,
    pub(super) file: u64,
    pub(super) anon: u64,
    /// There is nothing behind: only `prev` may grow.
    pub(super) just_expand: bool,
}

/// What a merge changes: `vma` gets the range, `target` is stored for what it has
/// then, and two may go.
struct Change<'m> {
    vma: Vma<'m>,
    target: Vma<'m>,
    start: u64,
    end: u64,
    pgoff: u64,
    anon_pgoff: u64,
    /// Begins at `end` from now on.
    adjust: Option<Vma<'m>>,
    remove: [Option<Vma<'m>>; 2],
    sticky: VmFlags,
}

/// Whose anonymous region has to be found by `dst`, too (`dup_anon_vma`).
#[derive(Clone, Copy)]
struct AnonDup<'m> {
    dst: Vma<'m>,
    src: Vma<'m>,
}

impl<'m> Merge<'m> {
    /// Of a part of a VMA (`VMG_VMA_STATE`).
    pub(super) fn of(prev: Option<Vma<'m>>, vma: Vma<'m>, start: u64, end: u64) -> Self {
        Self {
            prev,
            middle: Some(vma),
            next: None,
            copied_from: None,
            start,
            end,
            pgoff: vma.pgoff_at(start),
            anon_pgoff: vma.anon_pgoff_at(start),
            flags: vma.flags(),
            file: vma.file(),
            anon: vma.anon(),
            just_expand: false,
        }
    }

    fn pages(&self) -> u64 {
        self.end.wrapping_sub(self.start) >> PAGE_SHIFT
    }

    /// `is_mergeable_vma`.
    fn is_alike(&self, vma: Vma<'m>) -> bool {
        let differ = VmFlags(vma.flags().0 ^ self.flags.0).without(VmFlags::STICKY);
        differ == VmFlags::NONE && vma.file() == self.file
    }

    /// `is_mergeable_anon_vma`.
    fn has_fitting_anon(&self, target: Vma<'m>) -> bool {
        let was_forked = |vma: Option<Vma<'m>>| vma.is_some_and(Vma::is_fork_child);
        match (target.anon(), self.anon) {
            (0, 0) => true,
            // The target's is going to be the source's.
            (0, _) => !was_forked(self.middle) && !was_forked(self.copied_from),
            (_, 0) => !target.is_fork_child(),
            (theirs, ours) => theirs == ours,
        }
    }

    /// `needs_adjacent_anon_pgoff`.
    fn needs_anon_pgoff(&self) -> bool {
        let kind = VmFlags::SHARED.with(VmFlags::MAYWRITE);
        self.file != 0 && VmFlags(self.flags.0 & kind.0) == VmFlags::MAYWRITE
    }

    /// `can_vma_merge_before`.
    fn can_merge_before(&self, next: Vma<'m>) -> bool {
        let pages = self.pages();
        self.is_alike(next)
            && self.has_fitting_anon(next)
            && self.pgoff.wrapping_add(pages) == next.pgoff()
            && (!self.needs_anon_pgoff()
                || self.anon_pgoff.wrapping_add(pages) == next.anon_pgoff())
    }

    /// `can_vma_merge_after`.
    fn can_merge_after(&self, prev: Vma<'m>) -> bool {
        let end = prev.end();
        self.is_alike(prev)
            && self.has_fitting_anon(prev)
            && prev.pgoff_at(end) == self.pgoff
            && (!self.needs_anon_pgoff() || prev.anon_pgoff_at(end) == self.anon_pgoff)
    }

    /// `can_vma_merge_left`.
    fn left(&self) -> Option<Vma<'m>> {
        self.prev
            .filter(|&prev| prev.end() == self.start && self.can_merge_after(prev))
    }

    /// `can_vma_merge_right`.
    fn right(&self, left: Option<Vma<'m>>) -> Option<Vma<'m>> {
        let next = self.next?;
        if next.start() != self.end || !self.can_merge_before(next) {
            return None;
        }
        let fits =
            |prev: Vma<'m>| prev.anon() == 0 || next.anon() == 0 || prev.anon() == next.anon();
        left.is_none_or(fits).then_some(next)
    }
}

fn sticky(vma: Vma<'_>) -> VmFlags {
    VmFlags(vma.flags().0 & VmFlags::STICKY.0)
}

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    /// Lets a neighbour of a new range have it, if one can; what the range held is
    /// gone or about to go (`vma_merge_new_range`).
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::error::Error::NoMemory), and then nothing has changed.
    pub(super) fn merge_new_range(&self, merge: &Merge<'m>) -> Result<Option<Vma<'m>>> {
        if merge.flags.any(VmFlags::SPECIAL) {
            return Ok(None);
        }
        let left = merge.left();
        let right = match merge.just_expand {
            true => None,
            false => merge.right(left),
        };
        let end = right.map_or(merge.end, Vma::end);
        let change = match (left, right) {
            (None, None) => return Ok(None),
            (Some(prev), _) => (prev, prev.start(), prev.pgoff(), prev.anon_pgoff()),
            (None, Some(next)) => (next, merge.start, merge.pgoff, merge.anon_pgoff),
        };
        let (target, start, pgoff, anon_pgoff) = change;
        let removed = left.and(right);
        self.expand(
            merge,
            Change {
                vma: target,
                target,
                start,
                end,
                pgoff,
                anon_pgoff,
                adjust: None,
                remove: [removed, None],
                sticky: VmFlags(merge.flags.0 & VmFlags::STICKY.0),
            },
        )?;
        Ok(Some(target))
    }

    /// `vma_expand`.
    fn expand(&self, merge: &Merge<'m>, mut change: Change<'m>) -> Result<()> {
        let target = change.target;
        self.space.start_write(target);
        change.sticky = change.sticky.with(sticky(target));
        let [next, _] = change.remove;
        if let Some(next) = next {
            self.space.start_write(next);
            change.sticky = change.sticky.with(sticky(next));
        }
        // The one that goes first, then the one that the pages come from.
        let source = next.filter(|next| next.anon() != 0).or(merge.copied_from);
        let dup = source.map(|src| AnonDup { dst: target, src });
        self.commit(&change, dup)
    }

    /// Lets neighbours have a range of a VMA whose flags are about to change, or the
    /// VMA a neighbour; `None` when it is none of its ends', or no neighbour is as it
    /// will be (`vma_merge_existing_range`).
    fn merge_existing_range(
        &self,
        host: &dyn HostTable,
        merge: &mut Merge<'m>,
    ) -> Result<Option<Vma<'m>>> {
        let Some(middle) = merge.middle else {
            return Ok(None);
        };
        let is_left = merge.start == middle.start();
        let is_right = merge.end == middle.end();
        if merge.flags.any(VmFlags::SPECIAL) || !(is_left || is_right) {
            return Ok(None);
        }
        let left = match is_left {
            true => merge.left(),
            false => None,
        };
        let right = match is_right {
            true => {
                merge.next = self.space.find_vma(merge.end);
                merge.right(left)
            }
            false => None,
        };
        if left.is_none() && right.is_none() {
            return Ok(None);
        }
        let whole = is_left && is_right;
        self.space.start_write(middle);
        let mut flags = VmFlags(merge.flags.0 & VmFlags::STICKY.0);
        for vma in [left, right].into_iter().flatten() {
            self.space.start_write(vma);
            flags = flags.with(sticky(vma));
        }
        let (change, dup) = match (left, right) {
            (Some(prev), Some(next)) => (
                Change {
                    vma: prev,
                    target: prev,
                    start: prev.start(),
                    end: next.end(),
                    pgoff: prev.pgoff(),
                    anon_pgoff: prev.anon_pgoff(),
                    adjust: None,
                    remove: [Some(middle), Some(next)],
                    sticky: flags,
                },
                AnonDup {
                    dst: prev,
                    src: if next.anon() != 0 { next } else { middle },
                },
            ),
            (Some(prev), None) => (
                Change {
                    vma: prev,
                    target: prev,
                    start: prev.start(),
                    end: merge.end,
                    pgoff: prev.pgoff(),
                    anon_pgoff: prev.anon_pgoff(),
                    adjust: (!whole).then_some(middle),
                    remove: [whole.then_some(middle), None],
                    sticky: flags,
                },
                AnonDup {
                    dst: prev,
                    src: middle,
                },
            ),
            (None, Some(next)) if whole => {
                let pages = merge.pages();
                let change = Change {
                    vma: next,
                    target: next,
                    start: merge.start,
                    end: next.end(),
                    pgoff: next.pgoff().wrapping_sub(pages),
                    anon_pgoff: next.anon_pgoff().wrapping_sub(pages),
                    adjust: None,
                    remove: [Some(middle), None],
                    sticky: flags,
                };
                (
                    change,
                    AnonDup {
                        dst: next,
                        src: middle,
                    },
                )
            }
            (None, Some(next)) => {
                let change = Change {
                    vma: middle,
                    target: next,
                    start: middle.start(),
                    end: merge.start,
                    pgoff: middle.pgoff(),
                    anon_pgoff: middle.anon_pgoff(),
                    adjust: Some(next),
                    remove: [None, None],
                    sticky: flags,
                };
                (
                    change,
                    AnonDup {
                        dst: next,
                        src: middle,
                    },
                )
            }
            (None, None) => return Ok(None),
        };
        if change.adjust.is_some() {
            // The boundary moves inside the middle one.
            self.space.split_huge_at(host, VirtAddr(change.end));
        }
        self.commit(&change, Some(dup))?;
        Ok(Some(change.target))
    }

    /// `commit_merge`, `vma_complete`.
    fn commit(&self, change: &Change<'m>, dup: Option<AnonDup<'m>>) -> Result<()> {
        let tree = self.space.tree();
        let mut reserve = tree.reserve(1)?;
        if let Some(AnonDup { dst, src }) = dup {
            if dst.anon() == 0 && src.anon() != 0 {
                dst.clone_anon(src);
            }
        }
        let vma = change.vma;
        vma.set_range(change.start, change.end);
        vma.set_pgoff(change.pgoff, change.anon_pgoff);
        if let Some(adjust) = change.adjust {
            let moved = change.end.wrapping_sub(adjust.start()) as i64 >> PAGE_SHIFT;
            adjust.set_range(change.end, adjust.end());
            adjust.add_pgoff(moved as u64);
        }
        let target = change.target;
        let value = Some(target.addr().get());
        tree.store(target.start(), target.end(), value, &mut reserve);
        for gone in change.remove.into_iter().flatten() {
            gone.set_mm(ObjAddr::NULL);
            self.space.cells.map_count.fetch_sub(1, Relaxed);
            self.space.put_backing(gone);
            self.space.system.free_vma(gone);
        }
        target.set_flags(target.flags().with(change.sticky));
        Ok(())
    }

    /// Makes `start..end` of a VMA a VMA that can be given these flags: merges it with
    /// its neighbours, or splits it off. Says which VMA that is; the caller gives it
    /// the flags, which have got those that stick (`vma_modify_flags`).
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::error::Error::NoMemory),
    /// [`Error::TooManyMaps`](crate::error::Error::TooManyMaps).
    pub(super) fn modify_flags(
        &self,
        host: &dyn HostTable,
        prev: Option<Vma<'m>>,
        vma: Vma<'m>,
        start: u64,
        end: u64,
        flags: &mut VmFlags,
    ) -> Result<Vma<'m>> {
        let mut merge = Merge::of(prev, vma, start, end);
        merge.flags = *flags;
        if let Some(merged) = self.merge_existing_range(host, &mut merge)? {
            *flags = merged.flags();
            return Ok(merged);
        }
        if vma.start() < start {
            self.split(host, vma, start, true)?;
        }
        if vma.end() > end {
            self.split(host, vma, end, false)?;
        }
        Ok(vma)
    }
}
