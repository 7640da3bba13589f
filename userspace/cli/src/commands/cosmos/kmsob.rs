// SPDX-License-Identifier: GPL-2.0

//! What `/proc/shadowmm/kmsob` says of Cosmos's containers of objects.
//!
//! ```text
//! objects kmsob
//! containers 2                               the head's sums
//! ...
//!
//!      size containers extensions ...        a line for each size that there was
//!        64          1          2 ...
//!
//! container 0x0000000000412000 size 64       each container
//!   kmobinpnr 1
//!   ...
//!   msclst 1:2 2:0 4:0 8:0 16:0
//! ```

use crate::error::Error;
use crate::error::Result;
use crate::host;
use crate::render::address;
use crate::render::count;
use crate::render::plural;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;
use std::path::Path;
use std::str::Lines;

const PATH: &str = "proc/shadowmm/kmsob";

/// The pool of objects (`kmsobmgrhed_t`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kmsob {
    containers: u64,
    large_blocks: u64,
    large_pages: u64,
    caches: u64,
    sizes: Vec<Size>,
    list: Vec<Container>,
}

/// The containers of one size (`koblst_t`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Size {
    size_bytes: u64,
    containers: u64,
    extensions: u64,
    pages: u64,
    objects: u64,
    used: u64,
    free: u64,
    allocs: u64,
    frees: u64,
    created: u64,
    destroyed: u64,
}

/// A container (`kmsob_t`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Container {
    address: u64,
    size_bytes: u64,
    /// Of the block that it began with (`mc_kmobinpnr`).
    own_pages: u64,
    extensions: u64,
    objects: u64,
    free: u64,
    /// Its extensions' blocks (`msomdc_t`).
    blocks: Vec<Blocks>,
}

/// The blocks of one number of pages (`msclst_t`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Blocks {
    pages: u64,
    count: u64,
}

/// The number in a line `NAME NUMBER`.
fn field(lines: &mut Lines<'_>, name: &str) -> Option<u64> {
    let rest = lines.next()?.trim().strip_prefix(name)?;
    rest.strip_prefix(' ')?.parse().ok()
}

impl Size {
    fn parse(line: &str) -> Option<Self> {
        let numbers: Option<Vec<u64>> = line
            .split_whitespace()
            .map(|word| word.parse().ok())
            .collect();
        let [size_bytes, containers, extensions, pages, objects, used, free, allocs, frees, created, destroyed] =
            numbers?[..]
        else {
            return None;
        };
        Some(Self {
            size_bytes,
            containers,
            extensions,
            pages,
            objects,
            used,
            free,
            allocs,
            frees,
            created,
            destroyed,
        })
    }
}

impl Container {
    /// The container that begins with `line`.
    fn parse(line: &str, lines: &mut Lines<'_>) -> Option<Self> {
        let (address, size) = line.strip_prefix("container 0x")?.split_once(" size ")?;
        Some(Self {
            address: u64::from_str_radix(address, 16).ok()?,
            size_bytes: size.parse().ok()?,
            own_pages: field(lines, "kmobinpnr")?,
            extensions: field(lines, "mextnr")?,
            objects: field(lines, "mobjnr")?,
            free: field(lines, "fobjnr")?,
            blocks: lines
                .next()?
                .trim()
                .strip_prefix("msclst")?
                .split_whitespace()
                .map(|word| {
                    let (pages, count) = word.split_once(':')?;
                    Some(Blocks {
                        pages: pages.parse().ok()?,
                        count: count.parse().ok()?,
                    })
                })
                .collect::<Option<_>>()?,
        })
    }
}

