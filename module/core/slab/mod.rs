// SPDX-License-Identifier: GPL-2.0

//! The slab layer: objects of one size each, in slabs of pages.
//!
//! ```text
//! object.rs     an object's address, a cache's number, what a constructor does
//! ```

mod object;

pub use object::CacheId;
pub use object::CacheName;
pub use object::Constructor;
pub use object::ObjAddr;
pub use object::MAX_CACHES;
pub use object::MAX_CACHE_NAME;
