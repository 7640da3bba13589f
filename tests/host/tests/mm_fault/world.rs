// SPDX-License-Identifier: GPL-2.0

//! A machine, processes in it, and the host's table of each: a table that remembers what
//! is entered and finds fault with whoever enters or frees what he must not.

#[path = "../slab/world.rs"]
#[allow(dead_code)] // It is the world of the slab layer's tests.
mod slab;

use shadowmm_core::buddy::gfp;
use shadowmm_core::buddy::AllocRequest;
use shadowmm_core::buddy::PageAllocator;
use shadowmm_core::buddy::UserStat;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result;
use shadowmm_core::mm::Access;
use shadowmm_core::mm::AddressSpace;
use shadowmm_core::mm::AddressSpaces;
use shadowmm_core::mm::Advice;
use shadowmm_core::mm::FaultResult;
use shadowmm_core::mm::FileKind;
use shadowmm_core::mm::HostTable;
use shadowmm_core::mm::MmConfig;
use shadowmm_core::mm::MmapFile;
use shadowmm_core::mm::MmapRequest;
use shadowmm_core::mm::MremapRequest;
use shadowmm_core::mm::Populate;
use shadowmm_core::mm::Usage;
use shadowmm_core::mm::VirtAddr;
use shadowmm_core::mm::VirtRange;
use shadowmm_core::page::PageState;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::phys::Pfn;
use shadowmm_core::phys::PhysAddr;
use shadowmm_host_tests::machine::pages_of;
pub use slab::run_on;
pub use slab::Cpus;
pub use slab::TestMm;
pub use slab::World;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::sync::Mutex;

pub const PAGE: u64 = 4096;
pub const HUGE: u64 = 2 << 20;
/// The window of every process.
pub const WINDOW: VirtRange = VirtRange::new(0x10_0000_0000, 0x20_0000_0000);

pub const PROT_NONE: u32 = 0;
pub const PROT_READ: u32 = 1;
pub const PROT_WRITE: u32 = 2;
pub const RW: u32 = PROT_READ | PROT_WRITE;
pub const MAP_SHARED: u32 = 1;
pub const MAP_PRIVATE: u32 = 2;
pub const MAP_FIXED: u32 = 0x10;
pub const MAP_GROWSDOWN: u32 = 0x100;
pub const MAP_NORESERVE: u32 = 0x4000;
pub const MREMAP_MAYMOVE: u32 = 1;
pub const MREMAP_FIXED: u32 = 2;

pub type Space = AddressSpace<'static, 'static, Cpus>;

pub fn spaces(world: &World) -> AddressSpaces<'static, 'static, Cpus> {
    world.mm.spaces()
}

/// The entries of a host's table, by address: the page, and whether it may be written to.
type Entries = Mutex<BTreeMap<u64, (Pfn, bool)>>;

/// All that is entered anywhere: how often each page is, and by which space's table.
#[derive(Default)]
pub struct Entered {
    pages: Mutex<BTreeMap<u64, u64>>,
    tables: Mutex<BTreeMap<u32, Arc<Entries>>>,
}

impl Entered {
    /// No page of a block that is about to be free is entered anywhere.
    #[track_caller]
    pub fn check_freed(&self, pfn: Pfn, order: PageOrder) {
        let entered = self.pages.lock().unwrap();
        let end = pfn.0 + order.pages().0;
        if let Some((pfn, _)) = entered.range(pfn.0..end).next() {
            panic!("page {pfn} is freed, and the host has it");
        }
    }

    fn add(&self, pfn: Pfn) {
        *self.pages.lock().unwrap().entry(pfn.0).or_default() += 1;
    }

    fn remove(&self, pfn: Pfn) {
        let mut entered = self.pages.lock().unwrap();
        let count = entered.get_mut(&pfn.0).expect("an entry");
        *count -= 1;
        if *count == 0 {
            entered.remove(&pfn.0);
        }
    }

