// SPDX-License-Identifier: GPL-2.0

//! What `--interactive` has in common wherever there is one: a line of stdin says what is to be
//! done, and is answered.

use crate::context::json;
use crate::context::Context;
use crate::error::Error;
use crate::error::Result;
use crate::render::count;
use crate::render::plural;
use serde::Serialize;
use std::io;
use std::io::BufRead;
use std::io::IsTerminal;

/// A line that could not be obeyed.
#[derive(Debug, Serialize)]
struct Refused {
    error: String,
    text: String,
}

/// Obeys the lines of stdin, until there are no more or one says quit.
///
/// # Errors
///
/// Where stdin can't be read or the answers not be written; and in the end, where a line was
/// refused and nobody types, who would have seen it.
pub fn obey_stdin(context: &Context, obey: impl FnMut(&[&str]) -> Result<()>) -> Result<()> {
    let stdin = io::stdin().lock();
    let typed = stdin.is_terminal();
    let answer = |error: &Error| tell(context, error);
    match obey_lines(stdin, obey, answer)? {
        (_, 0) => Ok(()),
        _ if typed => Ok(()),
        (lines, refused) => Err(Error::failed(format!(
            "{} of {} could not be obeyed",
            count(refused),
            plural(lines, "line")
        ))),
    }
}

/// Says why a line was refused, where its answer would be.
fn tell(context: &Context, error: &Error) -> Result<()> {
    if !context.json {
        eprintln!("shadowmm: {error}");
        return Ok(());
    }
    let refused = Refused {
        error: error.name(),
        text: error.to_string(),
    };
    context.write(&json(&refused, false)?)
}

/// How many lines there were, and how many of them were refused.
fn obey_lines(
    mut input: impl BufRead,
    mut obey: impl FnMut(&[&str]) -> Result<()>,
    tell: impl Fn(&Error) -> Result<()>,
) -> Result<(u64, u64)> {
    let (mut lines, mut refused) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.read_until(b'\n', &mut line);
        let read = read.map_err(|error| Error::failed(format!("could not read stdin: {error}")))?;
        if read == 0 {
            return Ok((lines, refused));
        }
        // What is no text is no command either, and told as such.
        let text = String::from_utf8_lossy(&line);
        let words: Vec<&str> = text.split_whitespace().collect();
        let done = match words[..] {
            [] => continue,
            ["quit" | "q"] => return Ok((lines, refused)),
            _ => obey(&words),
        };
        lines += 1;
        match done {
            Ok(()) => {}
            Err(Error::Output(error)) => return Err(Error::Output(error)),
            Err(error) => {
                refused += 1;
                tell(&error)?;
            }
        }
    }
}

/// A line that is none of those that there are.
pub fn unknown(words: &[&str], lines: &str) -> Error {
    Error::failed(format!("{:?} is not one of: {lines}", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use shadowmm_client::Reason;
    use std::cell::RefCell;

    /// What is told of the lines of `input` that are refused, and how many there were.
    fn told(input: &[u8]) -> (Vec<(String, String)>, (u64, u64)) {
        let told = RefCell::new(Vec::new());
        let obey = |words: &[&str]| match words {
            ["fine"] => Ok(()),
            ["put"] => Err(Error::Device(shadowmm_client::Error::Refused {
                what: "split the block",
                reason: Reason::Shared,
                errno: Errno::EBUSY,
            })),
            _ => Err(unknown(words, "fine, put")),
        };
        let tell = |error: &Error| {
            told.borrow_mut().push((error.name(), error.to_string()));
            Ok(())
        };
        let counts = obey_lines(input, obey, tell).expect("lines");
        (told.into_inner(), counts)
    }

    #[test]
    fn lines_that_are_refused_are_told_by_name_and_counted() {
        let (refusals, counts) = told(b"fine\n\n  put \nfi\xffne\nquit\ncheese\n");
        assert_eq!(counts, (3, 2));
        assert_eq!(refusals[0].0, "Shared");
        assert!(refusals[0].1.contains("(EBUSY)"), "{refusals:?}");
        assert_eq!(refusals[1].0, "BadLine");
        assert!(refusals[1].1.contains('\u{fffd}'), "{refusals:?}");
        assert_eq!(told(b"fine"), (Vec::new(), (1, 0)));
    }

    #[test]
    fn an_answer_that_can_not_be_written_ends_it() {
        let obey = |_: &[&str]| Err(Error::Output(io::ErrorKind::BrokenPipe.into()));
        assert!(matches!(
            obey_lines(&b"fine\nfine\n"[..], obey, |_| Ok(())),
            Err(Error::Output(_))
        ));
    }
}
