// SPDX-License-Identifier: GPL-2.0

//! An address space comes, is found, and goes with the last who uses it.

use super::cells::MmCells;
use super::host::HostTable;
use super::host::Nowhere;
use super::lock::WriteLock;
use super::placement::Layout;
use super::placement::LayoutRequest;
use super::rlimit::Rlimits;
use super::rlimit::CAPS;
use super::rlimit::MM_LEGACY;
use super::sysctl::MmKnob;
use super::system::AddressSpace;
use super::system::AddressSpaces;
use super::system::CacheOf;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::types::TASK_SIZE;
use super::vma_tree::TreeKind;
use crate::buddy::gfp;
use crate::error::Error;
use crate::error::Result;
use crate::platform::Platform;
use crate::slab::ObjAddr;
use crate::slab::ObjRequest;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::AcqRel;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// How many bytes a process's name has at most, with the end (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// What a new address space is to be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MmConfig {
    /// What its places are shifted by; 0 shifts nothing.
    pub seed: u64,
    /// New mappings go above the base, not below.
    pub is_legacy: bool,
    /// The process's limits.
    pub limits: Rlimits,
    /// What it may do ([`CAPS`]).
    pub caps: u64,
    /// How it finds its VMAs.
    pub tree: TreeKind,
    /// The process.
    pub pid: u32,
    /// Its name, with zeroes behind.
    pub comm: [u8; COMM_LEN],
    /// `oom_score_adj`.
    pub oom_score_adj: i16,
    /// A stack is mapped at first, as after exec.
    pub has_stack: bool,
}

/// Where the parts of a program are, in bytes (`prctl(PR_SET_MM)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The names are Linux's.
pub struct Segments {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub brk: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
}

impl MmCells {
    fn segments(&self) -> [&AtomicU64; 11] {
        [
            &self.start_code,
            &self.end_code,
            &self.start_data,
            &self.end_data,
            &self.start_brk,
            &self.brk,
            &self.start_stack,
            &self.arg_start,
            &self.arg_end,
            &self.env_start,
            &self.env_end,
        ]
    }

    /// The name of its process, as far as it is text.
    pub fn comm(&self) -> [u8; COMM_LEN] {
        let [low, high] = &self.comm;
        let (low, high) = (low.load(Relaxed), high.load(Relaxed));
        (u128::from(low) | (u128::from(high) << 64)).to_le_bytes()
    }

    /// Notes the name of its process.
    pub fn set_comm(&self, comm: [u8; COMM_LEN]) {
        let all = u128::from_le_bytes(comm);
        let [low, high] = &self.comm;
        low.store(all as u64, Relaxed);
        high.store((all >> 64) as u64, Relaxed);
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id.load(Relaxed)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid.load(Relaxed)
    }

    /// Notes its process.
    pub fn set_pid(&self, pid: u32) {
        self.pid.store(pid, Relaxed);
    }

    /// Notes `oom_score_adj` of its process.
    pub fn set_oom_score_adj(&self, adj: i16) {
        let adj = i64::from(adj) as u64;
        self.oom_score_adj.store(adj, Relaxed);
    }

