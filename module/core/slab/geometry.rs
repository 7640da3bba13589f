// SPDX-License-Identifier: GPL-2.0

//! How a cache's objects lie in its slabs: sizes, alignment, the order of the
//! slabs, and what is kept of them. Pure arithmetic (`calculate_sizes` and
//! what is around it in `mm/slub.c`).
//!
//! ```text
//!       |<------------------------------ size --------------------------------->|
//!       | red_left_pad | object ..... | right red zone | free  | 2 tracks | request | pad |
//!       |              |<- object_size ->|             | pointer          | size    |     |
//!       |              |<----------- inuse ----------->|
//!                      ^ what the caller has; offset counts from here
//! ```
//!
//! Only what a flag asks for is there. The free pointer lies in the middle of the
//! object unless somebody may look at the object while it is free (see
//! [`Layout`]). A slab is 2^`order` pages and holds `objects` of these; when no
//! block of that order can be had, 2^`min_order` and `min_objects`.
//!
//! What Linux takes without a word and then stumbles over is refused here:
//! objects of no size (it divides by zero), alignments that are no power of
//! two (it rounds to something else), sizes that overflow 32 bits.

use super::debug_option::SlabDebug;
use super::flags::SlabFlags;
use super::kmalloc_info;
use super::object::Constructor;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::PageOrder;
use crate::phys::PAGE_SIZE;

/// The size of a machine word, which free pointers lie at multiples of.
pub const WORD: u32 = 8;
/// The least alignment of objects (`ARCH_SLAB_MINALIGN`).
pub const SLAB_MINALIGN: u32 = 8;
/// The least alignment of what kmalloc gives (`ARCH_KMALLOC_MINALIGN`).
pub const KMALLOC_MINALIGN: u32 = 8;
/// What is known of one allocation or free: address, stack, CPU, process, time
/// (`sizeof(struct track)`).
pub const TRACK_SIZE: u32 = 32;
/// The most objects that a slab can have (`MAX_OBJS_PER_PAGE`).
pub const MAX_OBJECTS: u32 = 32_767;
/// The fewest partial slabs that a node keeps though they are empty
/// (`MIN_PARTIAL`).
pub const MIN_PARTIAL: u32 = 5;
/// The most of them (`MAX_PARTIAL`).
pub const MAX_PARTIAL: u32 = 10;
/// What a sheaf has before its objects (`sizeof(struct slab_sheaf)`).
const SHEAF_HEAD: u32 = 32;

/// What a cache is to be (`struct kmem_cache_args` and the other arguments of
/// `kmem_cache_create`).
#[derive(Clone, Copy, Debug)]
pub struct CacheArgs<'a> {
    /// The cache's name.
    pub name: &'a str,
    /// The size of its objects, in bytes.
    pub object_size: u32,
    /// Their alignment, in bytes; 0 for none in particular.
    pub align: u32,
    /// What else it is to be.
    pub flags: SlabFlags,
    /// What is done to each object of a new slab.
    pub ctor: Constructor,
    /// Where in the object the part begins that may be copied to and from user
    /// space, in bytes.
    pub useroffset: u32,
    /// How large that part is; 0 for none.
    pub usersize: u32,
    /// Where in the object the free pointer may lie although somebody looks at
    /// free objects, in bytes; `None` for behind the object.
    pub freeptr_offset: Option<u32>,
    /// How many objects the per-CPU layer is to hold at least at a time.
    pub sheaf_capacity: u32,
    /// Whether its objects are core's own: no request has one, for core believes what stands
    /// in them.
    pub of_core: bool,
}

impl<'a> CacheArgs<'a> {
    /// Nothing but a name and a size.
    pub const fn new(name: &'a str, object_size: u32) -> Self {
        Self {
            name,
            object_size,
            align: 0,
            flags: SlabFlags::NONE,
            ctor: Constructor::None,
            useroffset: 0,
            usersize: 0,
            freeptr_offset: None,
            sheaf_capacity: 0,
            of_core: false,
        }
    }
}

