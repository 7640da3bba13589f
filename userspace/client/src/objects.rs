// SPDX-License-Identifier: GPL-2.0

//! Objects of caches, and of the general caches by their size: taken, given
//! back, looked into.

use crate::device::Device;
use crate::error::Result;
use crate::Reason;
use shadowmm_abi as abi;
use std::mem::ManuallyDrop;

/// Objects that one request of the ABI can name.
pub const MAX_OBJECTS: usize = abi::SHADOWMM_MAX_OBJECTS as usize;

/// How an object is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectRequest {
    /// Linux's `__GFP_*` bits of the running kernel; 0 means `GFP_KERNEL`.
    pub gfp: u32,
    /// The preferred node; `None` for the local one.
    pub nid: Option<u32>,
    /// Its bytes are zero.
    pub zero: bool,
    /// How many bytes of an object of a cache are asked for, one by one; 0 for all.
    pub asked: u32,
}

impl ObjectRequest {
    fn nid(&self) -> i32 {
        // A number that no node has is refused as such.
        self.nid
            .map_or(-1, |nid| i32::try_from(nid).unwrap_or(i32::MAX))
    }

    fn head(&self) -> abi::shadowmm_head {
        let mut head = abi::shadowmm_head::default();
        if self.zero {
            head.flags = abi::SHADOWMM_OBJECT_ZERO;
        }
        head
    }
}

/// An object of a cache. It is freed when dropped, or at the latest when the
/// device is closed.
#[must_use = "an object that is dropped is freed at once"]
#[derive(Debug)]
pub struct Object<'d> {
    device: &'d Device,
    cache: u32,
    object: u64,
    nid: i32,
}

impl Object<'_> {
    /// Its address in the shadow's memory.
    pub fn address(&self) -> u64 {
        self.object
    }

    /// The node that it lies on.
    pub fn nid(&self) -> i32 {
        self.nid
    }

    /// Gives it back, and tells if that was refused.
    ///
    /// # Errors
    ///
    /// Those of [`Device::free_object`].
    pub fn free(self) -> Result<()> {
        let object = ManuallyDrop::new(self);
        object.device.free_object(object.cache, object.object)
    }

    /// Leaves it to the device, which gives it back when it is closed.
    pub fn leave(self) {
        let _ = ManuallyDrop::new(self);
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        // Nobody is left to be told; what was refused returns with the device.
        let _ = self.device.free_object(self.cache, self.object);
    }
}

/// How far the freeing of many objects went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freed {
    /// Objects that were freed.
    pub done: usize,
    /// Why the next one was not.
    pub stopped: Option<Reason>,
}

/// An object of the general caches. It belongs to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kmalloced {
    /// Its address in the shadow's memory; 0 where nothing was left.
    pub object: u64,
    /// Bytes that it has.
    pub usable: u64,
    /// The node that it lies on; `None` for no object.
    pub nid: Option<i32>,
}

