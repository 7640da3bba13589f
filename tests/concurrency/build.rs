// SPDX-License-Identifier: GPL-2.0

//! Makes of core's text what is run under loom: the same with loom's atomics.
//!
//! ```text
//! slab/magazine.rs          tests/magazine.rs
//! mm/lock.rs                tests/mm_lock.rs
//! mm/page_table/table.rs    tests/table.rs
//! page.rs                   tests/page_refs.rs, tests/table.rs
//! slab/debug/depot.rs       tests/depot.rs
//! slab/debug/witness.rs     the same
//! buddy/reclaim/daemons.rs, buddy/reclaim/kswapd.rs, buddy/compaction/kcompactd.rs
//!                           tests/daemons.rs
//! mm/address_space.rs, mm/shared.rs
//!                           tests/users.rs
//! quota.rs                  tests/told.rs
//! buddy/migrate.rs, buddy/list.rs, ../kernel/movable.rs
//!                           tests/moves.rs
//! mm/anon_region.rs, mm/merge.rs, mm/vma.rs, with mm/lock.rs
//!                           tests/anon.rs
//! phys/cells.rs, mm/mapcount.rs, mm/rlimit.rs
//!                           tests/words.rs
//! buddy/pcp.rs, buddy/pageset.rs, ../kernel/trace.rs
//!                           tests/listeners.rs
//! ```
//!
//! Of some a model has the text several times: `whole`, as it is, and with one step
//! weakened each, of which each must fail. A step that is not found is one that core has
//! no longer.

use std::env;
use std::fs;
use std::path::Path;

const MAGAZINE: &str = "../../module/core/slab/magazine.rs";
const LOCK: &str = "../../module/core/mm/lock.rs";
const TABLE: &str = "../../module/core/mm/page_table/table.rs";
const PAGE: &str = "../../module/core/page.rs";
const DEPOT: &str = "../../module/core/slab/debug/depot.rs";
const WITNESS: &str = "../../module/core/slab/debug/witness.rs";

const DAEMONS: &str = "../../module/core/buddy/reclaim/daemons.rs";
const KSWAPD: &str = "../../module/core/buddy/reclaim/kswapd.rs";
const KCOMPACTD: &str = "../../module/core/buddy/compaction/kcompactd.rs";
const SPACE: &str = "../../module/core/mm/address_space.rs";
const SHARED: &str = "../../module/core/mm/shared.rs";
const QUOTA: &str = "../../module/core/quota.rs";
const MIGRATE: &str = "../../module/core/buddy/migrate.rs";
const ANON: &str = "../../module/core/mm/anon_region.rs";
const MERGE: &str = "../../module/core/mm/merge.rs";
const CELLS: &str = "../../module/core/phys/cells.rs";
const MAPCOUNT: &str = "../../module/core/mm/mapcount.rs";
const RLIMIT: &str = "../../module/core/mm/rlimit.rs";
const PCP: &str = "../../module/core/buddy/pcp.rs";
const PAGESET: &str = "../../module/core/buddy/pageset.rs";
const TRACE: &str = "../../module/kernel/trace.rs";
const VMA: &str = "../../module/core/mm/vma.rs";
const LIST: &str = "../../module/core/buddy/list.rs";
const MOVABLE: &str = "../../module/kernel/movable.rs";

/// What stands in the text, and what is to stand there.
type Change = (&'static str, &'static str);

/// A file of core's, without what is said at its head.
fn core(path: &str) -> String {
    println!("cargo::rerun-if-changed={path}");
    let text = fs::read_to_string(path).expect("core's text");
    let lines = text.lines().filter(|line| !line.starts_with("//!"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The same with loom's atomics.
fn read(path: &str) -> String {
    core(path).replace("core::sync::atomic::Atomic", "loom::sync::atomic::Atomic")
}

fn change(text: &str, changes: &[Change]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "core's text has no {from:?} any more");
        text.replace(from, to)
    })
}

fn write(name: &str, text: &str) {
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join(name), text).expect("OUT_DIR");
}

