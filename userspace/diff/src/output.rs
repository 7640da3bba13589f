// SPDX-License-Identifier: GPL-2.0

//! The result as it is written: whose reader has gone is told so, as of any other error.

use crate::args::Cli;
use crate::Result;
use serde::Serialize;
use std::io;
use std::io::Write;

/// Writes a report to stdout: as JSON where that is asked for, and else as `text` has it.
pub fn show(
    cli: &Cli,
    report: &impl Serialize,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let mut out = io::stdout().lock();
    match cli.json {
        true => write(&mut out, |out| {
            serde_json::to_writer_pretty(&mut *out, report)?;
            writeln!(out)
        }),
        false => write(&mut out, text),
    }
}

fn write(out: &mut dyn Write, text: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    text(out)
        .and_then(|()| out.flush())
        .map_err(|error| format!("could not write the result: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe whose reader has gone.
    struct Nobody;

    impl Write for Nobody {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_an_error() {
        let told = write(&mut Nobody, |out| writeln!(out, "3 steps, all equal"));
        let told = told.unwrap_err();
        assert!(told.starts_with("could not write the result: "), "{told}");
        let mut page = Vec::new();
        assert_eq!(write(&mut page, |out| writeln!(out, "{}", 3)), Ok(()));
        assert_eq!(page, b"3\n");
    }
}
