// SPDX-License-Identifier: GPL-2.0

//! The boot: from the firmware's map to a running memory manager, in stages.
//!
//! Each stage is a type of its own; a stage's only way on is to be consumed by
//! the step to the next one, so nothing can use memblock after the hand-off or
//! the buddy system before it:
//!
//! ```text
//! Detected --setup_memblock()--> Early --paging_init()--> Paged
//!   the map, scaled;               memblock, with           sections and page
//!   the region laid under it       what is reserved         descriptors
//!
//!    Paged --free_area_init()--> Zoned --hand_off()--> Mm
//!                                  nodes, zones,         the buddy system has
//!                                  zonelists             the memory
//! ```
//!
//! [`Boot`] holds whichever stage has been reached. A step that fails leaves
//! nothing to go on with; the boot says so until its owner starts anew.
//!
//! Everything large lies in a [`Store`] that the owner lends for `'m`, or in
//! the region itself.

mod config;
mod installed;
mod mm;
mod setup;
mod snapshot;
mod steps;
mod store;
mod tune;

pub use config::Config;
pub use config::CrashParameter;
pub use config::MAX_PARAMETER;
pub use mm::Flaw;
pub use mm::KmsobOf;
pub use mm::Mm;
pub use setup::CrashRanges;
pub use snapshot::Text;
pub use steps::Detected;
pub use steps::Early;
pub use steps::Paged;
pub use steps::Zoned;
pub use store::Store;

use crate::error::Error;
use crate::error::Result;
use crate::firmware;
use crate::firmware::CrashKernel;
use crate::firmware::FirmwareMap;
use crate::firmware::Scaled;
use crate::memblock::Memblock;
use crate::node::Nodes;
use crate::phys::Backing;
use crate::phys::CpuId;
use crate::phys::Pages;
use crate::phys::Region;
use crate::platform::Platform;
use crate::report::Snapshot;
use crate::sparse::Sparse;
use core::mem;

/// How far the boot has come. The numbers are those of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Stage {
    /// The firmware map is there, and the region lies under it.
    Detect = 0,
    /// memblock knows the memory and what is reserved.
    Memblock = 1,
    /// There are sections and page descriptors.
    Paging = 2,
    /// There are nodes, zones and zonelists.
    Zones = 3,
    /// The buddy system has the memory.
    HandOff = 4,
}

/// How many stages there are.
pub const NR_STAGES: usize = 5;

impl Stage {
    /// All stages, in order.
    pub const ALL: [Stage; NR_STAGES] = [
        Self::Detect,
        Self::Memblock,
        Self::Paging,
        Self::Zones,
        Self::HandOff,
    ];

    /// What the stage is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Memblock => "memblock",
            Self::Paging => "paging",
            Self::Zones => "zones",
            Self::HandOff => "hand-off",
        }
    }
}

/// The machine that is booted: what all stages may look at.
pub struct Machine<'m> {
    /// The map as the firmware gave it, resolved.
    pub original: &'m FirmwareMap,
    /// The same map, scaled to the region.
    pub map: &'m FirmwareMap,
    /// How it was scaled.
    pub scaled: &'m Scaled,
    /// What the owner wants.
    pub config: &'m Config,
    /// What of it is for the crash kernel, in sizes of the original machine.
    pub crashkernel: Option<CrashKernel>,
    /// The host memory that could be used.
    pub backing: Pages,
}