/// The text as it is, and once more for each of the steps.
fn write_with(name: &str, text: &str, weakened: &[(&str, &[Change])]) {
    write(&format!("{name}_whole.rs"), text);
    for (step, changes) in weakened {
        write(&format!("{name}_{step}.rs"), &change(text, changes));
    }
}

fn magazine() {
    let text = change(
        &read(MAGAZINE),
        &[
            ("use crate::phys::", "use super::phys::"),
            ("use crate::page::", "use super::page::"),
            // Loom's are not made before the program runs.
            ("const fn ", "fn "),
            ("[const { AtomicU64::new(0) }; ", "[(); "),
        ],
    );
    let text = ["PLACES", "REMOTE"].iter().fold(text, |text, places| {
        let mapped = format!("[(); {places}].map(|()| AtomicU64::new(0))");
        text.replace(&format!("[(); {places}]"), &mapped)
    });
    write("magazine.rs", &text);
}

fn lock() {
    let note = "vma.lock.fetch_add(1, SeqCst);";
    let fenced = "vma.lock.fetch_add(1, SeqCst);\n        fence(SeqCst);";
    let text = change(
        &read(LOCK),
        &[
            ("core::sync::atomic::fence", "loom::sync::atomic::fence"),
            ("use super::cells::", "use super::surroundings::"),
            ("use crate::platform::", "use super::surroundings::"),
            ("pub(super)", "pub"),
            // A sequentially consistent access has no more of that in loom than what a
            // fence gives it.
            (note, fenced),
        ],
    );
    write("lock.rs", &text);
}

fn table() {
    let text = change(
        &read(TABLE),
        &[
            ("use super::entry::", "use crate::entry::"),
            ("pub(in super::super)", "pub"),
            ("pub(super)", "pub"),
            ("ENTRIES: usize = 512", "ENTRIES: usize = 1"),
        ],
    );
    let take = "compare_exchange(FREE, HELD, Acquire, Relaxed)";
    let relaxed = "compare_exchange(FREE, HELD, Relaxed, Relaxed)";
    write_with(
        "table",
        &text,
        &[
            ("taken_without_acquire", &[(take, relaxed)]),
            (
                "waited_without_acquire",
                &[("swap(WANTED, Acquire)", "swap(WANTED, Relaxed)")],
            ),
            (
                "freed_without_release",
                &[("swap(FREE, Release)", "swap(FREE, Relaxed)")],
            ),
            // Who waits is told as if nobody did.
            ("without_the_wake", &[(") == WANTED {", ") > WANTED {")]),
            // Who waits does not say so.
            (
                "without_the_mark",
                &[
                    (
                        "while word.swap(WANTED, Acquire) != FREE {",
                        "while word.compare_exchange(FREE, HELD, Acquire, Relaxed).is_err() {",
                    ),
                    (
                        "|| word.load(Relaxed) == WANTED",
                        "|| word.load(Relaxed) != FREE",
                    ),
                ],
            ),
            // Who waits goes on sleeping when another has the lock, who knows of nobody.
            (
                "asleep_for_another",
                &[(
                    "|| word.load(Relaxed) == WANTED",
                    "|| word.load(Relaxed) != FREE",
                )],
            ),
            (
                "entered_without_release",
                &[("store(entry.0, Release)", "store(entry.0, Relaxed)")],
            ),
            (
                "read_without_acquire",
                &[("load(Acquire)", "load(Relaxed)")],
            ),
        ],
    );
}

