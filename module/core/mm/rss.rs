// SPDX-License-Identifier: GPL-2.0

//! What an address space has in memory, by kind (`mm_counter`).

use super::cells::MmCells;
use super::cells::VmaCells;
use super::cells::NR_RSS;
use super::flags::VmFlags;
use super::page_table::Entry;
use crate::phys::Bytes;
use crate::phys::PAGE_SIZE;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Kinds of resident pages, by their places in [`MmCells::rss`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Rss {
    /// With the content of a file (`MM_FILEPAGES`).
    File = 0,
    /// Anonymous (`MM_ANONPAGES`).
    Anon = 1,
    /// Swapped out (`MM_SWAPENTS`); there are none.
    Swap = 2,
    /// Of shared memory (`MM_SHMEMPAGES`).
    Shmem = 3,
}

impl Rss {
    /// As what the page of an entry counts; the zero page as nothing (`mm_counter`).
    #[inline]
    pub fn of(entry: Entry, shared: bool) -> Option<Self> {
        match entry {
            entry if entry.is_zero_page() => None,
            entry if entry.has(Entry::FILE) => Some(Self::File),
            _ if shared => Some(Self::Shmem),
            _ => Some(Self::Anon),
        }
    }
}

/// Pages that come or go together.
#[derive(Default)]
pub(super) struct RssDelta([u64; NR_RSS]);

impl RssDelta {
    #[inline]
    pub(super) fn note(&mut self, kind: Option<Rss>, pages: u64) {
        if let Some(count) = kind.and_then(|kind| self.0.get_mut(kind as usize)) {
            *count = count.wrapping_add(pages);
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }
}

impl VmaCells {
    /// [`VmFlags`].
    #[inline]
    pub(super) fn vm_flags(&self) -> VmFlags {
        VmFlags(self.flags.load(Relaxed))
    }

    /// Whether its pages are those of a shared object.
    #[inline]
    pub(super) fn is_shared(&self) -> bool {
        self.vm_flags().has(VmFlags::SHARED)
    }
}

impl MmCells {
    /// More pages of a kind (`inc_mm_counter`).
    #[inline]
    pub(super) fn add_rss(&self, kind: Rss, pages: u64) {
        if let Some(count) = self.rss.get(kind as usize) {
            count.fetch_add(pages, Relaxed);
        }
    }

    /// Fewer pages of a kind.
    #[inline]
    pub(super) fn sub_rss(&self, kind: Rss, pages: u64) {
        if let Some(count) = self.rss.get(kind as usize) {
            count.fetch_sub(pages, Relaxed);
        }
    }

    /// All that have come.
    pub(super) fn add_all_rss(&self, delta: &RssDelta) {
        for (count, more) in self.rss.iter().zip(delta.0).filter(|&(_, more)| more != 0) {
            count.fetch_add(more, Relaxed);
        }
    }

    /// All that have gone.
    pub(super) fn sub_all_rss(&self, delta: &RssDelta) {
        for (count, less) in self.rss.iter().zip(delta.0).filter(|&(_, less)| less != 0) {
            count.fetch_sub(less, Relaxed);
        }
    }

    /// Resident pages of a kind.
    pub fn rss(&self, kind: Rss) -> u64 {
        let count = self.rss.get(kind as usize);
        count.map_or(0, |count| count.load(Relaxed))
    }

    /// What page tables take, but for the top one (`mm_pgtables_bytes`).
    pub fn page_table_bytes(&self) -> Bytes {
        Bytes(self.pgtables_bytes.load(Relaxed))
    }

    /// How many faults came to an end under the VMA's lock, and how many under the mmap
    /// lock; those that came to nothing, too.
    pub fn fault_counts(&self) -> (u64, u64) {
        let both = |[served, failed]: [&AtomicU64; 2]| {
            served.load(Relaxed).wrapping_add(failed.load(Relaxed))
        };
        (
            both([&self.faults_vma_lock, &self.failed_vma_lock]),
            both([&self.faults_mmap_lock, &self.failed_mmap_lock]),
        )
    }

    /// Resident pages (`get_mm_rss`).
    pub fn resident(&self) -> u64 {
        let [file, anon, _, shmem] = &self.rss;
        let counts = [file, anon, shmem].map(|count| count.load(Relaxed));
        counts.iter().fold(0, |sum, &count| sum.wrapping_add(count))
    }

    /// What it counts for where pages are limited, as a cgroup is charged
    /// (`__GFP_ACCOUNT`, `mem_cgroup_charge`): private pages, the rest of blocks that it has in parts
    /// ([`parts`](super::parts)), tables, and of shared objects
    /// what they have got through it, whoever maps it now, until they end. That is taken off
    /// the count of the space with which they end, which may be below zero then: of all that
    /// may share an object the sum is right.
    pub fn charged(&self) -> i64 {
        let [file, anon, ..] = &self.rss;
        let tables = self.page_table_bytes().0 / PAGE_SIZE;
        let counts =
            [file, anon, &self.object_pages, &self.rest_pages].map(|count| count.load(Relaxed));
        let all = counts
            .iter()
            .fold(tables, |sum, &count| sum.wrapping_add(count));
        all as i64
    }

    /// Before resident pages become fewer: how many there have been at most
    /// (`update_hiwater_rss`).
    pub(super) fn note_hiwater_rss(&self) {
        self.hiwater_rss.fetch_max(self.resident(), Relaxed);
    }
}
