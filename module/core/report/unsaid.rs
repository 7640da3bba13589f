// SPDX-License-Identifier: GPL-2.0

//! Where a text goes that nobody reads.

use core::fmt;

/// Takes any text, and keeps none of it.
pub struct Unsaid;

impl fmt::Write for Unsaid {
    fn write_str(&mut self, _text: &str) -> fmt::Result {
        Ok(())
    }
}