    /// Takes a range out of a table.
    fn zap_in(&self, entries: &Entries, range: VirtRange) {
        let mut entries = entries.lock().unwrap();
        let gone: Vec<u64> = entries
            .range(range.start.0..range.end.0)
            .map(|(&addr, _)| addr)
            .collect();
        for addr in gone {
            let (pfn, _) = entries.remove(&addr).unwrap();
            self.remove(pfn);
        }
    }

    /// The same of a space, by whoever wants it.
    fn zap_of(&self, space: u32, range: VirtRange) {
        let entries = self.tables.lock().unwrap().get(&space).cloned();
        self.zap_in(&entries.expect("a process"), range);
    }
}

/// The host's table of one process.
pub struct Host {
    mm: &'static TestMm,
    entered: Arc<Entered>,
    entries: Arc<Entries>,
    /// Whether 2 MiB can be entered at once.
    pub can_huge: AtomicBool,
    /// How many more entries there is memory for.
    pub room: AtomicU64,
    /// How many pages its user may have.
    pub limit: AtomicU64,
    /// Whether the process wants no 2 MiB: 1 for none but what it asks for, 2 for none at all.
    pub no_huge: AtomicU64,
    /// Entries that were made one by one.
    pub enters: AtomicU64,
    /// Calls of `zap`.
    pub zaps: AtomicU64,
    /// Bytes of the only file that there is; a page is its number in each word.
    pub file_size: AtomicU64,
    /// Which of its pages have to be read first.
    pub unread: Mutex<BTreeSet<u64>>,
    /// The page that is to be read, and what is to be made then.
    noted: Mutex<(Option<u64>, Option<Populate>)>,
}

impl Host {
    fn new(mm: &'static TestMm, entered: &Arc<Entered>, space: &Space) -> Self {
        let entries = Arc::<Entries>::default();
        let mut tables = entered.tables.lock().unwrap();
        tables.insert(space.cells().id(), entries.clone());
        Self {
            mm,
            entered: entered.clone(),
            entries,
            can_huge: AtomicBool::new(false),
            room: AtomicU64::new(u64::MAX),
            limit: AtomicU64::new(u64::MAX),
            no_huge: AtomicU64::new(0),
            enters: AtomicU64::new(0),
            zaps: AtomicU64::new(0),
            file_size: AtomicU64::new(0),
            unread: Mutex::default(),
            noted: Mutex::default(),
        }
    }

    /// Reads the page that is to be read: which, and what is left to populate.
    pub fn read_noted(&self) -> Option<(u64, Option<Populate>)> {
        let (page, rest) = core::mem::take(&mut *self.noted.lock().unwrap());
        self.unread.lock().unwrap().remove(&page?);
        Some((page?, rest))
    }

    /// Whether the page may be entered: it is somebody's.
    #[track_caller]
    fn check_used(&self, pfn: Pfn) {
        let page = self.mm.sparse.page(pfn).expect("a page");
        let head = match page.state() {
            PageState::Tail => self
                .mm
                .sparse
                .page(pfn.align_down(PageOrder::PAGEBLOCK))
                .unwrap(),
            _ => page,
        };
        assert_eq!(head.state(), PageState::Allocated, "{pfn}");
        assert_ne!(head.count(), 0, "{pfn}");
    }

