// SPDX-License-Identifier: GPL-2.0

//! A screen of text: what a command has to say, before it is written.

use super::plural;
use anstyle::AnsiColor;
use anstyle::Style;
use std::env;
use std::ffi::OsStr;
use std::io;
use std::io::IsTerminal;
use std::os::fd::AsFd;

/// The width where neither the terminal nor COLUMNS says one.
const DEFAULT_WIDTH: usize = 80;
/// Narrower than this nothing can be read.
const MIN_WIDTH: usize = 20;
/// Wider than this nothing is read either.
const MAX_WIDTH: usize = 1000;

/// What the output looks like: how wide it is and whether it has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns.
    pub width: usize,
    /// Whether colours and the like may be used.
    pub colour: bool,
}

impl Look {
    /// The look of stdout.
    pub fn of_stdout() -> Self {
        let stdout = io::stdout();
        let size = terminal_size::terminal_size_of(stdout.as_fd());
        let no_color = env::var_os("NO_COLOR");
        Self {
            width: width(
                env::var("COLUMNS").ok().as_deref(),
                size.map(|(width, _)| usize::from(width.0)),
            ),
            colour: colour(stdout.is_terminal(), no_color.as_deref(), is_dumb()),
        }
    }
}

/// COLUMNS where it is a number, else the terminal's width, else 80.
fn width(columns: Option<&str>, terminal: Option<usize>) -> usize {
    columns
        .and_then(|columns| columns.trim().parse().ok())
        .filter(|&width| width > 0)
        .or(terminal)
        .unwrap_or(DEFAULT_WIDTH)
        .clamp(MIN_WIDTH, MAX_WIDTH)
}

/// Whether the terminal takes characters alone.
fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Colour only on a terminal that can show it, and never with NO_COLOR, unless that is empty.
fn colour(terminal: bool, no_color: Option<&OsStr>, dumb: bool) -> bool {
    terminal && !dumb && no_color.is_none_or(OsStr::is_empty)
}

/// A terminal that a text can be put on anew, in the place of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Lines, where it says how many it has.
    height: Option<usize>,
}

impl Live {
    /// Stdout, if it is such a terminal. It may have another size the next time.
    pub fn of_stdout() -> Option<Self> {
        let stdout = io::stdout();
        let size = terminal_size::terminal_size_of(stdout.as_fd());
        (stdout.is_terminal() && !is_dumb()).then(|| Self {
            height: size.map(|(_, height)| usize::from(height.0)),
        })
    }

    /// What puts the screen there, at once and with nothing between: its first lines where the
    /// terminal has no room for all, and how many are not there.
    pub fn frame(self, screen: &Screen) -> String {
        let all: Vec<&str> = screen.text().lines().collect();
        let mut note = Screen::new(screen.look);
        // The last line is the cursor's.
        let room = self
            .height
            .map_or(all.len(), |height| height.saturating_sub(1));
        let mut shown = all.len();
        if shown > room {
            let least = all.len() - room;
            // The note takes lines, too, and its number may take more of them.
            for left_out in least..=all.len() {
                note = Screen::new(screen.look);
                note.para(&format!(
                    "… and {} that the terminal has no room for.",
                    plural(left_out as u64, "line")
                ));
                shown = all.len() - left_out;
                if shown + note.text().lines().count() <= room {
                    break;
                }
            }
        }
        let mut frame = HOME.to_owned();
        for line in all[..shown].iter().copied().chain(note.text().lines()) {
            frame.push_str(line);
            frame.push_str(END_OF_LINE);
        }
        frame.push_str(BELOW);
        frame
    }
}

/// To the first line.
const HOME: &str = "\x1b[H";
/// Away with what stands behind, and to the next line.
const END_OF_LINE: &str = "\x1b[K\n";
/// Away with what stands below.
const BELOW: &str = "\x1b[J";

/// A screen of text that grows line by line.
#[derive(Debug)]
pub struct Screen {
    look: Look,
    text: String,
}

impl Screen {
    /// An empty screen.
    pub fn new(look: Look) -> Self {
        Self {
            look,
            text: String::new(),
        }
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.look.width
    }

    /// What is on it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A line as it is. The caller sees to it that it fits.
    pub fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// An empty line.
    pub fn blank(&mut self) {
        self.text.push('\n');
    }

    /// A heading.
    pub fn heading(&mut self, heading: &str) {
        for line in wrap(heading, self.look.width) {
            let line = self.paint(&line, Style::new().bold());
            self.line(&line);
        }
    }

    /// A title, with a line under it as long as the screen is wide.
    pub fn title(&mut self, title: &str) {
        self.heading(title);
        let rule = "═".repeat(self.look.width);
        self.line(&rule);
    }

