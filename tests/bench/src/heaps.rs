// SPDX-License-Identifier: GPL-2.0

//! Allocators of public crates as sides that are measured: heaps for whole
//! programs, which map memory of the process's, and a pool for objects of one
//! size.

use crate::object_shapes::ObjectSide;
use slab::Slab;
use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::cell::RefCell;
use std::mem::MaybeUninit;

/// A heap. Objects are addresses; 0 is none.
pub struct Heap<A> {
    heap: A,
    size: usize,
}

impl<A: GlobalAlloc> Heap<A> {
    /// This one, whose cache is of objects of `size` bytes.
    pub const fn new(heap: A, size: usize) -> Self {
        Self { heap, size }
    }

    #[inline(always)]
    fn take(&self, size: usize) -> Option<usize> {
        // SAFETY: The size is not 0.
        let at = unsafe { self.heap.alloc(layout(size)) };
        (!at.is_null()).then_some(at as usize)
    }

    #[inline(always)]
    fn give(&self, object: usize, size: usize) {
        if object != 0 {
            // SAFETY: `take` gave it for this size, and nobody else has it.
            unsafe { self.heap.dealloc(object as *mut u8, layout(size)) };
        }
    }
}

/// What kmalloc gives is aligned to 8.
#[inline(always)]
fn layout(size: usize) -> Layout {
    Layout::from_size_align(size.max(1), 8).expect("a size that can be had")
}

impl<A: GlobalAlloc> ObjectSide for Heap<A> {
    type Object = usize;

    fn none() -> usize {
        0
    }

    #[inline(always)]
    fn alloc(&self) -> Option<usize> {
        self.take(self.size)
    }

    #[inline(always)]
    fn free(&self, object: usize) {
        self.give(object, self.size);
    }

    #[inline(always)]
    fn kmalloc<const SIZE: usize>(&self) -> Option<usize> {
        self.take(SIZE)
    }

    #[inline]
    fn kmalloc_any(&self, size: usize) -> Option<usize> {
        self.take(size)
    }

    #[inline(always)]
    fn kfree(&self, object: usize, size: usize) {
        self.give(object, size);
    }

    /// There is no such call.
    fn alloc_bulk(&self, objects: &mut [usize]) -> bool {
        crate::object_shapes::take_all(self, objects).is_some()
    }

    fn free_bulk(&self, objects: &mut [usize]) {
        crate::object_shapes::give_back(self, objects);
    }

    fn shrink(&self) {}

    fn pages(&self) -> Option<u64> {
        None
    }
}

/// The pool of the crate slab: one thread's, and its objects are numbers. All
/// sizes are the pool's.
pub struct Pool<const SIZE: usize>(RefCell<Slab<MaybeUninit<[u8; SIZE]>>>);

impl<const SIZE: usize> Pool<SIZE> {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "it is made once")]
    pub const fn new() -> Self {
        Self(RefCell::new(Slab::new()))
    }
}

impl<const SIZE: usize> ObjectSide for Pool<SIZE> {
    type Object = usize;

    fn none() -> usize {
        usize::MAX
    }

    #[inline(always)]
    fn alloc(&self) -> Option<usize> {
        Some(self.0.borrow_mut().insert(MaybeUninit::uninit()))
    }

    #[inline(always)]
    fn free(&self, object: usize) {
        if object != usize::MAX {
            self.0.borrow_mut().remove(object);
        }
    }

    #[inline(always)]
    fn kmalloc<const OF: usize>(&self) -> Option<usize> {
        self.alloc()
    }

    #[inline]
    fn kmalloc_any(&self, _size: usize) -> Option<usize> {
        self.alloc()
    }

    #[inline(always)]
    fn kfree(&self, object: usize, _size: usize) {
        self.free(object);
    }

    fn alloc_bulk(&self, objects: &mut [usize]) -> bool {
        crate::object_shapes::take_all(self, objects).is_some()
    }

    fn free_bulk(&self, objects: &mut [usize]) {
        crate::object_shapes::give_back(self, objects);
    }

    fn shrink(&self) {}

    fn pages(&self) -> Option<u64> {
        None
    }
}