fn page() {
    let text = change(
        &read(PAGE),
        &[
            // Loom's are not made before the program runs, and are larger.
            ("const fn hole", "fn hole"),
            (
                "const _: () = assert!(core::mem::size_of::<PageDescriptor>() == 16);",
                "",
            ),
        ],
    );
    let bits = "let bits = self.bits.load(Acquire);\n            let plain";
    write_with(
        "page",
        &text,
        &[
            (
                "last_without_acquire",
                &[("self.count.load(Acquire) <= 1 ||", "self.count.load(Relaxed) <= 1 ||")],
            ),
            (
                "put_without_release",
                &[(
                    "|| self.count.fetch_sub(1, AcqRel) == 1",
                    "|| self.count.fetch_sub(1, Acquire) == 1",
                )],
            ),
            (
                "put_without_acquire",
                &[(
                    "|| self.count.fetch_sub(1, AcqRel) == 1",
                    "|| self.count.fetch_sub(1, Release) == 1",
                )],
            ),
            // Who sees that there are two takes one off, and looks for what is left.
            (
                "put_in_two_steps",
                &[(
                    "|| self.count.fetch_sub(1, AcqRel) == 1",
                    "|| { self.count.fetch_sub(1, AcqRel); self.count.load(Acquire) == 0 }",
                )],
            ),
            // All do without the locked instruction, not the only one alone.
            (
                "put_without_rmw",
                &[(
                    "|| self.count.fetch_sub(1, AcqRel) == 1",
                    "|| { let count = self.count.load(Acquire); \
                     self.count.store(count - 1, Release); count == 1 }",
                )],
            ),
            (
                "counted_without_mark",
                &[(
                    "self.bits.fetch_or(SHARED, Relaxed);\n        let before",
                    "let before",
                )],
            ),
            (
                "counted_without_release",
                &[("fetch_add(1, Release)", "fetch_add(1, Relaxed)")],
            ),
            (
                "marked_behind",
                &[
                    (
                        "self.bits.fetch_or(SHARED, Relaxed);\n        let before",
                        "let before",
                    ),
                    (
                        "Ok(before.wrapping_add(1))",
                        "self.bits.fetch_or(SHARED, Relaxed);\n        Ok(before.wrapping_add(1))",
                    ),
                ],
            ),
            (
                "looked_without_acquire",
                &[(
                    "let count = self.count.load(Acquire);\n            let bits",
                    "let count = self.count.load(Relaxed);\n            let bits",
                )],
            ),
            (
                "given_out_without_release",
                &[("| order, Release);", "| order, Relaxed);")],
            ),
            (
                "toggled_without_release",
                &[("OWNER_TO_PAGESET, Release", "OWNER_TO_PAGESET, Relaxed")],
            ),
            (
                "bits_without_release",
                &[("self.bits.store(bits, Release)", "self.bits.store(bits, Relaxed)")],
            ),
            (
                "state_without_release",
                &[("<< STATE_SHIFT), Release)", "<< STATE_SHIFT), Relaxed)")],
            ),
            (
                "slab_without_release",
                &[("| first, Release)", "| first, Relaxed)")],
            ),
            (
                "looked_at_bits_without_acquire",
                &[(bits, "let bits = self.bits.load(Relaxed);\n            let plain")],
            ),
            ("looked_once", &[("!(has_more() && has_more())", "!has_more()")]),
            (
                "taken_without_exchange",
                &[(
                    "self.bits\n            .compare_exchange(bits, taken, Acquire, Relaxed)\n            .is_ok()",
                    "self.bits.store(taken, Relaxed);\n        true",
                )],
            ),
        ],
    );
}