/// What of the machine and of the boot parameters sizes depend on.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// How many CPUs there are; see [`nr_cpus`].
    pub nr_cpus: u32,
    /// The size of a cache line, a power of two, in bytes (`cache_line_size`).
    pub cache_line: u32,
    /// How many objects a slab has at least (`slab_min_objects=`); 0 for as many
    /// as the number of CPUs suggests.
    pub min_objects: u32,
    /// The least order of slabs (`slab_min_order=`).
    pub min_order: PageOrder,
    /// The order up to which larger slabs are tried for less waste
    /// (`slab_max_order=`).
    pub max_order: PageOrder,
    /// Whether caches are merged (without `slab_nomerge`).
    pub merge: bool,
    /// Whether objects can be charged to memory cgroups (without
    /// `cgroup.memory=nokmem`).
    pub accounting: bool,
    /// `slab_debug=`.
    pub debug: SlabDebug<'a>,
}

impl Surroundings<'_> {
    /// A Debian kernel without parameters on a machine with so many CPUs.
    pub const fn new(nr_cpus: u32) -> Self {
        Self {
            nr_cpus,
            cache_line: 64,
            min_objects: 0,
            min_order: PageOrder::ZERO,
            // PAGE_ALLOC_COSTLY_ORDER
            max_order: match PageOrder::new(3) {
                Some(order) => order,
                None => PageOrder::ZERO,
            },
            merge: true,
            accounting: true,
            debug: SlabDebug::NONE,
        }
    }

    /// Sets the orders as the parameters `slab_min_order=` and `slab_max_order=`
    /// do when they come in this order: the least one raises the other.
    pub fn set_orders(&mut self, min: Option<PageOrder>, max: Option<PageOrder>) {
        if let Some(min) = min {
            self.min_order = min;
            self.max_order = self.max_order.max(min);
        }
        if let Some(max) = max {
            self.max_order = max;
            self.min_order = self.min_order.min(max);
        }
    }
}

/// The number of CPUs that sizes are made for: those that are there, or, where
/// only one is, those that there can be (`nr_cpu_ids`).
pub const fn nr_cpus(present: u32, possible: u32) -> u32 {
    match present {
        0 | 1 => possible,
        _ => present,
    }
}

/// How a cache's objects lie in its slabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The size of an object as its user sees it, in bytes.
    pub object_size: u32,
    /// From one object to the next, in bytes.
    pub size: u32,
    /// How much of it the object and the red zone behind it have, in bytes.
    pub inuse: u32,
    /// Where the free pointer lies, in bytes from the object's start.
    pub offset: u32,
    /// The alignment of the objects, in bytes.
    pub align: u32,
    /// What lies before the object for the red zone there, in bytes.
    pub red_left_pad: u32,
    /// The flags with what debugging and the layout have added.
    pub flags: SlabFlags,
    /// The order of slabs.
    pub order: PageOrder,
    /// How many objects a slab of that order holds.
    pub objects: u32,
    /// The order of slabs when memory is short.
    pub min_order: PageOrder,
    /// How many objects a slab of that order holds.
    pub min_objects: u32,
    /// How many empty slabs a node may keep.
    pub min_partial: u32,
    /// How many objects a sheaf holds in Linux; 0 where nothing is kept per CPU.
    pub sheaf_capacity: u32,
}

impl Geometry {
    /// Whether the free pointer lies behind the object
    /// (`freeptr_outside_object`).
    pub const fn free_pointer_is_outside(&self) -> bool {
        self.offset >= self.inuse
    }

    /// Where the tracks begin when there are any, in bytes from the object's
    /// start (`get_info_end`).
    pub const fn info_end(&self) -> u32 {
        match self.free_pointer_is_outside() {
            true => self.inuse.saturating_add(WORD),
            false => self.inuse,
        }
    }

    /// What a slab of this order has behind its last object, in bytes.
    pub fn leftover(&self, order: PageOrder) -> u32 {
        slab_size(order).checked_rem(self.size).unwrap_or(0)
    }
}

