// SPDX-License-Identifier: GPL-2.0

//! Atomics that say so before each access. They have the representation of the
//! real ones, and are those otherwise.

use core::sync::atomic::Ordering;
use std::cell::RefCell;

thread_local! {
    static POINT: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

/// From now on `point` is called before each access of this thread, of the
/// system's, which is all of a checker's; or nothing.
pub fn at_each_access(point: Option<Box<dyn Fn()>>) {
    POINT.with(|place| *place.borrow_mut() = point);
}

fn point() {
    POINT.with(|point| {
        if let Some(point) = &*point.borrow() {
            point();
        }
    });
}

macro_rules! integers {
    ($($name:ident: $int:ty;)*) => { $(
        /// The atomic integer of that name.
        #[repr(transparent)]
        #[derive(Default, Debug)]
        pub struct $name(core::sync::atomic::$name);

        #[allow(missing_docs)]
        impl $name {
            pub const fn new(value: $int) -> Self {
                Self(core::sync::atomic::$name::new(value))
            }
            /// # Safety
            /// That of the real one.
            pub unsafe fn from_ptr<'a>(ptr: *mut $int) -> &'a Self {
                // SAFETY: The representation is that of the integer; the rest is
                // the caller's promise.
                unsafe { &*ptr.cast() }
            }
            pub const fn as_ptr(&self) -> *mut $int { self.0.as_ptr() }
            pub fn get_mut(&mut self) -> &mut $int { self.0.get_mut() }
            pub fn into_inner(self) -> $int { self.0.into_inner() }
            pub fn load(&self, order: Ordering) -> $int { point(); self.0.load(order) }
            pub fn store(&self, value: $int, order: Ordering) { point(); self.0.store(value, order) }
            pub fn swap(&self, value: $int, order: Ordering) -> $int { point(); self.0.swap(value, order) }
            pub fn fetch_add(&self, value: $int, order: Ordering) -> $int { point(); self.0.fetch_add(value, order) }
            pub fn fetch_sub(&self, value: $int, order: Ordering) -> $int { point(); self.0.fetch_sub(value, order) }
            pub fn fetch_and(&self, value: $int, order: Ordering) -> $int { point(); self.0.fetch_and(value, order) }
            pub fn fetch_or(&self, value: $int, order: Ordering) -> $int { point(); self.0.fetch_or(value, order) }
            pub fn fetch_max(&self, value: $int, order: Ordering) -> $int { point(); self.0.fetch_max(value, order) }
            pub fn fetch_min(&self, value: $int, order: Ordering) -> $int { point(); self.0.fetch_min(value, order) }
            pub fn compare_exchange(&self, current: $int, new: $int, ok: Ordering, err: Ordering) -> Result<$int, $int> {
                point();
                self.0.compare_exchange(current, new, ok, err)
            }
            pub fn compare_exchange_weak(&self, current: $int, new: $int, ok: Ordering, err: Ordering) -> Result<$int, $int> {
                point();
                self.0.compare_exchange(current, new, ok, err)
            }
            pub fn fetch_update(&self, set: Ordering, fetch: Ordering, mut f: impl FnMut($int) -> Option<$int>) -> Result<$int, $int> {
                let mut seen = self.load(fetch);
                while let Some(next) = f(seen) {
                    match self.compare_exchange_weak(seen, next, set, fetch) {
                        Ok(seen) => return Ok(seen),
                        Err(now) => seen = now,
                    }
                }
                Err(seen)
            }
        }
    )* };
}

integers! {
    AtomicU8: u8;
    AtomicU16: u16;
    AtomicU32: u32;
    AtomicU64: u64;
    AtomicUsize: usize;
    AtomicI32: i32;
    AtomicI64: i64;
}

/// The atomic flag.
#[repr(transparent)]
#[derive(Default, Debug)]
pub struct AtomicBool(core::sync::atomic::AtomicBool);

#[allow(missing_docs)]
impl AtomicBool {
    pub const fn new(value: bool) -> Self {
        Self(core::sync::atomic::AtomicBool::new(value))
    }
    pub fn load(&self, order: Ordering) -> bool {
        point();
        self.0.load(order)
    }
    pub fn store(&self, value: bool, order: Ordering) {
        point();
        self.0.store(value, order);
    }
    pub fn swap(&self, value: bool, order: Ordering) -> bool {
        point();
        self.0.swap(value, order)
    }
    pub fn compare_exchange(
        &self,
        current: bool,
        new: bool,
        ok: Ordering,
        err: Ordering,
    ) -> Result<bool, bool> {
        point();
        self.0.compare_exchange(current, new, ok, err)
    }
}

/// The atomic pointer.
#[repr(transparent)]
#[derive(Debug)]
pub struct AtomicPtr<T>(core::sync::atomic::AtomicPtr<T>);

#[allow(missing_docs)]
impl<T> AtomicPtr<T> {
    pub const fn new(value: *mut T) -> Self {
        Self(core::sync::atomic::AtomicPtr::new(value))
    }
    pub fn load(&self, order: Ordering) -> *mut T {
        point();
        self.0.load(order)
    }
    pub fn store(&self, value: *mut T, order: Ordering) {
        point();
        self.0.store(value, order);
    }
}
