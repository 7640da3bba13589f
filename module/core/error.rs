// SPDX-License-Identifier: GPL-2.0

//! What can go wrong, as values.
//!
//! Each error has three faces: a stable code (it crosses the ABI in the
//! `reason` field of a refused request), the errno that a system call
//! returns, and a sentence for a person. All three stand in one table below,
//! so that none can be forgotten.

use core::fmt;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Linux's error numbers, as far as shadowmm returns them.
///
/// The values are those of `include/uapi/asm-generic/errno-base.h` and
/// `errno.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[allow(missing_docs)] // The names are the documentation.
pub enum Errno {
    EPERM = 1,
    ENOENT = 2,
    ESRCH = 3,
    EINTR = 4,
    ENXIO = 6,
    E2BIG = 7,
    EBADF = 9,
    EAGAIN = 11,
    ENOMEM = 12,
    EACCES = 13,
    EFAULT = 14,
    EBUSY = 16,
    EEXIST = 17,
    ENODEV = 19,
    EINVAL = 22,
    ENOTTY = 25,
    ENOSPC = 28,
    ERANGE = 34,
    ENODATA = 61,
    EOVERFLOW = 75,
    EOPNOTSUPP = 95,
    EALREADY = 114,
    EUCLEAN = 117,
    EDQUOT = 122,
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $errno:ident, $text:literal;)*) => {
        /// Why a request was refused. A refused request has changed nothing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Error { $($(#[$doc])* #[doc = ""] #[doc = $text] $name = $code,)* }

        impl Error {
            /// Every error, in the order of the codes.
            pub const ALL: &'static [Error] = &[$(Error::$name,)*];

            /// The errno that a system call returns for this error.
            pub const fn errno(self) -> Errno {
                match self { $(Error::$name => Errno::$errno,)* }
            }

            /// The sentence that a person reads.
            pub const fn sentence(self) -> &'static str {
                match self { $(Error::$name => $text,)* }
            }

            /// The error's name as an identifier, for counters and JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Error::$name => stringify!($name),)* }
            }

            /// The error with this code, as it crosses the ABI.
            pub const fn from_code(code: u32) -> Option<Error> {
                match code { $($code => Some(Error::$name),)* _ => None }
            }
        }
    };
}