/// The geometry that `kmem_cache_create` gives for a request
/// (`__kmem_cache_create_args`, `create_cache`, `do_kmem_cache_create`).
///
/// # Errors
///
/// What [`creation_flags`] refuses; [`Error::BadFreePointer`];
/// [`Error::BadObjectSize`], [`Error::ObjectTooLarge`] and
/// [`Error::BadAlignment`].
pub fn geometry(args: &CacheArgs<'_>, around: &Surroundings<'_>) -> Result<Geometry> {
    let flags = creation_flags(args, around)?;
    if let Some(offset) = args.freeptr_offset {
        let looked_at = flags.has(SlabFlags::TYPESAFE_BY_RCU) || args.ctor.is_some();
        if offset >= args.object_size || !looked_at || offset % WORD != 0 {
            return Err(Error::BadFreePointer);
        }
    }
    let align = calculate_alignment(flags, args.align, args.object_size, around.cache_line)?;
    create(args, flags, align, around)
}

/// The geometry of a cache that Linux creates while it boots: its own two, and
/// kmalloc's (`create_boot_cache`). Their alignment is at least the largest power
/// of two that divides a kmalloc size. kmalloc's have sheaves from the end of
/// the boot on (`bootstrap_cache_sheaves`).
///
/// # Errors
///
/// Those of [`geometry`] but for the flags, which may be any.
pub fn boot_geometry(args: &CacheArgs<'_>, around: &Surroundings<'_>) -> Result<Geometry> {
    let mut align = KMALLOC_MINALIGN;
    if args.flags.has(SlabFlags::KMALLOC) {
        align = align.max(args.object_size & args.object_size.wrapping_neg());
    }
    let align = calculate_alignment(args.flags, align, args.object_size, around.cache_line)?;
    let mut geometry = create(args, args.flags, align, around)?;
    if args.flags.has(SlabFlags::KMALLOC) {
        geometry.sheaf_capacity = sheaf_capacity(geometry.flags, geometry.size, 0);
    }
    Ok(geometry)
}

/// The flags with which a request goes on: with a capacity of sheaves of its own
/// a cache is never merged, and where there is accounting, any object may be
/// charged (`__kmem_cache_create_args`).
///
/// # Errors
///
/// [`Error::BadFlags`] for flags that are not for creators, and
/// [`Error::BadUserWindow`] for a part that does not lie in the object, which
/// Linux warns of, and then leaves out.
pub fn creation_flags(args: &CacheArgs<'_>, around: &Surroundings<'_>) -> Result<SlabFlags> {
    if !SlabFlags::PERMITTED.has_all(args.flags) {
        return Err(Error::BadFlags);
    }
    let behind = args.object_size.checked_sub(args.usersize);
    if (args.usersize == 0 && args.useroffset != 0)
        || behind.is_none_or(|behind| behind < args.useroffset)
    {
        return Err(Error::BadUserWindow);
    }
    let mut flags = args.flags;
    if args.sheaf_capacity != 0 {
        flags |= SlabFlags::NO_MERGE;
    }
    if around.accounting {
        flags |= SlabFlags::MAY_ACCOUNT;
    }
    Ok(flags)
}

/// The alignment of objects, in bytes (`calculate_alignment`): what was asked
/// for, and with `HWCACHE_ALIGN` a cache line, halved as long as two objects
/// find room in it.
///
/// # Errors
///
/// [`Error::BadObjectSize`] for no size; [`Error::BadAlignment`] when what comes
/// out is no power of two. Linux goes on and rounds sizes with it, to multiples
/// of nothing.
pub fn calculate_alignment(
    flags: SlabFlags,
    align: u32,
    size: u32,
    cache_line: u32,
) -> Result<u32> {
    if size == 0 {
        return Err(Error::BadObjectSize);
    }
    let mut align = align;
    if flags.has(SlabFlags::HWCACHE_ALIGN) {
        let mut line = cache_line;
        while size <= line / 2 {
            line /= 2;
        }
        align = align.max(line);
    }
    let align = align_up(align.max(SLAB_MINALIGN), WORD).ok_or(Error::BadAlignment)?;
    match align.is_power_of_two() {
        true => Ok(align),
        false => Err(Error::BadAlignment),
    }
}

/// Everything but the checks of a request (`do_kmem_cache_create`).
fn create(
    args: &CacheArgs<'_>,
    flags: SlabFlags,
    align: u32,
    around: &Surroundings<'_>,
) -> Result<Geometry> {
    let flags = around.debug.flags(flags, args.name);
    let geometry = calculate_sizes(args, flags, align, around)?;
    if around.debug.higher_order_disabled && geometry.min_order > get_order(args.object_size)? {
        let flags = geometry.flags.without(SlabFlags::DEBUG_METADATA);
        return calculate_sizes(args, flags, align, around);
    }
    Ok(geometry)
}

