// SPDX-License-Identifier: GPL-2.0

//! `mmap`: the checks in Linux's order, a place, what was there before, and then a
//! neighbour that grows or a VMA of its own.

use super::accounting::OVERCOMMIT_NEVER;
use super::flags::VmFlags;
use super::host::HostTable;
use super::merge::Merge;
use super::munmap::page_align;
use super::placement::PlaceRequest;
use super::placement::MAP_32BIT;
use super::placement::MAP_ABOVE4G;
use super::placement::MAP_FIXED;
use super::populate::Told;
use super::sysctl::MmKnob;
use super::system::AddressSpace;
use super::system::MmapWrite;
use super::types::VirtAddr;
use super::types::VirtRange;
use super::vma::NewVma;
use super::vma::Vma;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PAGE_SHIFT;
use crate::platform::Platform;
use core::sync::atomic::Ordering::Relaxed;

const PROT_READ: u32 = 1;
const PROT_WRITE: u32 = 2;
const PROT_EXEC: u32 = 4;

const MAP_SHARED: u32 = 0x01;
const MAP_PRIVATE: u32 = 0x02;
const MAP_SHARED_VALIDATE: u32 = 0x03;
const MAP_DROPPABLE: u32 = 0x08;
const MAP_TYPE: u32 = 0x0f;
const MAP_GROWSDOWN: u32 = 0x0100;
const MAP_LOCKED: u32 = 0x2000;
const MAP_NORESERVE: u32 = 0x4000;
const MAP_POPULATE: u32 = 0x8000;
const MAP_NONBLOCK: u32 = 0x1_0000;
const MAP_STACK: u32 = 0x2_0000;
const MAP_HUGETLB: u32 = 0x4_0000;
const MAP_FIXED_NOREPLACE: u32 = 0x10_0000;
/// `MAP_DENYWRITE`, `MAP_EXECUTABLE`: nobody looks at them.
const MAP_IGNORED: u32 = 0x0800 | 0x1000;
/// How large huge pages are to be: the shift of 2 MiB, of 1 GiB, or 0.
const MAP_HUGE_SHIFT: u32 = 26;
const MAP_HUGE_MASK: u32 = 0x3f;
const SHIFT_2MB: u32 = 21;
const SHIFT_1GB: u32 = 30;
/// What `MAP_SHARED_VALIDATE` lets through (`LEGACY_MAP_MASK`). `MAP_SYNC` is for files
/// that lie in memory themselves, which can't be mapped shared here either.
const LEGACY_MAP_MASK: u32 = MAP_SHARED
    | MAP_PRIVATE
    | MAP_FIXED
    | MAP_32BIT
    | MAP_ABOVE4G
    | MAP_GROWSDOWN
    | MAP_IGNORED
    | MAP_LOCKED
    | MAP_NORESERVE
    | MAP_POPULATE
    | MAP_NONBLOCK
    | MAP_STACK
    | MAP_HUGETLB
    | (SHIFT_2MB << MAP_HUGE_SHIFT)
    | (SHIFT_1GB << MAP_HUGE_SHIFT);

/// What a file has to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Pages, of which private copies can be had.
    Pages,
    /// Huge pages, of which there are none here (`is_file_hugepages`).
    Huge,
    /// Zeroes: a mapping of it is one of no file (`/dev/zero`, `mmap_zero_prepare`).
    Zero,
    /// Nothing that can be had here: it is a directory, a device or the like.
    Other,
}

/// A file to be mapped, as far as the rules ask about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmapFile {
    /// Its number ([`Vma::file`]). Not 0. A reference goes with it, which the mapping
    /// has when there is one.
    pub number: u64,
    /// It is open for reading (`FMODE_READ`).
    pub is_readable: bool,
    /// It is open for writing (`FMODE_WRITE`).
    pub is_writable: bool,
    /// Nothing is ever written but at its end (`IS_APPEND`).
    pub is_append_only: bool,
    /// It lies where nothing may be executed (`path_noexec`).
    pub is_noexec: bool,
    /// What it has.
    pub kind: FileKind,
}

