// SPDX-License-Identifier: GPL-2.0

//! What is said of a finding, in the form of SLUB's (`slab_bug`,
//! `print_trailer`, `slab_fix` and what is around them in `mm/slub.c`).
//!
//! ```text
//! [Right Redzone overwritten] 0x…-0x… @offset=…. First byte 0x… instead of 0xcc
//! =====…
//! BUG name (Not tainted): Object corrupt
//! -----…
//!
//! Allocated in … age=… cpu=… pid=…          with STORE_USER
//!  … the stack
//! Freed in … age=… cpu=… pid=…
//! Slab 0x… objects=… used=… fp=0x… flags=…
//! Object 0x… @offset=… fp=0x…
//!
//! Redzone  …: bb bb …                       or `Bytes b4`
//! Object   …: 6b 6b …
//! Redzone  …: bb bb …
//! Padding  …: 5a 5a …
//! FIX name: Restoring Right Redzone 0x…-0x…=0xcc
//! ```
//!
//! Addresses are those of the shadow. `Slab` is where the slab's first page
//! descriptor stands. After each report Linux shows the stack of whoever runs
//! into it (`WARN_ON(1)`); that is left out, as are the lines around it.

use super::finding::Finding;
use super::hexdump::write_section;
use super::inspect::Cache;
use super::inspect::Slab;
use super::track::write_tracking;
use crate::platform::Platform;
use crate::slab::SlabFlags;
use core::fmt;
use core::fmt::Write;
use core::ops::Range;

/// How many bytes of an object are shown at most.
const MAX_SHOWN: u32 = 4096;

/// `PG_head`, as a bit of the flags.
const PG_HEAD: u64 = 1 << 6;
/// `PG_workingset`, which for slabs is `SL_partial`.
const PG_WORKINGSET: u64 = 1 << 9;
/// No CPU and process: the field at bit 30 of the flags, where Linux notes for
/// NUMA balancing who has used a page last.
const NO_LAST_CPUPID: u64 = 0x1f_ffff;

/// The taint of the shadow, of which `B` is all there is: a page was found bad
/// (`print_tainted`).
fn tainted(is_tainted: bool) -> &'static str {
    match is_tainted {
        true => "Tainted: G    B              ",
        false => "Not tainted",
    }
}

/// The addresses of the first and the last of a range of bytes.
struct Span(u64, u64);

impl Span {
    fn new(slab: &Slab<'_>, at: &Range<u32>) -> Self {
        Self(slab.addr(at.start), slab.addr(at.end.saturating_sub(1)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:016x}-0x{:016x}", self.0, self.1)
    }
}

impl<P: Platform> Cache<'_, P> {
    /// Says something that belongs to what was found before.
    fn say(&self, text: &dyn Fn(&mut dyn Write) -> fmt::Result) {
        self.platform.slab_report(None, text);
    }

    /// Notes a finding, and says what begins with it.
    fn begin(&self, finding: Finding, text: &dyn Fn(&mut dyn Write) -> fmt::Result) {
        self.findings.count(finding);
        self.platform.slab_report(Some(finding), text);
    }

    /// `__slab_bug`
    fn write_bug(&self, out: &mut dyn Write, reason: fmt::Arguments<'_>) -> fmt::Result {
        let tainted = tainted(self.taint.is_set());
        writeln!(out, "{:=<77}", "")?;
        writeln!(out, "BUG {} ({tainted}): {reason}", self.name)?;
        writeln!(out, "{:-<77}\n", "")
    }

