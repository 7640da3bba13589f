// SPDX-License-Identifier: GPL-2.0

//! Memory that is measured, in a window and in the process's own address space, and the
//! loops that touch it.

use super::together::stay_on;
use super::PAGE;
use crate::error::Error;
use crate::error::Result;
use nix::libc;
use nix::sys::mman::MapFlags;
use nix::sys::mman::MmapAdvise;
use nix::sys::mman::ProtFlags;
use shadowmm_client::mm::Window;
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr;
use std::ptr::NonNull;
use std::sync::Barrier;

/// Where memory can be had.
pub trait Area {
    /// New private memory, to be read and written.
    fn map(&self, len: usize) -> Result<usize>;
    /// It goes.
    fn unmap(&self, place: usize, len: usize) -> Result<()>;
    /// It may be used like this.
    fn protect(&self, place: usize, len: usize, prot: ProtFlags) -> Result<()>;
    /// It will be used like that.
    fn advise(&self, place: usize, len: usize, advice: MmapAdvise) -> Result<()>;
}

/// A window.
#[derive(Debug)]
pub struct Shadowed<'w, 'd>(pub &'w Window<'d>);

/// This process's own addresses.
#[derive(Debug)]
pub struct Own;

fn pointer(place: usize) -> Result<NonNull<c_void>> {
    NonNull::new(ptr::with_exposed_provenance_mut(place))
        .ok_or_else(|| Error::failed("memory was mapped at 0"))
}

fn address(pointer: NonNull<c_void>) -> usize {
    pointer.as_ptr().expose_provenance()
}

fn size(len: usize) -> Result<NonZeroUsize> {
    NonZeroUsize::new(len).ok_or_else(|| Error::failed("nothing is to be mapped"))
}

impl Shadowed<'_, '_> {
    /// Whether the shadow can give so many bytes.
    pub fn has_room(&self, len: usize) -> Result<()> {
        let place = self.map(len)?;
        let populated = self.advise(place, len, MmapAdvise::MADV_POPULATE_WRITE);
        self.unmap(place, len)?;
        populated
    }
}

impl Area for Shadowed<'_, '_> {
    fn map(&self, len: usize) -> Result<usize> {
        Ok(address(self.0.mmap_anonymous(size(len)?)?))
    }

    fn unmap(&self, place: usize, len: usize) -> Result<()> {
        Ok(self.0.munmap(pointer(place)?, len)?)
    }

    fn protect(&self, place: usize, len: usize, prot: ProtFlags) -> Result<()> {
        Ok(self.0.mprotect(pointer(place)?, len, prot)?)
    }

    fn advise(&self, place: usize, len: usize, advice: MmapAdvise) -> Result<()> {
        Ok(self.0.madvise(pointer(place)?, len, advice)?)
    }
}

impl Area for Own {
    fn map(&self, len: usize) -> Result<usize> {
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: It goes where nothing is.
        let got = unsafe {
            nix::sys::mman::mmap_anonymous(None, size(len)?, prot, MapFlags::MAP_PRIVATE)
        };
        got.map(address)
            .map_err(|errno| Error::failed(format!("could not map memory: {errno}")))
    }

    fn unmap(&self, place: usize, len: usize) -> Result<()> {
        // SAFETY: `map` gave it, and nothing points there.
        unsafe { nix::sys::mman::munmap(pointer(place)?, len) }
            .map_err(|errno| Error::failed(format!("could not unmap memory: {errno}")))
    }

    fn protect(&self, place: usize, len: usize, prot: ProtFlags) -> Result<()> {
        // SAFETY: As above.
        unsafe { nix::sys::mman::mprotect(pointer(place)?, len, prot) }
            .map_err(|errno| Error::failed(format!("could not protect memory: {errno}")))
    }

    fn advise(&self, place: usize, len: usize, advice: MmapAdvise) -> Result<()> {
        // SAFETY: As above.
        unsafe { nix::sys::mman::madvise(pointer(place)?, len, advice) }
            .map_err(|errno| Error::failed(format!("could not advise: {errno}")))
    }
}

/// The time-stamp counter, when all that comes before has been done.
pub fn ticks() -> u64 {
    // SAFETY: All x86-64 processors have both.
    unsafe {
        std::arch::x86_64::_mm_lfence();
        std::arch::x86_64::_rdtsc()
    }
}

/// Writes to each page of mapped memory that nothing points into.
#[inline(never)]
pub fn write(place: usize, len: usize) {
    for at in (place..place + len).step_by(PAGE) {
        // SAFETY: It is mapped, to be written, and no reference leads there.
        unsafe { ptr::with_exposed_provenance_mut::<u64>(at).write_volatile(1) };
    }
}

/// Reads each page of mapped memory.
#[inline(never)]
pub fn read(place: usize, len: usize) {
    for at in (place..place + len).step_by(PAGE) {
        // SAFETY: It is mapped, to be read; all bits are good.
        unsafe { ptr::with_exposed_provenance::<u64>(at).read_volatile() };
    }
}

/// Does both at once, the second in a thread on that CPU: what it took.
pub fn at_once(cpu: u32, first: impl FnOnce(), second: impl FnOnce() + Send) -> Result<u64> {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let stays = stay_on(cpu);
            barrier.wait();
            second();
            stays
        });
        barrier.wait();
        let begin = ticks();
        first();
        let stays = other.join();
        let took = ticks() - begin;
        stays.unwrap_or_else(|_| Err(Error::failed("a thread failed")))?;
        Ok(took)
    })
}

/// What `work` took while a child has all that there is, too.
pub fn beside_child(work: impl FnOnce() -> u64) -> Result<u64> {
    let mut pipe = [0; 2];
    // SAFETY: There is room for both.
    if unsafe { libc::pipe(pipe.as_mut_ptr()) } != 0 {
        return Err(Error::failed("no pipe could be made"));
    }
    let child = fork()?;
    if child == 0 {
        let mut byte = 0u8;
        // SAFETY: The child does nothing but wait for the end of the pipe, and ends.
        unsafe {
            libc::close(pipe[1]);
            libc::read(pipe[0], (&raw mut byte).cast(), 1);
            libc::_exit(0)
        }
    }
    let took = work();
    // SAFETY: They are ours.
    unsafe {
        libc::close(pipe[0]);
        libc::close(pipe[1]);
    }
    wait(child);
    Ok(took)
}

/// What a fork takes until it comes back; the child ends at once.
pub fn fork_time() -> Result<u64> {
    let begin = ticks();
    let child = fork()?;
    if child == 0 {
        // SAFETY: Nothing has to be done at the end.
        unsafe { libc::_exit(0) }
    }
    let took = ticks() - begin;
    wait(child);
    Ok(took)
}

fn fork() -> Result<libc::pid_t> {
    // SAFETY: The child does nothing but wait and end.
    match unsafe { libc::fork() } {
        ..0 => Err(Error::failed("could not fork")),
        pid => Ok(pid),
    }
}

fn wait(child: libc::pid_t) {
    // SAFETY: The child is ours, and nobody asks how it ended.
    unsafe { libc::waitpid(child, ptr::null_mut(), 0) };
}
