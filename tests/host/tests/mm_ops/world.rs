// SPDX-License-Identifier: GPL-2.0

//! A booted machine, one address space on it, and a host that remembers what is entered
//! in its table and objects when it is not what the shadow's table says.

use shadowmm_core::boot::Boot;
use shadowmm_core::boot::Config;
use shadowmm_core::boot::Mm;
use shadowmm_core::boot::Store;
use shadowmm_core::buddy::FreeReport;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::buddy::UserStat;
use shadowmm_core::error::Errno;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result;
use shadowmm_core::mm::AddressSpace;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::FileKind;
use shadowmm_core::mm::HostTable;
use shadowmm_core::mm::MmConfig;
use shadowmm_core::mm::MmapFile;
use shadowmm_core::mm::MmapRequest;
use shadowmm_core::mm::MremapRequest;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::mm::VirtRange;
use shadowmm_core::mm::VmFlags;
use shadowmm_core::page::ZoneId;
use shadowmm_core::phys::Pfn;
use shadowmm_core::platform::Platform;
use shadowmm_core::slab::ObjectAllocator;
use shadowmm_host_tests::machine::backing;
use shadowmm_host_tests::machine::builtin;
use shadowmm_host_tests::machine::pages_of;
use shadowmm_host_tests::HostPlatform;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// A file that all may be done with.
pub const FILE: MmapFile = MmapFile {
    number: 77,
    is_readable: true,
    is_writable: true,
    is_append_only: false,
    is_noexec: false,
    kind: FileKind::Pages,
};

pub type TestMm = Mm<'static, HostPlatform>;
pub type Space = AddressSpace<'static, 'static, HostPlatform>;

pub const PAGE: u64 = 4096;
pub const READ: u32 = 1;
pub const WRITE: u32 = 2;
pub const EXEC: u32 = 4;
pub const SHARED: u32 = 1;
pub const PRIVATE: u32 = 2;
pub const SHARED_VALIDATE: u32 = 3;
pub const DROPPABLE: u32 = 0x08;
pub const FIXED: u32 = 0x10;
pub const GROWSDOWN: u32 = 0x100;
pub const LOCKED: u32 = 0x2000;
pub const NORESERVE: u32 = 0x4000;
pub const POPULATE: u32 = 0x8000;
pub const HUGETLB: u32 = 0x4_0000;
pub const FIXED_NOREPLACE: u32 = 0x10_0000;

/// Where the window of the tests begins: 64 GiB, as long.
pub const BASE: u64 = 64 << 30;
pub const SIZE: u64 = 64 << 30;

/// What the host has entered for one window.
#[derive(Default)]
pub struct Host(Mutex<BTreeMap<u64, (Pfn, bool)>>);

impl HostTable for Host {
    fn enter(&self, addr: VirtAddr, pfn: Pfn, writable: bool) -> Result<()> {
        let mut table = self.0.lock().unwrap();
        let place = table.entry(addr.0).or_insert((pfn, writable));
        assert_eq!(place.0, pfn, "another page is entered at {addr}");
        place.1 |= writable;
        Ok(())
    }

    fn zap(&self, range: VirtRange) {
        self.0
            .lock()
            .unwrap()
            .retain(|&addr, _| !range.contains(VirtAddr(addr)));
    }
}

impl Host {
    /// What is entered is what the shadow's tables say, and allows no more.
    pub fn check(&self, space: &Space) {
        for (&addr, &(pfn, writable)) in self.0.lock().unwrap().iter() {
            let page = space.page_at(VirtAddr(addr));
            assert_eq!(page.pfn, Some(pfn), "the host has another page at {addr:x}");
            assert!(
                !writable || page.leaf.is_writable(),
                "the host lets write at {addr:x}"
            );
        }
    }
}

/// A machine with an address space.
pub struct World {
    pub mm: &'static TestMm,
    pub space: Space,
    pub host: Host,
    before: Vec<FreeReport>,
}

fn free(mm: &TestMm) -> Vec<FreeReport> {
    mm.drain(None).unwrap();
    let allocator = mm.allocator();
    let zones = mm.nodes.populated_zones();
    let ids = zones.map(|zone| ZoneId::new(zone.nid, zone.kind));
    ids.map(|id| allocator.free_report(id).unwrap()).collect()
}

pub fn boot() -> &'static TestMm {
    boot_with(64)
}

/// A machine of so many MiB.
pub fn boot_with(mib: usize) -> &'static TestMm {
    let backing = backing(&[mib]);
    let map = builtin(&backing);
    let store = Box::leak(Box::new(Store::new()));
    let platform = HostPlatform::default();
    let boot = Boot::detect(store, &map, &backing, &Config::default(), platform);
    let boot = Box::leak(Box::new(boot.unwrap()));
    boot.run().unwrap();
    boot.mm().unwrap()
}

/// Of pages of address spaces none is counted any more.
#[track_caller]
fn check_counts(mm: &TestMm) {
    let all = [
        UserStat::Anon,
        UserStat::AnonHuge,
        UserStat::File,
        UserStat::Shmem,
        UserStat::Mapped,
        UserStat::Table,
        UserStat::Locked,
    ];
    for zone in mm.nodes.populated_zones() {
        for stat in all {
            let pages = mm.stats.user(ZoneId::new(zone.nid, zone.kind), stat);
            assert_eq!(pages.0, 0, "{stat:?} in {:?}", zone.kind);
        }
    }
}

impl World {
    /// Pages of address spaces, in all zones.
    pub fn pages(&self, stat: UserStat) -> u64 {
        pages_of(self.mm, stat)
    }

    pub fn new() -> Self {
        Self::with(&MmConfig::default())
    }

    pub fn with(config: &MmConfig) -> Self {
        Self::on(boot(), config)
    }