    /// Nothing is in it, and nothing was counted. The lock and what is counted with it
    /// are as they were.
    pub(super) fn clear(&self) {
        let counts = [
            &self.total_vm,
            &self.locked_vm,
            &self.pinned_vm,
            &self.data_vm,
            &self.exec_vm,
            &self.stack_vm,
            &self.hiwater_rss,
            &self.hiwater_vm,
            &self.pgtables_bytes,
            &self.object_pages,
            &self.rest_pages,
            &self.pgd,
            &self.def_flags,
            &self.oom_since,
            &self.faults_vma_lock,
            &self.faults_mmap_lock,
            &self.populated,
            &self.failed_vma_lock,
            &self.failed_mmap_lock,
            &self.faults_error,
            &self.maj_flt,
        ];
        let all = counts.into_iter().chain(&self.rss).chain(self.segments());
        for count in all {
            count.store(0, Relaxed);
        }
        self.map_count.store(0, Relaxed);
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {
    /// Makes an address space for a window, empty or with a stack; the caller uses it
    /// ([`AddressSpace::put`]).
    ///
    /// # Errors
    ///
    /// [`Error::BadWindow`], [`Error::Overcommit`], and those of the slab layer.
    pub fn create(&self, window: VirtRange, config: &MmConfig) -> Result<AddressSpace<'a, 'm, P>> {
        let aligned = window.start.is_page_aligned() && window.end.is_page_aligned();
        if !aligned || window.is_empty() || window.end.0 > TASK_SIZE {
            return Err(Error::BadWindow);
        }
        let space = self.new_space()?;
        let cells = space.cells;
        cells.window_start.store(window.start.0, Relaxed);
        cells.window_end.store(window.end.0, Relaxed);
        let is_legacy = config.is_legacy || self.knob(MmKnob::LegacyVaLayout) != 0;
        let legacy = match is_legacy {
            true => MM_LEGACY,
            false => 0,
        };
        cells.policy.store(legacy | (config.caps & CAPS), Relaxed);
        let limits = &config.limits;
        cells.rlimit_as.store(limits.address_space, Relaxed);
        cells.rlimit_data.store(limits.data, Relaxed);
        cells.rlimit_data_max.store(limits.data_max, Relaxed);
        cells.rlimit_stack.store(limits.stack, Relaxed);
        cells.rlimit_memlock.store(limits.memlock, Relaxed);
        let adj = i64::from(config.oom_score_adj);
        cells.oom_score_adj.store(adj as u64, Relaxed);
        let layout = Layout::pick(&LayoutRequest {
            window,
            seed: config.seed,
            is_legacy,
            stack: limits.stack,
            guard_gap: self.stack_guard_gap(),
            rnd_bits: self.knob(MmKnob::MmapRndBits) as u32,
        });
        cells.mmap_base.store(layout.base, Relaxed);
        cells.mmap_legacy_base.store(layout.legacy_base, Relaxed);
        let first = window.start.0;
        space.set_segments(&Segments {
            start_code: first,
            end_code: first,
            start_data: first,
            end_data: first,
            start_brk: layout.start_brk,
            brk: layout.start_brk,
            start_stack: layout.stack_top,
            ..Segments::default()
        });
        cells.set_pid(config.pid);
        cells.set_comm(config.comm);
        space.tree().begin(config.tree);
        if config.has_stack {
            // A statement of its own: what takes the space apart needs the lock again.
            let made = space.write().set_up_stack(layout.stack_top);
            if let Err(error) = made {
                space.exit_mmap(&Nowhere);
                space.forget();
                return Err(error);
            }
        }
        space.publish();
        Ok(space)
    }

    /// The address space whose [`AddressSpace::addr`] this is, for somebody who uses it.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where there can't be one.
    pub fn at(&self, addr: ObjAddr) -> Result<AddressSpace<'a, 'm, P>> {
        Ok(AddressSpace {
            system: *self,
            addr,
            cells: self.cells(addr)?,
        })
    }

    /// An address space that nobody can find yet (`mm_alloc`).
    ///
    /// # Errors
    ///
    /// [`Error::TooManySpaces`], and those of the slab layer.
    pub(super) fn new_space(&self) -> Result<AddressSpace<'a, 'm, P>> {
        let request = ObjRequest::new(gfp::GFP_KERNEL);
        // Each number is given once, or somebody would have another's window.
        let next = |id: u32| id.checked_add(1);
        let id = self.table().next_id.fetch_update(Relaxed, Relaxed, next);
        let id = id.map_err(|_| Error::TooManySpaces)?;
        let addr = self.cache(CacheOf::Mm)?.alloc(&request)?;
        let cells: &'m MmCells = self.cells(addr)?;
        cells.clear();
        cells.id.store(id, Relaxed);
        Ok(AddressSpace {
            system: *self,
            addr,
            cells,
        })
    }

    /// The address space of this number, which the caller uses then.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSpace`].
    pub fn find(&self, id: u32) -> Result<AddressSpace<'a, 'm, P>> {
        let found = self.first_where(|cells| (cells.id() == id).then_some(0));
        found.ok_or(Error::NoSuchSpace)
    }

    /// The one with the next higher number, which the caller uses then: to see all of
    /// them, from 0 on.
    pub fn next(&self, id: u32) -> Option<AddressSpace<'a, 'm, P>> {
        self.first_where(|cells| cells.id().checked_sub(id).filter(|&ahead| ahead != 0))
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.table().count.load(Relaxed)
    }

    /// The one of the least rank.
    fn first_where(
        &self,
        rank: impl Fn(&MmCells) -> Option<u32>,
    ) -> Option<AddressSpace<'a, 'm, P>> {
        let _lock = WriteLock::lock(self.platform(), &self.table().lock);
        loop {
            let space = self.least_alive(&rank)?;
            // Who takes the last reference waits for the lock before it is gone; it has no
            // user then, and those behind it are looked at.
            if space.get_unless_zero() {
                return Some(space);
            }
        }
    }

    /// The one of the least rank that had a user a moment ago. With the lock.
    fn least_alive(
        &self,
        rank: &impl Fn(&MmCells) -> Option<u32>,
    ) -> Option<AddressSpace<'a, 'm, P>> {
        let mut best: Option<(u32, AddressSpace<'a, 'm, P>)> = None;
        let mut at = self.table().first.load(Relaxed);
        while at != 0 {
            let addr = ObjAddr::new(at);
            let cells: &'m MmCells = self.cells(addr).ok()?;
            let is_better = |rank: &u32| best.as_ref().is_none_or(|(least, _)| rank < least);
            let alive = cells.users.load(Relaxed) != 0;
            if let Some(rank) = rank(cells).filter(|rank| alive && is_better(rank)) {
                let system = *self;
                let space = AddressSpace {
                    system,
                    addr,
                    cells,
                };
                best = Some((rank, space));
            }
            at = cells.list_next.load(Relaxed);
        }
        best.map(|(_, space)| space)
    }
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Where it lies itself: as a number by which the same one is known again
    /// ([`AddressSpaces::at`]).
    pub fn addr(&self) -> ObjAddr {
        self.addr
    }

    /// The surroundings.
    pub fn platform(&self) -> &'a P {
        self.system.platform()
    }

    /// Where the parts of its program are.
    pub fn segments(&self) -> Segments {
        let at = self.cells.segments().map(|place| place.load(Relaxed));
        let [start_code, end_code, start_data, end_data, start_brk, brk, start_stack, arg_start, arg_end, env_start, env_end] =
            at;
        Segments {
            start_code,
            end_code,
            start_data,
            end_data,
            start_brk,
            brk,
            start_stack,
            arg_start,
            arg_end,
            env_start,
            env_end,
        }
    }

    /// Says where the parts of its program are. They name ranges in reports, and the
    /// heap begins where they say.
    pub fn set_segments(&self, to: &Segments) {
        let values = [
            to.start_code,
            to.end_code,
            to.start_data,
            to.end_data,
            to.start_brk,
            to.brk,
            to.start_stack,
            to.arg_start,
            to.arg_end,
            to.env_start,
            to.env_end,
        ];
        for (place, value) in self.cells.segments().into_iter().zip(values) {
            place.store(value, Relaxed);
        }
    }

    /// The end of the heap.
    pub fn current_brk(&self) -> VirtAddr {
        VirtAddr(self.cells.brk.load(Relaxed))
    }

    /// It can be found from now on, and has one user.
    pub(super) fn publish(&self) {
        let table = self.system.table();
        let _lock = WriteLock::lock(self.system.platform(), &table.lock);
        let first = table.first.swap(self.addr.get(), Relaxed);
        self.cells.list_next.store(first, Relaxed);
        self.cells.list_prev.store(0, Relaxed);
        if let Some(behind) = self.neighbour(first) {
            behind.list_prev.store(self.addr.get(), Relaxed);
        }
        table.count.fetch_add(1, Relaxed);
        self.cells.users.store(1, Release);
    }

    fn neighbour(&self, at: u64) -> Option<&'m MmCells> {
        match at {
            0 => None,
            at => self.system.cells(ObjAddr::new(at)).ok(),
        }
    }

