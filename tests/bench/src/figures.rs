// SPDX-License-Identifier: GPL-2.0

//! What blocks took, as figures: the smallest block and the one in the middle,
//! which are what holds on a machine where others work, too.

/// What an operation took, in nanoseconds: smallest block, and the middle one.
pub type Cost = (f64, f64);

/// That of blocks of so many operations each.
pub fn cost(mut blocks: Vec<u64>, operations: usize) -> Cost {
    blocks.sort_unstable();
    let each = |ns: u64| ns as f64 / operations as f64;
    (each(blocks[0]), each(blocks[blocks.len() / 2]))
}

/// A line of a table: the shadow, and those beside it.
pub fn row(name: &str, (min, median): Cost, beside: &[Option<Cost>]) {
    print!("{name:<46} {min:8.2} {median:8.2} ");
    for cost in beside {
        match cost {
            Some((min, median)) => print!("{min:9.1} {median:9.1}"),
            None => print!("{:9} {:9}", "-", "-"),
        }
    }
    println!();
}