impl Kmsob {
    /// Reads the file.
    pub fn read(root: &Path) -> Result<Self> {
        Self::parse(&host::read(root, PATH)?).ok_or_else(|| {
            Error::failed(format!(
                "could not read {}: its lines are not as expected",
                root.join(PATH).display()
            ))
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next()? == "objects kmsob").then_some(())?;
        let mut kmsob = Self {
            containers: field(&mut lines, "containers")?,
            large_blocks: field(&mut lines, "large_blocks")?,
            large_pages: field(&mut lines, "large_pages")?,
            caches: field(&mut lines, "caches")?,
            sizes: Vec::new(),
            list: Vec::new(),
        };
        while let Some(line) = lines.next() {
            match line.split_whitespace().next() {
                None | Some("size") => {}
                Some("container") => kmsob.list.push(Container::parse(line, &mut lines)?),
                Some(_) => kmsob.sizes.push(Size::parse(line)?),
            }
        }
        Some(kmsob)
    }

    /// Puts it on the screen.
    pub fn print(&self, screen: &mut Screen) {
        screen.heading("The containers of objects (kmsob_t), by size (koblst_t)");
        if self.sizes.is_empty() {
            screen.para("There has been none yet: the first object makes one ('shadowmm slab kmalloc 64 --hold 60').");
            return;
        }
        self.sizes().print(screen);
        screen.blank();
        screen.para(&format!(
            "Beyond the largest size, {} of {}. Named caches: {}.",
            plural(self.large_blocks, "block"),
            plural(self.large_pages, "page"),
            count(self.caches)
        ));
        screen.blank();
        if self.list.is_empty() {
            screen.para("None is left: a container goes when all of its objects are free.");
            return;
        }
        screen.heading("Each of them: its own pages, extensions (kmbext_t), free list");
        self.containers().print(screen);
        screen.blank();
        screen.para("A container's header and its free objects' lie in its own pages; without a free object it gets an extension. msomdc_t keeps its extensions' blocks, a msclst_t for each number of pages.");
    }

    fn sizes(&self) -> Table {
        let mut table = Table::new([
            Column::number("size"),
            Column::number("containers"),
            Column::number("made"),
            Column::number("ended"),
            Column::number("pages"),
            Column::number("objects"),
            Column::number("free"),
            Column::number("given out"),
            Column::number("back"),
        ]);
        for size in &self.sizes {
            table.row([
                size.size_bytes.to_string(),
                size.containers.to_string(),
                size.created.to_string(),
                size.destroyed.to_string(),
                size.pages.to_string(),
                size.objects.to_string(),
                size.free.to_string(),
                size.allocs.to_string(),
                size.frees.to_string(),
            ]);
        }
        table
    }

    fn containers(&self) -> Table {
        let mut table = Table::new([
            Column::text("at"),
            Column::number("size"),
            Column::number("pages"),
            Column::number("extensions"),
            Column::number("objects"),
            Column::number("free"),
            Column::text("msclst_t"),
        ]);
        for container in &self.list {
            let blocks = container.blocks.iter().filter(|blocks| blocks.count > 0);
            let blocks: Vec<String> = blocks
                .map(|blocks| format!("{} of {}", blocks.count, plural(blocks.pages, "page")))
                .collect();
            table.row([
                address(container.address),
                container.size_bytes.to_string(),
                container.own_pages.to_string(),
                container.extensions.to_string(),
                container.objects.to_string(),
                container.free.to_string(),
                match blocks.is_empty() {
                    true => "-".to_owned(),
                    false => blocks.join(", "),
                },
            ]);
        }
        table
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::render::Look;

    const TEXT: &str = "\
objects kmsob
containers 2
large_blocks 1
large_pages 2
caches 1

     size containers extensions      pages    objects       used       free     allocs      frees    created  destroyed
       64          1          2          3        183        150         33        150          0          1          0
      608          1          0          1          6          1          5       6001       6000          3          2

container 0x0000000000412000 size 64
  kmobinpnr 1
  mextnr 2
  mobjnr 183
  fobjnr 33
  msclst 1:2 2:0 4:0 8:0 16:0

container 0x0000000000413000 size 608
  kmobinpnr 1
  mextnr 0
  mobjnr 6
  fobjnr 5
  msclst 1:0 2:0 4:0 8:0 16:0
";

    pub fn sample() -> Kmsob {
        Kmsob::parse(TEXT).expect("what the module writes")
    }

    fn text(kmsob: &Kmsob) -> String {
        let mut screen = Screen::new(Look {
            width: 80,
            colour: false,
        });
        kmsob.print(&mut screen);
        screen.text().to_owned()
    }

    #[test]
    fn what_the_module_writes_is_read() {
        let kmsob = sample();
        assert_eq!((kmsob.containers, kmsob.large_blocks), (2, 1));
        assert_eq!((kmsob.large_pages, kmsob.caches), (2, 1));
        assert_eq!(kmsob.sizes.len(), 2);
        let size = &kmsob.sizes[1];
        assert_eq!(
            (size.size_bytes, size.frees, size.destroyed),
            (608, 6000, 2)
        );
        assert_eq!(kmsob.list.len(), 2);
        let container = &kmsob.list[0];
        assert_eq!((container.address, container.size_bytes), (0x412000, 64));
        assert_eq!((container.objects, container.free), (183, 33));
        assert_eq!(container.blocks[0], Blocks { pages: 1, count: 2 });
        let text = text(&kmsob);
        assert!(text.contains("2 of 1 page"), "{text}");
    }

    #[test]
    fn nothing_yet_and_nothing_left_are_said() {
        let head = "objects kmsob\ncontainers 0\nlarge_blocks 0\nlarge_pages 0\ncaches 0\n\n     size containers\n";
        let none = Kmsob::parse(head).expect("a head");
        assert!(text(&none).contains("none yet"));
        let gone = Kmsob {
            list: Vec::new(),
            ..sample()
        };
        assert!(text(&gone).contains("None is left"));
    }

    #[test]
    fn other_texts_are_refused() {
        for (from, to) in [
            ("objects kmsob", "objects slab"),
            ("caches 1", "caches"),
            (" 6001", ""),
            (" 6001", " x"),
            ("size 608\n", "size\n"),
            ("fobjnr 5", "free 5"),
            ("4:0", "4"),
        ] {
            assert_eq!(Kmsob::parse(&TEXT.replacen(from, to, 1)), None, "{to:?}");
        }
        assert_eq!(Kmsob::parse(""), None);
    }
}