    /// `print_slab_info`
    fn write_slab_info(&self, out: &mut dyn Write, slab: &Slab<'_>) -> fmt::Result {
        let (objects, used, fp) = (slab.objects, slab.inuse, slab.freelist);
        write!(
            out,
            "Slab 0x{:016x} objects={objects} used={used}",
            slab.descriptor
        )?;
        write!(out, " fp=0x{fp:016x} flags=")?;
        let (nid, zone) = (slab.zone.nid(), slab.zone.kind());
        let mut flags = (NO_LAST_CPUPID << 30) | ((zone as u64) << 51);
        flags |= u64::from(nid.0.unsigned_abs()) << 54;
        let named = [
            (slab.is_partial, PG_WORKINGSET, "workingset|"),
            (slab.is_compound(), PG_HEAD, "head|"),
        ];
        for (_, flag, _) in named.iter().filter(|(is, ..)| *is) {
            flags |= flag;
        }
        write!(out, "0x{flags:x}(")?;
        for (_, _, name) in named.iter().filter(|(is, ..)| *is) {
            out.write_str(name)?;
        }
        let zone = zone as u8;
        writeln!(
            out,
            "node={nid}|zone={zone}|lastcpupid=0x{NO_LAST_CPUPID:x})"
        )
    }

    /// `print_trailer`
    fn write_trailer(&self, out: &mut dyn Write, slab: &Slab<'_>, object: u32) -> fmt::Result {
        let layout = &self.layout;
        let place = (slab.bytes, layout, object);
        write_tracking(out, self.platform, self.stacks, place)?;
        self.write_slab_info(out, slab)?;
        let (addr, fp) = (slab.addr(object), self.free_pointer(slab, object));
        writeln!(
            out,
            "Object 0x{addr:016x} @offset={object} fp=0x{fp:016x}\n"
        )?;
        let mut section =
            |text: &str, range: Range<u32>| write_section(out, text, slab.bytes, slab.base, range);
        let red = layout.has(SlabFlags::RED_ZONE);
        if red {
            section(
                "Redzone  ",
                object.saturating_sub(layout.red_left_pad)..object,
            )?;
        } else if object > 16 {
            section("Bytes b4 ", object - 16..object)?;
        }
        let end = object + layout.object_size;
        section("Object   ", object..end.min(object + MAX_SHOWN))?;
        if red {
            section("Redzone  ", end..object + layout.inuse)?;
        }
        let padding = layout.padding();
        section("Padding  ", object + padding.start..object + padding.end)
    }

    /// Something is wrong with an object, or with the pointer to it
    /// (`object_err`).
    pub(super) fn object_err(
        &self,
        finding: Option<Finding>,
        slab: &Slab<'_>,
        object: u64,
        reason: &str,
    ) {
        let text = |out: &mut dyn Write| {
            self.write_bug(out, format_args!("{reason}"))?;
            match slab.place(&self.layout, object) {
                Some(place) => self.write_trailer(out, slab, place),
                None => {
                    self.write_slab_info(out, slab)?;
                    writeln!(out, "Invalid pointer 0x{object:016x}")
                }
            }
        };
        match finding {
            Some(finding) => self.begin(finding, &text),
            None => self.say(&text),
        }
        self.taint.set();
    }

    /// Something is wrong with a slab (`slab_err`).
    pub(super) fn slab_err(&self, finding: Finding, slab: &Slab<'_>, reason: fmt::Arguments<'_>) {
        self.begin(finding, &|out| {
            self.write_bug(out, reason)?;
            self.write_slab_info(out, slab)
        });
        self.taint.set();
    }

    /// What was done about it (`slab_fix`).
    pub(super) fn slab_fix(&self, what: fmt::Arguments<'_>) {
        self.say(&|out| writeln!(out, "FIX {}: {what}", self.name));
    }

    /// Bytes of an object are not what they have to be; `whole` shows the object
    /// (`check_bytes_and_report`).
    pub(super) fn bytes_err(
        &self,
        finding: Finding,
        slab: &Slab<'_>,
        object: u32,
        what: (&str, Range<u32>, u8),
        whole: bool,
    ) {
        let (name, at, value) = what;
        self.begin(finding, &|out| {
            let (span, offset, byte) = (Span::new(slab, &at), at.start, slab.bytes.byte(at.start));
            write!(out, "[{name} overwritten] {span} @offset={offset}. ")?;
            writeln!(out, "First byte 0x{byte:x} instead of 0x{value:x}")
        });
        if whole {
            self.object_err(None, slab, slab.addr(object), "Object corrupt");
        }
    }