fn depot() {
    let text = change(
        &read(DEPOT),
        &[
            ("use super::track::", "use crate::track::"),
            ("const BUCKETS: usize = 1024", "const BUCKETS: usize = 1"),
            ("const POOLS: usize = 1016", "const POOLS: usize = 3"),
            ("const POOL_WORDS: u32 = 512", "const POOL_WORDS: u32 = 8"),
            // Loom's are not made before the program runs.
            (
                "[const { AtomicU32::new(0) }; BUCKETS]",
                "[(); BUCKETS].map(|()| AtomicU32::new(0))",
            ),
            (
                "[const { AtomicU32::new(0) }; POOLS]",
                "[(); POOLS].map(|()| AtomicU32::new(0))",
            ),
        ],
    );
    let link = "bucket.compare_exchange(head, handle, Release, Acquire)";
    write_with(
        "depot",
        &text,
        &[
            (
                "linked_without_release",
                &[(
                    link,
                    "bucket.compare_exchange(head, handle, Relaxed, Acquire)",
                )],
            ),
            (
                "found_without_acquire",
                &[("bucket.load(Acquire)", "bucket.load(Relaxed)")],
            ),
            (
                "linked_without_exchange",
                &[(
                    link,
                    "{ bucket.store(handle, Release); Ok::<u32, u32>(head) }",
                )],
            ),
            (
                "reserved_without_exchange",
                &[(
                    "(root.used.compare_exchange(used, next, AcqRel, Acquire)).is_ok()",
                    "{ root.used.store(next, Release); true }",
                )],
            ),
            (
                "added_without_exchange",
                &[(
                    "pool.compare_exchange(0, number, AcqRel, Acquire).is_err()",
                    "{ pool.store(number, Release); false }",
                )],
            ),
            // Who finds that another has given the pool its page keeps his.
            ("kept_page", &[("self.memory.give_back(pfn);", "")]),
            // Who finds another's head leads to the one that he had seen before.
            (
                "older_head",
                &[(
                    "loop {\n            first.store(u64::from(head) | (u64::from(hash) << 32), Relaxed);",
                    "first.store(u64::from(head) | (u64::from(hash) << 32), Relaxed);\n        loop {",
                )],
            ),
            ("root_without_release", &[]),
            ("root_without_acquire", &[]),
            ("root_without_exchange", &[]),
            ("dropped_without_swap", &[]),
        ],
    );
    let text = change(
        &read(WITNESS),
        &[
            ("use super::inspect::", "use crate::inspect::"),
            ("use super::track::", "use crate::track::"),
            ("use crate::slab::system::", "use super::system::"),
            ("pub(in crate::slab)", "pub"),
            ("pub(super)", "pub"),
            // Loom's are not made before the program runs, and are larger.
            ("const fn new", "fn new"),
            (
                "const _: () = assert!(core::mem::size_of::<DepotRoot>() as u64 <= \
                 ROOT_ORDER.pages().bytes().0);",
                "",
            ),
        ],
    );
    let make = "depot.compare_exchange(0, addr, AcqRel, Acquire).is_err()";
    write_with(
        "witness",
        &text,
        &[
            ("linked_without_release", &[]),
            ("found_without_acquire", &[]),
            ("linked_without_exchange", &[]),
            ("reserved_without_exchange", &[]),
            ("added_without_exchange", &[]),
            ("kept_page", &[]),
            ("older_head", &[]),
            (
                "root_without_release",
                &[(
                    make,
                    "depot.compare_exchange(0, addr, Relaxed, Acquire).is_err()",
                )],
            ),
            (
                "root_without_acquire",
                &[("depot.load(Acquire)", "depot.load(Relaxed)")],
            ),
            (
                "root_without_exchange",
                &[(make, "{ depot.swap(addr, AcqRel); false }")],
            ),
            (
                "dropped_without_swap",
                &[(
                    "let addr = self.table().debug.depot.swap(0, AcqRel);",
                    "let addr = self.table().debug.depot.load(Acquire);\n        \
                     self.table().debug.depot.swap(0, AcqRel);",
                )],
            ),
        ],
    );
}

/// What a text begins with that finds its surroundings in a model.
const AROUND: &str = "use super::surroundings::*;\n";

/// A file of core's for a part of which the surroundings are a model's (`surroundings` beside it):
/// loom's atomics, and nothing else of core.
fn with_surroundings(path: &str) -> String {
    let text = core(path);
    let lines = text.lines().filter(|line| {
        let is_cores = line.starts_with("use crate::") || line.starts_with("use super::");
        !is_cores
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text
        .replace("core::sync::atomic::", "loom::sync::atomic::")
        .replace("pub(super)", "pub")
        .replace("pub(in crate::buddy)", "pub")
        .replace("pub const fn new(", "pub fn new(");
    [AROUND, &text].concat()
}

/// What stands in a text from `start` on, up to `end`.
fn part<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let from = text.find(start).expect(start);
    let length = text[from..].find(end).expect(end);
    &text[from..from + length]
}

/// One step in place of another, which is there once.
fn step(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "this has changed: {old}");
    text.replace(old, new)
}