impl MmapFile {
    /// Whether a shared mapping may be asked for (`do_mmap`, before what is asked of every
    /// mapping). That one can't be had here is told when the rest is in order.
    fn check_shared(&self, prot: u32, flags: u32) -> Result<()> {
        // With MAP_SHARED what is unknown is ignored.
        if flags & MAP_TYPE == MAP_SHARED_VALIDATE && flags & !LEGACY_MAP_MASK != 0 {
            return Err(Error::UnknownSharedFlags);
        }
        let writes_elsewhere = self.is_append_only && self.is_writable;
        if (prot & PROT_WRITE != 0 && !self.is_writable) || writes_elsewhere {
            return Err(Error::AccessDenied);
        }
        Ok(())
    }
}

/// What `do_mmap` takes for the file of anonymous memory with `MAP_HUGETLB`
/// (`hugetlb_file_setup`). It is never mapped, so it has no number.
const HUGE_MEMORY: MmapFile = MmapFile {
    number: 0,
    is_readable: true,
    is_writable: true,
    is_append_only: false,
    is_noexec: false,
    kind: FileKind::Huge,
};

/// What a process wants to have mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmapRequest {
    /// Where, or where it would like it.
    pub addr: VirtAddr,
    /// In bytes.
    pub len: u64,
    /// `PROT_*`.
    pub prot: u32,
    /// `MAP_*`, without `MAP_ANONYMOUS`, which [`MmapRequest::file`] says.
    pub flags: u32,
    /// What is to be behind it.
    pub file: Option<MmapFile>,
    /// Which page of the file comes first.
    pub pgoff: u64,
}

impl MmapRequest {
    /// The file that is to be mapped, how much of it, and how large its pages are where they
    /// are huge (`ksys_mmap_pgoff`).
    fn file_and_len(
        &self,
        platform: &impl Platform,
    ) -> Result<(Option<MmapFile>, u64, Option<u64>)> {
        let wants_huge = self.flags & MAP_HUGETLB != 0;
        let (file, size) = match self.file {
            // Its mount may say 1 GiB, which nobody here is told.
            Some(file) if file.kind == FileKind::Huge => (file, 1u64 << SHIFT_2MB),
            Some(_) if wants_huge => return Err(Error::BadMapFlags),
            None if wants_huge => (HUGE_MEMORY, huge_size(self.flags, platform)?),
            file => return Ok((file, self.len, None)),
        };
        let len = self.len.wrapping_add(size - 1) & !(size - 1);
        Ok((Some(file), len, Some(size)))
    }
}

/// The size of the huge pages that flags ask for, in bytes (`hstate_sizelog`): one of those
/// that the CPUs have (`gigantic_pages_init`).
fn huge_size(flags: u32, platform: &impl Platform) -> Result<u64> {
    match (flags >> MAP_HUGE_SHIFT) & MAP_HUGE_MASK {
        0 | SHIFT_2MB => Ok(1 << SHIFT_2MB),
        SHIFT_1GB if platform.has_gbpages() => Ok(1 << SHIFT_1GB),
        _ => Err(Error::BadMapFlags),
    }
}

/// Why huge pages of this size can't be had from a page of their file on
/// (`hugetlbfs_file_mmap`): no huge page begins there, or the pool that they would be promised
/// of is empty (`hugetlb_reserve_pages`). With `MAP_NORESERVE` Linux promises nothing, and
/// every touch is SIGBUS.
fn why_not_huge(size: u64, pgoff: u64) -> Error {
    match pgoff & ((size >> PAGE_SHIFT) - 1) {
        0 => Error::NoMemory,
        _ => Error::BadMapFlags,
    }
}

/// What is done under the mmap lock, and what is left to do after it.
struct Mapped {
    addr: VirtAddr,
    /// How many bytes are to be faulted in.
    populate: u64,
}

/// The flags of a protection (`calc_vm_prot_bits`).
pub(super) const fn prot_flags(prot: u32) -> VmFlags {
    // The three have the same bits in both.
    VmFlags((prot & (PROT_READ | PROT_WRITE | PROT_EXEC)) as u64)
}

/// The flags that mapping flags stand for (`calc_vm_flag_bits`).
fn map_flags(flags: u32) -> VmFlags {
    let pairs = [
        (MAP_GROWSDOWN, VmFlags::GROWSDOWN),
        (MAP_LOCKED, VmFlags::LOCKED),
        (MAP_STACK, VmFlags::NOHUGEPAGE),
    ];
    let given = pairs.iter().filter(|&&(map, _)| flags & map != 0);
    given.fold(VmFlags::NONE, |all, &(_, vm)| all.with(vm))
}

