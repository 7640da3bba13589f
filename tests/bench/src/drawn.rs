// SPDX-License-Identifier: GPL-2.0

//! What was drawn by lot for the loops of objects.

use crate::object_shapes::Plan;
use crate::object_shapes::Step;
use crate::object_shapes::BULK;
use crate::object_shapes::WINDOW;
use crate::shapes::Lots;

/// Room for a [`Plan`].
pub struct Drawn {
    order: Vec<u16>,
    first: Vec<u16>,
    steps: Vec<Step>,
    last: Vec<u16>,
}

impl Drawn {
    /// Room that nothing is in.
    #[expect(clippy::new_without_default, reason = "it is made once")]
    pub fn new() -> Self {
        Self {
            order: vec![0; BULK],
            first: vec![0; WINDOW],
            steps: vec![Step::default(); BULK],
            last: vec![0; WINDOW],
        }
    }

    /// Draws.
    pub fn plan(&mut self) -> Plan<'_> {
        Plan::draw(
            &mut Lots::new(7),
            &mut self.order,
            &mut self.first,
            &mut self.steps,
            &mut self.last,
        )
    }
}