const BUDDY: &str = "impl<P, M, Z> BuddySystem<'_, P, M, Z>
where
    P: Platform,
    M: MemMap,
    Z: ZoneTable<P>,
{
";

/// What is asked of the nodes' threads, and how they are woken.
fn daemons() -> String {
    let text = with_surroundings(DAEMONS);
    let head = part(&text, "use super", "impl Default for Daemons");
    let numbers = part(&text, "/// An order as an atomic", BUDDY);
    let wake = part(
        &text,
        "    /// Asks the zone's node for background reclaim",
        "    /// Notes that a boost",
    );
    let text = [head, numbers, BUDDY, wake, "}\n"].concat();
    let text = step(
        &text,
        "[const { AtomicU64::new(0) }; NR_RECLAIM]",
        "std::array::from_fn(|_| AtomicU64::new(0))",
    );
    let text = text.replace("use loom::sync::atomic::fence;\n", "");
    step(&text, "fence(SeqCst);", "askers_fence();")
}

/// Background reclaim's thread: its steps, without the work.
fn kswapd() -> String {
    let text = with_surroundings(KSWAPD);
    let text = part(
        &text,
        "use super",
        "    /// Reclaims until a zone of the node",
    );
    let text = text.replace("use loom::sync::atomic::fence;\n", "") + "}\n";
    let text = step(&text, "fence(SeqCst);", "sleepers_fence();");
    step(
        &text,
        "daemons.kswapd_highest.swap(NO_ZONE, Relaxed)",
        "take(&daemons.kswapd_highest, NO_ZONE)",
    )
}

/// Background compaction's, likewise.
fn kcompactd() -> String {
    let text = with_surroundings(KCOMPACTD);
    let work = part(
        &text,
        "        self.count_event(VmEvent::CompactDaemonWake, 1);",
        "        // What was asked for meanwhile and is larger stays.",
    );
    let text = step(&text, work, "        self.compact(order);\n");
    let text = step(&text, "super::state::", "");
    // As in `lock`: what these accesses have that loom's have not.
    let asks = "daemons.kcompactd_max_order.fetch_max(order.get(), SeqCst);";
    let text = step(&text, asks, &format!("{asks}\n        askers_fence();"));
    let waits = "daemons.kcompactd_waits.store(true, SeqCst);";
    let text = step(&text, waits, &format!("{waits}\n        sleepers_fence();"));
    step(
        &text,
        "max.compare_exchange(order.get(), 0, Relaxed, Relaxed)",
        "done(max, order.get())",
    )
}

/// The uses of an atomic's kind, and of its orderings.
fn atomics(text: &str) -> String {
    let lines = text.lines().filter(|line| line.starts_with("use "));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// How an address space is found, and goes with the last who uses it.
fn space() -> String {
    let text = with_surroundings(SPACE);
    let found = part(
        &text,
        "    /// The address space of this number",
        "    /// How many there are.",
    );
    let look = part(&text, "    /// The one of the least rank.", "\n}\n").to_owned() + "\n}\n";
    let users = part(
        &text,
        "    /// It can be found from now on",
        "    /// `exit_mmap`.",
    );
    let all = "impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {\n";
    let one = "impl<'a, 'm: 'a, P: Platform> AddressSpace<'a, 'm, P> {\n";
    let text = [&atomics(&text), all, found, &look, one, users, "}\n"].concat();
    let text = step(
        &text,
        "users.fetch_sub(1, AcqRel)",
        "users.fetch_sub(1, put())",
    );
    let unless_zero = "(users != 0).then(||";
    step(&text, unless_zero, "(users != 0 || no_matter()).then(||")
}

/// How a shared object comes, and goes with the last who has it.
fn shared() -> String {
    let text = with_surroundings(SHARED);
    let users = part(
        &text,
        "    /// A new object of so many pages",
        "    /// The page of an object with this number",
    );
    let cells = part(&text, "cells! {", "impl<'a");
    let all = "impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {\n";
    let text = [&atomics(&text), cells, all, users, "}\n"].concat();
    step(
        &text,
        "users.fetch_sub(1, AcqRel)",
        "users.fetch_sub(1, put())",
    )
}

/// What an account has, and was told.
fn quota() -> String {
    let text = with_surroundings(QUOTA).replace("const fn new(", "fn new(");
    let text = step(
        &text,
        "[const { AtomicI64::new(0) }; NR_KINDS]",
        "std::array::from_fn(|_| AtomicI64::new(0))",
    );
    let text = step(
        &text,
        "            after_atomic();\n",
        "            look_again();\n",
    );
    step(&text, "self.0.swap(now, AcqRel)", "tell(&self.0, now)")
}

/// How blocks move: what compaction does with them.
fn migrate() -> String {
    let text = with_surroundings(MIGRATE);
    let steps = part(
        &text,
        "use super",
        "    /// Moves the movable block at `pfn` to where a request",
    );
    let out = part(
        &text,
        "    /// Makes a free block that is on no list",
        "\n/// Blocks are moved to wherever",
    );
    let pages = format!("{}\n}}\n", part(&text, "fn pages_of", "\n}"));
    let text = [steps, out, &pages].concat();
    let tells = "            if let Some(owners) = self.platform.owners() {
                owners.putback(pfn, order);
            }
";
    let clears = "            page.clear_isolated();\n";
    let both = [clears, tells].concat();
    let clear_last =
        "            if tells_first() {\n                page.clear_isolated();\n            }\n";
    let clear_first = clear_last.replace("tells", "!tells");
    let text = step(&text, &both, &[&clear_first, tells, clear_last].concat());
    text.replace("page.is_sole()", "is_sole(page)")
}

/// What its owner does with them meanwhile.
fn movable() -> String {
    let text = with_surroundings(MOVABLE);
    let lines = text.lines().filter(|line| {
        let is_kernels =
            line.starts_with("use kernel::") || line.starts_with("use shadowmm_core::");
        !is_kernels && !line.trim().starts_with("#[pin")
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let blocks = part(&text, "use super", "    /// No blocks.");
    let text =
        blocks.to_owned() + part(&text, "    /// Enters a block", "impl Shrinker for Handles");
    let text = step(
        &text,
        "known.order == order && !known.isolated =>",
        "known.order == order && !refuses(known.isolated) =>",
    );
    let waits = "if !known.isolated {\n                break;";
    step(
        &text,
        waits,
        "if !waits(known.isolated) {\n                break;",
    )
}

/// How a VMA gets its anonymous region.
fn anon() -> String {
    let text = with_surroundings(ANON);
    let text = step(
        &text,
        "match self.vma_lock_only {",
        "match locks(self.vma_lock_only) {",
    );
    let exchange = "vma.anon.compare_exchange(0, region, Release, Relaxed)";
    let text = step(&text, exchange, "join(&vma.anon, region)");
    let chains = "old.chains.load(Relaxed) == 1";
    step(&text, chains, "see(old.chains.load(Relaxed)) == 1")
}

/// What a VMA at hand says of itself.
fn vma() -> String {
    let text = with_surroundings(VMA);
    let vma = part(&text, "/// A VMA (`struct", "/// What a VMA is, as");
    let cells = part(&text, "impl<'m> Vma<'m> {", "    /// As it is now.");
    let range = part(
        &text,
        "    /// Its first address",
        "    /// From its first address",
    );
    let of_it = part(&text, "    /// `vm_flags`.", "    /// Whether anything may");
    let flags = part(
        &text,
        "    /// Has these flags",
        "    /// There may be guards",
    );
    let set = part(
        &text,
        "    /// Goes from `start`",
        "    /// Belongs to none",
    );
    let mm = part(
        &text,
        "    /// Is in the address space",
        "/// What a new VMA",
    );
    [&atomics(&text), vma, cells, range, of_it, flags, set, mm].concat()
}

/// The same with orderings that a model may leave out.
fn with_orderings(text: &str) -> String {
    text.replace(", Release)", ", release())")
        .replace("(Acquire)", "(acquire())")
}

/// Places for references.
fn slots() -> String {
    let text = with_surroundings(CELLS);
    let slots = part(
        &text,
        "/// References of neither",
        "impl<T: Cells> Default for CellsSlot",
    );
    with_orderings(&(atomics(&text) + slots))
}

/// How many entries map a page of a block.
fn mapcount() -> String {
    let text = with_surroundings(MAPCOUNT);
    let spaces = "impl<'a, 'm: 'a, P: Platform> AddressSpaces<'a, 'm, P> {\n";
    let counts = part(&text, "    /// An entry of all of a block becomes", "\n}");
    let text = [&atomics(&text), spaces, counts, "\n}\n"].concat();
    with_orderings(&text)
}

/// A limit of a process's, or an address space's own.
fn rlimit() -> String {
    let text = with_surroundings(RLIMIT);
    let which = part(&text, "/// One of them.", "    /// Gives the address space");
    let set = part(
        &text,
        "    /// Gives the address space",
        "    /// The limit is its process's",
    );
    let limit = part(
        &text,
        "    /// A limit as it is now",
        "    /// What `RLIMIT_DATA`",
    );
    let get = part(&text, "    fn limit_or(", "    fn limit_pages(");
    let shift = part(&text, "const OWN_SHIFT", "\n");
    let text = [&atomics(&text), shift, "\n", which, set, limit, get, "}\n"].concat();
    with_orderings(&text)
}

/// How the short ways are closed where somebody listens.
fn close() -> String {
    let text = with_surroundings(PCP);
    let close = part(
        &text,
        "    /// Closes the short ways of a pageset, or",
        "    /// Notes whether a zone",
    );
    let close = step(close, "    fn close_if_told", "    pub fn close_if_told");
    let text = [AROUND, BUDDY, &close, "}\n"].concat();
    let again = "self.platform.wants_pages() == told";
    step(&text, again, &["looks_once() || ", again].concat())
}

/// The gate that closes them.
fn gate() -> String {
    let text = with_surroundings(PAGESET);
    let told = part(
        &text,
        "/// Somebody wants to be told",
        "/// kswapd is at work",
    );
    let set = part(
        &text,
        "    /// Closes the gate for somebody who",
        "    /// The magazines.",
    );
    let text = [AROUND, told, "impl Pageset {\n", set, "}\n"].concat();
    text.replace("\nconst TOLD", "\npub const TOLD")
}

/// Who counts the listeners.
fn listeners() -> String {
    let text = with_surroundings(TRACE);
    let text = part(
        &text,
        "/// Whether somebody listens to one of them.",
        "/// How many of the tracepoints for objects",
    );
    let text = text
        .replace("#[no_mangle]\n", "")
        .replace("pub(crate) fn", "pub fn")
        .replace("extern \"C\" fn", "pub extern \"C\" fn");
    // As in `lock`: what these accesses have that loom's have not.
    let fenced =
        |text: &str, access| step(text, access, &format!("{access}\n    listeners_fence();"));
    let text = fenced(&text, "LISTENERS.fetch_add(1, SeqCst);");
    [AROUND, &fenced(&text, "LISTENERS.fetch_sub(1, SeqCst);")].concat()
}

fn main() {
    magazine();
    lock();
    table();
    page();
    depot();
    write("daemons.rs", &daemons());
    write("kswapd.rs", &kswapd());
    write("kcompactd.rs", &kcompactd());
    write("space.rs", &space());
    write("shared.rs", &shared());
    write("quota.rs", &quota());
    write("migrate.rs", &migrate());
    write("list.rs", &with_surroundings(LIST));
    write("movable.rs", &movable());
    write("anon.rs", &anon());
    write("merge.rs", &with_surroundings(MERGE));
    write("vma.rs", &vma());
    write("slots.rs", &slots());
    write("mapcount.rs", &mapcount());
    write("rlimit.rs", &rlimit());
    write("close.rs", &close());
    write("gate.rs", &gate());
    write("listeners.rs", &listeners());
}