impl Device {
    /// Takes an object of a cache (`kmem_cache_alloc_node`).
    pub fn alloc_object(&self, cache: u32, request: &ObjectRequest) -> Result<Object<'_>> {
        let mut object = abi::shadowmm_object {
            head: request.head(),
            op: abi::SHADOWMM_OBJECT_ALLOC,
            cache,
            gfp: request.gfp,
            nid: request.nid(),
            asked: request.asked,
            ..Default::default()
        };
        self.request("allocate the object", &mut object)?;
        Ok(Object {
            device: self,
            cache,
            object: object.object,
            nid: object.object_nid,
        })
    }

    /// Frees an object by its address, as somebody would who has no [`Object`]
    /// of it: the module checks that it is this open file's, and of that cache.
    pub fn free_object(&self, cache: u32, object: u64) -> Result<()> {
        self.give_back(cache, object, 0)
    }

    /// Frees an object that may be none, or free already: the cache's debugging
    /// is to find that out.
    ///
    /// # Errors
    ///
    /// Refused by the debugging, and where there is none.
    pub fn force_free_object(&self, cache: u32, object: u64) -> Result<()> {
        self.give_back(cache, object, abi::SHADOWMM_OBJECT_FORCE)
    }

    fn give_back(&self, cache: u32, object: u64, flags: u32) -> Result<()> {
        let mut request = abi::shadowmm_object {
            op: abi::SHADOWMM_OBJECT_FREE,
            cache,
            object,
            ..Default::default()
        };
        request.head.flags = flags;
        self.request("free the object", &mut request)
    }

    /// Takes many objects of a cache at once, all or none. They belong to the
    /// device until they are freed.
    pub fn alloc_objects(
        &self,
        cache: u32,
        request: &ObjectRequest,
        count: usize,
    ) -> Result<Vec<u64>> {
        let mut addresses = vec![0u64; count];
        let mut objects = abi::shadowmm_objects {
            head: request.head(),
            op: abi::SHADOWMM_OBJECT_ALLOC,
            cache,
            gfp: request.gfp,
            nid: request.nid(),
            count: u32::try_from(count).unwrap_or(u32::MAX),
            objects: addresses.as_mut_ptr() as u64,
            ..Default::default()
        };
        self.request("allocate the objects", &mut objects)?;
        Ok(addresses)
    }

    /// Frees many objects; with no cache named, each to that which it is from.
    ///
    /// # Errors
    ///
    /// That of the first, where not one could be freed.
    pub fn free_objects(&self, cache: Option<u32>, addresses: &[u64]) -> Result<Freed> {
        let mut objects = abi::shadowmm_objects {
            op: abi::SHADOWMM_OBJECT_FREE,
            cache: cache.unwrap_or(0),
            count: u32::try_from(addresses.len()).unwrap_or(u32::MAX),
            objects: addresses.as_ptr() as u64,
            ..Default::default()
        };
        self.request("free the objects", &mut objects)?;
        Ok(Freed {
            done: objects.done as usize,
            stopped: Reason::from_code(objects.stopped),
        })
    }

    /// Takes an object of the general caches (`kmalloc`, `kzalloc`).
    pub fn kmalloc(&self, size: u64, request: &ObjectRequest) -> Result<Kmalloced> {
        self.sized(
            "allocate the bytes",
            abi::shadowmm_kmalloc {
                head: request.head(),
                op: abi::SHADOWMM_KMALLOC_ALLOC,
                gfp: request.gfp,
                nid: request.nid(),
                size,
                ..Default::default()
            },
        )
    }

    /// Gives an object another size (`krealloc`): it may move. With no object
    /// it is [`Device::kmalloc`], with size 0 [`Device::kfree`].
    pub fn krealloc(
        &self,
        object: Option<u64>,
        size: u64,
        request: &ObjectRequest,
    ) -> Result<Kmalloced> {
        self.sized(
            "change the size",
            abi::shadowmm_kmalloc {
                head: request.head(),
                op: abi::SHADOWMM_KMALLOC_REALLOC,
                gfp: request.gfp,
                nid: request.nid(),
                size,
                object: object.unwrap_or(0),
                ..Default::default()
            },
        )
    }

    /// Frees an object of whatever cache (`kfree`).
    pub fn kfree(&self, object: u64) -> Result<()> {
        let mut kmalloc = abi::shadowmm_kmalloc {
            op: abi::SHADOWMM_KMALLOC_FREE,
            object,
            ..Default::default()
        };
        self.request("free the bytes", &mut kmalloc)
    }

    /// Bytes that an object has (`ksize`).
    pub fn ksize(&self, object: u64) -> Result<u64> {
        let size = self.sized(
            "ask for the size",
            abi::shadowmm_kmalloc {
                op: abi::SHADOWMM_KMALLOC_SIZE,
                object,
                ..Default::default()
            },
        )?;
        Ok(size.usable)
    }

    /// Bytes that an object would have of which `size` are asked for
    /// (`kmalloc_size_roundup`).
    pub fn kmalloc_roundup(&self, size: u64) -> Result<u64> {
        let size = self.sized(
            "ask for the size",
            abi::shadowmm_kmalloc {
                op: abi::SHADOWMM_KMALLOC_ROUNDUP,
                size,
                ..Default::default()
            },
        )?;
        Ok(size.usable)
    }

    fn sized(&self, what: &'static str, mut kmalloc: abi::shadowmm_kmalloc) -> Result<Kmalloced> {
        self.request(what, &mut kmalloc)?;
        Ok(Kmalloced {
            object: kmalloc.object,
            usable: kmalloc.usable,
            nid: (kmalloc.object_nid >= 0).then_some(kmalloc.object_nid),
        })
    }

    /// Reads from an object of this device, from byte `offset` on.
    ///
    /// # Errors
    ///
    /// Refused where that is not all the object's own.
    pub fn read_object(&self, object: u64, offset: u64, into: &mut [u8]) -> Result<()> {
        let mut bytes = abi::shadowmm_bytes {
            op: abi::SHADOWMM_BYTES_READ,
            object,
            // What is too far away for a number is outside the object.
            offset: i64::try_from(offset).unwrap_or(i64::MAX),
            len: into.len() as u64,
            buf: into.as_mut_ptr() as u64,
            ..Default::default()
        };
        self.request("read the object", &mut bytes)
    }

    /// Writes to an object of this device, from byte `offset` on. Beyond the
    /// object's own it may go with the right to, as far as the slab reaches.
    pub fn write_object(&self, object: u64, offset: i64, from: &[u8]) -> Result<()> {
        self.write_bytes(object, offset, from, None)
    }

    /// Writes to where an object of a cache with debugging is or was.
    pub fn force_write_object(
        &self,
        cache: u32,
        object: u64,
        offset: i64,
        from: &[u8],
    ) -> Result<()> {
        self.write_bytes(object, offset, from, Some(cache))
    }

    fn write_bytes(&self, object: u64, offset: i64, from: &[u8], force: Option<u32>) -> Result<()> {
        let mut bytes = abi::shadowmm_bytes {
            op: abi::SHADOWMM_BYTES_WRITE,
            cache: force.unwrap_or(0),
            object,
            offset,
            len: from.len() as u64,
            buf: from.as_ptr() as u64,
            ..Default::default()
        };
        if force.is_some() {
            bytes.head.flags = abi::SHADOWMM_OBJECT_FORCE;
        }
        self.request("write to the object", &mut bytes)
    }
}