/// Whether such memory is promised when it is mapped (`accountable_mapping`).
fn is_accountable(flags: VmFlags) -> bool {
    flags.has(VmFlags::WRITE) && !flags.any(VmFlags::NORESERVE.with(VmFlags::SHARED))
}

impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {
    /// Maps what is asked for, and says where (`vm_mmap_pgoff`). The file's reference
    /// is the mapping's when there is one, and the caller's else.
    ///
    /// # Errors
    ///
    /// [`Error::BadLength`], [`Error::RangeOverflow`], [`Error::OffsetOverflow`],
    /// [`Error::TooManyMaps`], [`Error::RangeTaken`], [`Error::MayNotLock`],
    /// [`Error::LockLimit`], [`Error::UnknownSharedFlags`], [`Error::AccessDenied`],
    /// [`Error::MayNotExecute`], [`Error::NotMappable`], [`Error::BadMapFlags`],
    /// [`Error::AddressSpaceLimit`], [`Error::Overcommit`], [`Error::NoMemory`], and
    /// those of the place: [`Error::NoAddressRoom`], [`Error::OutsideWindow`],
    /// [`Error::NotPageAligned`], [`Error::LowAddress`].
    pub fn mmap(&self, host: &dyn HostTable, request: &MmapRequest) -> Result<VirtAddr> {
        let mapped = self.write().mmap(host, request)?;
        if mapped.populate != 0 {
            // What can't be had now is had by its faults.
            let range = VirtRange::new(mapped.addr.0, mapped.addr.0 + mapped.populate);
            let _ = self.mm_populate(host, range, Told::Nothing);
        }
        Ok(mapped.addr)
    }
}

