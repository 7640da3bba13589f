// SPDX-License-Identifier: GPL-2.0

//! What the owner wants of the slab layer: Linux's parameters of that name.

use super::debug_option::SlabDebug;
use super::geometry::Surroundings;
use crate::error::Error;
use crate::error::Result;
use crate::phys::PageOrder;

/// How long the text of `slab_debug=` may be.
pub const MAX_SLAB_DEBUG: usize = 255;

/// The parameters of the slab layer.
#[derive(Clone, Copy, Debug)]
pub struct SlabConfig {
    /// Whether caches that are alike are one (without `slab_nomerge`).
    pub merge: bool,
    /// The least order of slabs (`slab_min_order=`).
    pub min_order: Option<PageOrder>,
    /// The order up to which larger slabs are tried for less waste
    /// (`slab_max_order=`).
    pub max_order: Option<PageOrder>,
    /// How many objects a slab has at least (`slab_min_objects=`); 0 for as many
    /// as the number of CPUs suggests.
    pub min_objects: u32,
    /// Which caches are debugged, and how (`slab_debug=`).
    pub debug: DebugParameter,
}

impl Default for SlabConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl SlabConfig {
    /// Linux's, without parameters.
    pub const DEFAULT: Self = Self {
        merge: true,
        min_order: None,
        max_order: None,
        min_objects: 0,
        debug: DebugParameter::NONE,
    };

    /// What sizes depend on, with so many CPUs.
    pub fn surroundings(&self, nr_cpus: u32) -> Surroundings<'_> {
        let mut around = Surroundings::new(nr_cpus);
        around.merge = self.merge;
        around.min_objects = self.min_objects;
        around.set_orders(self.min_order, self.max_order);
        around.debug = self.debug.parsed();
        around
    }

    /// An order of slabs; `None` for a negative number, which stands for none.
    /// What is too large becomes the largest, as in Linux
    /// (`setup_slub_min_order`, `setup_slub_max_order`).
    pub fn order(number: i32) -> Option<PageOrder> {
        let number = u32::try_from(number).ok()?;
        Some(PageOrder::new(number).unwrap_or(PageOrder::MAX))
    }
}

/// The parameter `slab_debug=`, as text.
#[derive(Clone, Copy, Debug)]
pub struct DebugParameter {
    text: [u8; MAX_SLAB_DEBUG],
    /// `None` where there is no such parameter.
    len: Option<u8>,
}

impl DebugParameter {
    /// Nothing is debugged.
    pub const NONE: Self = Self {
        text: [0; MAX_SLAB_DEBUG],
        len: None,
    };

    /// The parameter with this text.
    ///
    /// # Errors
    ///
    /// [`Error::BadParameter`] when it is too long. Anything else is good for
    /// something, as it is for Linux.
    pub fn new(text: &str) -> Result<Self> {
        let mut parameter = Self::NONE;
        let room = parameter.text.get_mut(..text.len());
        room.ok_or(Error::BadParameter)?
            .copy_from_slice(text.as_bytes());
        parameter.len = Some(u8::try_from(text.len()).map_err(|_| Error::BadParameter)?);
        Ok(parameter)
    }

    /// What it says.
    pub fn parsed(&self) -> SlabDebug<'_> {
        let Some(len) = self.len else {
            return SlabDebug::NONE;
        };
        let text = self.text.get(..usize::from(len)).unwrap_or(&[]);
        // It was text when it came in.
        SlabDebug::parse(core::str::from_utf8(text).unwrap_or("-"))
    }
}
