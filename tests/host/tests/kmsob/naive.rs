// SPDX-License-Identifier: GPL-2.0

//! The naive model: for each size a list of blocks and a stack of free addresses,
//! with Cosmos's rules written down once more.

use std::collections::BTreeMap;

/// What the headers of a container's own block and of an extension take.
pub const OWN: u64 = 136;
pub const EXTENSION: u64 = 32;

/// The container of one size.
#[derive(Debug, Default)]
pub struct Container {
    /// The blocks, the container's own first.
    pub blocks: Vec<u64>,
    /// Free objects; the last goes out next.
    pub free: Vec<u64>,
}

#[derive(Debug)]
pub struct Held {
    pub room: u64,
    pub owner: u16,
    pub mark: u8,
}

#[derive(Default)]
pub struct Model {
    pub containers: BTreeMap<u64, Container>,
    pub held: BTreeMap<u64, Held>,
    pub caches: BTreeMap<u16, (String, u64)>,
}

pub fn block_size(size: u64) -> u64 {
    4096 * match size {
        0..=128 => 1,
        129..=512 => 2,
        _ => 4,
    }
}

/// What an object takes, in a container or as pages.
pub fn room(size: u64) -> u64 {
    match size {
        ..=2048 => size.next_multiple_of(32),
        _ => size.div_ceil(4096).next_power_of_two() * 4096,
    }
}

/// The objects of a block, lowest first.
pub fn objects_of(start: u64, size: u64, header: u64) -> Vec<u64> {
    let end = block_size(size);
    let first = |count: u64| (header + 2 * count).next_multiple_of(32);
    let count = (0..).take_while(|&count| first(count) + count * size <= end);
    let count = count.last().unwrap();
    (0..count)
        .map(|i| start + first(count) + i * size)
        .collect()
}

impl Model {
    /// The object that goes out next, unless a block is needed.
    pub fn next(&self, size: u64) -> Option<u64> {
        self.containers.get(&size)?.free.last().copied()
    }

    /// All blocks and large objects.
    pub fn taken(&self) -> Vec<(u64, u64)> {
        let blocks = self.containers.iter().flat_map(|(&size, container)| {
            let blocks = container.blocks.iter();
            blocks.map(move |&start| (start, block_size(size)))
        });
        let large = self.held.iter().filter(|(_, object)| object.room > 2048);
        let large = large.map(|(&at, object)| (at, object.room));
        blocks.chain(large).collect()
    }

    /// Notes what was given out for `size` bytes: it must be what had to come.
    pub fn took(&mut self, at: u64, size: u64, owner: u16, mark: u8) {
        let room = room(size);
        let new_block = match room {
            ..=2048 if self.next(room).is_some() => None,
            ..=2048 => Some((at / block_size(room) * block_size(room), block_size(room))),
            _ => Some((at, room)),
        };
        if let Some((start, bytes)) = new_block {
            assert_eq!(start % bytes, 0);
            for (other, size) in self.taken() {
                assert!(start + bytes <= other || other + size <= start, "{at:#x}");
            }
            if room <= 2048 {
                let container = self.containers.entry(room).or_default();
                let header = match container.blocks.is_empty() {
                    true => OWN,
                    false => EXTENSION,
                };
                container.blocks.push(start);
                container.free.extend(objects_of(start, room, header));
            }
        }
        if room <= 2048 {
            let container = self.containers.get_mut(&room).unwrap();
            assert_eq!(container.free.pop(), Some(at));
        }
        let object = Held { room, owner, mark };
        assert!(self.held.insert(at, object).is_none());
    }

    /// Notes that an object was given back.
    pub fn gave(&mut self, at: u64) {
        let size = self.held.remove(&at).unwrap().room;
        if size > 2048 {
            return;
        }
        let container = self.containers.get_mut(&size).unwrap();
        container.free.push(at);
        if !self.held.values().any(|object| object.room == size) {
            self.containers.remove(&size);
        }
    }

    /// Notes that unused extensions have gone: the free list is made anew where any
    /// was.
    pub fn shrunk(&mut self) -> u64 {
        let mut pages = 0;
        for (&size, container) in &mut self.containers {
            let used = |start: u64| {
                let held = self.held.range(start..start + block_size(size));
                held.count() != 0
            };
            let own = container.blocks[0];
            let before = container.blocks.len();
            container
                .blocks
                .retain(|&start| start == own || used(start));
            let gone = before - container.blocks.len();
            pages += gone as u64 * block_size(size) / 4096;
            if gone == 0 {
                continue;
            }
            // The container's own block, then extensions, the youngest first.
            let blocks = [own]
                .into_iter()
                .chain(container.blocks[1..].iter().rev().copied());
            let objects = blocks.flat_map(|start| {
                let header = if start == own { OWN } else { EXTENSION };
                objects_of(start, size, header)
            });
            container.free = objects.filter(|at| !self.held.contains_key(at)).collect();
        }
        pages
    }

    pub fn pages(&self) -> u64 {
        self.taken().iter().map(|(_, size)| size / 4096).sum()
    }
}
