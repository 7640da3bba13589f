// SPDX-License-Identifier: GPL-2.0

//! The CPUs that a test runs on.

use crate::Result;
use nix::sched::sched_getaffinity;
use nix::sched::sched_setaffinity;
use nix::sched::CpuSet;
use nix::unistd::Pid;
use std::fs;

/// The CPUs that the test may run on.
#[derive(Debug)]
pub struct Cpus(Vec<usize>);

impl Cpus {
    /// Those that this process may run on.
    pub fn new() -> Result<Self> {
        let set = sched_getaffinity(Pid::from_raw(0)).map_err(|error| error.to_string())?;
        let all = 0..CpuSet::count();
        Ok(Self(
            all.filter(|&cpu| set.is_set(cpu).unwrap_or(false))
                .collect(),
        ))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no other CPU. Where there is one, the kernel refreshes
    /// the statistics of all at the same time, and which CPU's pages go to the
    /// zone first is chance.
    pub fn is_alone(&self) -> bool {
        let online = fs::read_to_string("/sys/devices/system/cpu/online");
        self.0.len() == 1 && online.is_ok_and(|list| numbers(&list).len() == 1)
    }

    /// Goes on on this one.
    pub fn run_on(&self, index: usize) -> Result<()> {
        let mut set = CpuSet::new();
        set.set(self.0[index])
            .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
            .map_err(|error| format!("could not go to CPU {}: {error}", self.0[index]))
    }
}

/// The numbers of a list like `0-2,5`.
pub fn numbers(list: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse(), last.parse::<u32>()) {
            numbers.extend(first..=last);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_nodes_are_read() {
        assert_eq!(numbers("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(numbers("3"), [3]);
        assert!(numbers("\n").is_empty());
    }
}
