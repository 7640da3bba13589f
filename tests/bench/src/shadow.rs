// SPDX-License-Identifier: GPL-2.0

//! A booted shadow as a side that is measured.

use crate::platform::Threads;
use crate::shapes::Side;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::boot::Boot;
use shadowmm_core::boot::Config;
use shadowmm_core::boot::Mm;
use shadowmm_core::boot::Store;
use shadowmm_core::buddy::gfp::GFP_KERNEL;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::BuddySystem;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::buddy::PageRef;
use shadowmm_core::node::Nodes;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::sparse::Sparse;
use shadowmm_host_tests::machine::backing;
use shadowmm_host_tests::machine::builtin;

/// A shadow that runs until the process ends.
pub type HostMm = Mm<'static, Threads>;

/// How large the nodes are that is measured on: a CPU may keep an eighth of a node,
/// divided by the CPUs that share it, so that 1,024 pages stay with it as they do in
/// the guest.
pub const MIB: [usize; 2] = [512, 512];

/// Boots the built-in machine with so many MiB on each node.
pub fn boot(mib: &[usize], pagesets: bool) -> &'static HostMm {
    let backing = backing(mib);
    let map = builtin(&backing);
    let store = Box::leak(Box::new(Store::new()));
    let config = Config {
        pagesets,
        allocator: AllocatorKind::Buddy,
        ..Config::default()
    };
    let boot = Boot::detect(store, &map, &backing, &config, Threads::new()).unwrap();
    let boot = Box::leak(Box::new(boot));
    boot.run().unwrap();
    boot.mm().unwrap()
}

/// The shadow's allocator, as whoever uses a shadow has it.
pub struct Shadow<'m> {
    buddy: &'m BuddySystem<'m, Threads, Sparse<'static>, Nodes<'static, Threads>>,
}

impl<'m> Shadow<'m> {
    /// The allocator of this shadow.
    pub fn of(mm: &'m HostMm) -> Self {
        Self {
            buddy: Box::leak(Box::new(mm.buddy())),
        }
    }
}

impl<'m> Side for Shadow<'m> {
    type Block = PageRef<'m>;
    type Request = AllocRequest;

    fn none() -> PageRef<'m> {
        PageRef::none()
    }

    #[inline(always)]
    fn request(&self, order: u32) -> AllocRequest {
        let order = PageOrder::new(order).expect("an order of the buddy system");
        AllocRequest::new(GFP_KERNEL, order)
    }

    #[inline(always)]
    fn constant<const ORDER: u32>() -> Option<&'static AllocRequest> {
        Some(
            const {
                &match PageOrder::new(ORDER) {
                    Some(order) => AllocRequest::new(GFP_KERNEL, order),
                    None => panic!("no order of the buddy system"),
                }
            },
        )
    }

    #[inline(always)]
    fn alloc(&self, request: &AllocRequest) -> Option<PageRef<'m>> {
        self.buddy.alloc_page(request).ok()
    }

    #[inline(always)]
    fn free(&self, block: PageRef<'m>, request: &AllocRequest) {
        self.buddy
            .free_page(block, request.order())
            .expect("what was taken goes back");
    }

    #[inline(always)]
    fn alloc_here(&self, request: &AllocRequest) -> Option<PageRef<'m>> {
        self.buddy.alloc_page_here(request).ok()
    }

    #[inline(always)]
    fn free_here(&self, block: PageRef<'m>, request: &AllocRequest) {
        self.buddy
            .free_page_here(block, request.order())
            .expect("what was taken goes back");
    }

    #[inline]
    fn alloc_bulk(&self, request: &AllocRequest, blocks: &mut [PageRef<'m>]) -> usize {
        self.buddy.alloc_page_bulk(request, blocks).unwrap_or(0)
    }

    #[inline]
    fn free_bulk(&self, blocks: &[PageRef<'m>], _request: &AllocRequest) {
        assert_eq!(self.buddy.free_page_bulk(blocks), blocks.len());
    }

    fn drain(&self) {
        self.buddy.drain_all_pages();
    }
}
