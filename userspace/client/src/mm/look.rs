// SPDX-License-Identifier: GPL-2.0

//! Address spaces, VMAs and translations, as plain data.

use super::window::Window;
use crate::device::Device;
use crate::error::Error;
use crate::error::Result;
use serde::Serialize;
use shadowmm_abi as abi;

/// How an address space finds its VMAs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tree {
    /// A range tree in the manner of the maple tree.
    Maple,
    /// A red-black tree and a list, as before Linux 6.1.
    Rbtree,
}

impl Tree {
    /// Its name, as `--json` and the tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Maple => "maple",
            Self::Rbtree => "rbtree",
        }
    }

    pub(super) fn number(self) -> u32 {
        match self {
            Self::Maple => abi::SHADOWMM_MM_TREE_MAPLE,
            Self::Rbtree => abi::SHADOWMM_MM_TREE_RBTREE,
        }
    }
}

/// An address space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Space {
    /// Its number, under which it is in `/proc/shadowmm/mm`.
    pub id: u32,
    /// The process's; 0 when it is gone.
    pub pid: u32,
    /// The process's name.
    pub comm: String,
    /// The window's first address.
    pub window_start: u64,
    /// Behind its last.
    pub window_end: u64,
    /// Where mappings begin.
    pub mmap_base: u64,
    /// Where the heap begins.
    pub start_brk: u64,
    /// Where it ends.
    pub brk: u64,
    /// Where stacks begin.
    pub start_stack: u64,
    /// In pages, as all that follow: what is mapped.
    pub total_vm_pages: u64,
    /// Of that, locked.
    pub locked_vm_pages: u64,
    /// Private and writable.
    pub data_vm_pages: u64,
    /// Stacks.
    pub stack_vm_pages: u64,
    /// The most that was mapped at a time.
    pub hiwater_vm_pages: u64,
    /// The most that was there at a time.
    pub hiwater_rss_pages: u64,
    /// What is there of files.
    pub rss_file_pages: u64,
    /// What is there of private memory.
    pub rss_anon_pages: u64,
    /// What is there of shared memory.
    pub rss_shmem_pages: u64,
    /// Page tables.
    pub pgtables_bytes: u64,
    /// Faults.
    pub min_flt: u64,
    /// Faults that had to read something.
    pub maj_flt: u64,
    /// Faults that took the VMA's lock alone.
    pub faults_vma_lock: u64,
    /// Faults that took the mmap lock.
    pub faults_mmap_lock: u64,
    /// VMAs.
    pub map_count: u32,
    /// How they are found.
    pub tree: Option<Tree>,
    /// The process's `oom_score_adj`.
    pub oom_score_adj: i32,
}

impl From<&abi::shadowmm_rec_space> for Space {
    fn from(record: &abi::shadowmm_rec_space) -> Self {
        Self {
            id: record.id,
            pid: record.pid,
            comm: crate::request::text(&record.comm),
            window_start: record.window_start,
            window_end: record.window_end,
            mmap_base: record.mmap_base,
            start_brk: record.start_brk,
            brk: record.brk,
            start_stack: record.start_stack,
            total_vm_pages: record.total_vm,
            locked_vm_pages: record.locked_vm,
            data_vm_pages: record.data_vm,
            stack_vm_pages: record.stack_vm,
            hiwater_vm_pages: record.hiwater_vm,
            hiwater_rss_pages: record.hiwater_rss,
            rss_file_pages: record.rss[0],
            rss_anon_pages: record.rss[1],
            rss_shmem_pages: record.rss[3],
            pgtables_bytes: record.pgtables_bytes,
            min_flt: record.min_flt,
            maj_flt: record.maj_flt,
            faults_vma_lock: record.faults_vma_lock,
            faults_mmap_lock: record.faults_mmap_lock,
            map_count: record.map_count,
            tree: match record.tree {
                abi::SHADOWMM_MM_TREE_MAPLE => Some(Tree::Maple),
                abi::SHADOWMM_MM_TREE_RBTREE => Some(Tree::Rbtree),
                _ => None,
            },
            oom_score_adj: record.oom_score_adj,
        }
    }
}

/// `VM_*`, as Linux numbers them on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct VmaFlags(pub u64);

impl VmaFlags {
    /// As `/proc/PID/maps` shows them: `rw-p`.
    pub fn permissions(self) -> String {
        let letters = [(0, 'r', '-'), (1, 'w', '-'), (2, 'x', '-'), (7, 's', 'p')];
        let shown = letters.map(|(bit, set, unset)| match (self.0 >> bit) & 1 {
            0 => unset,
            _ => set,
        });
        shown.iter().collect()
    }
}