    fn unpublish(&self) {
        let table = self.system.table();
        let _lock = WriteLock::lock(self.system.platform(), &table.lock);
        let next = self.cells.list_next.load(Relaxed);
        let prev = self.cells.list_prev.load(Relaxed);
        match self.neighbour(prev) {
            Some(before) => before.list_next.store(next, Relaxed),
            None => table.first.store(next, Relaxed),
        }
        if let Some(behind) = self.neighbour(next) {
            behind.list_prev.store(prev, Relaxed);
        }
        table.count.fetch_sub(1, Relaxed);
        // Nobody faults in it any more, and who adds up sees them here or there.
        self.keep_faults();
    }

    /// One more uses it (`mmget`); the caller does already.
    pub fn get(&self) {
        self.cells.users.fetch_add(1, Relaxed);
    }

    /// One more uses it, if anybody does (`mmget_not_zero`).
    fn get_unless_zero(&self) -> bool {
        let more = |users: u32| (users != 0).then(|| users.wrapping_add(1));
        self.cells
            .users
            .fetch_update(Acquire, Relaxed, more)
            .is_ok()
    }

    /// One less uses it (`mmput`). With the last one all that is in it goes back, and the
    /// caller does not look at it again.
    pub fn put(&self, host: &dyn HostTable) {
        if self.cells.users.fetch_sub(1, AcqRel) == 1 {
            self.go(host);
        }
    }