impl<'a, 'm: 'a, P: Platform> MmapWrite<'a, 'm, P> {
    /// `do_mmap`.
    fn mmap(&self, host: &dyn HostTable, request: &MmapRequest) -> Result<Mapped> {
        let space = &self.space;
        let mut flags = request.flags;
        let (file, len, huge) = request.file_and_len(space.platform())?;
        if len == 0 {
            return Err(Error::BadLength);
        }
        if flags & MAP_FIXED_NOREPLACE != 0 {
            flags |= MAP_FIXED;
        }
        let hint = match flags & MAP_FIXED {
            0 => space.round_hint(request.addr.0),
            _ => request.addr.0,
        };
        let len = page_align(len);
        if len == 0 {
            return Err(Error::RangeOverflow);
        }
        if request.pgoff.checked_add(len >> PAGE_SHIFT).is_none() {
            return Err(Error::OffsetOverflow);
        }
        if space.map_count() > space.system.max_map_count() {
            return Err(Error::TooManyMaps);
        }
        let default = VmFlags(space.cells.def_flags.load(Relaxed));
        let vm_flags = prot_flags(request.prot)
            .with(map_flags(flags))
            .with(default)
            .with(VmFlags::MAY);
        let place = PlaceRequest {
            addr: hint,
            len,
            flags,
            is_anonymous: file.is_none_or(|file| file.kind == FileKind::Zero)
                && flags & MAP_SHARED == 0,
        };
        let addr = match huge {
            Some(size) => space.unmapped_huge_area(&place, size)?,
            None => space.unmapped_area(&place)?,
        };
        let range = VirtRange::new(addr.0, addr.0 + len);
        if flags & MAP_FIXED_NOREPLACE != 0
            && space
                .find_intersection(range.start.0, range.end.0)
                .is_some()
        {
            return Err(Error::RangeTaken);
        }
        if flags & MAP_LOCKED != 0 && !space.can_do_mlock() {
            return Err(Error::MayNotLock);
        }
        if !space.mlock_future_ok(vm_flags.has(VmFlags::LOCKED), len) {
            return Err(Error::LockLimit);
        }
        let (mut vm_flags, pgoff) = match &file {
            Some(file) => self.file_flags(file, request, flags, vm_flags, addr, len)?,
            None => anonymous_flags(flags, vm_flags, addr)?,
        };
        if flags & MAP_NORESERVE != 0
            && space.system.knob(MmKnob::OvercommitMemory) != OVERCOMMIT_NEVER
        {
            vm_flags = vm_flags.with(VmFlags::NORESERVE);
        }
        let (number, zero) = match file {
            Some(file) if file.kind == FileKind::Zero => (0, file.number),
            file => (file.map_or(0, |file| file.number), 0),
        };
        let refused = huge.map(|size| why_not_huge(size, pgoff));
        self.map_region(host, range, vm_flags, pgoff, number, refused)?;
        space.system.put_file(zero);
        if vm_flags.has(VmFlags::DROPPABLE) {
            space.system.note_unneeded();
        }
        let populates =
            vm_flags.has(VmFlags::LOCKED) || flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE;
        Ok(Mapped {
            addr,
            populate: if populates { len } else { 0 },
        })
    }

    /// The flags and the first page of a file's mapping at `addr`. Files are mapped privately
    /// alone, but for zeroes.
    fn file_flags(
        &self,
        file: &MmapFile,
        request: &MmapRequest,
        flags: u32,
        vm_flags: VmFlags,
        addr: VirtAddr,
        len: u64,
    ) -> Result<(VmFlags, u64)> {
        // `file_mmap_ok`: most of what is no regular file has no such end.
        let last = (i64::MAX as u64).checked_sub(len);
        let is_behind = last.is_none_or(|bytes| request.pgoff > bytes >> PAGE_SHIFT);
        if is_behind && !matches!(file.kind, FileKind::Other | FileKind::Zero) {
            return Err(Error::OffsetOverflow);
        }
        let is_shared = match flags & MAP_TYPE {
            MAP_SHARED | MAP_SHARED_VALIDATE => {
                file.check_shared(request.prot, flags)?;
                true
            }
            MAP_PRIVATE => false,
            _ => return Err(Error::BadMapFlags),
        };
        if !file.is_readable {
            return Err(Error::AccessDenied);
        }
        let mut vm_flags = vm_flags;
        if file.is_noexec {
            if vm_flags.has(VmFlags::EXEC) {
                return Err(Error::MayNotExecute);
            }
            vm_flags = vm_flags.without(VmFlags::MAYEXEC);
        }
        let is_mappable = match file.kind {
            FileKind::Pages => !is_shared,
            FileKind::Huge | FileKind::Zero => true,
            FileKind::Other => false,
        };
        if !is_mappable {
            return Err(Error::NotMappable);
        }
        if vm_flags.has(VmFlags::GROWSDOWN) {
            return Err(Error::BadMapFlags);
        }
        match (file.kind, is_shared) {
            // Zeroes are as large as the mapping, whatever it begins with
            // (`shmem_zero_setup_desc`).
            (FileKind::Zero | FileKind::Huge, true) if file.is_writable => {
                let shared = vm_flags.with(VmFlags::SHARED).with(VmFlags::MAYSHARE);
                Ok((shared, request.pgoff))
            }
            // Nobody can ever write there, so it is nobody else's, either.
            (FileKind::Zero, true) => {
                let read_only = vm_flags.without(VmFlags::MAYWRITE);
                Ok((read_only.with(VmFlags::MAYSHARE), addr.page()))
            }
            (FileKind::Zero, false) => Ok((vm_flags, addr.page())),
            _ => Ok((vm_flags, request.pgoff)),
        }
    }

    /// Maps a range whose place and flags are settled (`mmap_region`). What its file is
    /// `refused` for is told when what was there has gone (`vms_clean_up_area`, `mmap_file`).
    ///
    /// # Errors
    ///
    /// [`Error::TooManyMaps`], [`Error::AddressSpaceLimit`], [`Error::Overcommit`],
    /// [`Error::NoMemory`], and `refused`. What was there is still there then, if split, but
    /// for the last two, which may leave a gap as in Linux.
    fn map_region(
        &self,
        host: &dyn HostTable,
        range: VirtRange,
        flags: VmFlags,
        pgoff: u64,
        file: u64,
        refused: Option<Error>,
    ) -> Result<Vma<'m>> {
        let space = &self.space;
        let mut flags = flags;
        let doomed = self.gather(host, range)?;
        let pages = range.pages();
        if !space.may_expand(flags, pages.wrapping_sub(doomed.pages)) {
            return Err(Error::AddressSpaceLimit);
        }
        let mut charged = None;
        // Huge pages, which alone are refused here, are not promised so.
        if refused.is_none() && is_accountable(flags) {
            // What is replaced has paid for a part.
            let more = pages.wrapping_sub(doomed.accounted);
            if more != 0 {
                space.charge(more)?;
            }
            charged = Some(more);
            flags = flags.with(VmFlags::ACCOUNT);
        }
        let anon_pgoff = range.start.page();
        let merge = Merge {
            prev: doomed.prev,
            middle: None,
            next: doomed.next,
            copied_from: None,
            start: range.start.0,
            end: range.end.0,
            pgoff,
            anon_pgoff,
            flags,
            file,
            anon: 0,
            just_expand: false,
        };
        let new = NewVma {
            start: range.start.0,
            end: range.end.0,
            flags,
            pgoff,
            anon_pgoff,
            file,
        };
        let uncharge = || space.system.account(-(charged.unwrap_or(0) as i64));
        // For a gap where the old was, if there is no memory for the new.
        let mut gap = match doomed.pages {
            0 => None,
            _ => Some(space.tree().reserve(1).inspect_err(|_| uncharge())?),
        };
        self.detach(&doomed);
        if doomed.pages != 0 {
            self.clear_entries(host, &doomed);
        }
        let made = match refused {
            Some(error) => Err(error),
            None => self.merge_or_new(&merge, &new),
        };
        let vma = match made {
            Ok(vma) => vma,
            Err(error) => {
                uncharge();
                if let Some(gap) = &mut gap {
                    space.tree().store(new.start, new.end, None, gap);
                }
                self.complete_munmap(&doomed);
                return Err(error);
            }
        };
        let mut doomed = doomed;
        if charged.is_some() {
            doomed.accounted = 0;
        }
        self.complete_munmap(&doomed);
        let flags = vma.flags();
        space.stat_account(flags, pages as i64);
        if flags.has(VmFlags::LOCKED) {
            match vma.supports_mlock() {
                true => space.add_locked(pages as i64),
                false => vma.set_flags(flags.without(VmFlags::LOCKED_MASK)),
            }
        }
        // For whoever looks for what was written to, all that is new was.
        vma.set_flags(vma.flags().with(VmFlags::SOFTDIRTY));
        Ok(vma)
    }

    /// A neighbour that has the range from now on, or a VMA of its own
    /// (`__mmap_new_vma`). A neighbour has what is behind it already.
    fn merge_or_new(&self, merge: &Merge<'m>, new: &NewVma) -> Result<Vma<'m>> {
        let merged = self.merge_new_range(merge).unwrap_or(None);
        if let Some(vma) = merged {
            self.space.system.put_file(new.file);
            return Ok(vma);
        }
        let space = &self.space;
        if new.file != 0 || !new.flags.has(VmFlags::SHARED) {
            return self.insert_vma(new);
        }
        let file = space.new_shared_memory(new)?;
        self.insert_vma(&NewVma { file, ..*new })
            .inspect_err(|_| space.put_shared_memory(file))
    }
}

/// The flags and the first page of an anonymous mapping.
fn anonymous_flags(flags: u32, vm_flags: VmFlags, addr: VirtAddr) -> Result<(VmFlags, u64)> {
    let grows = vm_flags.has(VmFlags::GROWSDOWN);
    match flags & MAP_TYPE {
        MAP_SHARED if grows => Err(Error::BadMapFlags),
        MAP_SHARED => Ok((vm_flags.with(VmFlags::SHARED).with(VmFlags::MAYSHARE), 0)),
        MAP_DROPPABLE if grows || flags & MAP_LOCKED != 0 => Err(Error::BadMapFlags),
        MAP_DROPPABLE => {
            let more = VmFlags::DROPPABLE
                .with(VmFlags::NORESERVE)
                .with(VmFlags::WIPEONFORK)
                .with(VmFlags::DONTDUMP);
            Ok((vm_flags.with(more), addr.page()))
        }
        MAP_PRIVATE => Ok((vm_flags, addr.page())),
        _ => Err(Error::BadMapFlags),
    }
}
