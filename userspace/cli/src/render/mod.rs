// SPDX-License-Identifier: GPL-2.0

//! How things look: a screen of text as wide as the terminal, tables that fit
//! into it, and numbers with their units.

mod screen;
mod table;
mod units;

pub use screen::Live;
pub use screen::Look;
pub use screen::Screen;
pub use table::Column;
pub use table::Fields;
pub use table::Table;
pub use units::address;
pub use units::bytes;
pub use units::count;
pub use units::duration;
pub use units::milli;
pub use units::pages;
pub use units::percent;
pub use units::plural;
pub use units::signed;
