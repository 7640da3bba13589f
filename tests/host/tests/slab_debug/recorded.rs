// SPDX-License-Identifier: GPL-2.0

//! What the running kernel said (`tests/data/slub`), and what both texts are
//! brought to so that they can be compared.
//!
//! An address becomes its place in the slab, which begins at a multiple of its
//! size. The descriptor's address, symbols, CPUs, processes, ages, taints and
//! the zone that the pages are from are left out; so are the frames of stacks.
//! A free pointer becomes whether it is the end, an object or neither, since
//! each kernel's freelists are shuffled in another way.

use crate::world::World;
use std::fmt::Write;

/// What the running kernel said of a misuse, without the line before it.
pub fn recorded(name: &str) -> String {
    let path = format!("{}/../data/slub/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (_, said) = text.split_once('\n').expect("a line before the report");
    said.to_owned()
}

/// The places of objects in the slab that a text speaks of, in its order, each
/// once: those behind these words.
pub fn objects(world: &World, text: &str) -> Vec<u32> {
    let words = [
        "Object 0x",
        "Object at 0x",
        "TRACE misused alloc 0x",
        "kmem_cache_free(other, ",
    ];
    let mut objects = vec![];
    for line in text.lines() {
        let Some(rest) = words.iter().find_map(|words| line.split_once(words)) else {
            continue;
        };
        let addr = u64::from_str_radix(&rest.1[..16], 16).unwrap();
        let offset = (addr % slab_size(world)) as u32;
        if !objects.contains(&offset) {
            objects.push(offset);
        }
    }
    objects
}

/// The size of a slab, which begins at a multiple of it.
pub fn slab_size(world: &World) -> u64 {
    4096 << world.geometry.order.get()
}

/// An address, as its place in the slab.
fn place(world: &World, digits: &str) -> String {
    let addr = u64::from_str_radix(digits, 16).unwrap();
    match addr {
        0 => "NULL".to_owned(),
        addr => format!("+{}", addr % slab_size(world)),
    }
}

/// What a free pointer is.
fn pointer(world: &World, digits: &str) -> &'static str {
    let layout = world.cache().layout;
    let addr = u64::from_str_radix(digits, 16).unwrap();
    match addr {
        0 => "NULL",
        _ => match layout.index((addr % slab_size(world)) as u32, world.geometry.objects) {
            Some(_) => "OBJECT",
            None => "GARBAGE",
        },
    }
}

/// What stands before `until`, and the rest behind it.
fn cut<'a>(line: &'a str, until: &str) -> (&'a str, &'a str) {
    line.split_once(until)
        .unwrap_or_else(|| panic!("{line:?} has no {until:?}"))
}

fn line(world: &World, line: &str) -> String {
    let mut out = String::new();
    if let Some(rest) = line.strip_prefix("BUG ") {
        let (name, rest) = cut(rest, " (");
        let (_, what) = cut(rest, "): ");
        write!(out, "BUG {name} (TAINT): {}", addresses(world, what)).unwrap();
    } else if let Some(rest) = line.strip_prefix("Slab 0x") {
        let (_, rest) = rest.split_at(16);
        let (counts, rest) = cut(rest, " fp=0x");
        let (fp, flags) = rest.split_at(16);
        let (_, names) = cut(flags, "(");
        let (names, zone) = cut(names, "|zone=");
        let (_, last) = cut(zone, "|");
        let fp = pointer(world, fp);
        write!(out, "Slab{counts} fp={fp} flags=({names}|zone|{last}").unwrap();
    } else if line.contains(" fp=0x") {
        let (object, fp) = cut(line, " fp=0x");
        let (object, fp) = (addresses(world, object), pointer(world, fp));
        write!(out, "{object} fp={fp}").unwrap();
    } else if line.starts_with("Allocated in ") || line.starts_with("Freed in ") {
        let (what, rest) = cut(line, " in ");
        assert!(rest.contains(" age=") && rest.contains(" cpu=") && rest.contains(" pid="));
        write!(out, "{what} in SYMBOL age cpu pid").unwrap();
    } else if let Some((before, bytes)) = dump(line) {
        let (text, addr) = before.split_at(before.len() - 16);
        // The second eight bytes before the object are a free pointer.
        let bytes = if text == "Bytes b4 " {
            &bytes[..24]
        } else {
            bytes
        };
        write!(out, "{text}{}: {bytes}", place(world, addr)).unwrap();
    } else {
        out = addresses(world, line);
    }
    out
}

/// A line of a dump: what stands before the colon, and the bytes.
fn dump(line: &str) -> Option<(&str, &str)> {
    let (before, bytes) = line.split_once(": ")?;
    let names = [
        "Redzone  ",
        "Object   ",
        "Padding  ",
        "Padding ",
        "Bytes b4 ",
        "Object ",
    ];
    let is_dump = names.iter().any(|name| {
        before.strip_prefix(name).is_some_and(|addr| {
            addr.len() == 16 && addr.bytes().all(|digit| digit.is_ascii_hexdigit())
        })
    });
    is_dump.then_some((before, bytes))
}

/// The text with its addresses, 16 digits, as places.
fn addresses(world: &World, text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits == 16 {
            let (addr, behind) = rest.split_at(16);
            let before = out.strip_suffix("0x").map(str::to_owned);
            out = before.unwrap_or(out) + &place(world, addr);
            rest = behind;
        } else {
            let (some, behind) = rest.split_at(digits.max(1));
            out += some;
            rest = behind;
        }
    }
    out
}

/// The text as it can be compared.
pub fn comparable(world: &World, text: &str) -> String {
    let mut out = String::new();
    for text in text.lines().filter(|text| !text.starts_with(' ')) {
        writeln!(out, "{}", line(world, text).trim_end()).unwrap();
    }
    out
}
