// SPDX-License-Identifier: GPL-2.0

//! What the slab layer's numbers are: of an object, of a cache, of a
//! constructor.

use crate::error::Error;
use crate::error::Result;
use crate::phys::Pfn;
use crate::phys::PhysAddr;
use crate::phys::PAGE_SIZE;
use core::fmt;

/// Where an object lies: a shadow physical address. It stands for the pointer
/// that Linux gives out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ObjAddr(u64);

impl ObjAddr {
    /// No object: for places that are to be filled. Freeing it does nothing, as
    /// for Linux's null pointer. The first page is never given out.
    pub const NULL: Self = Self(0);

    /// The object at this address.
    #[inline]
    pub const fn new(addr: u64) -> Self {
        Self(addr)
    }

    /// Its address.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Its address, as those of other memory are.
    #[inline]
    pub const fn addr(self) -> PhysAddr {
        PhysAddr(self.0)
    }

    /// The page that it begins in.
    #[inline]
    pub const fn pfn(self) -> Pfn {
        Pfn(self.0 / PAGE_SIZE)
    }

    /// Where in that page it begins, in bytes.
    #[inline]
    pub const fn offset(self) -> u32 {
        (self.0 % PAGE_SIZE) as u32
    }

    /// Whether this is no object.
    #[inline]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }
}

/// As `%px` shows a pointer.
impl fmt::Display for ObjAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:016x}", self.0)
    }
}

/// How many caches there can be at once; their numbers are below it.
pub const MAX_CACHES: usize = 2048;

/// A cache's number. It stands for the pointer that Linux gives out.
///
/// # Invariants
///
/// Not 0, and below [`MAX_CACHES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct CacheId(u16);

impl CacheId {
    /// The cache of this number, if it can be one.
    #[inline]
    pub const fn new(id: u16) -> Option<Self> {
        // INVARIANT: As just seen.
        match id {
            0 => None,
            id if id as usize >= MAX_CACHES => None,
            id => Some(Self(id)),
        }
    }

    /// As a number.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// As an index below [`MAX_CACHES`].
    #[inline]
    pub const fn index(self) -> usize {
        // The mask changes no number; it spares those who index their check.
        self.0 as usize & (MAX_CACHES - 1)
    }
}

impl fmt::Display for CacheId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a cache's constructor does with each object of a new slab. Linux has
/// pointers to functions; the shadow's objects are nobody's but their users',
/// so what can be seen of a constructor is what it writes, and whether it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Constructor {
    /// There is none.
    #[default]
    None,
    /// Every byte of the object is this one.
    Fill(u8),
    /// It has worked for so many objects when it fails for the next, and for all
    /// that come after. In Linux it can't fail; here the slab is not made then.
    FailAfter(u32),
}

impl Constructor {
    const KIND_SHIFT: u32 = 32;

    /// Whether there is one.
    #[inline]
    pub const fn is_some(self) -> bool {
        !matches!(self, Self::None)
    }

    /// As one number, for places that hold no types.
    pub const fn to_bits(self) -> u64 {
        let (kind, value) = match self {
            Self::None => (0, 0),
            Self::Fill(byte) => (1, byte as u64),
            Self::FailAfter(count) => (2, count as u64),
        };
        (kind << Self::KIND_SHIFT) | value
    }

    /// The reverse of [`Constructor::to_bits`]; any other number is no
    /// constructor.
    pub const fn from_bits(bits: u64) -> Self {
        match bits >> Self::KIND_SHIFT {
            1 => Self::Fill(bits as u8),
            2 => Self::FailAfter(bits as u32),
            _ => Self::None,
        }
    }
}

/// How many bytes a cache's name can have.
pub const MAX_CACHE_NAME: usize = 63;

/// The name of a cache.
///
/// # Invariants
///
/// `text` is ASCII, up to `len`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CacheName {
    text: [u8; MAX_CACHE_NAME],
    len: u8,
}

impl CacheName {
    /// The name of this text: 1 to [`MAX_CACHE_NAME`] visible ASCII characters,
    /// without a slash, since names are those of directories, words of
    /// `/proc/slabinfo` and parts of `slab_debug=`.
    ///
    /// # Errors
    ///
    /// [`Error::BadCacheName`] for any other.
    pub fn new(name: &str) -> Result<Self> {
        let is_fit = |&byte: &u8| byte.is_ascii_graphic() && byte != b'/';
        let mut text = [0; MAX_CACHE_NAME];
        let place = text.get_mut(..name.len()).ok_or(Error::BadCacheName)?;
        if matches!(name, "" | "." | "..") || !name.as_bytes().iter().all(is_fit) {
            return Err(Error::BadCacheName);
        }
        place.copy_from_slice(name.as_bytes());
        // INVARIANT: All are visible ASCII characters.
        Ok(Self {
            text,
            len: name.len() as u8,
        })
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        let text = self.text.get(..usize::from(self.len)).unwrap_or_default();
        // By the invariant it always is.
        core::str::from_utf8(text).unwrap_or_default()
    }
}

/// No name.
impl Default for CacheName {
    fn default() -> Self {
        // INVARIANT: There is no text.
        Self {
            text: [0; MAX_CACHE_NAME],
            len: 0,
        }
    }
}

impl fmt::Display for CacheName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for CacheName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
