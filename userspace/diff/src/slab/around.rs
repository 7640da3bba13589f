// SPDX-License-Identifier: GPL-2.0

//! What the kernel's slab allocator goes by: the CPUs, and the parameters that it
//! was booted with.

use crate::cpus::numbers;
use crate::Result;
use shadowmm_core::phys::PageOrder;
use shadowmm_core::slab::nr_cpus;
use shadowmm_core::slab::SlabDebug;
use shadowmm_core::slab::Surroundings;
use std::fs;

/// Where the kernel tells how large a cache line is.
const CACHE_LINE: &str = "/sys/devices/system/cpu/cpu0/cache/index0/coherency_line_size";

/// The kernel's parameters, and the CPUs.
#[derive(Debug)]
pub struct Host {
    parameters: Vec<(String, String)>,
    nr_cpus: u32,
    cache_line: u32,
}

impl Host {
    /// Those of the running kernel.
    pub fn new() -> Result<Self> {
        let read =
            |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let cpus = |what| {
            let path = format!("/sys/devices/system/cpu/{what}");
            read(&path).map(|list| numbers(&list))
        };
        let (present, possible) = (cpus("present")?, cpus("possible")?);
        let ids = possible.iter().max().map_or(1, |last| last + 1);
        let line = fs::read_to_string(CACHE_LINE).ok();
        Ok(Self {
            parameters: parameters(&read("/proc/cmdline")?),
            nr_cpus: nr_cpus(present.len() as u32, ids),
            cache_line: line.and_then(|line| line.trim().parse().ok()).unwrap_or(64),
        })
    }

    /// What core computes with, when it stands where the kernel does.
    pub fn surroundings(&self) -> Result<Surroundings<'_>> {
        let mut around = Surroundings::new(self.nr_cpus);
        around.cache_line = self.cache_line;
        for (name, value) in &self.parameters {
            let order = || order(value).ok_or(format!("{name}={value} is no order"));
            match name.as_str() {
                "slab_debug" | "slub_debug" => around.debug = SlabDebug::parse(value),
                "slab_min_order" | "slub_min_order" => around.set_orders(Some(order()?), None),
                "slab_max_order" | "slub_max_order" => around.set_orders(None, Some(order()?)),
                "slab_min_objects" | "slub_min_objects" => {
                    around.min_objects = value.parse().unwrap_or(0);
                }
                "slab_nomerge" | "slub_nomerge" => around.merge = false,
                "slab_merge" | "slub_merge" => around.merge = true,
                "cgroup.memory" if value.split(',').any(|word| word == "nokmem") => {
                    around.accounting = false;
                }
                _ => {}
            }
        }
        Ok(around)
    }
}

/// An order as the kernel takes it: none that is too large becomes the largest.
fn order(value: &str) -> Option<PageOrder> {
    let order: u32 = value.parse().ok()?;
    Some(PageOrder::new(order).unwrap_or(PageOrder::MAX))
}

/// The words of a command line as names and values, without quotes.
fn parameters(line: &str) -> Vec<(String, String)> {
    let words = line.split_whitespace();
    words
        .map(|word| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            (name.replace('-', "_"), value.trim_matches('"').to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_the_kernel_does() {
        let found = parameters("quiet slab-debug=FZ,a;P slab_nomerge x=\"y\"\n");
        let names: Vec<_> = found
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let expected = [
            ("quiet", ""),
            ("slab_debug", "FZ,a;P"),
            ("slab_nomerge", ""),
            ("x", "y"),
        ];
        assert_eq!(names, expected);
    }
}
