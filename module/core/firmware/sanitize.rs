// SPDX-License-Identifier: GPL-2.0

//! Changing an e820 table: overlaps, retyped ranges, removed ranges.
//!
//! ```text
//! before   11111111____11111     a line an entry, a digit its type
//!          ____2222222
//!          ______3
//! after    1111 22 3 2222 11111  sorted, disjoint, the highest type wins
//! ```

use super::e820::E820Entry;
use super::e820::E820Table;
use super::e820::E820Type;
use super::e820::E820_MAX_ENTRIES;
use crate::error::Error;
use crate::error::Result;
use crate::phys::Bytes;
use crate::phys::PhysAddr;
use crate::phys::PhysRange;

/// How a range lies on an entry.
enum Cut {
    /// They do not meet.
    Apart,
    /// The entry lies in the range.
    Whole,
    /// The range lies inside the entry, with a rest on both sides.
    Middle,
    /// They share one end of the entry.
    Part(PhysRange),
}

fn cut(entry: &E820Entry, range: PhysRange) -> Cut {
    let has = entry.range();
    let shared = has.intersect(range);
    if has.start >= range.start && has.end <= range.end {
        Cut::Whole
    } else if has.start < range.start && has.end > range.end {
        Cut::Middle
    } else if shared.is_empty() {
        Cut::Apart
    } else {
        Cut::Part(shared)
    }
}

/// Takes `part`, which shares one end with the entry, off that end.
fn take_off(entry: &mut E820Entry, part: PhysRange) {
    entry.size -= part.size();
    if entry.addr >= part.start {
        entry.addr = part.end;
    }
}

impl E820Table {
    /// Sorts the table, settles overlaps in favour of the highest type, joins
    /// neighbours of one type where the type allows it, and drops what is
    /// empty (`e820__update_table()`). Types that must not be joined are also
    /// cut where any other entry starts or ends, as in Linux.
    ///
    /// Returns false, and leaves the table as it is, when there are fewer than
    /// two entries or one of them runs past the end of the address space.
    pub fn update(&mut self) -> bool {
        let wraps = |e: &E820Entry| e.addr.checked_add(e.size).is_none();
        if self.nr_entries < 2 || self.entries().iter().any(wraps) {
            return false;
        }
        let mut made = 0;
        let mut last = E820Type(0);
        let mut last_addr = PhysAddr::ZERO;
        let mut at = self.next_change(None);
        while let Some(addr) = at {
            let current = self.type_at(addr);
            if current != last || !current.is_mergeable() {
                if last != E820Type(0) && addr > last_addr {
                    let Some(slot) = self.new_entries.get_mut(made) else {
                        break;
                    };
                    *slot = E820Entry {
                        addr: last_addr,
                        size: addr - last_addr,
                        kind: last,
                    };
                    made += 1;
                    if made >= E820_MAX_ENTRIES {
                        break;
                    }
                }
                if current != E820Type(0) {
                    last_addr = addr;
                }
                last = current;
            }
            at = self.next_change(Some(addr));
        }
        self.nr_entries = made;
        let new = self.new_entries.iter();
        self.entries.iter_mut().zip(new).for_each(|(e, n)| *e = *n);
        true
    }

    /// The lowest start or end of an entry above `after`.
    fn next_change(&self, after: Option<PhysAddr>) -> Option<PhysAddr> {
        let used = self.entries().iter().filter(|e| !e.size.is_zero());
        let changes = used.flat_map(|e| [e.addr, e.range().end]);
        changes.filter(|&c| after.is_none_or(|a| c > a)).min()
    }

    /// The highest type of the entries that cover `addr`; 0 for none.
    fn type_at(&self, addr: PhysAddr) -> E820Type {
        let covering = self.entries().iter().filter(|e| e.range().contains(addr));
        covering.map(|e| e.kind).max().unwrap_or(E820Type(0))
    }

    /// Gives what is `old` in the range the type `new`; says how many bytes
    /// that were (`e820__range_update()`). Leaves the table unsorted: call
    /// [`E820Table::update`] afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::MapTooManyEntries`] when the pieces do not fit; nothing has
    /// changed then. Linux would lose pieces.
    pub fn range_update(
        &mut self,
        start: PhysAddr,
        size: Bytes,
        old: E820Type,
        new: E820Type,
    ) -> Result<Bytes> {
        let range = PhysRange::new(start, size);
        if old == new {
            return Ok(Bytes::ZERO);
        }
        let pieces = |e: &E820Entry| match cut(e, range) {
            Cut::Middle => 2,
            Cut::Part(_) => 1,
            Cut::Whole | Cut::Apart => 0,
        };
        self.check_room(Some(old), pieces)?;
        let mut updated = Bytes::ZERO;
        for i in 0..self.nr_entries {
            let Some(entry) = self.entries.get_mut(i).filter(|e| e.kind == old) else {
                continue;
            };
            match cut(entry, range) {
                Cut::Apart => {}
                Cut::Whole => {
                    entry.kind = new;
                    updated += entry.size;
                }
                Cut::Middle => {
                    let rest = entry.range().end - range.end;
                    entry.size = range.start - entry.addr;
                    self.range_add(range.start, range.size(), new)?;
                    self.range_add(range.end, rest, old)?;
                    updated += range.size();
                }
                Cut::Part(part) => {
                    take_off(entry, part);
                    self.range_add(part.start, part.size(), new)?;
                    updated += part.size();
                }
            }
        }
        Ok(updated)
    }

    /// Takes the range out of the table where it has the type `filter`, or any
    /// (`e820__range_remove()`). Leaves empty entries: call
    /// [`E820Table::update`] afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::MapTooManyEntries`] when the pieces do not fit; nothing has
    /// changed then.
    pub fn range_remove(
        &mut self,
        start: PhysAddr,
        size: Bytes,
        filter: Option<E820Type>,
    ) -> Result<()> {
        let range = PhysRange::new(start, size);
        let pieces = |e: &E820Entry| usize::from(matches!(cut(e, range), Cut::Middle));
        self.check_room(filter, pieces)?;
        for i in 0..self.nr_entries {
            let wanted = |e: &&mut E820Entry| filter.is_none_or(|k| e.kind == k);
            let Some(entry) = self.entries.get_mut(i).filter(wanted) else {
                continue;
            };
            match cut(entry, range) {
                Cut::Apart => {}
                Cut::Whole => *entry = E820Entry::default(),
                Cut::Middle => {
                    let rest = entry.range().end - range.end;
                    let kind = entry.kind;
                    entry.size = range.start - entry.addr;
                    self.range_add(range.end, rest, kind)?;
                }
                Cut::Part(part) => take_off(entry, part),
            }
        }
        Ok(())
    }

    /// Whether the pieces that `count` finds for each entry of type `filter`
    /// still fit.
    fn check_room(
        &self,
        filter: Option<E820Type>,
        count: impl Fn(&E820Entry) -> usize,
    ) -> Result<()> {
        let wanted = self.entries().iter();
        let wanted = wanted.filter(|e| filter.is_none_or(|k| e.kind == k));
        let pieces: usize = wanted.map(count).sum();
        if self.nr_entries + pieces > E820_MAX_ENTRIES {
            return Err(Error::MapTooManyEntries);
        }
        Ok(())
    }
}
