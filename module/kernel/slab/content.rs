// SPDX-License-Identifier: GPL-2.0

//! BYTES: what is in an object.

use super::cache_id;
use super::check_flags;
use super::check_unused;
use super::MAX_BYTES;
use crate::abi;
use crate::device::OpenFile;
use crate::shadow::Mm;
use crate::uapi;
use crate::users::check_admin;
use kernel::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::slab::ObjAddr;
use shadowmm_core::slab::ObjectBytes;

impl OpenFile {
    /// BYTES.
    pub(crate) fn bytes(&self, request: &mut uapi::shadowmm_bytes) -> CoreResult<()> {
        let force = request.head.flags & uapi::SHADOWMM_OBJECT_FORCE != 0;
        if !force {
            check_unused(&[request.cache.into()])?;
        }
        if !(1..=MAX_BYTES).contains(&request.len) {
            return Err(Error::OutsideObject);
        }
        let object = ObjAddr::new(request.object);
        let len = request.len as usize;
        match request.op {
            uapi::SHADOWMM_BYTES_READ => {
                check_flags(&request.head, 0)?;
                self.read_bytes(object, request.offset, len, request.buf)
            }
            uapi::SHADOWMM_BYTES_WRITE => {
                let mut bytes =
                    KVVec::with_capacity(len, GFP_KERNEL).map_err(|_| Error::NoHostMemory)?;
                abi::read_bytes(request.buf, len, &mut bytes)?;
                if force {
                    let id = cache_id(request.cache)?;
                    let offset = request.offset;
                    return self.force(id, object, |mm, _| {
                        let objects = mm.objects()?;
                        bytes_of(mm, &mm.allocator(), &*objects)
                            .write_anywhere(id, object, offset, &bytes)
                    });
                }
                self.write_bytes(object, request.offset, &bytes)
            }
            _ => Err(Error::BadKind),
        }
    }

    fn read_bytes(&self, object: ObjAddr, offset: i64, len: usize, to: u64) -> CoreResult<()> {
        let holding = {
            let table = self.objects.table.lock();
            table.get(object).ok_or(Error::ObjectNotHeld)?
        };
        // How large it is is seen before there is room for so much.
        let own = self.shadow.with_mm(|mm| {
            let objects = mm.objects()?;
            bytes_of(mm, &mm.allocator(), &*objects).own(holding)
        })?;
        if len as u64 > own.0 {
            return Err(Error::OutsideObject);
        }
        let bytes = KVVec::from_elem(0u8, len, GFP_KERNEL);
        let mut bytes = bytes.map_err(|_| Error::NoHostMemory)?;
        {
            let table = self.objects.table.lock();
            // Another thread may have given it back meanwhile.
            let holding = table.get(object).ok_or(Error::ObjectNotHeld)?;
            self.shadow.with_mm(|mm| {
                let objects = mm.objects()?;
                bytes_of(mm, &mm.allocator(), &*objects).read(holding, offset, &mut bytes)
            })?;
        }
        abi::write_array(to, &bytes)
    }

    fn write_bytes(&self, object: ObjAddr, offset: i64, bytes: &[u8]) -> CoreResult<()> {
        let beyond = check_admin().is_ok();
        let _calm = self.shadow.slab.forcing.read();
        let table = self.objects.table.lock();
        let holding = table.get(object).ok_or(Error::ObjectNotHeld)?;
        self.shadow.with_mm(|mm| {
            let objects = mm.objects()?;
            bytes_of(mm, &mm.allocator(), &*objects).write(holding, offset, bytes, beyond)
        })
    }
}

/// The way to the bytes of objects.
fn bytes_of<'a, 'm, A, O: ?Sized>(
    mm: &'a Mm<'m>,
    pages: &'a A,
    objects: &'a O,
) -> ObjectBytes<'a, 'm, A, O> {
    ObjectBytes {
        region: mm.region,
        map: mm.sparse,
        pages,
        objects,
    }
}
