// SPDX-License-Identifier: GPL-2.0

//! Caches of objects: made, found, shrunk, destroyed, and told of.

use crate::device::Device;
use crate::error::Error;
use crate::error::Result;
use crate::request::text;
use serde::Serialize;
use shadowmm_abi as abi;
use std::ffi::c_char;
use std::fmt;

/// Bytes of text that the module may say about a cache.
const TEXT: usize = 64 << 10;

/// What is done to each object when its slab is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Constructor {
    /// Nothing.
    #[default]
    None,
    /// It is filled with this byte.
    Fill(u8),
    /// It works for so many objects, and fails from then on.
    FailAfter(u32),
}

impl Constructor {
    fn to_abi(self) -> (u32, u32) {
        match self {
            Self::None => (abi::SHADOWMM_CTOR_NONE, 0),
            Self::Fill(byte) => (abi::SHADOWMM_CTOR_FILL, byte.into()),
            Self::FailAfter(objects) => (abi::SHADOWMM_CTOR_FAIL, objects),
        }
    }

    fn from_abi(kind: u32, arg: u32) -> Result<Self> {
        match kind {
            abi::SHADOWMM_CTOR_NONE => Ok(Self::None),
            abi::SHADOWMM_CTOR_FILL => Ok(Self::Fill(arg as u8)),
            abi::SHADOWMM_CTOR_FAIL => Ok(Self::FailAfter(arg)),
            other => Err(Error::Unexpected {
                what: "read the caches",
                value: other.into(),
            }),
        }
    }
}

/// The cache that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheArgs {
    /// Its name.
    pub name: String,
    /// Bytes of an object.
    pub object_size: u32,
    /// A power of two, or 0.
    pub align: u32,
    /// Linux's `SLAB_*` bits of the running kernel.
    pub flags: u32,
    /// What is done to each object when its slab is made.
    pub constructor: Constructor,
    /// The part of an object that may be copied to users.
    pub useroffset: u32,
    /// Its length; 0 for none.
    pub usersize: u32,
    /// Where the free pointer goes; `None` for wherever there is room.
    pub freeptr_offset: Option<u32>,
    /// Objects that a CPU keeps; 0 for as many as Linux would.
    pub sheaf_capacity: u32,
}

/// What came of a wish for a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Created {
    /// The cache's number.
    pub cache: u32,
    /// How many other names it has: not 0 where there was a cache already that
    /// does as well.
    pub aliases: u32,
}

/// Why a cache is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDestroyed {
    /// Why.
    pub error: Error,
    /// The objects that are alive, in the words of Linux's report.
    pub alive: String,
}

impl fmt::Display for NotDestroyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for NotDestroyed {}

/// Who makes objects of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectsBy {
    /// Slabs, as in Linux.
    Slab,
    /// Containers, after Cosmos.
    Kmsob,
}

impl ObjectsBy {
    /// The name, as the module's parameter has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slab => "slab",
            Self::Kmsob => "kmsob",
        }
    }
}

/// The layer of caches as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlabLayer {
    /// Whether anybody has used it yet.
    pub up: bool,
    /// Who makes objects of pages.
    pub by: ObjectsBy,
    /// Objects that open files own.
    pub held_objects: u64,
    /// Caches that there are.
    pub caches: u64,
    /// Pages of all their slabs.
    pub slab_pages: u64,
}

/// A cache (`struct kmem_cache`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// Its number.
    pub cache: u32,
    /// Its first name.
    pub name: String,
    /// How many other names it has.
    pub aliases: u32,
    /// Whether it may have some.
    pub mergeable: bool,
    /// Bytes that were asked for.
    pub object_size: u32,
    /// Bytes from one object to the next.
    pub size: u32,
    /// Bytes up to the end of the object and what guards it.
    pub inuse: u32,
    /// Where the free pointer lies.
    pub offset: u32,
    /// Alignment, in bytes.
    pub align: u32,
    /// Bytes of the red zone before the object.
    pub red_left_pad: u32,
    /// Linux's `SLAB_*` bits.
    pub flags: u32,
    /// The order of a slab.
    pub order: u32,
    /// Objects in a slab.
    pub objects_per_slab: u32,
    /// The order when memory is short.
    pub min_order: u32,
    /// Objects in a slab of that order.
    pub min_objects: u32,
    /// Slabs that a node keeps although they are free.
    pub min_partial: u32,
    /// Objects that a CPU keeps.
    pub sheaf_capacity: u32,
    /// What is done to each object when its slab is made.
    pub constructor: Constructor,
    /// The part of an object that may be copied to users.
    pub useroffset: u32,
    /// Its length.
    pub usersize: u32,
    /// Objects that somebody has.
    pub active_objects: u64,
    /// Objects that there are.
    pub total_objects: u64,
    /// Free objects that CPUs keep.
    pub cached_objects: u64,
    /// Slabs.
    pub slabs: u64,
    /// Their pages.
    pub slab_pages: u64,
    /// Objects that came from what the CPU keeps.
    pub alloc_fastpath: u64,
    /// Objects that did not.
    pub alloc_slowpath: u64,
    /// Objects that went to what the CPU keeps.
    pub free_fastpath: u64,
    /// Objects that did not.
    pub free_slowpath: u64,
    /// Objects that went back to another node.
    pub free_remote: u64,
    /// How many batches those went in.
    pub remote_batches: u64,
    /// How often what a CPU keeps was filled.
    pub refills: u64,
    /// How often it was emptied in part.
    pub flushes: u64,
    /// How often it was taken from the CPU.
    pub cpu_flush: u64,
    /// Slabs that were made.
    pub alloc_slab: u64,
    /// Slabs that went back.
    pub free_slab: u64,
    /// Slabs that are smaller, for lack of memory.
    pub order_fallback: u64,
    /// Objects that could not be had.
    pub failed: u64,
}

