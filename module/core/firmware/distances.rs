// SPDX-License-Identifier: GPL-2.0

//! Distances in a boot log: the few lines that name them.

use super::dmesg::Parser;
use super::lines::node;
use super::text::Reader;
use crate::error::Error;
use crate::error::Result;
use crate::phys::MAX_NODES;
use crate::slices;

impl Parser<'_> {
    /// Distances in a line: `distance[node0 -> node1] = 21` and the like with
    /// three numbers, or a row `SLIT: Node 0: 10 21`.
    pub(super) fn distance_line(&mut self, text: &str) -> Result<()> {
        if let Some((_, after)) = slices::split_once(text, "SLIT: ") {
            let mut t = Reader(after);
            let _ = t.word("Node ").or_else(|| t.word("node "));
            let row = t.blanks().decimal();
            if let Some((from, ())) = row.zip(t.word(":")) {
                return self.distance_row(from, t, Some);
            }
        }
        let about_nodes = ["NUMA", "numa", "SLIT"]
            .iter()
            .any(|w| slices::contains(text, w));
        let complaint = ["Warning", "nvalid"]
            .iter()
            .any(|w| slices::contains(text, w));
        let Some((_, after)) = slices::split_once(text, "istance").filter(|_| about_nodes) else {
            return Ok(());
        };
        if complaint {
            self.skip();
            return Ok(());
        }
        let mut numbers = after.split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.find(|n| !n.is_empty());
        let (Some(from), Some(to), Some(d), None) = (next(), next(), next(), next()) else {
            return Ok(());
        };
        let number = |n: &str| n.parse::<u64>().map_err(|_| Error::MapMalformed);
        self.distance(number(from)?, number(to)?, number(d)?)
    }

    fn distance(&mut self, from: u64, to: u64, distance: u64) -> Result<()> {
        let distance = u32::try_from(distance).map_err(|_| Error::MapBadDistance)?;
        self.map.slit.set(node(from)?, node(to)?, distance)?;
        self.report.distances = self.report.distances.saturating_add(1);
        Ok(())
    }

    fn distance_row(
        &mut self,
        from: u64,
        mut t: Reader<'_>,
        column: impl Fn(u64) -> Option<u64>,
    ) -> Result<()> {
        let mut i = 0;
        while !t.blanks().0.is_empty() {
            let distance = t.decimal().ok_or(Error::MapMalformed)?;
            let to = column(i).ok_or(Error::MapMalformed)?;
            self.distance(from, to, distance)?;
            i += 1;
        }
        Ok(())
    }

    /// `numactl --hardware`: "node distances:", the columns' nodes, the rows.
    pub(super) fn matrix_line(&mut self, text: &str) -> Result<bool> {
        if text.starts_with("node distances:") {
            self.state.columns = Some(([0; MAX_NODES], 0));
            return Ok(true);
        }
        let Some((mut columns, count)) = self.state.columns.take() else {
            return Ok(false);
        };
        let mut t = Reader(text);
        if count == 0 {
            let mut count = 0;
            if t.word("node ").is_none() {
                return Ok(false);
            }
            while !t.blanks().0.is_empty() {
                let nid = t.decimal().ok_or(Error::MapMalformed)?;
                let slot = columns.get_mut(count).ok_or(Error::MapBadNode)?;
                *slot = node(nid)? as u8;
                count += 1;
            }
            self.state.columns = Some((columns, count));
            return Ok(true);
        }
        let row = t.decimal();
        let Some((from, ())) = row.zip(t.word(":")) else {
            return Ok(false);
        };
        self.state.columns = Some((columns, count));
        let used = columns.get(..count).unwrap_or(&[]);
        let column = |i: u64| used.get(usize::try_from(i).ok()?).map(|&n| u64::from(n));
        self.distance_row(from, t, column)?;
        Ok(true)
    }
}
