// SPDX-License-Identifier: GPL-2.0

//! Requests and records: between the caller's memory and the module's.
//!
//! The rules stand in uapi/shadowmm.h. A request is read whole, checked, and
//! answered whole; when it is refused, only the head's `reason` has changed.

use crate::bindings;
use crate::uapi;
use core::fmt;
use core::fmt::Write;
use core::mem;
use core::slice;
use kernel::ffi::c_char;
use kernel::prelude::*;
use kernel::uaccess::UserPtr;
use kernel::uaccess::UserSlice;
use shadowmm_core::error::Error;

type Result<T = (), E = Error> = core::result::Result<T, E>;

/// A struct of the ABI.
///
/// # Safety
///
/// `repr(C)`, without padding, and every bit pattern is a value.
pub(crate) unsafe trait Plain: Copy {
    /// All zero.
    fn zeroed() -> Self {
        // SAFETY: Every bit pattern is a value.
        unsafe { mem::zeroed() }
    }

    /// The struct as bytes.
    fn bytes(&self) -> &[u8] {
        // SAFETY: There is no padding, so every byte is initialised.
        unsafe { slice::from_raw_parts((&raw const *self).cast(), mem::size_of::<Self>()) }
    }

    /// The struct as bytes to be overwritten.
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: As above, and every bit pattern is a value.
        unsafe { slice::from_raw_parts_mut((&raw mut *self).cast(), mem::size_of::<Self>()) }
    }
}

/// The argument of an ioctl.
///
/// # Safety
///
/// Starts with a `struct shadowmm_head`.
pub(crate) unsafe trait Request: Plain {
    /// The size of the first version of the struct.
    const FIRST_SIZE: usize = mem::size_of::<Self>();
    /// The flags that the request defines.
    const FLAGS: u32 = 0;

    /// The reserved fields behind the head; all must be zero.
    fn reserved(&self) -> u32 {
        0
    }

    /// The head.
    fn head(&self) -> &uapi::shadowmm_head {
        // SAFETY: The trait's promise.
        unsafe { &*(&raw const *self).cast() }
    }
}

macro_rules! plain {
    ($($name:ident)*) => { $(
        // SAFETY: The header lays its structs out without padding, and they
        // hold integers only.
        unsafe impl Plain for uapi::$name {}
    )* };
}

macro_rules! request {
    ($($name:ident $($field:ident)?;)*) => { $(
        plain! { $name }
        // SAFETY: The header starts it with a struct shadowmm_head.
        unsafe impl Request for uapi::$name {
            $(fn reserved(&self) -> u32 { self.$field })?
        }
    )* };
}

plain! {
    shadowmm_e820 shadowmm_affinity shadowmm_cpu
    shadowmm_rec_status shadowmm_rec_segment shadowmm_rec_e820 shadowmm_rec_resource
    shadowmm_rec_memblock shadowmm_rec_node shadowmm_rec_zone shadowmm_rec_account
    shadowmm_rec_counter shadowmm_rec_section
    shadowmm_rec_pageset shadowmm_rec_pagetype shadowmm_rec_fragmentation
    shadowmm_rec_numastat shadowmm_rec_fallback shadowmm_rec_area
    shadowmm_rec_slab shadowmm_rec_cache shadowmm_rec_cache_node
    shadowmm_rec_space shadowmm_rec_vma
}

request! {
    shadowmm_version reserved;
    shadowmm_stage;
    shadowmm_map reserved;
    shadowmm_report;
    shadowmm_validate;
    shadowmm_reclaim;
    shadowmm_bulk;
    shadowmm_exact reserved;
    shadowmm_block;
    shadowmm_policy;
    shadowmm_contig reserved;
    shadowmm_cache reserved;
    shadowmm_mm_config reserved;
    shadowmm_mm_info;
    shadowmm_mm_mmap reserved;
    shadowmm_mm_range reserved;
    shadowmm_mm_mremap reserved;
    shadowmm_mm_brk;
    shadowmm_mm_mlock;
    shadowmm_mm_mincore;
    shadowmm_mm_limits;
    shadowmm_mm_walk reserved;
    shadowmm_mm_vmas;
    shadowmm_misuse;
    shadowmm_diff_play reserved;
    shadowmm_diff_state;
    shadowmm_diff_caches;
}