/// The layout of an object and what follows from it (`calculate_sizes`).
fn calculate_sizes(
    args: &CacheArgs<'_>,
    flags: SlabFlags,
    align: u32,
    around: &Surroundings<'_>,
) -> Result<Geometry> {
    let layout = Layout::new(args, flags, align)?;
    let size = align_up(layout.size, align).ok_or(Error::ObjectTooLarge)?;
    let mut flags = layout.flags;
    // One word for the memory cgroup, if objects may be charged.
    let extra = match flags.has(SlabFlags::MAY_ACCOUNT) {
        true => WORD,
        false => 0,
    };
    if unmergeable(args, flags, around) && size - layout.size >= extra {
        flags |= SlabFlags::OBJ_EXT_IN_OBJ;
    }
    let order = calculate_order(size, around)?;
    let min_order = get_order(size)?;
    let capacity = match flags.has(SlabFlags::KMALLOC) {
        // Theirs come later.
        true => 0,
        false => sheaf_capacity(flags, size, args.sheaf_capacity),
    };
    Ok(Geometry {
        object_size: args.object_size,
        size,
        inuse: layout.inuse,
        offset: layout.offset,
        align,
        red_left_pad: layout.red_left_pad,
        flags,
        order,
        objects: slab_size(order).checked_div(size).unwrap_or(0),
        min_order,
        min_objects: slab_size(min_order).checked_div(size).unwrap_or(0),
        min_partial: min_partial(size),
        sheaf_capacity: capacity,
    })
}

/// Where the parts of an object lie; `size` is not yet aligned.
struct Layout {
    size: u32,
    inuse: u32,
    offset: u32,
    red_left_pad: u32,
    flags: SlabFlags,
}

impl Layout {
    fn new(args: &CacheArgs<'_>, flags: SlabFlags, align: u32) -> Result<Self> {
        let has = |flag| flags.has(flag);
        let add = |size: u32, more: u32| size.checked_add(more).ok_or(Error::ObjectTooLarge);
        let rcu = has(SlabFlags::TYPESAFE_BY_RCU);
        let looked_at = rcu || args.ctor.is_some();
        // Free pointers lie at words only.
        let mut size = align_up(args.object_size, WORD).ok_or(Error::ObjectTooLarge)?;
        // The right red zone is what the rounding has left, or a word of its own.
        if has(SlabFlags::RED_ZONE) && size == args.object_size {
            size = add(size, WORD)?;
        }
        let inuse = size;
        // Who may look at a free object must not find the pointer there, and
        // poison must stay whole. A right red zone that begins within the first
        // word, or where kmalloc's request ended, would be overwritten; as well, which
        // Linux does not look at, one that begins within the word that was asked for.
        let ends = args
            .freeptr_offset
            .map_or(WORD, |at| at.saturating_add(WORD));
        let tight = args.object_size < ends || flags.keeps_request_size();
        let offset = if (looked_at && args.freeptr_offset.is_none())
            || has(SlabFlags::POISON)
            || (has(SlabFlags::RED_ZONE) && tight)
        {
            let offset = size;
            size = add(size, WORD)?;
            offset
        } else if let (true, Some(offset)) = (looked_at, args.freeptr_offset) {
            offset
        } else {
            // Away from the edges, which neighbours overrun.
            (args.object_size / 2) & !(WORD - 1)
        };
        if has(SlabFlags::STORE_USER) {
            size = add(size, 2 * TRACK_SIZE)?;
            if has(SlabFlags::KMALLOC) {
                size = add(size, WORD)?;
            }
        }
        let mut red_left_pad = 0;
        if has(SlabFlags::RED_ZONE) {
            // A word at the end, so that who writes before the next object meets
            // it before the tracks.
            size = add(size, WORD)?;
            red_left_pad = align_up(WORD, align).ok_or(Error::ObjectTooLarge)?;
            size = add(size, red_left_pad)?;
        }
        Ok(Self {
            size,
            inuse,
            offset,
            red_left_pad,
            flags: match has(SlabFlags::POISON) && !looked_at {
                true => flags | SlabFlags::OBJECT_POISON,
                false => flags.without(SlabFlags::OBJECT_POISON),
            },
        })
    }
}