/// A VMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Vma {
    /// Its first address.
    pub start: u64,
    /// Behind its last.
    pub end: u64,
    /// What it is.
    pub flags: VmaFlags,
    /// Where its first page lies in what is behind it.
    pub pgoff: u64,
    /// What is behind it; 0: private anonymous memory.
    pub file: u64,
    /// The anonymous region that it belongs to, or 0.
    pub anon: u64,
}

impl From<&abi::shadowmm_rec_vma> for Vma {
    fn from(record: &abi::shadowmm_rec_vma) -> Self {
        Self {
            start: record.start,
            end: record.end,
            flags: VmaFlags(record.flags),
            pgoff: record.pgoff,
            file: record.file,
            anon: record.anon,
        }
    }
}

/// A level of a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WalkLevel {
    /// `pgd`, `pud`, `pmd` or `pte`.
    pub name: &'static str,
    /// The frame of the table.
    pub table_pfn: u64,
    /// Which of its entries.
    pub index: u64,
    /// The entry, as x86-64 has it.
    pub entry: u64,
}

/// How an address is translated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Walk {
    /// The address.
    pub addr: u64,
    /// The VMA that holds it, or the next one behind it.
    pub vma: Option<Vma>,
    /// Whether that VMA holds it.
    pub mapped: bool,
    /// The levels that were looked at, from the top.
    pub levels: Vec<WalkLevel>,
    /// The page's frame.
    pub pfn: Option<u64>,
}

const LEVELS: [(&str, u32); abi::SHADOWMM_MM_LEVELS as usize] =
    [("pgd", 39), ("pud", 30), ("pmd", 21), ("pte", 12)];

impl Device {
    /// All address spaces.
    pub fn spaces(&self) -> Result<Vec<Space>> {
        let records = self.records::<abi::shadowmm_rec_space>()?;
        Ok(records.iter().map(Space::from).collect())
    }

    /// That of this process's window.
    pub fn own_space(&self) -> Result<Space> {
        let mut request = abi::shadowmm_mm_info::default();
        self.request("look at the window", &mut request)?;
        Ok(Space::from(&request.space))
    }

    /// The VMAs of an address space; of this process's window for 0.
    pub fn vmas(&self, id: u32) -> Result<Vec<Vma>> {
        const WHAT: &str = "read the VMAs";
        let mut buffer: Vec<abi::shadowmm_rec_vma> = Vec::new();
        loop {
            let mut request = abi::shadowmm_mm_vmas {
                id,
                record_size: size_of::<abi::shadowmm_rec_vma>() as u32,
                capacity: buffer.len() as u32,
                buf: buffer.as_mut_ptr().expose_provenance() as u64,
                ..Default::default()
            };
            self.request(WHAT, &mut request)?;
            let count = request.count as usize;
            if count > 1 << 20 {
                return Err(Error::Unexpected {
                    what: WHAT,
                    value: count as u64,
                });
            }
            if count <= buffer.len() {
                return Ok(buffer.iter().take(count).map(Vma::from).collect());
            }
            buffer.resize(count + count / 8, Default::default());
        }
    }

    /// How an address is translated in an address space.
    pub fn walk(&self, id: u32, addr: u64) -> Result<Walk> {
        let mut request = abi::shadowmm_mm_walk {
            id,
            addr,
            ..Default::default()
        };
        self.request("walk the page table", &mut request)?;
        let places = request.entry.iter().zip(&request.table).zip(LEVELS);
        let levels = places.take(request.levels as usize);
        Ok(Walk {
            addr,
            vma: (request.vma.end != 0).then(|| Vma::from(&request.vma)),
            mapped: request.mapped != 0,
            levels: levels
                .map(|((&entry, &table_pfn), (name, shift))| WalkLevel {
                    name,
                    table_pfn,
                    index: (addr >> shift) & 511,
                    entry,
                })
                .collect(),
            pfn: (request.pfn != u64::MAX).then_some(request.pfn),
        })
    }
}

impl Window<'_> {
    /// Its VMAs.
    pub fn vmas(&self) -> Result<Vec<Vma>> {
        self.device().vmas(0)
    }

    /// Its address space.
    pub fn space(&self) -> Result<Space> {
        self.device().own_space()
    }
}