    /// On a machine that is up, and on which there is nothing.
    pub fn on(mm: &'static TestMm, config: &MmConfig) -> Self {
        let before = free(mm);
        let window = VirtRange::new(BASE, BASE + SIZE);
        let space = mm.spaces().create(window, config).unwrap();
        Self {
            mm,
            space,
            host: Host::default(),
            before,
        }
    }

    /// Another address space on the same machine.
    pub fn beside(&self, space: Space) -> Self {
        Self {
            mm: self.mm,
            space,
            host: Host::default(),
            before: Vec::new(),
        }
    }

    /// No invariant is broken.
    #[track_caller]
    pub fn check(&self) {
        if let Err(wrong) = self.space.validate() {
            panic!("{wrong}\n{}", self.maps());
        }
        self.host.check(&self.space);
    }

    /// The address space goes, and every page is where it was.
    #[track_caller]
    pub fn finish(self) {
        self.check();
        self.space.put(&self.host);
        assert!(
            self.host.0.lock().unwrap().is_empty(),
            "the host has pages left"
        );
        assert_eq!(
            self.mm.spaces().committed().0,
            0,
            "something stays promised"
        );
        assert_eq!(self.mm.spaces().count(), 0);
        let files = &*self.mm.platform.files.lock().unwrap();
        assert!(files.is_empty(), "references are left: {files:?}");
        self.mm.slab().unwrap().validate().unwrap();
        check_counts(self.mm);
        self.mm.shut_down().unwrap();
        self.mm.validate().unwrap();
        assert_eq!(self.before, free(self.mm), "pages are lost");
    }

    /// One VMA a line: first page and number of pages behind the start of the window,
    /// and permissions.
    pub fn maps(&self) -> String {
        maps_of(&self.space)
    }

    pub fn request(&self, page: u64, pages: u64, prot: u32, flags: u32) -> Result<u64> {
        self.request_at(at(page), pages, prot, flags)
    }

    /// Without a hint.
    pub fn anywhere(&self, pages: u64, prot: u32, flags: u32) -> Result<u64> {
        self.request_at(VirtAddr(0), pages, prot, flags)
    }

    fn request_at(&self, addr: VirtAddr, pages: u64, prot: u32, flags: u32) -> Result<u64> {
        let request = MmapRequest {
            addr,
            len: pages * PAGE,
            prot,
            flags,
            file: None,
            pgoff: 0,
        };
        let addr = self.space.mmap(&self.host, &request)?;
        self.check();
        Ok((addr.0 - BASE) / PAGE)
    }

    /// Maps with a reference to the file, which the caller has no more where that is done.
    pub fn mmap_file(&self, request: &MmapRequest) -> Result<VirtAddr> {
        let number = request.file.map(|file| file.number);
        if let Some(file) = number {
            self.mm.platform.get_file(file);
        }
        let done = self.space.mmap(&self.host, request);
        if let (Some(file), Err(_)) = (number, done) {
            self.mm.platform.put_file(file);
        }
        done
    }

    /// Private memory at a place.
    #[track_caller]
    pub fn map(&self, page: u64, pages: u64, prot: u32) {
        let there = self.request(page, pages, prot, PRIVATE | FIXED);
        assert_eq!(there, Ok(page));
    }

    pub fn unmap(&self, page: u64, pages: u64) -> Result<()> {
        let done = self.space.munmap(&self.host, at(page), pages * PAGE);
        self.check();
        done
    }

    pub fn protect(&self, page: u64, pages: u64, prot: u32) -> Result<()> {
        let done = self
            .space
            .mprotect(&self.host, at(page), pages * PAGE, prot);
        self.check();
        done
    }

    pub fn advise(&self, page: u64, pages: u64, advice: Advice) -> Result<()> {
        let done = self
            .space
            .madvise(&self.host, at(page), pages * PAGE, advice);
        self.check();
        done
    }

    /// Somebody writes to each page.
    #[track_caller]
    pub fn touch(&self, page: u64, pages: u64) {
        let range = VirtRange::new(at(page).0, at(page + pages).0);
        let _lock = self.space.read();
        assert_eq!(self.space.populate(&self.host, range, true), Ok(pages));
    }

    pub fn remap(&self, from: (u64, u64), to: (u64, u64), flags: u32) -> Result<u64> {
        let request = MremapRequest {
            addr: at(from.0),
            old_len: from.1 * PAGE,
            new_len: to.1 * PAGE,
            flags,
            new_addr: at(to.0),
        };
        let addr = self.space.mremap(&self.host, &request);
        self.check();
        Ok((addr?.0 - BASE) / PAGE)
    }

    pub fn count(&self, of: impl Fn(&shadowmm_core::mm::MmNumbers) -> u64) -> u64 {
        of(&self.space.numbers())
    }
}

pub fn at(page: u64) -> VirtAddr {
    VirtAddr(BASE + page * PAGE)
}

pub fn errno<T>(result: Result<T>) -> Option<Errno> {
    result.err().map(Error::errno)
}

pub fn maps_of(space: &Space) -> String {
    let mut all = String::new();
    space.for_each_vma(|vma| {
        let bit = |flag, yes| if vma.flags.has(flag) { yes } else { '-' };
        let name: String = [
            bit(VmFlags::READ, 'r'),
            bit(VmFlags::WRITE, 'w'),
            bit(VmFlags::EXEC, 'x'),
            if vma.flags.has(VmFlags::MAYSHARE) {
                's'
            } else {
                'p'
            },
        ]
        .iter()
        .collect();
        let page = (vma.range.start.0 - BASE) / PAGE;
        all += &format!("{page}+{} {name}\n", vma.range.pages());
    });
    all
}
