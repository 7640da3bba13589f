// SPDX-License-Identifier: GPL-2.0

//! shadowmm: a second Linux memory manager, on memory of its own.
//!
//! This crate is the glue between Linux and core. It translates and owns, and
//! decides nothing:
//!
//! ```text
//! params.c   the module's parameters      region.rs    host memory, and its return
//! shadow.rs  core's boot on that memory   platform.rs  locks, CPUs, clock for core
//! device.rs  /dev/shadowmm                records.rs   core's numbers as ABI records
//! held.rs    what an open file holds      pages.rs     its requests about that
//! abi.rs     requests in user memory      procfs.rs    /proc/shadowmm
//! rwsem.rs, percpu_rwsem.rs  locks that Rust lacks
//! percpu.rs  preemption, spinlocks
//! trace.rs   core's events                tracepoints.c  where they are heard
//! workers.rs CPUs that come and go, and   helpers.c    inline functions of C
//! workers.c  what is done now and then    daemons.rs   the nodes' threads
//! failure.rs requests that failed         daemons.c
//! slab_report.rs what debugging of caches has found
//! movable.rs blocks that may move         bench.rs     beside the host's allocator
//! slab.rs    caches, and whose objects    procfs_slab.c  /proc/shadowmm/slab
//! users.rs   who has how much
//! mm.rs      windows of processes         window.c       what the host's mm calls of them
//! ```

use core::sync::atomic::Ordering::SeqCst;
use kernel::prelude::*;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::boot::Config;
use shadowmm_core::boot::CrashParameter;
use shadowmm_core::slab::DebugParameter;
use shadowmm_core::slab::ObjectAllocatorKind;
use shadowmm_core::slab::SlabConfig;
use shadowmm_core::tunables::Tunable;
use shadowmm_core::zone::ZoneConfig;

mod abi;
mod bench;
mod daemons;
mod device;
mod diff;
mod failure;
mod held;
mod mm;
mod movable;
mod pages;
mod percpu;
mod percpu_rwsem;
mod platform;
mod poison;
mod procfs;
mod records;
mod region;
mod rwsem;
mod shadow;
mod slab;
mod slab_report;
#[expect(
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    reason = "each argument becomes what its C function takes, one type in each call of the macro"
)]
mod trace;
mod users;
mod workers;

/// What bindgen makes of bindings.h; types are those of the kernel crate, some
/// of which have no size in C.
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]
mod bindings {
    use kernel::bindings::*;
    use kernel::ffi;
    include!(concat!(env!("SHADOWMM_OBJ"), "/bindings_generated.rs"));
}

/// What bindgen makes of uapi/shadowmm.h.
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub
)]
mod uapi {
    use kernel::ffi;
    include!(concat!(env!("SHADOWMM_OBJ"), "/uapi_generated.rs"));
}

/// The module's version.
const RELEASE: &str = "0.1.0";

module! {
    type: Module,
    name: "shadowmm",
    authors: ["The shadowmm developers"],
    description: "A second Linux memory manager, on memory of its own",
    license: "GPL",
}

/// The module while it is loaded. The fields go in this order: first the ways
/// in, then what they lead to.
#[pin_data]
struct Module {
    #[pin]
    device: device::Registration,
    proc: procfs::Directory,
    workers: workers::Workers,
    shadow: shadow::Current,
    failure: failure::Kept,
}

impl kernel::InPlaceModule for Module {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: Called once, before anything can use it.
        unsafe { shadow::CURRENT.init() };
        shadow::READY.store(true, SeqCst);
        // SAFETY: As above.
        unsafe { slab_report::RING.init() };
        // SAFETY: As above.
        unsafe { diff::init() };
        try_pin_init!(Self {
            failure: failure::Kept::new(),
            shadow: load()?,
            workers: workers::Workers::start()?,
            proc: procfs::Directory::new()?,
            device <- device::Registration::new(),
        })
    }
}

/// Takes the region and boots the shadow on it, as the parameters say.
fn load() -> Result<shadow::Current> {
    // SAFETY: The parameters are set before init and never change.
    let params = unsafe { &*bindings::shadowmm_params() };
    let source = region::Source::parse(text("source=", params.source)?)?;
    let config = config(params)?;
    if params.page_poison {
        poison::turn_on();
    }
    let host = region::HostMemory::take(source, params.region_mb)?;
    let shadow = shadow::Shadow::new(host, config)?;
    if params.autoboot {
        shadow
            .change_stage(shadow::StageOp::Run)
            .map_err(|error| shadow::refused("the boot", error))?;
    }
    shadow.announce();
    let current = shadow::Current::new(shadow);
    trace::refresh();
    Ok(current)
}

/// What the parameters say of the boot. Boxed: the texts have room in it.
fn config(params: &bindings::shadowmm_params) -> Result<KBox<Config>> {
    let mut config = KBox::new(Config::DEFAULT, GFP_KERNEL)?;
    config.zones = ZoneConfig::parse(text("zones=", params.zones)?)
        .map_err(|error| shadow::refused("zones=", error))?;
    config.crashkernel = CrashParameter::new(text("crashkernel=", params.crashkernel)?)
        .map_err(|error| shadow::refused("crashkernel=", error))?;
    config.allocator = AllocatorKind::parse(text("allocator=", params.allocator)?)
        .map_err(|error| shadow::refused("allocator=", error))?;
    config.objects = ObjectAllocatorKind::parse(text("objects=", params.objects)?)
        .map_err(|error| shadow::refused("objects=", error))?;
    config.pagesets = params.pagesets;
    config.slab = slab_config(params)?;
    for (which, value) in Tunable::ALL.into_iter().zip(params.tunables) {
        if !value.is_null() {
            config
                .set_tunable(which, text(which.name(), value)?)
                .map_err(|error| shadow::refused(which.name(), error))?;
        }
    }
    Ok(config)
}

/// What the parameters say of the slab layer.
fn slab_config(params: &bindings::shadowmm_params) -> Result<SlabConfig> {
    let debug = match params.slab_debug.is_null() {
        true => Ok(DebugParameter::NONE),
        false => DebugParameter::new(text("slab_debug=", params.slab_debug)?),
    };
    Ok(SlabConfig {
        merge: !params.slab_nomerge,
        min_order: SlabConfig::order(params.slab_min_order),
        max_order: SlabConfig::order(params.slab_max_order),
        min_objects: params.slab_min_objects,
        debug: debug.map_err(|error| shadow::refused("slab_debug=", error))?,
    })
}

/// A text parameter; `name` is what it is called when it is none.
fn text(name: &str, param: *const kernel::ffi::c_char) -> Result<&'static str> {
    if param.is_null() {
        return Ok("");
    }
    // SAFETY: A charp parameter is NUL-terminated and lives as long as the module.
    let text = unsafe { CStr::from_char_ptr(param) };
    text.to_str().map_err(|_| {
        pr_err!("{} is not UTF-8\n", name);
        EINVAL
    })
}
