// SPDX-License-Identifier: GPL-2.0

//! The text of /proc/shadowmm/kmsob.

use crate::world::*;
use shadowmm_core::allocator::AllocatorKind;
use shadowmm_core::slab::ObjectAllocator;

fn text(machine: &Machine) -> String {
    let mut text = String::new();
    machine.pool().write(&mut text).unwrap();
    text
}

const HEAD: &str = "     size containers extensions      pages    objects       used       free     allocs      frees    created  destroyed\n";

#[test]
fn the_report_shows_sizes_and_containers() {
    let machine = Machine::new(AllocatorKind::Cosmos, 1024);
    let empty = "containers 0\nlarge_blocks 0\nlarge_pages 0\ncaches 0\n\n";
    assert_eq!(text(&machine), format!("{empty}{HEAD}"));
    let objects: Vec<_> = (0..300).map(|_| machine.kmalloc(32).unwrap()).collect();
    let other = machine.kmalloc(500).unwrap();
    let large = machine.kmalloc(5000).unwrap();
    for &object in &objects[200..] {
        machine.kfree(object).unwrap();
    }
    let id = machine.cache("x", 8);
    let kmsob = |of: shadowmm_core::slab::ObjAddr| of.get() & !0x1fff;
    let expected = format!(
        "containers 3\nlarge_blocks 1\nlarge_pages 2\ncaches 1\n\n{HEAD}\
         \x20      32          1          2          3        354        200        154        300        100          1          0\n\
         \x20      96          1          0          1         40          1         39          1          0          1          0\n\
         \x20     512          1          0          2         15          1         14          1          0          1          0\n\
         \ncontainer 0x{:016x} size 32\n  kmobinpnr 1\n  mextnr 2\n  mobjnr 354\n  fobjnr 154\n  msclst 1:2 2:0 4:0 8:0 16:0\n",
        objects[0].pfn().addr().0
    );
    let found = text(&machine);
    assert!(found.starts_with(&expected), "{found}\n{expected}");
    let last = format!(
        "\ncontainer 0x{:016x} size 512\n  kmobinpnr 2\n  mextnr 0\n  mobjnr 15\n  fobjnr 14\n  msclst 1:0 2:0 4:0 8:0 16:0\n",
        kmsob(other)
    );
    assert!(found.ends_with(&last), "{found}\n{last}");
    for &object in objects[..200].iter().chain([&other, &large]) {
        machine.kfree(object).unwrap();
    }
    machine.pool().destroy(id, &mut String::new()).unwrap();
    machine.check_empty();
    assert_eq!(
        text(&machine).matches("          1          1\n").count(),
        3
    );
}
