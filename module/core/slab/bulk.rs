// SPDX-License-Identifier: GPL-2.0

//! Many objects at once (`kmem_cache_alloc_bulk`, `kmem_cache_free_bulk`): what
//! the magazine has, and the rest slab by slab under one lock.

use super::allocator::ObjRequest;
use super::handle::Cache;
use super::object::ObjAddr;
use crate::buddy::gfp;
use crate::error::Error;
use crate::error::Result;
use crate::phys::NodeId;
use crate::platform::Platform;

impl<P: Platform> Cache<'_, '_, P> {
    /// Takes as many objects as there are places, or none.
    ///
    /// # Errors
    ///
    /// Those of [`ObjectAllocator::alloc_bulk`](super::ObjectAllocator::alloc_bulk);
    /// the places are null then.
    pub fn alloc_bulk(&self, request: &ObjRequest, objects: &mut [ObjAddr]) -> Result<()> {
        let (system, cells) = (self.system(), self.cells());
        let zeroed = request.gfp.has(gfp::__GFP_ZERO);
        if zeroed && cells.ctor().is_some() {
            return Err(Error::ZeroWithConstructor);
        }
        let shape = cells.shape();
        let mut done = 0usize;
        if request.nid == NodeId::NONE {
            done = self.pop_many(objects);
        }
        let rest = objects.get_mut(done..).unwrap_or_default();
        let (taken, result) = system.take_objects(cells, &shape, request, rest);
        if let Err(error) = result {
            let taken = objects.get_mut(..done.saturating_add(taken));
            for object in taken.unwrap_or_default() {
                // It was just taken.
                let _ = self.free_untold(*object);
                *object = ObjAddr::NULL;
            }
            return Err(error);
        }
        if zeroed {
            for &object in objects.iter() {
                system.zero_if_asked(&shape, request.gfp, object);
            }
        }
        Ok(())
    }

    /// What the CPU's magazine has, up to all that is wanted.
    fn pop_many(&self, objects: &mut [ObjAddr]) -> usize {
        let (cpu, _pinned) = self.system().platform().pin_cpu();
        let Some(cpu) = self.cpus().get(cpu.0 as usize) else {
            return 0;
        };
        let mut done = 0usize;
        for place in objects {
            match cpu.pop() {
                Some(object) => *place = ObjAddr::new(object),
                None => break,
            }
            done = done.wrapping_add(1);
        }
        done
    }

    /// Gives objects of the cache back, and says how many were taken.
    pub fn free_bulk(&self, objects: &[ObjAddr]) -> usize {
        let freed = objects.iter().map(|&object| self.free_untold(object));
        freed.filter(Result::is_ok).count()
    }
}