plain! { shadowmm_bench }
// SAFETY: The header starts it with a struct shadowmm_head.
unsafe impl Request for uapi::shadowmm_bench {
    const FLAGS: u32 = uapi::SHADOWMM_BENCH_FRAGMENTED
        | uapi::SHADOWMM_BENCH_NO_SHADOW
        | uapi::SHADOWMM_BENCH_NO_HOST;

    fn reserved(&self) -> u32 {
        self.reserved
    }
}

plain! { shadowmm_bench_slab }
// SAFETY: As above.
unsafe impl Request for uapi::shadowmm_bench_slab {
    const FLAGS: u32 = uapi::SHADOWMM_BENCH_NO_SHADOW | uapi::SHADOWMM_BENCH_NO_HOST;

    fn reserved(&self) -> u32 {
        self.reserved
    }
}

plain! { shadowmm_bench_lookup }
// SAFETY: As above.
unsafe impl Request for uapi::shadowmm_bench_lookup {
    fn reserved(&self) -> u32 {
        self.reserved
    }
}

plain! { shadowmm_alloc shadowmm_free shadowmm_page }

// SAFETY: The header starts it with a struct shadowmm_head.
unsafe impl Request for uapi::shadowmm_alloc {
    const FIRST_SIZE: usize = mem::offset_of!(Self, handle);
    const FLAGS: u32 = uapi::SHADOWMM_ALLOC_MOVABLE | uapi::SHADOWMM_ALLOC_CACHE;

    fn reserved(&self) -> u32 {
        self.reserved
    }
}

// SAFETY: As above.
unsafe impl Request for uapi::shadowmm_free {
    const FLAGS: u32 = uapi::SHADOWMM_BY_HANDLE;

    fn reserved(&self) -> u32 {
        self.reserved
    }
}

// SAFETY: As above.
unsafe impl Request for uapi::shadowmm_page {
    const FLAGS: u32 = uapi::SHADOWMM_BY_HANDLE;

    fn reserved(&self) -> u32 {
        self.reserved
    }
}

plain! { shadowmm_create shadowmm_object shadowmm_objects shadowmm_kmalloc shadowmm_bytes }

// SAFETY: As above.
unsafe impl Request for uapi::shadowmm_create {
    const FLAGS: u32 = uapi::SHADOWMM_CREATE_FREEPTR;

    fn reserved(&self) -> u32 {
        self.reserved
    }
}

// SAFETY: As above.
unsafe impl Request for uapi::shadowmm_object {
    const FLAGS: u32 = uapi::SHADOWMM_OBJECT_ZERO | uapi::SHADOWMM_OBJECT_FORCE;
}

// SAFETY: As above.
unsafe impl Request for uapi::shadowmm_objects {
    const FLAGS: u32 = uapi::SHADOWMM_OBJECT_ZERO;

    fn reserved(&self) -> u32 {
        self.reserved
    }
}

// SAFETY: As above.
unsafe impl Request for uapi::shadowmm_kmalloc {
    const FLAGS: u32 = uapi::SHADOWMM_OBJECT_ZERO;
}

// SAFETY: As above.
unsafe impl Request for uapi::shadowmm_bytes {
    const FLAGS: u32 = uapi::SHADOWMM_OBJECT_FORCE;
}

plain! { shadowmm_diff_open shadowmm_diff_step shadowmm_diff_cache shadowmm_diff_geometry shadowmm_diff_objects_step }

// SAFETY: The header starts it with a struct shadowmm_head.
unsafe impl Request for uapi::shadowmm_diff_open {
    const FLAGS: u32 = uapi::SHADOWMM_DIFF_EMPTY | uapi::SHADOWMM_DIFF_NO_PAGESETS;
}

plain! { shadowmm_diff_objects shadowmm_diff_look }

// SAFETY: As above.
unsafe impl Request for uapi::shadowmm_diff_objects {
    const FIRST_SIZE: usize = mem::offset_of!(Self, shadow_short);
}

// SAFETY: As above.
unsafe impl Request for uapi::shadowmm_diff_look {
    const FIRST_SIZE: usize = mem::offset_of!(Self, apart);
}

/// The largest struct that is looked at: nothing that the ABI will ever have.
const MAX_SIZE: usize = 4096;