impl TryFrom<&abi::shadowmm_rec_cache> for Cache {
    type Error = Error;

    fn try_from(record: &abi::shadowmm_rec_cache) -> Result<Self> {
        Ok(Self {
            cache: record.cache,
            name: text(&record.name),
            aliases: u32::try_from(record.refcount.saturating_sub(1)).unwrap_or(0),
            mergeable: record.refcount > 0,
            object_size: record.object_size,
            size: record.size,
            inuse: record.inuse,
            offset: record.offset,
            align: record.align,
            red_left_pad: record.red_left_pad,
            flags: record.flags,
            order: record.order,
            objects_per_slab: record.objects_per_slab,
            min_order: record.min_order,
            min_objects: record.min_objects,
            min_partial: record.min_partial,
            sheaf_capacity: record.sheaf_capacity,
            constructor: Constructor::from_abi(record.ctor, record.ctor_arg)?,
            useroffset: record.useroffset,
            usersize: record.usersize,
            active_objects: record.active_objects,
            total_objects: record.total_objects,
            cached_objects: record.cached_objects,
            slabs: record.slabs,
            slab_pages: record.pages,
            alloc_fastpath: record.alloc_fastpath,
            alloc_slowpath: record.alloc_slowpath,
            free_fastpath: record.free_fastpath,
            free_slowpath: record.free_slowpath,
            free_remote: record.free_remote,
            remote_batches: record.remote_batches,
            refills: record.refills,
            flushes: record.flushes,
            cpu_flush: record.cpu_flush,
            alloc_slab: record.alloc_slab,
            free_slab: record.free_slab,
            order_fallback: record.order_fallback,
            failed: record.failed,
        })
    }
}

/// What a cache has on a node (`struct kmem_cache_node`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CacheNode {
    /// The cache's number.
    pub cache: u32,
    /// The node.
    pub nid: i32,
    /// Slabs without a free object.
    pub full_slabs: u64,
    /// Slabs with some.
    pub partial_slabs: u64,
    /// Slabs without an object in use.
    pub empty_slabs: u64,
    /// Objects in all of them.
    pub total_objects: u64,
    /// Objects in use, seen from the slabs: those that CPUs keep count.
    pub objects: u64,
}

impl From<&abi::shadowmm_rec_cache_node> for CacheNode {
    fn from(record: &abi::shadowmm_rec_cache_node) -> Self {
        Self {
            cache: record.cache,
            nid: record.nid,
            full_slabs: record.full,
            partial_slabs: record.partial,
            empty_slabs: record.empty,
            total_objects: record.total_objects,
            objects: record.objects,
        }
    }
}

/// A name as the ABI has it. One that is too long fills the field to its end,
/// and is refused for that by the module.
fn field(name: &str) -> [c_char; abi::SHADOWMM_CACHE_NAME as usize] {
    let mut field = [0; abi::SHADOWMM_CACHE_NAME as usize];
    for (place, byte) in field.iter_mut().zip(name.bytes()) {
        *place = byte as c_char;
    }
    field
}

impl Device {
    /// Makes a cache, or gives one that is there another name.
    ///
    /// # Errors
    ///
    /// Refused when the name is taken or none, or the wish makes no sense.
    pub fn create_cache(&self, args: &CacheArgs) -> Result<Created> {
        let (ctor, ctor_arg) = args.constructor.to_abi();
        let mut create = abi::shadowmm_create {
            object_size: args.object_size,
            align: args.align,
            flags: args.flags,
            ctor,
            ctor_arg,
            useroffset: args.useroffset,
            usersize: args.usersize,
            freeptr_offset: args.freeptr_offset.unwrap_or(0),
            sheaf_capacity: args.sheaf_capacity,
            name: field(&args.name),
            ..Default::default()
        };
        if args.freeptr_offset.is_some() {
            create.head.flags = abi::SHADOWMM_CREATE_FREEPTR;
        }
        self.request("create the cache", &mut create)?;
        Ok(Created {
            cache: create.cache,
            aliases: create.aliases,
        })
    }