    /// Prose, broken between words.
    pub fn para(&mut self, prose: &str) {
        for line in wrap(prose, self.look.width) {
            self.line(&line);
        }
    }

    /// Something that deserves a look.
    pub fn warning(&mut self, prose: &str) {
        for line in wrap(prose, self.look.width) {
            let line = self.paint(&line, AnsiColor::Yellow.on_default());
            self.line(&line);
        }
    }

    /// `text` in `style`, where there is colour.
    pub fn paint(&self, text: &str, style: Style) -> String {
        if self.look.colour {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// Breaks `prose` into lines of at most `width` columns: between words, and
/// inside a word only where it alone is wider.
pub(super) fn wrap(prose: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut columns = 0;
    for word in prose.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        if columns > 0 {
            if columns + 1 + rest.len() <= width {
                line.push(' ');
                columns += 1;
            } else {
                lines.push(std::mem::take(&mut line));
                columns = 0;
            }
        }
        while columns + rest.len() > width {
            let tail = rest.split_off(width - columns);
            line.extend(&rest);
            lines.push(std::mem::take(&mut line));
            columns = 0;
            rest = tail;
        }
        line.extend(&rest);
        columns += rest.len();
    }
    if columns > 0 {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_goes_before_the_terminal_and_nonsense_counts_as_nothing() {
        assert_eq!(width(Some("132"), Some(100)), 132);
        assert_eq!(width(None, Some(100)), 100);
        assert_eq!(width(Some("wide"), Some(100)), 100);
        assert_eq!(width(Some(""), None), 80);
        assert_eq!(width(Some("0"), None), 80);
        assert_eq!(width(Some("0"), Some(132)), 132);
        assert_eq!(width(Some("-1"), None), 80);
        assert_eq!(width(Some("3"), None), MIN_WIDTH);
        assert_eq!(width(Some("18446744073709551615"), None), MAX_WIDTH);
        assert_eq!(width(Some("99999999999999999999"), Some(100)), 100);
    }

    #[test]
    fn colour_needs_a_terminal_and_no_objection() {
        let set = Some(OsStr::new("1"));
        assert!(colour(true, None, false));
        assert!(!colour(false, None, false));
        assert!(!colour(true, set, false));
        assert!(!colour(true, None, true));
        // As no-color.org has it.
        assert!(colour(true, Some(OsStr::new("")), false));
    }

    fn lines(count: usize, width: usize) -> Screen {
        let mut screen = Screen::new(Look {
            width,
            colour: false,
        });
        (1..=count).for_each(|number| screen.line(&format!("line {number}")));
        screen
    }

    #[test]
    fn a_frame_takes_the_place_of_the_one_before() {
        let frame = Live { height: Some(24) }.frame(&lines(2, 80));
        assert_eq!(frame, "\x1b[Hline 1\x1b[K\nline 2\x1b[K\n\x1b[J");
        assert_eq!(
            Live { height: None }.frame(&lines(100, 80)).lines().count(),
            101
        );
    }

    #[test]
    fn what_the_terminal_has_no_room_for_is_counted() {
        let frame = Live { height: Some(10) }.frame(&lines(30, 80));
        assert!(frame.starts_with("\x1b[Hline 1\x1b[K\n"), "{frame}");
        assert!(
            frame.contains("line 8\x1b[K\n… and 22 lines that"),
            "{frame}"
        );
        for width in [20, 40, 80] {
            for height in 2..40 {
                let screen = lines(30, width);
                let frame = Live {
                    height: Some(height),
                }
                .frame(&screen);
                let shown = frame.matches(END_OF_LINE).count();
                // A note that needs the whole terminal is shown all the same.
                let note = match width {
                    20 => 3,
                    40 => 2,
                    _ => 1,
                };
                assert!(shown < height.max(note + 1), "{width} {height}: {frame}");
            }
        }
    }

    #[test]
    fn without_colour_there_is_no_escape_sequence() {
        let look = Look {
            width: 40,
            colour: false,
        };
        let mut screen = Screen::new(look);
        screen.heading("A heading");
        screen.warning("A warning");
        assert_eq!(screen.text(), "A heading\nA warning\n");
        let mut screen = Screen::new(Look {
            colour: true,
            ..look
        });
        screen.heading("A heading");
        assert!(screen.text().contains("\x1b["));
    }

    #[test]
    fn prose_is_broken_between_words_and_long_words_inside() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one  two", 7), ["one two"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("a abcdef", 4), ["a", "abcd", "ef"]);
        assert!(wrap("", 10).is_empty());
        for width in 1..30 {
            for line in wrap(
                "Nothing that is broken may be wider than the screen.",
                width,
            ) {
                assert!(line.chars().count() <= width);
            }
        }
    }
}