errors! {
    // The firmware map.
    MapEmpty = 1, ENODATA, "the map has no usable memory";
    MapTooManyEntries = 2, E2BIG, "the map has more entries than the table holds";
    MapEntryEmpty = 3, EINVAL, "an entry of the map has no length";
    MapEntryOverflow = 4, EOVERFLOW, "an entry of the map runs past the end of the address space";
    MapUnknownType = 5, EINVAL, "an entry of the map has a type that e820 does not know";
    MapBadNode = 6, EINVAL, "the map names a node outside the supported range";
    MapNodeOverlap = 7, EINVAL, "two nodes of the map claim the same memory";
    MapBadDistance = 8, EINVAL, "a distance is below 10, or a node's own distance is not 10";
    MapTooSparse = 9, ERANGE, "the map, scaled to the region, does not fit 32-bit page numbers";
    MapMalformed = 10, EINVAL, "a line of the boot log looks like a map but cannot be read";
    MapMissing = 11, ENODATA, "the boot log has no firmware map";

    // The region and the boot.
    RegionTooSmall = 20, ENOSPC, "the region is too small for this map";
    RegionMissing = 21, ENOMEM, "no memory could be had for the region";
    StageOrder = 22, EBUSY, "the boot is not at the stage that this request needs";
    StageDone = 23, EALREADY, "the boot has already reached its last stage";
    BootFailed = 24, ENOMEM, "a boot stage could not get the memory it needs";
    BadParameter = 25, EINVAL, "a parameter is malformed, or its value is impossible here";
    PagesHeld = 27, EBUSY, "open files hold pages; close them first";
    CrashKernelNoRoom = 26, ENOMEM, "there is no free range for the crash kernel";

    // memblock.
    MemblockArrayFull = 42, ENOSPC, "a region array is full and may not be resized yet";
    MemblockNoMemory = 43, ENOMEM, "no free range meets the request";

    // The buddy system.
    OrderTooLarge = 60, EINVAL, "the order is above the largest that the buddy system keeps (10)";
    NoMemory = 61, ENOMEM, "no zone that the request may use has a free block of that order above its watermark";
    BadGfp = 62, EINVAL, "the flags contradict each other or are unknown";
    NodeOffline = 63, EINVAL, "there is no such node";
    ForeignPfn = 64, ENXIO, "the page frame is not memory that shadowmm manages";
    DoubleFree = 65, EALREADY, "the page is free already";
    WrongOrder = 66, EINVAL, "the block was allocated at another order";
    NotBlockHead = 67, EINVAL, "the page is inside a block, not its first page";
    PageReserved = 68, EBUSY, "the page is reserved and was never the buddy system's to give";
    NotOwner = 69, EPERM, "the page belongs to another open file";
    BadPieces = 70, EINVAL, "the pieces do not make up the whole: a split goes to a lower order, and a merge fills an aligned block of one zone";
    Shared = 71, EBUSY, "others hold references to the block";
    TooManyReferences = 72, EOVERFLOW, "the block has as many references as can be counted";
    NotShareable = 73, EPERM, "the block is the module's own, and no open file can hold it";
    MayMove = 74, EBUSY, "the block may be moved, so it can be neither shared nor split nor merged";
    NotMovable = 76, EBUSY, "the page, or one of the range, can't be moved now";
    NoSuchHandle = 78, ENOENT, "the open file has no block by that handle: it was freed, or given up when memory was short";
    CannotFail = 77, ENOMEM, "a request that must not fail can't be served: all memory that it may use is held";

    // The ABI.
    BadFlags = 80, EINVAL, "unknown flags are set";
    BadReserved = 81, EINVAL, "a reserved field is not zero";
    BadSize = 82, EINVAL, "the structure is smaller than its first version, or the record is not of the module's size";
    TooNew = 83, E2BIG, "the structure is newer than this module and has fields set that it does not know";
    BadPointer = 84, EFAULT, "a pointer does not lead to accessible memory";
    BadKind = 85, EINVAL, "there is no report, stage operation or map source of that number";
    BadText = 86, EINVAL, "a text is not UTF-8 or has no end";
    UnknownRequest = 88, ENOTTY, "there is no request of that number";
    TooManyPages = 89, E2BIG, "the request names more pages than one request may";
    NoPages = 90, EINVAL, "the request names no pages";
    BadPolicy = 91, EINVAL, "the policy needs nodes and has none, or has nodes and needs none";
    NotSupported = 92, EOPNOTSUPP, "the page allocator that has the pages cannot do this";
    NoHostMemory = 87, ENOMEM, "the host has no memory for the request's own bookkeeping";

    // Measurements.
    NotPermitted = 110, EPERM, "the request is for CAP_SYS_ADMIN alone";
    BadBlocks = 111, EINVAL, "a measurement has 1 to 4096 blocks, of one side at least";
    CpuOffline = 112, EINVAL, "there is no such CPU, or it is not up";

    // Users.
    UserLimit = 118, EDQUOT, "the user would have more of the shadow than one user may (/proc/shadowmm/users)";
    FileLimit = 119, EDQUOT, "the open file would have more of the shadow than one file may";
    LargeObject = 120, EPERM, "objects of more than two pages are for CAP_SYS_RESOURCE alone";

    // The differential test.
    DiffBusy = 114, EBUSY, "another file has copies of the running kernel's zones";
    DiffNotOpen = 115, EINVAL, "there are no copies of the running kernel's zones, or they differ already";
    DiffNoZones = 116, ENODATA, "the running kernel has no such node, or it has no memory";
    DiffCacheName = 117, EINVAL, "the kernel is asked for caches whose names begin with diff-";

    // The slab layer.
    BadCacheName = 130, EINVAL, "a cache's name has 1 to 63 visible characters, and no slash";
    CacheExists = 131, EEXIST, "there is a cache of that name, and it can't be shared";
    NoSuchCache = 132, ENOENT, "there is no such cache";
    CacheBusy = 133, EBUSY, "objects of the cache are alive; free them first";
    TooManyCaches = 134, ENOSPC, "there are as many caches as can be";
    NotAnObject = 135, EINVAL, "no object begins at that address";
    WrongCache = 136, EINVAL, "the object belongs to another cache";
    ObjectFree = 137, EALREADY, "the object is free already";
    SlabPage = 138, EBUSY, "the page is part of a slab, and goes back with it";
    ConstructorFailed = 139, ENOMEM, "the cache's constructor has refused an object of a new slab";
    AllocTooLarge = 140, E2BIG, "kmalloc has no object of that size";
    CacheNeeded = 141, EBUSY, "the cache is not one that was created by a request: somebody else needs it";
    SlabDamaged = 142, EUCLEAN, "the slab is damaged, and is not used any more";
    ZeroWithConstructor = 143, EINVAL, "the objects of a cache with a constructor can't be asked for zeroed";
    BadObjectSize = 150, EINVAL, "an object has one byte at least";
    ObjectTooLarge = 151, EINVAL, "no block holds one object with what surrounds it (4 MiB)";
    BadAlignment = 152, EINVAL, "the alignment, rounded up to a multiple of 8, is no power of two";
    BadFreePointer = 153, EINVAL, "a place for the free pointer is a multiple of 8 inside the object, in a cache with a constructor or TYPESAFE_BY_RCU";
    BadUserWindow = 154, EINVAL, "the part that may be copied to and from user space does not lie in the object";
    AskedTooLarge = 155, EINVAL, "an object of the cache has fewer bytes than are asked for";

    // Objects of open files.
    ObjectsHeld = 165, EBUSY, "open files hold objects, or caches that they compare with the kernel's; close them first";
    ObjectNotHeld = 166, EPERM, "the open file does not hold this object";
    BadObjectCount = 167, EINVAL, "a request is about 1 to 4096 objects";
    OutsideObject = 168, ERANGE, "the bytes are not all the object's, or not all of its slab";
    NeedsDebugging = 169, EOPNOTSUPP, "objects can be misused in caches of one's own with debugging alone";

    // Address spaces: what system calls about VMAs answer.
    NoSuchSpace = 180, ESRCH, "there is no such address space";
    BadWindow = 181, EINVAL, "a window is page aligned, not empty, and ends below the highest address that a process has";
    BadLength = 182, EINVAL, "the length is zero, or is zero when it is rounded up to pages";
    NotPageAligned = 183, EINVAL, "the address is not the start of a page";
    BadProtection = 184, EINVAL, "the protection has bits that are unknown or contradict each other";
    BadMapFlags = 185, EINVAL, "the flags are unknown, contradict each other, or do not go with what is mapped";
    OutsideWindow = 186, ENOMEM, "the range does not lie in the window";
    RangeOverflow = 187, ENOMEM, "the range runs past the end of the address space";
    BadRange = 188, EINVAL, "the range runs past the end of the window or of the address space";
    NoAddressRoom = 189, ENOMEM, "the window has no free range of that length";
    TooManyMaps = 190, ENOMEM, "the address space has as many VMAs as it may have";
    AddressSpaceLimit = 191, ENOMEM, "RLIMIT_AS or RLIMIT_DATA would be exceeded";
    StackLimit = 192, ENOMEM, "the stack would exceed RLIMIT_STACK, or come too near to what is mapped below it";
    LockLimit = 193, EAGAIN, "RLIMIT_MEMLOCK would be exceeded";
    LockLimitNoMemory = 194, ENOMEM, "more memory would be locked than RLIMIT_MEMLOCK allows";
    MayNotLock = 195, EPERM, "the process may not lock memory";
    Overcommit = 196, ENOMEM, "more memory would be promised than the overcommit mode allows";
    RangeTaken = 197, EEXIST, "something is mapped in the range already";
    NotMapped = 198, ENOMEM, "not all of the range is mapped";
    NothingThere = 199, EFAULT, "nothing is mapped at the address, or not all of the range is one mapping";
    AccessDenied = 200, EACCES, "what is mapped there may not be accessed so";
    LowAddress = 201, EPERM, "the address is below mmap_min_addr";
    BadAdvice = 202, EINVAL, "the advice is unknown, or not for what is mapped there";
    OffsetOverflow = 203, EOVERFLOW, "the offset is past what can be counted in pages";
    LockedThere = 204, EBUSY, "locked memory can't be invalidated";
    MayNotExecute = 205, EPERM, "the file lies where nothing may be executed";
    TryAgain = 206, EAGAIN, "there was no memory for the request's bookkeeping; it may be tried again";
    BadRemap = 207, EINVAL, "the flags, lengths and addresses of the move contradict each other";
    NotAStack = 208, EFAULT, "what is mapped there does not grow";
    NotMappable = 209, ENODEV, "the file can't be mapped so";
    FileNotRead = 210, EAGAIN, "a page of the file has yet to be read";
    UnknownSharedFlags = 211, EOPNOTSUPP, "MAP_SHARED_VALIDATE comes with a flag that is unknown, or not for this file";

    // Windows of processes.
    NoWindow = 230, ENXIO, "the process has no window through this file";
    WindowTaken = 231, EBUSY, "the process has a window through this file already";
    WindowPrivate = 232, EINVAL, "a window is mapped with MAP_SHARED: the host would copy its pages else";
    WindowExecutable = 233, EPERM, "nothing is executed in a window";
    WindowAccess = 234, EACCES, "a window is readable and writable; what is allowed in it, it says itself";
    WindowOffset = 235, EINVAL, "a window has no offset";
    WindowsOpen = 236, EBUSY, "processes have windows; they end with them";
    Interrupted = 237, EINTR, "the process is about to be killed";
    BadDescriptor = 238, EBADF, "there is no such open file";
    SpaceForeign = 239, EACCES, "the address space is another user's";
    TooManySpaces = 240, ENOSPC, "as many address spaces have been made as there are numbers, until the module is loaded again";
    FileGuarded = 241, EPERM, "somebody who guards the file does not let it be read";

    // validate().
    Corrupt = 100, EUCLEAN, "an invariant does not hold; validate names it";
}

impl Error {
    /// The code under which the error crosses the ABI. Never zero.
    pub const fn code(self) -> u32 {
        self as u32
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// A result of core.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// How often each error was the answer. Reads and counts from anywhere.
pub struct Refusals([AtomicU64; Error::ALL.len()]);

impl Default for Refusals {
    fn default() -> Self {
        Self::new()
    }
}

impl Refusals {
    /// Nothing was refused yet.
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; Error::ALL.len()])
    }

    /// Counts `error` once more.
    pub fn count(&self, error: Error) {
        let place = Error::ALL.iter().position(|&e| e == error);
        if let Some(counter) = place.and_then(|i| self.0.get(i)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Writes the errors that there were, one a line: count, name, sentence.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for (error, count) in self.iter().filter(|&(_, count)| count != 0) {
            writeln!(out, "{count:>10} {:<20} {error}", error.name())?;
        }
        Ok(())
    }

    /// Every error with its count, in the order of the codes.
    pub fn iter(&self) -> impl Iterator<Item = (Error, u64)> + '_ {
        let counts = self.0.iter().map(|counter| counter.load(Relaxed));
        Error::ALL.iter().copied().zip(counts)
    }
}
