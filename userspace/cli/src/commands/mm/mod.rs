// SPDX-License-Identifier: GPL-2.0

//! `shadowmm mm`: address spaces, looked at; and `shadowmm run`.
//!
//! ```text
//! list.rs    all of them; the texts of one
//! walk.rs    how an address is translated
//! entry.rs   the bits of an entry
//! next.rs    what the next access meets
//! touch.rs   a window of this command's own
//! trace/     the stages of faults
//! run.rs     a program whose memory goes into a window
//! ```

mod entry;
mod list;
mod next;
mod run;
mod touch;
mod trace;
mod walk;

use crate::args::Mm;
use crate::context::Context;
use crate::error::Result;

pub use run::run as run_program;

/// Does what is to be done with address spaces.
pub fn run(context: &Context, command: &Mm) -> Result<()> {
    match command {
        Mm::List => context.show(&list::Spaces::read(context)?),
        Mm::Maps { id } => list::maps(context, *id),
        Mm::Smaps { id } => context.show(&list::Text::read(context, *id, "smaps")?),
        Mm::Status { id } => context.show(&list::Text::read(context, *id, "status")?),
        Mm::Walk { id, addr } => context.show(&walk::Walked::read(context, *id, *addr)?),
        Mm::FaultTrace(args) => trace::run(context, args),
        Mm::Touch(args) => touch::run(context, args),
    }
}