/// Whether a request can't be merged whatever caches there are
/// (`slab_args_unmergeable`).
pub fn unmergeable(args: &CacheArgs<'_>, flags: SlabFlags, around: &Surroundings<'_>) -> bool {
    !around.merge || args.ctor.is_some() || args.usersize != 0 || flags.has(SlabFlags::NEVER_MERGE)
}

/// The order of slabs for objects of this size (`calculate_order`): the smallest
/// one that holds enough objects and wastes no more than a sixteenth; else an
/// eighth, a quarter, a half.
///
/// # Errors
///
/// [`Error::ObjectTooLarge`] when no block holds even one.
pub fn calculate_order(size: u32, around: &Surroundings<'_>) -> Result<PageOrder> {
    let in_slab = |order| slab_size(order).checked_div(size).unwrap_or(0);
    let wanted = match around.min_objects {
        // 4 * (fls(nr_cpus) + 1)
        0 => 4 * (u32::BITS - around.nr_cpus.leading_zeros() + 1),
        min_objects => min_objects,
    };
    let wanted = wanted.min(in_slab(around.max_order).max(1));
    let least = get_order(wanted.saturating_mul(size))?.max(around.min_order);
    if in_slab(least) > MAX_OBJECTS {
        let most = get_order(size.saturating_mul(MAX_OBJECTS))?;
        return most.down().ok_or(Error::ObjectTooLarge);
    }
    for fraction in [16_u32, 8, 4, 2] {
        let fits = PageOrder::all()
            .filter(|&order| order >= least && order <= around.max_order)
            .find(|&order| {
                let whole = slab_size(order);
                let spare = whole.checked_rem(size).unwrap_or(0);
                spare.saturating_mul(fraction) <= whole
            });
        if let Some(order) = fits {
            return Ok(order);
        }
    }
    get_order(size)
}

/// How many empty slabs a node may keep of a cache with objects of this size:
/// more of the larger ones, which cost the page allocator more.
pub const fn min_partial(size: u32) -> u32 {
    let half = match size.checked_ilog2() {
        Some(log) => log / 2,
        None => 0,
    };
    match half {
        0..MIN_PARTIAL => MIN_PARTIAL,
        MAX_PARTIAL.. => MAX_PARTIAL,
        _ => half,
    }
}

/// How many objects Linux's sheaves hold (`calculate_sheaf_capacity`): fewer of
/// the larger ones, as many as fill an object of kmalloc, and at least as many
/// as were asked for. None where each object is checked.
pub fn sheaf_capacity(flags: SlabFlags, size: u32, wanted: u32) -> u32 {
    let without = SlabFlags::DEBUG | SlabFlags::NO_SHEAVES | SlabFlags::NOLEAKTRACE;
    if flags.has(without) {
        return 0;
    }
    let capacity: u32 = match size {
        4096.. => 4,
        1024.. => 12,
        256.. => 26,
        _ => 60,
    };
    let sheaf = Bytes((SHEAF_HEAD + capacity * WORD).into());
    let room = kmalloc_info::size_roundup(sheaf).0 - u64::from(SHEAF_HEAD);
    ((room / u64::from(WORD)) as u32).max(wanted)
}

/// The order of the smallest block that holds so many bytes (`get_order`).
///
/// # Errors
///
/// [`Error::ObjectTooLarge`] when there is none.
fn get_order(size: u32) -> Result<PageOrder> {
    let pages = Bytes(size.into()).pages_up();
    pages.order_up().ok_or(Error::ObjectTooLarge)
}

/// The size of a slab of this order, in bytes.
const fn slab_size(order: PageOrder) -> u32 {
    (PAGE_SIZE as u32) << order.get()
}

/// `size` rounded up to a multiple of `align`, a power of two (`ALIGN`); `None`
/// above 32 bits.
const fn align_up(size: u32, align: u32) -> Option<u32> {
    match size.checked_add(align.wrapping_sub(1)) {
        Some(sum) => Some(sum & !align.wrapping_sub(1)),
        None => None,
    }
}
