// SPDX-License-Identifier: GPL-2.0

//! The host memory that a shadow may manage: runs, in the order in which they
//! are used.

use super::NodeId;
use super::PageOrder;
use super::Pages;
use super::Pfn;
use super::PAGE_SHIFT;
use super::PAGE_SIZE;
use crate::error::Error;
use crate::error::Result;
use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// How many runs of host memory a region can be made of.
pub const MAX_BACKING_RUNS: usize = super::MAX_NODES;

/// One page of host memory, as the tests hand it in.
#[repr(C, align(4096))]
#[derive(Clone)]
pub struct PageBytes(pub [u8; PAGE_SIZE as usize]);

/// A contiguous run of host memory, to be managed by the shadow.
///
/// # Invariants
///
/// `base` is page-aligned and points to `pages` whole pages that nobody else
/// reads or writes during `'m`, except through the addresses that the region
/// gives out.
pub struct BackingRun<'m> {
    base: NonNull<u8>,
    pages: Pages,
    host_node: NodeId,
    host_pfn: u64,
    _memory: PhantomData<&'m mut [u8]>,
}

// SAFETY: A run is exclusive memory without thread affinity.
unsafe impl Send for BackingRun<'_> {}

impl<'m> BackingRun<'m> {
    /// A run at `base`, on the host's node `host_node`, whose first page is
    /// the host's frame `host_pfn`.
    ///
    /// # Safety
    ///
    /// `base` is page-aligned and points to `pages` pages of initialised or
    /// freely writable memory, which nobody else touches during `'m`.
    pub unsafe fn new(base: NonNull<u8>, pages: Pages, host_node: NodeId, host_pfn: u64) -> Self {
        // INVARIANT: The caller's promise.
        Self {
            base,
            pages,
            host_node,
            host_pfn,
            _memory: PhantomData,
        }
    }

    /// A run in memory that is borrowed: the way of the host's tests.
    pub fn from_pages(memory: &'m mut [PageBytes], host_node: NodeId) -> Self {
        let pages = Pages(memory.len() as u64);
        let base: NonNull<u8> = NonNull::from(memory).cast();
        let host_pfn = base.as_ptr() as u64 >> PAGE_SHIFT;
        // INVARIANT: `PageBytes` is page-sized and page-aligned, and the slice
        // is exclusively borrowed for 'm.
        Self {
            base,
            pages,
            host_node,
            host_pfn,
            _memory: PhantomData,
        }
    }

    /// How long it is.
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// The host's node that it lies on.
    pub fn host_node(&self) -> NodeId {
        self.host_node
    }
}

/// All host memory that a shadow may manage, in the order of the host's nodes.
pub struct Backing<'m> {
    runs: [Option<BackingRun<'m>>; MAX_BACKING_RUNS],
    /// Whether a region lies on it: for `'m` no other can.
    laid: Cell<bool>,
}

impl Default for Backing<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'m> Backing<'m> {
    /// No memory yet.
    pub const fn new() -> Self {
        Self {
            runs: [const { None }; MAX_BACKING_RUNS],
            laid: Cell::new(false),
        }
    }

    /// Adds a run. Runs are used in the order in which they are added.
    ///
    /// # Errors
    ///
    /// [`Error::MapTooManyEntries`] when there are [`MAX_BACKING_RUNS`] already.
    pub fn push(&mut self, run: BackingRun<'m>) -> Result<()> {
        let slot = self.runs.iter_mut().find(|slot| slot.is_none());
        *slot.ok_or(Error::MapTooManyEntries)? = Some(run);
        Ok(())
    }

    /// The runs, in order.
    pub fn runs(&self) -> impl Iterator<Item = &BackingRun<'m>> {
        self.runs.iter().flatten()
    }

    /// Whether a region lies on it.
    pub(super) fn is_laid(&self) -> bool {
        self.laid.get()
    }

    /// A region lies on it from now on.
    pub(super) fn set_laid(&self) {
        self.laid.set(true);
    }

    /// How much there is.
    pub fn pages(&self) -> Pages {
        self.runs().map(|run| run.pages).sum()
    }
}

/// A piece of host memory that was taken off a backing.
pub(super) struct Piece {
    /// Its first byte.
    pub(super) base: NonNull<u8>,
    /// How long it is.
    pub(super) pages: Pages,
    /// The host's node that it lies on.
    pub(super) host_node: NodeId,
    /// The host's frame of its first page.
    pub(super) host_pfn: u64,
}

/// How far the runs of a backing are used. It only goes forward, so that all
/// pieces are disjoint.
pub(super) struct Cursor<'b, 'm> {
    backing: &'b Backing<'m>,
    run: usize,
    offset: Pages,
    /// How much may be left out.
    spare: Pages,
}

impl<'b, 'm> Cursor<'b, 'm> {
    /// At the start of the first run. `spare` pages may be left out.
    pub(super) fn new(backing: &'b Backing<'m>, spare: Pages) -> Self {
        Self {
            backing,
            run: 0,
            offset: Pages::ZERO,
            spare,
        }
    }

    /// The run with the next unused page.
    fn current(&mut self) -> Option<&'b BackingRun<'m>> {
        loop {
            let run = self.backing.runs().nth(self.run)?;
            if self.offset < run.pages {
                return Some(run);
            }
            self.run += 1;
            self.offset = Pages::ZERO;
        }
    }

    /// Leaves out `pages` of the current run, if so many may be.
    fn skip(&mut self, pages: Pages) {
        if pages <= self.spare {
            self.offset += pages;
            self.spare -= pages;
        }
    }

    /// Goes on to the next run, unless nothing of this one is used or the rest
    /// of it is needed.
    pub(super) fn leave_run(&mut self) {
        if let Some(run) = self.current() {
            if !self.offset.is_zero() {
                self.skip(run.pages - self.offset);
            }
        }
    }

    /// Goes on to a host frame that is congruent to `pfn` modulo a block of
    /// `order`, if the run has one and what lies before it is not needed.
    pub(super) fn align(&mut self, pfn: Pfn, order: PageOrder) {
        if let Some(run) = self.current() {
            let host = run.host_pfn.wrapping_add(self.offset.0);
            let skew = Pages(pfn.0.wrapping_sub(host) & (order.pages().0 - 1));
            if skew < run.pages - self.offset {
                self.skip(skew);
            }
        }
    }

    /// Takes up to `pages` off the current run; `None` when all runs are used.
    pub(super) fn take(&mut self, pages: Pages) -> Option<Piece> {
        let run = self.current()?;
        let offset = self.offset;
        let pages = pages.min(run.pages - offset);
        self.offset += pages;
        Some(Piece {
            // SAFETY: `offset` is below the run's length in pages, so the
            // address lies inside the run.
            base: unsafe { run.base.add(offset.bytes().0 as usize) },
            pages,
            host_node: run.host_node,
            host_pfn: run.host_pfn.saturating_add(offset.0),
        })
    }
}