/// Reads and checks a request. On success also returns how many bytes of the
/// answer the caller has room for.
fn read<T: Request>(arg: UserPtr) -> Result<(T, usize)> {
    let mut head = [0u8; 4];
    let fault = |_| Error::BadPointer;
    UserSlice::new(arg, head.len())
        .reader()
        .read_slice(&mut head)
        .map_err(fault)?;
    let size = u32::from_ne_bytes(head) as usize;
    if size < T::FIRST_SIZE {
        return Err(Error::BadSize);
    }
    if size > MAX_SIZE {
        return Err(Error::TooNew);
    }
    let known = size.min(mem::size_of::<T>());
    let mut reader = UserSlice::new(arg, size).reader();
    let mut request = T::zeroed();
    if let Some(bytes) = request.bytes_mut().get_mut(..known) {
        reader.read_slice(bytes).map_err(fault)?;
    }
    while !reader.is_empty() {
        let mut byte = [0u8];
        reader.read_slice(&mut byte).map_err(fault)?;
        if byte != [0] {
            return Err(Error::TooNew);
        }
    }
    if request.head().size as usize != size {
        // Another thread has changed it meanwhile.
        return Err(Error::BadSize);
    }
    if request.head().flags & !T::FLAGS != 0 {
        return Err(Error::BadFlags);
    }
    if request.head().reserved != 0 || request.reserved() != 0 {
        return Err(Error::BadReserved);
    }
    Ok((request, known))
}

/// Where in a request the head's `reason` is.
const REASON: usize = mem::offset_of!(uapi::shadowmm_head, reason);

/// Reads a request, has it handled, and writes the answer or the reason.
pub(crate) fn answer<T: Request>(arg: UserPtr, handle: impl FnOnce(&mut T) -> Result) -> Result {
    answer_or_undo(arg, handle, |_, ()| ())
}

/// The same for a request that takes something, which `undo` gives back where the answer
/// can't be written: the caller would not know what he has.
///
/// Each request has a frame of its own on the stack, of 16 KiB: the one that dispatches
/// them would have all of theirs at once.
#[inline(never)]
pub(crate) fn answer_or_undo<T: Request, U>(
    arg: UserPtr,
    handle: impl FnOnce(&mut T) -> Result<U>,
    undo: impl FnOnce(&T, U),
) -> Result {
    let result = read::<T>(arg).and_then(|(mut request, known)| {
        // Where the answer can't be written, nothing may have been done: the
        // request itself goes back first, to the same place.
        write_bytes(arg, request.bytes().get(..known).unwrap_or(&[]))?;
        let done = handle(&mut request)?;
        if let Some(reason) = request
            .bytes_mut()
            .get_mut(REASON..REASON + size_of::<u32>())
        {
            reason.fill(0);
        }
        // The memory was there a moment ago, and the caller has let go of it.
        write_bytes(arg, request.bytes().get(..known).unwrap_or(&[]))
            .inspect_err(|_| undo(&request, done))
    });
    if let Err(error) = result {
        // If even this can't be written, the errno has to be enough.
        let _ = write_bytes(arg.wrapping_byte_add(REASON), &error.code().to_ne_bytes());
    }
    result
}

fn write_bytes(arg: UserPtr, bytes: &[u8]) -> Result {
    let mut writer = UserSlice::new(arg, bytes.len()).writer();
    writer.write_slice(bytes).map_err(|_| Error::BadPointer)
}

/// The records of a report: as many as the caller has room for are kept, all
/// are counted. They are collected first and written when nothing is locked
/// any more: the caller's memory may take its time, or even be the shadow's.
pub(crate) struct Records {
    bytes: KVVec<u8>,
    room: u32,
    /// How many there were.
    pub(crate) count: u32,
}

impl Records {
    /// Room for `capacity` records.
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            bytes: KVVec::new(),
            room: capacity,
            count: 0,
        }
    }

    /// The next record.
    pub(crate) fn push<T: Plain>(&mut self, record: &T) -> Result {
        if self.count < self.room {
            let kept = self.bytes.extend_from_slice(record.bytes(), GFP_KERNEL);
            kept.map_err(|_| Error::NoHostMemory)?;
        }
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// Writes what was kept to `buf`.
    pub(crate) fn write_to(&self, buf: u64) -> Result {
        write_bytes(UserPtr::from_addr(buf as usize), &self.bytes)
    }
}

/// Reads an array of `count` elements at `address`, one at a time.
pub(crate) fn read_array<T: Plain>(
    address: u64,
    count: u32,
    mut each: impl FnMut(T) -> Result,
) -> Result {
    let size = (count as usize)
        .checked_mul(mem::size_of::<T>())
        .ok_or(Error::MapTooManyEntries)?;
    let mut reader = UserSlice::new(UserPtr::from_addr(address as usize), size).reader();
    for _ in 0..count {
        let mut element = T::zeroed();
        reader
            .read_slice(element.bytes_mut())
            .map_err(|_| Error::BadPointer)?;
        each(element)?;
    }
    Ok(())
}

