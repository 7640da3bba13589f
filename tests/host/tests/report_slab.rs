// SPDX-License-Identifier: GPL-2.0

//! report/slabinfo.rs and slab_cache.rs: the texts, to the byte, of caches whose
//! numbers are written down here.

use shadowmm_core::error::Error;
use shadowmm_core::error::Result;
use shadowmm_core::phys::Bytes;
use shadowmm_core::phys::NodeId;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pages;
use shadowmm_core::report::slabinfo;
use shadowmm_core::report::CacheFile;
use shadowmm_core::slab::CacheArgs;
use shadowmm_core::slab::CacheCounts;
use shadowmm_core::slab::CacheId;
use shadowmm_core::slab::CacheName;
use shadowmm_core::slab::CacheNodeReport;
use shadowmm_core::slab::CacheReport;
use shadowmm_core::slab::Constructor;
use shadowmm_core::slab::Geometry;
use shadowmm_core::slab::ObjAddr;
use shadowmm_core::slab::ObjRequest;
use shadowmm_core::slab::ObjectAllocator;
use shadowmm_core::slab::SlabFlags;
use shadowmm_core::slab::SlabFlaw;
use std::fmt;

/// An allocator that reports, and does nothing else.
struct Fixture(Vec<(CacheReport, Vec<CacheNodeReport>)>);

impl ObjectAllocator for Fixture {
    fn report(&self, id: CacheId) -> Option<CacheReport> {
        let mut caches = self.0.iter();
        caches
            .find(|(cache, _)| cache.id == id)
            .map(|(cache, _)| *cache)
    }

    fn node_report(&self, id: CacheId, nid: NodeId) -> Option<CacheNodeReport> {
        let mut caches = self.0.iter();
        let (_, nodes) = caches.find(|(cache, _)| cache.id == id)?;
        nodes.get(usize::try_from(nid.0).ok()?).copied()
    }

    fn next(&self, after: Option<CacheId>) -> Option<CacheId> {
        let ids = self.0.iter().map(|(cache, _)| cache.id);
        ids.filter(|&id| after.is_none_or(|after| id > after)).min()
    }

    fn alias(&self, _: CacheId, _: usize) -> Option<CacheName> {
        None
    }

    fn find(&self, _: &str) -> Option<CacheId> {
        None
    }

    fn create(&self, _: &CacheArgs<'_>) -> Result<CacheId> {
        Err(Error::NotSupported)
    }

    fn destroy(&self, _: CacheId, _: &mut dyn fmt::Write) -> Result<()> {
        Err(Error::NotSupported)
    }

    fn alloc(&self, _: CacheId, _: &ObjRequest) -> Result<ObjAddr> {
        Err(Error::NotSupported)
    }

    fn free(&self, _: CacheId, _: ObjAddr, _: u64) -> Result<()> {
        Err(Error::NotSupported)
    }

    fn alloc_bulk(&self, _: CacheId, _: &ObjRequest, _: &mut [ObjAddr]) -> Result<()> {
        Err(Error::NotSupported)
    }

    fn free_bulk(&self, _: Option<CacheId>, _: &[ObjAddr], _: u64) -> Result<usize> {
        Err(Error::NotSupported)
    }

    fn kmalloc(&self, _: Bytes, _: &ObjRequest) -> Result<ObjAddr> {
        Err(Error::NotSupported)
    }

    fn kfree(&self, _: ObjAddr, _: u64) -> Result<()> {
        Err(Error::NotSupported)
    }

    fn krealloc(&self, _: Option<ObjAddr>, _: Bytes, _: &ObjRequest) -> Result<ObjAddr> {
        Err(Error::NotSupported)
    }

    fn usable(&self, _: ObjAddr) -> Result<Bytes> {
        Err(Error::NotSupported)
    }

    fn shrink(&self, _: CacheId) -> Result<Pages> {
        Err(Error::NotSupported)
    }

    fn shrink_all(&self) -> Pages {
        Pages::ZERO
    }

    fn validate(&self) -> Result<(), SlabFlaw> {
        Ok(())
    }
}

