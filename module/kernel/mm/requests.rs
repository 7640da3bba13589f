// SPDX-License-Identifier: GPL-2.0

//! Requests that are to a window what system calls are to a process.

use super::files;
use super::host::Table;
use super::records;
use super::window::Options;
use super::window::Window;
use crate::abi;
use crate::abi::Records;
use crate::device::OpenFile;
use crate::platform::Kernel;
use crate::uapi;
use kernel::prelude::*;
use kernel::sync::Arc;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::mm::mincore_pages;
use shadowmm_core::mm::AddressSpace;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::MmConfig;
use shadowmm_core::mm::MmapRequest;
use shadowmm_core::mm::MremapRequest;
use shadowmm_core::mm::Rlimit;
use shadowmm_core::mm::Rlimits;
use shadowmm_core::mm::TreeKind;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::phys::PAGE_SHIFT;
use shadowmm_core::phys::PAGE_SIZE;
use shadowmm_core::platform::Platform;
use shadowmm_core::platform::Process;

/// `MAP_ANONYMOUS`.
const MAP_ANONYMOUS: u32 = 0x20;

/// `MAP_FIXED`, `MAP_FIXED_NOREPLACE`.
const MAP_FIXED: u32 = 0x10;
const MAP_FIXED_NOREPLACE: u32 = 0x10_0000;

/// How many pages MINCORE looks at in one go.
const MINCORE_PAGES: u64 = 4096;

/// The calling process's limits.
fn limits(platform: &Kernel) -> Rlimits {
    let limit = |which, max| platform.rlimit(which, max).unwrap_or(u64::MAX);
    Rlimits {
        address_space: limit(Rlimit::As, false),
        data: limit(Rlimit::Data, false),
        data_max: limit(Rlimit::Data, true),
        stack: limit(Rlimit::Stack, false),
        memlock: limit(Rlimit::Memlock, false),
    }
}

/// What the window of a process is to be like.
pub(super) fn config(platform: &Kernel, options: Options, process: &Process) -> MmConfig {
    let by_lot = options.layout & uapi::SHADOWMM_MM_RANDOM != 0 && options.seed == 0;
    MmConfig {
        seed: match by_lot {
            true => platform.random().max(1),
            false => options.seed,
        },
        is_legacy: options.layout & uapi::SHADOWMM_MM_LEGACY != 0,
        limits: limits(platform),
        // Whoever calls is asked each time.
        caps: 0,
        has_stack: options.layout & uapi::SHADOWMM_MM_BARE == 0,
        tree: match options.tree {
            uapi::SHADOWMM_MM_TREE_MAPLE => TreeKind::Maple,
            uapi::SHADOWMM_MM_TREE_RBTREE => TreeKind::RbList,
            _ => TreeKind::default(),
        },
        pid: process.pid,
        comm: process.comm,
        oom_score_adj: process.oom_score_adj,
    }
}

/// A limit of the ABI.
fn limit(number: u32) -> CoreResult<Rlimit> {
    match number {
        uapi::SHADOWMM_MM_LIMIT_AS => Ok(Rlimit::As),
        uapi::SHADOWMM_MM_LIMIT_DATA => Ok(Rlimit::Data),
        uapi::SHADOWMM_MM_LIMIT_STACK => Ok(Rlimit::Stack),
        uapi::SHADOWMM_MM_LIMIT_MEMLOCK => Ok(Rlimit::Memlock),
        _ => Err(Error::BadKind),
    }
}

fn check_zero(fields: &[u64]) -> CoreResult<()> {
    match fields.iter().all(|&field| field == 0) {
        true => Ok(()),
        false => Err(Error::BadReserved),
    }
}

impl OpenFile {
    /// MM_CONFIG.
    pub(crate) fn mm_config(&self, request: &mut uapi::shadowmm_mm_config) -> CoreResult<()> {
        let mut options = self.windows.options.lock();
        match request.op {
            uapi::SHADOWMM_MM_CONFIG_GET => {
                check_zero(&[request.tree.into(), request.layout.into(), request.seed])?;
                request.tree = options.tree;
                request.layout = options.layout;
                request.seed = options.seed;
                Ok(())
            }
            uapi::SHADOWMM_MM_CONFIG_SET => {
                if request.tree > uapi::SHADOWMM_MM_TREE_RBTREE {
                    return Err(Error::BadKind);
                }
                let known =
                    uapi::SHADOWMM_MM_LEGACY | uapi::SHADOWMM_MM_RANDOM | uapi::SHADOWMM_MM_BARE;
                if request.layout & !known != 0 {
                    return Err(Error::BadFlags);
                }
                *options = Options {
                    tree: request.tree,
                    layout: request.layout,
                    seed: request.seed,
                };
                Ok(())
            }
            _ => Err(Error::BadKind),
        }
    }