    /// The number of the cache of this name.
    ///
    /// # Errors
    ///
    /// Refused when there is none.
    pub fn find_cache(&self, name: &str) -> Result<u32> {
        let mut cache = abi::shadowmm_cache {
            op: abi::SHADOWMM_CACHE_FIND,
            name: field(name),
            ..Default::default()
        };
        self.request("find the cache", &mut cache)?;
        Ok(cache.cache)
    }

    /// Destroys a cache, or takes one of its names away.
    ///
    /// # Errors
    ///
    /// Refused while objects are alive, which are named then, but for those in
    /// full slabs, and when it is one of the layer's own.
    pub fn destroy_cache(&self, cache: u32) -> Result<(), NotDestroyed> {
        let (result, alive) = self.told(
            "destroy the cache",
            abi::shadowmm_cache {
                op: abi::SHADOWMM_CACHE_DESTROY,
                cache,
                ..Default::default()
            },
        );
        result.map_err(|error| NotDestroyed { error, alive })
    }

    /// Has the free slabs of a cache, or of all, go back, and says how many
    /// pages those were.
    pub fn shrink_cache(&self, cache: Option<u32>) -> Result<u64> {
        let mut request = abi::shadowmm_cache {
            op: abi::SHADOWMM_CACHE_SHRINK,
            cache: cache.unwrap_or(0),
            ..Default::default()
        };
        self.request("shrink the cache", &mut request)?;
        Ok(request.value)
    }

    /// Checks a cache: what does not hold, if anything.
    pub fn validate_cache(&self, cache: u32) -> Result<Option<String>> {
        let (result, violated) = self.told(
            "check the cache",
            abi::shadowmm_cache {
                op: abi::SHADOWMM_CACHE_VALIDATE,
                cache,
                ..Default::default()
            },
        );
        result.map(|()| (!violated.is_empty()).then_some(violated))
    }

    /// Says how many slabs of a cache a node keeps although they are free.
    pub fn set_min_partial(&self, cache: u32, slabs: u64) -> Result<()> {
        let mut request = abi::shadowmm_cache {
            op: abi::SHADOWMM_CACHE_MIN_PARTIAL,
            cache,
            value: slabs,
            ..Default::default()
        };
        self.request("set min_partial", &mut request)
    }

    /// A request to which the module may say something.
    fn told(&self, what: &'static str, mut cache: abi::shadowmm_cache) -> (Result<()>, String) {
        let mut said = vec![0u8; TEXT];
        cache.capacity = TEXT as u32;
        cache.text = said.as_mut_ptr() as u64;
        let result = self.request(what, &mut cache);
        let end = said.iter().position(|&byte| byte == 0);
        said.truncate(end.unwrap_or(TEXT));
        (result, String::from_utf8_lossy(&said).into_owned())
    }

    /// The layer of caches as a whole. Asking does not bring it up.
    pub fn slab_layer(&self) -> Result<SlabLayer> {
        let what = "look at the slab layer";
        let records = self.records::<abi::shadowmm_rec_slab>()?;
        let record = records
            .first()
            .ok_or(Error::Unexpected { what, value: 0 })?;
        Ok(SlabLayer {
            up: record.up != 0,
            by: match record.by {
                abi::SHADOWMM_OBJECTS_BY_SLAB => ObjectsBy::Slab,
                abi::SHADOWMM_OBJECTS_BY_KMSOB => ObjectsBy::Kmsob,
                other => {
                    return Err(Error::Unexpected {
                        what,
                        value: other.into(),
                    })
                }
            },
            held_objects: record.held_objects,
            caches: record.caches,
            slab_pages: record.pages,
        })
    }

    /// The caches; none before anybody has used the layer.
    pub fn caches(&self) -> Result<Vec<Cache>> {
        let records = self.records::<abi::shadowmm_rec_cache>()?;
        records.iter().map(Cache::try_from).collect()
    }

    /// What each cache has on each node.
    pub fn cache_nodes(&self) -> Result<Vec<CacheNode>> {
        let records = self.records::<abi::shadowmm_rec_cache_node>()?;
        Ok(records.iter().map(CacheNode::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_too_long_has_no_end() {
        assert_eq!(text(&field("inode_cache")), "inode_cache");
        let long = "x".repeat(100);
        assert!(field(&long).iter().all(|&byte| byte == b'x' as c_char));
        assert_eq!(field(&long[..63])[63], 0);
    }

    #[test]
    fn constructors_go_there_and_back() {
        for constructor in [
            Constructor::None,
            Constructor::Fill(0xa5),
            Constructor::FailAfter(77),
        ] {
            let (kind, arg) = constructor.to_abi();
            assert_eq!(Constructor::from_abi(kind, arg), Ok(constructor));
        }
        assert!(Constructor::from_abi(9, 0).is_err());
    }
}