    fn put_in(
        &self,
        entries: &mut BTreeMap<u64, (Pfn, bool)>,
        addr: u64,
        pfn: Pfn,
        writable: bool,
    ) {
        self.check_used(pfn);
        match entries.get(&addr).copied() {
            Some((there, was)) => {
                assert_eq!(there, pfn, "another page is entered at {addr:x}");
                entries.insert(addr, (pfn, was || writable));
            }
            None => {
                self.entered.add(pfn);
                entries.insert(addr, (pfn, writable));
            }
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.lock().unwrap().len()
    }

    /// What a process finds there, for as long as `then` takes.
    fn with<T>(&self, addr: u64, write: bool, then: impl FnOnce(PhysAddr) -> T) -> Option<T> {
        let entries = self.entries.lock().unwrap();
        let (pfn, writable) = *entries.get(&(addr & !(PAGE - 1)))?;
        (writable || !write).then(|| then(PhysAddr(pfn.addr().0 + addr % PAGE)))
    }

    /// All that is here is what the tables say, and no more is allowed.
    #[track_caller]
    pub fn check(&self, space: &Space) {
        for (&addr, &(pfn, writable)) in self.entries.lock().unwrap().iter() {
            let found = space.page_at(VirtAddr(addr));
            assert_eq!(found.pfn, Some(pfn), "{addr:x}: {found:x?}");
            assert!(
                !writable || found.leaf.is_writable(),
                "{addr:x}: {found:x?}"
            );
            self.check_used(pfn);
        }
    }
}

impl HostTable for Host {
    fn enter(&self, addr: VirtAddr, pfn: Pfn, writable: bool) -> Result<()> {
        assert!(addr.is_page_aligned());
        let room = |room: u64| room.checked_sub(1);
        if self.room.fetch_update(Relaxed, Relaxed, room).is_err() {
            return Err(Error::NoHostMemory);
        }
        self.enters.fetch_add(1, Relaxed);
        self.put_in(&mut self.entries.lock().unwrap(), addr.0, pfn, writable);
        Ok(())
    }

    fn enter_huge(&self, addr: VirtAddr, pfn: Pfn, writable: bool) -> bool {
        assert!(addr.0 % HUGE == 0 && pfn.is_aligned(PageOrder::PAGEBLOCK));
        if !self.can_huge.load(Relaxed) {
            return false;
        }
        let mut entries = self.entries.lock().unwrap();
        for page in 0..HUGE / PAGE {
            self.put_in(
                &mut entries,
                addr.0 + page * PAGE,
                Pfn(pfn.0 + page),
                writable,
            );
        }
        true
    }

    fn zap(&self, range: VirtRange) {
        self.zaps.fetch_add(1, Relaxed);
        self.entered.zap_in(&self.entries, range);
    }

    fn read_file(&self, file: u64, index: u64, into: Pfn) -> Result<bool> {
        assert_ne!(file, 0);
        if index * PAGE >= self.file_size.load(Relaxed) {
            return Ok(false);
        }
        if self.unread.lock().unwrap().contains(&index) {
            self.noted.lock().unwrap().0 = Some(index);
            return Err(Error::FileNotRead);
        }
        let window = self.mm.region.window(into.addr()).unwrap();
        let words: &[AtomicU64; 512] = window.cells(into.addr()).unwrap();
        words.iter().for_each(|word| word.store(index + 1, Relaxed));
        Ok(true)
    }

    fn is_full(&self, charged: i64, more: u64) -> bool {
        (charged.max(0) as u64).saturating_add(more) > self.limit.load(Relaxed)
    }

    fn has_no_huge(&self, asked: bool) -> bool {
        self.no_huge.load(Relaxed) > u64::from(asked)
    }

    fn populate_later(&self, rest: Populate) {
        self.noted.lock().unwrap().1 = Some(rest);
    }
}

/// A process: its address space and the host's table.
pub struct Process {
    pub mm: &'static TestMm,
    pub space: Space,
    pub host: Host,
}

/// Pages that nobody else can have.
pub struct Held {
    mm: &'static TestMm,
    pages: Vec<Pfn>,
}

impl Drop for Held {
    fn drop(&mut self) {
        for &pfn in &self.pages {
            self.mm.allocator().free(pfn, PageOrder::ZERO).unwrap();
        }
    }
}

/// All processes of a machine.
pub struct Machine {
    pub world: World,
    pub entered: Arc<Entered>,
}

impl Machine {
    pub fn new(mib: &[usize]) -> Self {
        let world = World::new(mib);
        let entered = Arc::<Entered>::default();
        let frees = entered.clone();
        let told = world
            .mm
            .platform
            .tell_frees(move |pfn, order| frees.check_freed(pfn, order));
        assert!(told);
        let zaps = entered.clone();
        let zap = move |space, range| zaps.zap_of(space, range);
        assert!(world.mm.platform.zap_by(zap));
        // Every page that goes back is told.
        world.mm.buddy().refresh_told();
        spaces(&world).set_thp(shadowmm_core::mm::ThpMode::Never);
        Self { world, entered }
    }