    /// MM_INFO.
    pub(crate) fn mm_info(&self, request: &mut uapi::shadowmm_mm_info) -> CoreResult<()> {
        let window = self.windows.current()?;
        window.refresh();
        request.space = window.with(|space| Ok(records::space(&space)))?;
        Ok(())
    }

    /// MM_MMAP.
    pub(crate) fn mm_mmap(&self, request: &mut uapi::shadowmm_mm_mmap) -> CoreResult<()> {
        let window = self.windows.current()?;
        if request.offset & (PAGE_SIZE - 1) != 0 {
            return Err(Error::NotPageAligned);
        }
        let file = match request.flags & MAP_ANONYMOUS {
            0 => Some(files::open(request.fd)?),
            _ => None,
        };
        let wanted = MmapRequest {
            addr: VirtAddr(request.addr),
            len: request.len,
            prot: request.prot,
            flags: request.flags & !MAP_ANONYMOUS,
            file,
            pgoff: request.offset >> PAGE_SHIFT,
        };
        let asked = match file.filter(|file| file.is_readable) {
            Some(file) => files::ask(file.number, request.offset, request.len),
            None => Ok(()),
        };
        let mapped = asked.and_then(|()| window.change(|space, table| space.mmap(table, &wanted)));
        if let (Err(_), Some(file)) = (mapped, file) {
            files::put(file.number);
        }
        request.addr = mapped?.0;
        Ok(())
    }