    /// The same for its owner, who waits for those that look at it ([`AddressSpaces::find`]):
    /// it ends here. Says what is charged for it still ([`MmCells::charged`]): of shared
    /// objects that others have, or not any more.
    pub fn end(&self, host: &dyn HostTable) -> i64 {
        let users = &self.cells.users;
        while let Err(others) = users.compare_exchange(1, 0, AcqRel, Relaxed) {
            if others == 0 {
                return 0;
            }
            self.system.platform().relax();
        }
        self.go(host)
    }

    /// All that is in it goes back, and it, too: nobody uses it any more.
    fn go(&self, host: &dyn HostTable) -> i64 {
        self.unpublish();
        self.exit_mmap(host);
        let left = self.cells.charged();
        self.forget();
        left
    }

    /// Gives the object back, which nobody finds and in which nothing is.
    pub(super) fn forget(&self) {
        if let Ok(cache) = self.system.cache(CacheOf::Mm) {
            // The slab layer counts a refusal.
            let _ = cache.free(self.addr);
        }
    }

    /// `exit_mmap`.
    pub(super) fn exit_mmap(&self, host: &dyn HostTable) {
        let mm = self.write();
        if self.cells.locked_vm.load(Relaxed) != 0 {
            for vma in self.vmas_in(VirtRange::new(0, u64::MAX)) {
                if vma.flags().has(super::VmFlags::LOCKED) {
                    self.count_locked_in(vma.range(), -1);
                }
            }
        }
        self.exit_tables(host);
        let mut accounted = 0;
        for vma in self.vmas_in(VirtRange::new(0, u64::MAX)) {
            if vma.flags().has(super::VmFlags::ACCOUNT) {
                accounted += vma.pages() as i64;
            }
            self.start_write(vma);
            vma.set_mm(ObjAddr::NULL);
            self.put_backing(vma);
            self.system.free_vma(vma);
        }
        self.tree().destroy();
        self.system.account(-accounted);
        drop(mm);
    }
}