    /// Two nodes of 48 MiB.
    pub fn two_nodes() -> Self {
        Self::new(&[48, 48])
    }

    pub fn spaces(&self) -> AddressSpaces<'static, 'static, Cpus> {
        spaces(&self.world)
    }

    /// Pages of address spaces, in all zones.
    pub fn pages(&self, stat: UserStat) -> u64 {
        pages_of(self.world.mm, stat)
    }

    pub fn process(&self) -> Process {
        self.process_with(&MmConfig {
            pid: 1,
            ..MmConfig::default()
        })
    }

    pub fn process_with(&self, config: &MmConfig) -> Process {
        let mm = self.world.mm;
        let space = mm.spaces().create(WINDOW, config).unwrap();
        let host = Host::new(mm, &self.entered, &space);
        Process { mm, space, host }
    }

    /// Takes all pages that ordinary requests can have but so many, until what is returned is dropped.
    pub fn hold_all_but(&self, pages: u64) -> Held {
        let mm = self.world.mm;
        mm.drain(None).unwrap();
        let kinds = [gfp::GFP_HIGHUSER_MOVABLE, gfp::GFP_KERNEL];
        let mut held = vec![];
        let mut before = 1;
        while held.len() != before {
            before = held.len();
            for gfp in kinds {
                let request = AllocRequest::new(gfp | gfp::__GFP_NOWARN, PageOrder::ZERO);
                while let Ok(pfn) = mm.allocator().alloc(&request) {
                    held.push(pfn);
                }
                mm.drain(None).unwrap();
            }
        }
        for _ in 0..pages {
            mm.allocator()
                .free(held.pop().unwrap(), PageOrder::ZERO)
                .unwrap();
        }
        // What a CPU keeps does not count for the watermarks.
        mm.drain(None).unwrap();
        Held { mm, pages: held }
    }

    /// No process is left: every page is where it was.
    #[track_caller]
    pub fn finish(&self) {
        assert!(self.entered.pages.lock().unwrap().is_empty());
        self.spaces().shut_down().unwrap();
        self.world.finish();
    }
}

impl Process {
    /// Memory somewhere in the window.
    #[track_caller]
    pub fn map(&self, pages: u64, prot: u32, flags: u32) -> u64 {
        self.map_at(0, pages, prot, flags)
    }

    #[track_caller]
    pub fn map_at(&self, addr: u64, pages: u64, prot: u32, flags: u32) -> u64 {
        let request = MmapRequest {
            addr: VirtAddr(addr),
            len: pages * PAGE,
            prot,
            flags,
            file: None,
            pgoff: 0,
        };
        self.space.mmap(&self.host, &request).unwrap().0
    }

    /// A file, from page `pgoff` on, which has so many bytes.
    #[track_caller]
    pub fn map_file(&self, pages: u64, prot: u32, pgoff: u64, size: u64) -> u64 {
        self.map_file_with(pages, prot, pgoff, size, 0)
    }

    #[track_caller]
    pub fn map_file_with(&self, pages: u64, prot: u32, pgoff: u64, size: u64, flags: u32) -> u64 {
        self.host.file_size.store(size, Relaxed);
        let request = MmapRequest {
            addr: VirtAddr(0),
            len: pages * PAGE,
            prot,
            flags: MAP_PRIVATE | flags,
            file: Some(MmapFile {
                number: 77,
                is_readable: true,
                is_writable: false,
                is_append_only: false,
                is_noexec: false,
                kind: FileKind::Pages,
            }),
            pgoff,
        };
        self.space.mmap(&self.host, &request).unwrap().0
    }

    /// Moves or resizes.
    pub fn try_remap(&self, addr: u64, old: u64, new: u64, flags: u32, to: u64) -> Result<u64> {
        let request = MremapRequest {
            addr: VirtAddr(addr),
            old_len: old * PAGE,
            new_len: new * PAGE,
            flags,
            new_addr: VirtAddr(to),
        };
        Ok(self.space.mremap(&self.host, &request)?.0)
    }