/// Reads `len` bytes at `address` into `into`, which has room for them.
pub(crate) fn read_bytes(address: u64, len: usize, into: &mut KVVec<u8>) -> Result<()> {
    let reader = UserSlice::new(UserPtr::from_addr(address as usize), len);
    reader
        .read_all(into, GFP_KERNEL)
        .map_err(|_| Error::BadPointer)
}

/// Writes an array to `address`; nothing for an empty one.
pub(crate) fn write_array<T: Plain>(address: u64, array: &[T]) -> Result {
    if array.is_empty() {
        return Ok(());
    }
    // SAFETY: There is no padding in the elements, nor between them.
    let bytes = unsafe { slice::from_raw_parts(array.as_ptr().cast(), mem::size_of_val(array)) };
    write_bytes(UserPtr::from_addr(address as usize), bytes)
}

/// Whether `len` bytes at `address` can be a process's memory; whether they are there is
/// seen when they are written.
pub(crate) fn check_room(address: u64, len: u64) -> Result {
    // SAFETY: Nothing is accessed.
    match unsafe { bindings::shadowmm_access_ok(address, len) } {
        true => Ok(()),
        false => Err(Error::BadPointer),
    }
}

// SAFETY: A byte.
unsafe impl Plain for u8 {}

// SAFETY: A number.
unsafe impl Plain for u64 {}

/// Writes an array of numbers to `address`.
pub(crate) fn write_numbers(
    address: u64,
    count: usize,
    numbers: impl Iterator<Item = u64>,
) -> Result {
    let size = count.saturating_mul(mem::size_of::<u64>());
    let mut writer = UserSlice::new(UserPtr::from_addr(address as usize), size).writer();
    for number in numbers.take(count) {
        let written = writer.write_slice(number.bytes());
        written.map_err(|_| Error::BadPointer)?;
    }
    Ok(())
}

/// Reads a NUL-terminated text into `buffer`, which must be larger than the
/// text by two: one that fills it may have been cut.
pub(crate) fn read_text(address: u64, buffer: &mut [u8]) -> Result<&str> {
    let ptr = UserPtr::from_addr(address as usize);
    let size = buffer.len();
    let reader = UserSlice::new(ptr, size).reader();
    let text = reader.strcpy_into_buf(buffer).map_err(|error| {
        if error == EFAULT {
            Error::BadPointer
        } else {
            Error::BadText
        }
    })?;
    if text.to_bytes_with_nul().len() >= size {
        return Err(Error::BadText);
    }
    text.to_str().map_err(|_| Error::BadText)
}

/// The text of a C string field, copied to `buffer`; `None` where it has no end.
///
/// # Errors
///
/// [`Error::BadReserved`] for something behind its end, [`Error::BadText`] for
/// what is not UTF-8.
pub(crate) fn text_of<'a, const N: usize>(
    field: &[c_char; N],
    buffer: &'a mut [u8; N],
) -> Result<Option<&'a str>> {
    for (to, &from) in buffer.iter_mut().zip(field) {
        *to = from;
    }
    let Some(end) = buffer.iter().position(|&byte| byte == 0) else {
        return Ok(None);
    };
    let (text, rest) = buffer.split_at(end);
    if rest.iter().any(|&byte| byte != 0) {
        return Err(Error::BadReserved);
    }
    core::str::from_utf8(text)
        .map(Some)
        .map_err(|_| Error::BadText)
}

/// A C string field that text is written to; what does not fit is dropped, and
/// the NUL at the end stays.
pub(crate) struct TextField<'a> {
    field: &'a mut [c_char],
    len: usize,
}

impl<'a> TextField<'a> {
    /// Writes to `field`. What the caller had left in it is gone.
    pub(crate) fn new(field: &'a mut [c_char]) -> Self {
        field.fill(0);
        Self { field, len: 0 }
    }
}

impl fmt::Write for TextField<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.field.len().saturating_sub(1);
        let free = self.field.get_mut(self.len..room).unwrap_or_default();
        for (place, byte) in free.iter_mut().zip(text.bytes()) {
            *place = byte as c_char;
            self.len += 1;
        }
        Ok(())
    }
}

/// Writes `text` to a C string field.
pub(crate) fn fill_text(field: &mut [c_char], text: &str) {
    // Text fields never fail.
    let _ = TextField::new(field).write_str(text);
}