    /// Bytes behind the last object are not what they have to be
    /// (`slab_pad_check`).
    pub(super) fn pad_err(&self, slab: &Slab<'_>, padding: Range<u32>, at: &Range<u32>) {
        self.begin(Finding::SlabPadding, &|out| {
            let (span, offset) = (Span::new(slab, at), at.start);
            self.write_bug(
                out,
                format_args!("Padding overwritten. {span} @offset={offset}"),
            )?;
            write_section(out, "Padding ", slab.bytes, slab.base, padding.clone())?;
            self.write_slab_info(out, slab)
        });
        self.taint.set();
    }

    /// Fills bytes as they have to be, and says so (`restore_bytes`).
    pub(super) fn restore_bytes(&self, slab: &Slab<'_>, what: &str, at: Range<u32>, value: u8) {
        let span = Span::new(slab, &at);
        self.slab_fix(format_args!("Restoring {what} {span}=0x{value:x}"));
        slab.bytes.fill(at, value);
    }

    /// An allocation or a free of a cache that is traced (`trace`).
    pub(super) fn tell(&self, slab: &Slab<'_>, object: u32, is_alloc: bool) {
        if !self.layout.has(SlabFlags::TRACE) {
            return;
        }
        self.platform.slab_report(None, &|out| {
            let what = if is_alloc { "alloc" } else { "free" };
            let (addr, inuse, fp) = (slab.addr(object), slab.inuse, slab.freelist);
            write!(out, "TRACE {} {what} 0x{addr:016x} ", self.name)?;
            writeln!(out, "inuse={inuse} fp=0x{fp:016x}")?;
            let range = object..object + self.layout.object_size;
            match is_alloc {
                true => Ok(()),
                false => write_section(out, "Object ", slab.bytes, slab.base, range),
            }
        });
    }

    /// The objects that are left in a slab when its cache is to go, written to
    /// `out` (`list_slab_objects`).
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_remaining(&self, out: &mut dyn Write, slab: &Slab<'_>) -> fmt::Result {
        self.write_bug(
            out,
            format_args!("Objects remaining on __kmem_cache_shutdown()"),
        )?;
        let mut written = Ok(());
        self.each_object(slab, |object, is_free| {
            if !is_free {
                written = self.write_one_remaining(out, slab, object);
            }
            written.is_ok()
        });
        written?;
        self.write_slab_info(out, slab)
    }

    fn write_one_remaining(
        &self,
        out: &mut dyn Write,
        slab: &Slab<'_>,
        object: u32,
    ) -> fmt::Result {
        writeln!(out, "Object 0x{:016x} @offset={object}", slab.addr(object))?;
        let place = (slab.bytes, &self.layout, object);
        write_tracking(out, self.platform, self.stacks, place)
    }

    /// The same as a finding, to the log (`list_slab_objects`).
    pub fn tell_remaining(&self, slab: &Slab<'_>) {
        self.begin(Finding::Remaining, &|out| self.write_remaining(out, slab));
        self.taint.set();
    }

    /// A pointer was to be freed to this cache that leads to no slab, or to one
    /// of another cache, which is given with it (`warn_free_bad_obj`).
    pub fn tell_bad_free(&self, object: u64, other: Option<(&Cache<'_, P>, &Slab<'_>)>) {
        let name = self.name;
        let Some((cache, slab)) = other else {
            return self.begin(Finding::NotSlab, &|out| {
                write!(out, "kmem_cache_free({name}, {object:016x}): ")?;
                writeln!(out, "object is not in a slab page")
            });
        };
        self.begin(Finding::WrongCache, &|out| {
            write!(out, "kmem_cache_free({name}, {object:016x}): ")?;
            writeln!(out, "object belongs to different cache {}", cache.name)?;
            match slab.place(&cache.layout, object) {
                Some(place) => {
                    let place = (slab.bytes, &cache.layout, place);
                    write_tracking(out, self.platform, self.stacks, place)
                }
                None => Ok(()),
            }
        });
    }
}
