// SPDX-License-Identifier: GPL-2.0

//! What the loops of objects give back when memory runs out: everything, with its size.

use shadowmm_bench::drawn::Drawn;
use shadowmm_bench::object_shapes::ObjectShape;
use shadowmm_bench::object_shapes::ObjectSide;
use shadowmm_bench::object_shapes::BULK;
use shadowmm_bench::object_shapes::WINDOW;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;

/// So many objects and no more, each of which goes back with the size that it has.
struct Few {
    left: Cell<usize>,
    last: Cell<u32>,
    sizes: RefCell<HashMap<u32, usize>>,
}

impl Few {
    fn new(left: usize) -> Self {
        Self {
            left: Cell::new(left),
            last: Cell::new(0),
            sizes: RefCell::new(HashMap::new()),
        }
    }
}

impl ObjectSide for Few {
    type Object = u32;

    fn none() -> u32 {
        0
    }

    fn alloc(&self) -> Option<u32> {
        self.kmalloc_any(1)
    }

    fn free(&self, object: u32) {
        self.kfree(object, 1);
    }

    fn kmalloc<const SIZE: usize>(&self) -> Option<u32> {
        self.kmalloc_any(SIZE)
    }

    fn kmalloc_any(&self, size: usize) -> Option<u32> {
        self.left.set(self.left.get().checked_sub(1)?);
        self.last.set(self.last.get() + 1);
        self.sizes.borrow_mut().insert(self.last.get(), size);
        Some(self.last.get())
    }

    fn kfree(&self, object: u32, size: usize) {
        let had = self.sizes.borrow_mut().remove(&object);
        assert_eq!(had, (object != 0).then_some(size), "object {object}");
    }

    fn alloc_bulk(&self, objects: &mut [u32]) -> bool {
        objects.fill_with(|| self.alloc().expect("as many as that"));
        true
    }

    fn free_bulk(&self, objects: &mut [u32]) {
        objects.iter().for_each(|&object| self.free(object));
    }

    fn shrink(&self) {}

    fn pages(&self) -> Option<u64> {
        None
    }
}

#[test]
fn mixed_sizes_go_back_as_they_are_however_far_it_came() {
    let mut drawn = Drawn::new();
    let plan = drawn.plan();
    for left in (0..=WINDOW + BULK).step_by(4) {
        let side = Few::new(left);
        let mut objects = vec![0; BULK];
        let done = ObjectShape::Mixed.run(&side, 64, &mut objects, &plan, &|| 0);
        assert_eq!(done.is_some(), left == WINDOW + BULK, "{left}");
        assert!(side.sizes.borrow().is_empty(), "{left}");
    }
}