    pub fn advise(&self, at: u64, pages: u64, advice: Advice) {
        self.space
            .madvise(&self.host, VirtAddr(at), pages * PAGE, advice)
            .unwrap();
    }

    /// Private memory for reading and writing.
    #[track_caller]
    pub fn anon(&self, pages: u64) -> u64 {
        self.map(pages, RW, MAP_PRIVATE)
    }

    pub fn fault(&self, addr: u64, access: Access) -> FaultResult {
        self.space.fault(&self.host, VirtAddr(addr), access, false)
    }

    /// The same by who has waited for the page to be read.
    pub fn fault_again(&self, addr: u64, access: Access) -> FaultResult {
        self.space.fault(&self.host, VirtAddr(addr), access, true)
    }

    /// What a load finds, or why it finds nothing.
    pub fn try_read(&self, addr: u64) -> Result<u64, FaultResult> {
        self.access(addr, Access::Read, |word| word.load(Relaxed))
    }

    /// A store.
    pub fn try_write(&self, addr: u64, value: u64) -> Result<(), FaultResult> {
        self.access(addr, Access::Write, |word| word.store(value, Relaxed))
    }

    fn access<T>(
        &self,
        addr: u64,
        access: Access,
        then: impl Fn(&AtomicU64) -> T,
    ) -> Result<T, FaultResult> {
        let write = access == Access::Write;
        loop {
            let done = self.host.with(addr, write, |at| {
                let window = self.mm.region.window(at).unwrap();
                then(window.cells::<AtomicU64>(at).unwrap())
            });
            if let Some(done) = done {
                return Ok(done);
            }
            match self.fault(addr, access) {
                FaultResult::Mapped(_) | FaultResult::Retry => {}
                stop => return Err(stop),
            }
        }
    }

    #[track_caller]
    pub fn read(&self, addr: u64) -> u64 {
        self.try_read(addr).unwrap()
    }

    #[track_caller]
    pub fn write(&self, addr: u64, value: u64) {
        self.try_write(addr, value).unwrap();
    }

    #[track_caller]
    pub fn munmap(&self, addr: u64, pages: u64) {
        self.space
            .munmap(&self.host, VirtAddr(addr), pages * PAGE)
            .unwrap();
    }

    #[track_caller]
    pub fn protect(&self, addr: u64, pages: u64, prot: u32) {
        self.space
            .mprotect(&self.host, VirtAddr(addr), pages * PAGE, prot)
            .unwrap();
    }

    /// A child.
    pub fn try_fork(&self) -> Result<Process> {
        let space = self
            .space
            .fork(&self.host, 2, *b"child\0\0\0\0\0\0\0\0\0\0\0")?;
        Ok(Process {
            mm: self.mm,
            space,
            host: Host::new(self.mm, &self.host.entered, &space),
        })
    }

    #[track_caller]
    pub fn fork(&self) -> Process {
        self.try_fork().unwrap()
    }

    /// Resident pages: of files, anonymous, of shared memory.
    pub fn rss(&self) -> [u64; 3] {
        use shadowmm_core::mm::Rss;
        let cells = self.space.cells();
        [Rss::File, Rss::Anon, Rss::Shmem].map(|kind| cells.rss(kind))
    }

    /// Bytes of page tables.
    pub fn tables(&self) -> u64 {
        self.space.cells().page_table_bytes().0
    }

    /// What all VMAs have in memory.
    pub fn usage(&self) -> Usage {
        let mut all = Usage::default();
        let Ok(()) = self.space.try_for_each_usage(|_, usage| {
            all.add_all(usage);
            Ok::<(), Infallible>(())
        });
        all
    }

    #[track_caller]
    pub fn check(&self) {
        self.host.check(&self.space);
    }

    /// The process ends.
    pub fn exit(self) {
        self.check();
        self.space.put(&self.host);
    }
}
