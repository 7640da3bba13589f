// SPDX-License-Identifier: GPL-2.0

//! `/proc/pagetypeinfo` to the byte: a text that Linux could print of these
//! numbers, spaces and all.

use shadowmm_core::page::ZoneType;
use shadowmm_core::phys::*;
use shadowmm_core::report;
use shadowmm_core::report::*;

/// A node with two zones, one of them empty, and a node without memory.
struct Two;

impl Snapshot for Two {
    fn for_each_zone(&self, visit: &mut dyn FnMut(&ZoneModel) -> Walk) -> Walk {
        let mut zone = ZoneModel::empty(NodeId(0), ZoneType::Dma32);
        visit(&zone)?;
        zone.kind = ZoneType::Normal;
        zone.present = Pages(1 << 20);
        visit(&zone)
    }

    fn for_each_node(&self, visit: &mut dyn FnMut(&NodeModel) -> Walk) -> Walk {
        let mut node = NodeModel::empty(NodeId(0));
        node.present = Pages(1 << 20);
        visit(&node)?;
        visit(&NodeModel::empty(NodeId(1)))
    }

    fn page_types(&self, _nid: NodeId, _kind: ZoneType) -> Option<PageTypeModel> {
        let mut model = PageTypeModel::NONE;
        model.free[0][0] = 7;
        model.free[1][10] = 123;
        model.free[1][1] = PageTypeModel::MOST;
        model.blocks = [2, 2045, 0, 1, 0, 0];
        Some(model)
    }

    fn for_each_resource(&self, _visit: &mut dyn FnMut(&ResourceModel) -> Walk) -> Walk {
        Ok(())
    }

    fn accounting(&self) -> Accounting {
        Accounting::default()
    }

    fn nr_cpus(&self) -> u32 {
        1
    }
}

const TEXT: &str = "\
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1      2      3      4      5      6      7      8      9     10 
Node    0, zone   Normal, type    Unmovable      7      0      0      0      0      0      0      0      0      0      0 
Node    0, zone   Normal, type      Movable      0 >100000      0      0      0      0      0      0      0      0    123 
Node    0, zone   Normal, type  Reclaimable      0      0      0      0      0      0      0      0      0      0      0 
Node    0, zone   Normal, type   HighAtomic      0      0      0      0      0      0      0      0      0      0      0 
Node    0, zone   Normal, type          CMA      0      0      0      0      0      0      0      0      0      0      0 
Node    0, zone   Normal, type      Isolate      0      0      0      0      0      0      0      0      0      0      0 

Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic          CMA      Isolate 
Node 0, zone   Normal            2         2045            0            1            0            0 
";

#[test]
fn the_text_is_the_kernels() {
    let mut text = String::new();
    report::pagetypeinfo::write(&mut text, &Two).unwrap();
    assert_eq!(text, TEXT);
}
