// SPDX-License-Identifier: GPL-2.0

//! What Linux writes to its log when it kills a process to have memory
//! (`mm/oom_kill.c`): who needed it, the state of memory, all processes, and who dies.
//!
//! ```text
//! cat invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP), order=0, oom_score_adj=0
//! Mem-Info:
//!  ...
//! Tasks state (memory values in pages):
//! [  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name
//!  ...
//! oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,task=cat,pid=7,uid=0
//! Out of memory: Killed process 7 (cat) total-vm:8kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:12kB oom_score_adj:0
//! ```
//!
//! There are neither cpusets nor memory cgroups, so all are in the first ones; and where
//! Linux shows the kernel's stack between the first two, nothing is shown.

use super::failure::write_mem_info;
use crate::boot::Mm;
use crate::buddy::gfp;
use crate::buddy::Gfp;
use crate::mm::OomTask;
use crate::nodemask::NodeMask;
use crate::page::ZoneType;
use crate::platform::Platform;
use core::fmt;
use core::fmt::Write;

/// What Linux asks for with a first write (`vma_alloc_zeroed_movable_folio`).
fn request() -> Gfp {
    gfp::GFP_HIGHUSER_MOVABLE | gfp::__GFP_ZERO | gfp::__GFP_COMP
}

/// Writes the report: `asking` had no memory, and `victim` dies for it.
///
/// # Errors
///
/// Those of `out`.
pub fn write_oom<P: Platform>(
    out: &mut dyn Write,
    mm: &Mm<'_, P>,
    asking: &OomTask,
    victim: &OomTask,
) -> fmt::Result {
    let (gfp, adj) = (request(), asking.oom_score_adj);
    let (name, bits) = (asking.name(), gfp.bits());
    write!(out, "{name} invoked oom-killer: gfp_mask={bits:#x}({gfp})")?;
    writeln!(out, ", order=0, oom_score_adj={adj}")?;
    write_mem_info(out, &mm.buddy(), ZoneType::Movable, None)?;
    writeln!(out, "Tasks state (memory values in pages):")?;
    write!(
        out,
        "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file "
    )?;
    writeln!(out, "rss_shmem pgtables_bytes swapents oom_score_adj name")?;
    let uid = |task: &OomTask| mm.platform.uid_of(task.pid);
    let mut written = Ok(());
    mm.spaces().for_each_task(&mut |task| {
        if written.is_ok() {
            written = write_task(out, task, uid(task));
        }
    });
    written?;
    let nodes: NodeMask = mm.nodes.online().map(|node| node.node_id).collect();
    write!(out, "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null)")?;
    write!(
        out,
        ",cpuset=/,mems_allowed={nodes},global_oom,task_memcg=/"
    )?;
    let (name, pid, uid) = (victim.name(), victim.pid, uid(victim));
    writeln!(out, ",task={name},pid={pid},uid={uid}")?;
    write!(out, "Out of memory: Killed process {pid} ({name})")?;
    write!(out, " total-vm:{}kB", victim.total_vm.kib())?;
    write!(out, ", anon-rss:{}kB", victim.rss_anon.kib())?;
    write!(out, ", file-rss:{}kB", victim.rss_file.kib())?;
    write!(out, ", shmem-rss:{}kB, UID:{uid}", victim.rss_shmem.kib())?;
    write!(out, " pgtables:{}kB", victim.pgtables_bytes >> 10)?;
    writeln!(out, " oom_score_adj:{}", victim.oom_score_adj)
}

/// A line of the table (`dump_task`).
fn write_task(out: &mut dyn Write, task: &OomTask, uid: u32) -> fmt::Result {
    let (pid, total, rss) = (task.pid, task.total_vm.0, task.rss().0);
    let (anon, file, shmem) = (task.rss_anon.0, task.rss_file.0, task.rss_shmem.0);
    write!(out, "[{pid:7}] {uid:5} {pid:5} {total:8} {rss:8} {anon:8}")?;
    let (tables, swap, adj) = (task.pgtables_bytes, 0, task.oom_score_adj);
    let name = task.name();
    write!(out, " {file:8} {shmem:9} {tables:8} {swap:8}")?;
    writeln!(out, "         {adj:5} {name}")
}