    /// Unmaps what MM_MMAP has just mapped, where its caller has not said himself where.
    pub(crate) fn undo_mmap(&self, request: &uapi::shadowmm_mm_mmap) {
        if request.flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) == 0 {
            let _ = self.windows.current().and_then(|window| {
                window.with_host(|space, table| {
                    space.munmap(table, VirtAddr(request.addr), request.len)
                })
            });
        }
    }

    /// MM_MUNMAP.
    pub(crate) fn mm_munmap(&self, request: &mut uapi::shadowmm_mm_range) -> CoreResult<()> {
        check_zero(&[request.arg.into()])?;
        self.windows.current()?.change_if(|space, table, one_more| {
            space.munmap_if(table, VirtAddr(request.addr), request.len, one_more)
        })
    }

    /// MM_MPROTECT.
    pub(crate) fn mm_mprotect(&self, request: &mut uapi::shadowmm_mm_range) -> CoreResult<()> {
        self.changing(|space, table| {
            space.mprotect(table, VirtAddr(request.addr), request.len, request.arg)
        })
    }

    /// MM_MREMAP.
    pub(crate) fn mm_mremap(&self, request: &mut uapi::shadowmm_mm_mremap) -> CoreResult<()> {
        let wanted = MremapRequest {
            addr: VirtAddr(request.addr),
            old_len: request.old_len,
            new_len: request.new_len,
            flags: request.flags,
            new_addr: VirtAddr(request.new_addr),
        };
        let moved = self.changing(|space, table| space.mremap(table, &wanted))?;
        request.addr = moved.0;
        Ok(())
    }

    /// MM_MADVISE.
    pub(crate) fn mm_madvise(&self, request: &mut uapi::shadowmm_mm_range) -> CoreResult<()> {
        let advice = Advice::from_number(request.arg as i32)?;
        let advise = |space: AddressSpace<'_, '_, Kernel>, table: &Table<'_>| {
            space.madvise(table, VirtAddr(request.addr), request.len, advice)
        };
        match advice.changes_flags() {
            true => self.changing(advise),
            false => self.windows.current()?.with_host(advise),
        }
    }

    /// MM_BRK.
    pub(crate) fn mm_brk(&self, request: &mut uapi::shadowmm_mm_brk) -> CoreResult<()> {
        let (start, brk) = self.changing(|space, table| {
            let brk = space.brk(table, VirtAddr(request.brk));
            Ok((space.segments().start_brk, brk))
        })?;
        request.start = start;
        request.brk = brk.0;
        Ok(())
    }

    /// MM_MLOCK.
    pub(crate) fn mm_mlock(&self, request: &mut uapi::shadowmm_mm_mlock) -> CoreResult<()> {
        let (addr, len, flags) = (VirtAddr(request.addr), request.len, request.flags);
        let op = request.op;
        match op {
            uapi::SHADOWMM_MM_MLOCK => {}
            uapi::SHADOWMM_MM_MUNLOCK => check_zero(&[flags.into()])?,
            uapi::SHADOWMM_MM_MLOCKALL => check_zero(&[addr.0, len])?,
            uapi::SHADOWMM_MM_MUNLOCKALL => check_zero(&[addr.0, len, flags.into()])?,
            _ => return Err(Error::BadKind),
        }
        self.changing(|space, table| match op {
            uapi::SHADOWMM_MM_MLOCK => space.mlock(table, addr, len, flags),
            uapi::SHADOWMM_MM_MUNLOCK => space.munlock(table, addr, len),
            uapi::SHADOWMM_MM_MLOCKALL => space.mlockall(table, flags),
            _ => {
                space.munlockall(table);
                Ok(())
            }
        })
    }

    /// MM_MINCORE. What is looked at is told when the locks are given up: the caller's
    /// memory may be in the window itself. What is before a hole is told.
    pub(crate) fn mm_mincore(&self, request: &mut uapi::shadowmm_mm_mincore) -> CoreResult<()> {
        let window = self.windows.current()?;
        let pages = mincore_pages(VirtAddr(request.addr), request.len)?;
        abi::check_room(request.vec, pages)?;
        let room = pages.clamp(1, MINCORE_PAGES) as usize;
        let vec = KVVec::from_elem(0u8, room, GFP_KERNEL);
        let mut vec = vec.map_err(|_| Error::NoHostMemory)?;
        let mut done = 0;
        while done < pages {
            let addr = VirtAddr(request.addr + done * PAGE_SIZE);
            let now = (pages - done).min(MINCORE_PAGES) as usize;
            let part = vec.get_mut(..now).unwrap_or_default();
            let told = window.with(|space| space.mincore(addr, part))?;
            let part = part.get(..told as usize).unwrap_or_default();
            abi::write_array(request.vec + done, part)?;
            done += told;
        }
        Ok(())
    }

    /// MM_MSYNC.
    pub(crate) fn mm_msync(&self, request: &mut uapi::shadowmm_mm_range) -> CoreResult<()> {
        let window = self.windows.current()?;
        window.with(|space| space.msync(VirtAddr(request.addr), request.len, request.arg))
    }

    /// MM_LIMITS.
    pub(crate) fn mm_limits(&self, request: &mut uapi::shadowmm_mm_limits) -> CoreResult<()> {
        let which = limit(request.limit)?;
        let window = self.windows.current()?;
        match request.op {
            uapi::SHADOWMM_MM_LIMITS_GET => {
                check_zero(&[request.value, request.max])?;
                let limits = window.with(|space| Ok(space.rlimits()))?;
                let (value, max) = match which {
                    Rlimit::As => (limits.address_space, limits.address_space),
                    Rlimit::Data => (limits.data, limits.data_max),
                    Rlimit::Stack => (limits.stack, limits.stack),
                    Rlimit::Memlock => (limits.memlock, limits.memlock),
                };
                request.value = value;
                request.max = max;
                Ok(())
            }
            uapi::SHADOWMM_MM_LIMITS_SET => window.with(|space| {
                space.set_rlimit(which, request.value, request.max);
                Ok(())
            }),
            uapi::SHADOWMM_MM_LIMITS_FOLLOW => {
                check_zero(&[request.value, request.max])?;
                window.with(|space| {
                    space.follow_rlimit(which);
                    Ok(())
                })
            }
            _ => Err(Error::BadKind),
        }
    }

    /// MM_VMAS.
    pub(crate) fn mm_vmas(&self, request: &mut uapi::shadowmm_mm_vmas) -> CoreResult<()> {
        if request.record_size as usize != size_of::<uapi::shadowmm_rec_vma>() {
            return Err(Error::BadSize);
        }
        let window = self.window_of(request.id)?;
        let mut out = Records::new(request.capacity);
        let mut pushed = Ok(());
        window.with(|space| {
            space.for_each_vma(|vma| {
                if pushed.is_ok() {
                    pushed = out.push(&records::vma(vma));
                }
            });
            Ok(())
        })?;
        pushed?;
        request.count = out.count;
        out.write_to(request.buf)
    }

    /// MM_WALK.
    pub(crate) fn mm_walk(&self, request: &mut uapi::shadowmm_mm_walk) -> CoreResult<()> {
        let window = self.window_of(request.id)?;
        window.with(|space| records::walk(&space, request))
    }

    /// The window of an address space that the caller may look at; that of his own for 0.
    fn window_of(&self, id: u32) -> CoreResult<Arc<Window>> {
        if id == 0 {
            return self.windows.current();
        }
        let window = self.shadow.windows.find(id).ok_or(Error::NoSuchSpace)?;
        match window.may_look() {
            true => Ok(window),
            false => Err(Error::SpaceForeign),
        }
    }

    /// Does something in the caller's window that may make VMAs.
    fn changing<R>(
        &self,
        job: impl FnOnce(AddressSpace<'_, '_, Kernel>, &Table<'_>) -> CoreResult<R>,
    ) -> CoreResult<R> {
        self.windows.current()?.change(job)
    }
}
