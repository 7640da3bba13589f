// SPDX-License-Identifier: GPL-2.0

//! The option `slab_debug=`: which caches are debugged, and how.
//!
//! ```text
//! slab_debug                     all caches, F Z P U
//! slab_debug=FZ                  all caches, red zones and checks
//! slab_debug=,dentry             this cache, F Z P U
//! slab_debug=P,kmalloc-*,dentry  these caches, poison
//! slab_debug=FZ,a;U,b;T          blocks: each cache by the first that names it, all others T
//! slab_debug=-                   none
//! slab_debug=O                   none of which debugging would need larger slabs
//!
//! block   = letters [ "," name *( "," name ) ]          a name ends at its first "*"
//! letters = *( F Z P U T A - O )                        "-" takes back what stands before it
//! ```
//!
//! The text is read as `mm/slub.c` reads it, byte for byte, with what may be
//! unexpected in that: a name that stands before more than one `;`, or before
//! the last `;` of the text, names no cache unless it has a `*`.

use super::flags::SlabFlags;

/// `slab_debug=`, read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlabDebug<'a> {
    /// For all caches that no block names (`slub_debug`).
    pub global: SlabFlags,
    /// The text, when a block of it names caches (`slub_debug_string`).
    blocks: Option<&'a str>,
    /// Whether a cache goes without the flags that need room when its slabs
    /// would have to be larger (`disable_higher_order_debug`).
    pub higher_order_disabled: bool,
    /// How many letters were unknown, and were skipped. Linux writes a line
    /// about each.
    pub unknown: u32,
}

impl<'a> SlabDebug<'a> {
    /// Nothing is debugged: a kernel without the option.
    pub const NONE: Self = Self {
        global: SlabFlags::NONE,
        blocks: None,
        higher_order_disabled: false,
        unknown: 0,
    };

    /// Reads what stands behind `slab_debug=`; empty is the option without a
    /// value (`setup_slub_debug`). Every text is good for something, as it is for
    /// Linux.
    pub fn parse(text: &'a str) -> Self {
        let mut debug = Self::NONE;
        if text.is_empty() {
            debug.global = SlabFlags::DEBUG_DEFAULT;
            return debug;
        }
        for block in Blocks(Some(text.as_bytes())) {
            debug.higher_order_disabled |= block.higher_order_disabled;
            debug.unknown = debug.unknown.saturating_add(block.unknown);
            match block.names {
                None => debug.global = block.flags,
                // With no block for all caches, the others stay as they were.
                Some(_) => debug.blocks = Some(text),
            }
        }
        debug
    }

    /// Whether any cache can be reached.
    pub fn is_none(&self) -> bool {
        self.global.is_empty() && self.blocks.is_none()
    }

    /// A cache's flags with what the option adds (`kmem_cache_flags`): those of
    /// the first block that names it, else those for all.
    pub fn flags(&self, flags: SlabFlags, name: &str) -> SlabFlags {
        if flags.has(SlabFlags::NO_USER_FLAGS) {
            return flags;
        }
        let mut blocks = Blocks(self.blocks.map(str::as_bytes));
        if let Some(block) = blocks.find(|block| block.is_about(name.as_bytes())) {
            return flags | block.flags;
        }
        match flags.has(SlabFlags::NOLEAKTRACE) {
            true => flags | self.global.without(SlabFlags::STORE_USER),
            false => flags | self.global,
        }
    }
}

/// One block of the option.
struct Block<'a> {
    flags: SlabFlags,
    /// The text from the first name on, through all blocks behind this one, and
    /// where in it the next block begins, if there is one.
    names: Option<(&'a [u8], Option<usize>)>,
    higher_order_disabled: bool,
    unknown: u32,
}

/// The blocks of a text that is still to be read
/// (`parse_slub_debug_flags`, again and again).
struct Blocks<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        let text = skip(self.0?, |byte| byte == b';');
        let mut block = Block {
            flags: SlabFlags::NONE,
            names: None,
            higher_order_disabled: false,
            unknown: 0,
        };
        let mut rest = text;
        if text.first() == Some(&b',') {
            block.flags = SlabFlags::DEBUG_DEFAULT;
        } else {
            rest = skip(text, |byte| byte != b',' && byte != b';');
            let letters = text.len() - rest.len();
            for &letter in text.get(..letters).unwrap_or_default() {
                match (letter.to_ascii_uppercase(), SlabFlags::from_letter(letter)) {
                    (b'-', _) => block.flags = SlabFlags::NONE,
                    (b'O', _) => block.higher_order_disabled = true,
                    (_, Some(flag)) => block.flags |= flag,
                    (_, None) => block.unknown = block.unknown.saturating_add(1),
                }
            }
        }
        let names = rest.strip_prefix(b",");
        let behind = skip(names.unwrap_or(rest), |byte| byte != b';');
        let behind = skip(behind, |byte| byte == b';');
        self.0 = (!behind.is_empty()).then_some(behind);
        block.names = names.map(|names| {
            let next = names.len().saturating_sub(behind.len());
            (names, self.0.map(|_| next))
        });
        Some(block)
    }
}

impl Block<'_> {
    /// Whether one of the block's names is that of this cache.
    fn is_about(&self, cache: &[u8]) -> bool {
        let Some((text, next)) = self.names else {
            return false;
        };
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let comma = rest.iter().position(|&byte| byte == b',');
            let mut end = comma.map_or(text.len(), |comma| at + comma);
            if let Some(next) = next.filter(|&next| next < end) {
                end = next.saturating_sub(1);
            }
            // A comma right behind the `;` leads beyond the block, and the next
            // name, if that comes last of all, is taken for one of this.
            let name = text.get(at..end);
            let star = name.unwrap_or(rest).iter().position(|&byte| byte == b'*');
            let whole = name.map_or(usize::MAX, |name| name.len().max(cache.len()));
            if starts_alike(cache, rest, star.unwrap_or(whole)) {
                return true;
            }
            match text.get(end) {
                None | Some(b';') => break,
                Some(_) => at = end + 1,
            }
        }
        false
    }
}

/// What is left behind the bytes that `of` holds for.
fn skip(text: &[u8], of: impl Fn(u8) -> bool) -> &[u8] {
    let count = text.iter().take_while(|&&byte| of(byte)).count();
    text.get(count..).unwrap_or_default()
}

/// Whether both are the same in their first `count` bytes, or as far as they go
/// (`!strncmp`).
fn starts_alike(a: &[u8], b: &[u8], count: usize) -> bool {
    a.get(..count.min(a.len())) == b.get(..count.min(a.len()))
        && (count <= a.len() || a.len() == b.len())
}