fn cache(id: u16, name: &str, size: u32, nodes: &[CacheNodeReport]) -> CacheReport {
    let mut sum = CacheNodeReport::default();
    for node in nodes {
        sum.slabs += node.slabs;
        sum.partial += node.partial;
        sum.full += node.full;
        sum.empty += node.empty;
        sum.total_objects += node.total_objects;
        sum.objects += node.objects;
    }
    CacheReport {
        id: CacheId::new(id).expect("a number"),
        name: CacheName::new(name).expect("a name"),
        refcount: 3,
        geometry: Geometry {
            object_size: size - 8,
            size,
            inuse: size - 8,
            offset: 8,
            align: 64,
            red_left_pad: 0,
            flags: SlabFlags::HWCACHE_ALIGN | SlabFlags::RECLAIM_ACCOUNT,
            order: PageOrder::new(1).expect("an order"),
            objects: 8192 / size,
            min_order: PageOrder::ZERO,
            min_objects: 4096 / size,
            min_partial: 5,
            sheaf_capacity: 60,
        },
        ctor: Constructor::Fill(0x5a),
        useroffset: 0,
        usersize: 16,
        nodes: sum,
        cached: 7,
        active_objects: sum.objects.saturating_sub(7),
        pages: Pages(2 * sum.slabs),
        counts: CacheCounts {
            alloc_fastpath: 1001,
            alloc_slowpath: 1002,
            free_fastpath: 1003,
            free_slowpath: 1004,
            free_remote: 1005,
            remote_batches: 1006,
            refills: 1007,
            flushes: 1008,
            cpu_flush: 1009,
            alloc_slab: 1010,
            free_slab: 1011,
            order_fallback: 1012,
            failed: 1013,
        },
    }
}

fn fixture() -> Fixture {
    let node = |full, partial, empty, objects| CacheNodeReport {
        slabs: full + partial + empty,
        partial,
        full,
        empty,
        total_objects: (full + partial + empty) * 64,
        objects,
    };
    let nodes = vec![
        node(3, 2, 1, 3 * 64 + 70),
        node(0, 0, 0, 0),
        node(1, 0, 0, 64),
    ];
    Fixture(vec![
        (cache(1, "kmem_cache", 128, &nodes), nodes),
        (
            cache(9, "a_name_that_is_longer_than_its_column", 512, &[]),
            vec![],
        ),
    ])
}

fn text(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut out = String::new();
    write(&mut out).expect("a text");
    out
}

const HEADER: &str = "\
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
";

#[test]
fn slabinfo_has_the_newest_first() {
    let expected = "\
a_name_that_is_longer_than_its_column      0      0    512   16    2 : tunables    0    0    0 : slabdata      0      0      0
kmem_cache           326    448    128   64    2 : tunables    0    0    0 : slabdata      7      7      0
";
    let found = text(|out| slabinfo::write(out, Some(&fixture())));
    assert_eq!(found, format!("{HEADER}{expected}"));
}

#[test]
fn without_a_layer_there_is_the_header() {
    assert_eq!(text(|out| slabinfo::write(out, None)), HEADER);
}

#[test]
fn a_cache_has_the_files_of_sysfs() {
    let fixture = fixture();
    let cache = fixture.0[0].0;
    let mut found = String::new();
    for file in CacheFile::ALL {
        let text = text(|out| file.write(out, &cache, &fixture));
        found += &format!("{} {}\n", file.name(), text.trim_end());
        // One line, or nothing.
        assert!(text.is_empty() || text.ends_with('\n') && text.lines().count() == 1);
    }
    let expected = "\
slab_size 128
object_size 120
objs_per_slab 64
order 1
sheaf_capacity 60
min_partial 5
cpu_partial 0
objects_partial 70 N0=70
partial 3 N0=3
cpu_slabs 0
ctor fill:0x5a
aliases 2
align 64
hwcache_align 1
reclaim_account 1
destroy_by_rcu 0
shrink \nslabs_cpu_partial 0(0)
total_objects 448 N0=384 N2=64
objects 326 N0=262 N2=64
slabs 7 N0=6 N2=1
sanity_checks 0
trace 0
red_zone 0
poison 0
store_user 0
validate \ncache_dma 0
usersize 16
alloc_fastpath 1001
alloc_slowpath 1002
free_fastpath 1003
free_slowpath 1004
alloc_slab 1010
free_slab 1011
order_fallback 1012
sheaf_refill 1007
sheaf_flush 1008
";
    assert_eq!(found, expected);
}

#[test]
fn a_cache_that_is_never_shared_has_no_aliases() {
    let fixture = fixture();
    for (refcount, aliases) in [(-1, "0\n"), (1, "0\n"), (0, "0\n"), (2, "1\n")] {
        let cache = CacheReport {
            refcount,
            ..fixture.0[0].0
        };
        assert_eq!(
            text(|out| CacheFile::Aliases.write(out, &cache, &fixture)),
            aliases
        );
    }
}

#[test]
fn a_text_that_can_t_be_written_ends_there() {
    struct Full;
    impl fmt::Write for Full {
        fn write_str(&mut self, _: &str) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    let fixture = fixture();
    assert!(slabinfo::write(&mut Full, Some(&fixture)).is_err());
    for file in CacheFile::ALL {
        let silent = [CacheFile::Shrink, CacheFile::Validate].contains(file);
        let written = file.write(&mut Full, &fixture.0[0].0, &fixture);
        assert_eq!(written.is_err(), !silent, "{}", file.name());
    }
}
