// SPDX-License-Identifier: GPL-2.0

//! `shadowmm validate`: checks every invariant of the running shadow.

use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::render::count;
use crate::render::Screen;
use shadowmm_client::Validation;

impl Report for Validation {
    fn print(&self, screen: &mut Screen) {
        match &self.violated {
            None => screen.para(&format!(
                "All invariants hold; {} things were looked at.",
                count(self.checks)
            )),
            Some(what) => screen.warning(&format!("An invariant does not hold: {what}.")),
        }
    }
}

/// Has the module check, and fails where an invariant does not hold.
pub fn run(context: &Context) -> Result<()> {
    let validation = context.open()?.validate()?;
    context.show(&validation)?;
    if validation.ok {
        Ok(())
    } else {
        Err(Error::failed("the shadow is not sound")
            .with_advice("this is a bug in shadowmm: keep the output above and the kernel's log"))
    }
}