/// The stage that has been reached.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one of it, which its owner has in a box"
)]
enum Phase<'m, P: Platform> {
    Detected(Detected<'m, P>),
    Early(Early<'m, P>),
    Paged(Paged<'m, P>),
    Zoned(Zoned<'m, P>),
    Running(Mm<'m, P>),
    /// The step after this stage failed.
    Failed(Stage),
}

/// A shadow, booted as far as its owner has let it.
pub struct Boot<'m, P: Platform> {
    /// The machine.
    pub machine: Machine<'m>,
    phase: Phase<'m, P>,
    /// The crash kernel's memory, once memblock has it.
    crash: CrashRanges,
    /// What each stage took, in nanoseconds.
    ns: [u64; NR_STAGES],
}

impl<'m, P: Platform> Boot<'m, P> {
    /// The first stage: resolves `map`, scales it to `backing`, and lays the
    /// backing under it. `store` is new.
    ///
    /// # Errors
    ///
    /// Those of [`FirmwareMap::resolve`], [`firmware::scale`] and
    /// [`Region::lay`]; [`Error::BadParameter`] when the crash kernel would be
    /// as large as the machine.
    pub fn detect(
        store: &'m mut Store<'m, P>,
        map: &FirmwareMap,
        backing: &Backing<'m>,
        config: &Config,
        platform: P,
    ) -> Result<Self> {
        let start = platform.now_ns();
        store.original.clone_from(map);
        setup::trim_bios_range(&mut store.original)?;
        store.map.clone_from(&store.original);
        firmware::scale(&mut store.map, backing.pages(), &mut store.scaled)?;
        store.region.lay(backing, store.map.ram_ranges())?;
        store.config.clone_from(config);
        let ns = platform.now_ns().saturating_sub(start);
        let machine = Machine {
            original: &store.original,
            map: &store.map,
            scaled: &store.scaled,
            config: &store.config,
            crashkernel: config.crashkernel.wanted(store.scaled.original_ram)?,
            backing: backing.pages(),
        };
        let detected = Detected {
            platform,
            region: &mut store.region,
            memory: &mut store.memory,
            reserved: &mut store.reserved,
            sparse: &mut store.sparse,
            nodes: &mut store.nodes,
            slab: &mut store.slab,
        };
        Ok(Self {
            machine,
            phase: Phase::Detected(detected),
            crash: CrashRanges::default(),
            ns: [ns, 0, 0, 0, 0],
        })
    }

    /// The stage reached.
    pub fn stage(&self) -> Stage {
        match &self.phase {
            Phase::Detected(_) => Stage::Detect,
            Phase::Early(_) => Stage::Memblock,
            Phase::Paged(_) => Stage::Paging,
            Phase::Zoned(_) => Stage::Zones,
            Phase::Running(_) => Stage::HandOff,
            Phase::Failed(stage) => *stage,
        }
    }

    /// What each stage took, in nanoseconds; 0 for those to come.
    pub fn ns(&self) -> [u64; NR_STAGES] {
        self.ns
    }

    /// One stage on.
    ///
    /// # Errors
    ///
    /// [`Error::StageDone`] at the last stage; the stage's error when it fails,
    /// and [`Error::BootFailed`] ever after.
    pub fn advance(&mut self) -> Result<Stage> {
        let from = self.stage();
        let to = match &self.phase {
            Phase::Running(_) => return Err(Error::StageDone),
            Phase::Failed(_) => return Err(Error::BootFailed),
            _ => Stage::ALL.get(from as usize + 1).copied(),
        };
        let to = to.ok_or(Error::StageDone)?;
        let phase = mem::replace(&mut self.phase, Phase::Failed(from));
        let (phase, ns) = self.step(phase)?;
        self.phase = phase;
        self.tune_as_configured()?;
        if let Some(slot) = self.ns.get_mut(to as usize) {
            *slot = ns;
        }
        Ok(to)
    }

    /// All stages that are left.
    ///
    /// # Errors
    ///
    /// Those of [`Boot::advance`].
    pub fn run(&mut self) -> Result<()> {
        self.advance()?;
        while self.stage() != Stage::HandOff {
            self.advance()?;
        }
        Ok(())
    }

    /// The step from `phase`, and what it took.
    #[inline(never)]
    fn step(&mut self, phase: Phase<'m, P>) -> Result<(Phase<'m, P>, u64)> {
        let machine = &self.machine;
        Ok(match phase {
            Phase::Detected(stage) => {
                let start = stage.platform.now_ns();
                let (next, crash) = stage.setup_memblock(machine)?;
                self.crash = crash;
                let ns = next.platform.now_ns().saturating_sub(start);
                (Phase::Early(next), ns)
            }
            Phase::Early(stage) => {
                let start = stage.platform.now_ns();
                let next = stage.paging_init(machine)?;
                let ns = next.0.platform.now_ns().saturating_sub(start);
                (Phase::Paged(next), ns)
            }
            Phase::Paged(stage) => {
                let start = stage.0.platform.now_ns();
                let next = stage.free_area_init(machine)?;
                let ns = next.early.platform.now_ns().saturating_sub(start);
                (Phase::Zoned(next), ns)
            }
            Phase::Zoned(stage) => return self.last_step(stage),
            Phase::Running(_) => return Err(Error::StageDone),
            Phase::Failed(_) => return Err(Error::BootFailed),
        })
    }

    /// The step to the running memory manager, which is large.
    #[inline(never)]
    fn last_step(&self, stage: Zoned<'m, P>) -> Result<(Phase<'m, P>, u64)> {
        let machine = &self.machine;
        let start = stage.early.platform.now_ns();
        let next = stage.hand_off(machine)?;
        if machine.config.has_pagesets() {
            next.setup_pagesets(&machine.map.cpus, None);
        }
        let ns = next.platform.now_ns().saturating_sub(start);
        Ok((Phase::Running(next), ns))
    }

    /// The running memory manager.
    ///
    /// # Errors
    ///
    /// [`Error::StageOrder`] before the hand-off, [`Error::BootFailed`] when it
    /// will not come.
    pub fn mm(&self) -> Result<&Mm<'m, P>> {
        match &self.phase {
            Phase::Running(mm) => Ok(mm),
            Phase::Failed(_) => Err(Error::BootFailed),
            _ => Err(Error::StageOrder),
        }
    }

    /// Shares the zones' pages out anew among their nodes' CPUs, one of which
    /// may be about to come up; nothing to do where CPUs keep no pages.
    ///
    /// # Errors
    ///
    /// Those of [`Boot::mm`].
    pub fn update_pagesets(&self, coming: Option<CpuId>) -> Result<()> {
        let mm = self.mm()?;
        if self.machine.config.has_pagesets() {
            mm.setup_pagesets(&self.machine.map.cpus, coming);
        }
        Ok(())
    }

    /// Checks every invariant, from memblock to the free lists, and that the
    /// accounting adds up: how many pages there are, or what does not hold.
    ///
    /// # Errors
    ///
    /// Those of [`Boot::mm`].
    pub fn validate(&self) -> Result<core::result::Result<Pages, Flaw>> {
        let mm = self.mm()?;
        let accounts = self.accounting().check();
        let accounts = accounts.map_err(|_| Flaw::new("accounting", "the parts exceed the sum"));
        Ok(mm.validate().and(accounts).map(|()| mm.nodes.present()))
    }

    /// memblock's arrays: the living ones, or what they were at the hand-off.
    ///
    /// # Errors
    ///
    /// [`Error::StageOrder`] before the memblock stage.
    pub fn memblock(&self) -> Result<&Memblock<'m>> {
        match &self.phase {
            Phase::Early(stage) => Ok(&stage.memblock),
            Phase::Paged(stage) => Ok(&stage.0.memblock),
            Phase::Zoned(stage) => Ok(&stage.early.memblock),
            Phase::Running(mm) => Ok(&mm.memblock),
            Phase::Detected(_) => Err(Error::StageOrder),
            Phase::Failed(_) => Err(Error::BootFailed),
        }
    }

    /// The region.
    pub fn region(&self) -> Option<&Region<'m>> {
        match &self.phase {
            Phase::Detected(stage) => Some(stage.region),
            Phase::Early(stage) => stage.memblock.region(),
            Phase::Paged(stage) => stage.0.memblock.region(),
            Phase::Zoned(stage) => stage.early.memblock.region(),
            Phase::Running(mm) => Some(mm.region),
            Phase::Failed(_) => None,
        }
    }

    /// The sections.
    ///
    /// # Errors
    ///
    /// [`Error::StageOrder`] before the paging stage.
    pub fn sparse(&self) -> Result<&Sparse<'m>> {
        match &self.phase {
            Phase::Paged(stage) => Ok(stage.0.sparse),
            Phase::Zoned(stage) => Ok(stage.early.sparse),
            Phase::Running(mm) => Ok(mm.sparse),
            Phase::Failed(_) => Err(Error::BootFailed),
            _ => Err(Error::StageOrder),
        }
    }

    /// The nodes.
    ///
    /// # Errors
    ///
    /// [`Error::StageOrder`] before the zones stage.
    pub fn nodes(&self) -> Result<&Nodes<'m, P>> {
        match &self.phase {
            Phase::Zoned(stage) => Ok(stage.early.nodes),
            Phase::Running(mm) => Ok(mm.nodes),
            Phase::Failed(_) => Err(Error::BootFailed),
            _ => Err(Error::StageOrder),
        }
    }

    /// The crash kernel's memory, once memblock has it.
    pub fn crash(&self) -> CrashRanges {
        self.crash
    }
}
