// SPDX-License-Identifier: GPL-2.0

//! What a tree is to be: a map of ranges in which nothing is clever.

use shadowmm_core::mm::Entry;
use std::collections::BTreeMap;

/// By start: end and value.
#[derive(Clone, Default)]
pub struct Model(BTreeMap<u64, (u64, u64)>);

impl Model {
    pub fn store(&mut self, start: u64, end: u64, value: Option<u64>) {
        if start >= end {
            return;
        }
        let touched: Vec<Entry> = self.overlapping(start, end).collect();
        for entry in touched {
            self.0.remove(&entry.start);
            if entry.start < start {
                self.0.insert(entry.start, (start, entry.value));
            }
            if end < entry.end {
                self.0.insert(end, (entry.end, entry.value));
            }
        }
        if let Some(value) = value {
            self.0.insert(start, (end, value));
        }
    }

    pub fn entries(&self) -> impl DoubleEndedIterator<Item = Entry> + '_ {
        self.0
            .iter()
            .map(|(&start, &(end, value))| Entry { start, end, value })
    }

    pub fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = Entry> + '_ {
        let entries = self.entries();
        entries.filter(move |entry| entry.start < end && start < entry.end)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn lookup(&self, addr: u64) -> Option<u64> {
        let (_, &(end, value)) = self.0.range(..=addr).next_back()?;
        (addr < end).then_some(value)
    }

    pub fn find(&self, addr: u64) -> Option<Entry> {
        self.entries().find(|entry| entry.end > addr)
    }

    pub fn prev(&self, addr: u64) -> Option<Entry> {
        self.entries().rfind(|entry| entry.start < addr)
    }

    /// All that is free between two addresses.
    fn gaps(&self, low: u64, high: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut start = 0;
        let end = Entry {
            start: u64::MAX,
            end: u64::MAX,
            value: 0,
        };
        for entry in self.entries().chain([end]) {
            let (from, to) = (start.max(low), entry.start.min(high));
            if from < to {
                gaps.push((from, to));
            }
            start = entry.end;
        }
        gaps
    }

    pub fn gap_above(&self, low: u64, high: u64, size: u64) -> Option<u64> {
        let gaps = self.gaps(low, high);
        let gap = gaps.iter().find(|(start, end)| end - start >= size)?;
        Some(gap.0)
    }

    pub fn gap_below(&self, low: u64, high: u64, size: u64) -> Option<u64> {
        let gaps = self.gaps(low, high);
        let gap = gaps.iter().rfind(|(start, end)| end - start >= size)?;
        Some(gap.1 - size)
    }
}
