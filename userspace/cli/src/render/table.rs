// SPDX-License-Identifier: GPL-2.0

//! Tables that fit the screen.
//!
//! ```text
//!  wide enough                 too narrow
//!
//!  node  zone     pages        node   0
//!  ────────────────────        zone   DMA
//!  0     DMA       1024        pages  1024
//!  0     DMA32    64512
//!                              node   0
//!                              …
//! ```
//!
//! Numbers are never broken: where a table is wider than the screen each row
//! becomes a record, one line for each column.

use super::screen::wrap;
use super::Screen;
use anstyle::Style;
use comfy_table::CellAlignment;
use comfy_table::ContentArrangement;
use comfy_table::TableComponent;

/// What the line under the headings is made of.
const RULE: char = '─';

/// A column: its heading, and whether it holds numbers.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    name: &'static str,
    number: bool,
}

impl Column {
    /// A column of text, which stands to the left.
    pub const fn text(name: &'static str) -> Self {
        Self {
            name,
            number: false,
        }
    }

    /// A column of numbers, which stand to the right.
    pub const fn number(name: &'static str) -> Self {
        Self { name, number: true }
    }
}

/// A table that grows row by row.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    gap: u16,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self {
            columns: columns.into(),
            rows: Vec::new(),
            gap: 2,
        }
    }

    /// With less space between the columns.
    pub fn tight(self) -> Self {
        Self { gap: 1, ..self }
    }

    /// Adds a row, one text for each column.
    pub fn row(&mut self, row: impl Into<Vec<String>>) {
        self.rows.push(row.into());
    }

    /// Puts the table on the screen.
    pub fn print(&self, screen: &mut Screen) {
        let text = self.lay();
        let is_rule = |line: &&str| line.starts_with(RULE);
        let lines = text.lines().filter(|line| !is_rule(line));
        let lines: Vec<&str> = lines.map(str::trim_end).collect();
        let width = lines.iter().map(|line| columns_of(line)).max().unwrap_or(0);
        if width > screen.width() {
            return self.print_records(screen);
        }
        // The line under the headings is drawn anew: it would be as long as the
        // columns with all the space around them.
        let headings = text.lines().take_while(|line| !is_rule(line)).count();
        for (number, line) in lines.iter().enumerate() {
            if number < headings {
                let line = screen.paint(line, Style::new().bold());
                screen.line(&line);
                continue;
            }
            if number == headings {
                screen.line(&String::from(RULE).repeat(width));
            }
            screen.line(line);
        }
    }

    fn lay(&self) -> String {
        let mut table = comfy_table::Table::new();
        table
            .set_content_arrangement(ContentArrangement::Disabled)
            .load_preset(comfy_table::presets::NOTHING)
            .set_style(TableComponent::HeaderLines, RULE)
            .set_header(self.columns.iter().map(|column| column.name));
        for row in &self.rows {
            table.add_row(row);
        }
        for (column, kind) in table.column_iter_mut().zip(&self.columns) {
            column.set_padding((0, self.gap));
            if kind.number {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.to_string()
    }

    fn print_records(&self, screen: &mut Screen) {
        let names = self.columns.iter().map(|column| columns_of(column.name));
        // A narrow screen is left to the values.
        let indent = (names.max().unwrap_or(0) + 2).min(screen.width() / 2);
        for (number, row) in self.rows.iter().enumerate() {
            if number > 0 {
                screen.blank();
            }
            for (column, value) in self.columns.iter().zip(row) {
                if value.is_empty() {
                    continue;
                }
                let names = wrap(column.name, indent.saturating_sub(1));
                let values = wrap(value, screen.width() - indent);
                for line in 0..names.len().max(values.len()) {
                    let name = names.get(line).map_or("", String::as_str);
                    let value = values.get(line).map_or("", String::as_str);
                    screen.line(&format!("{name:indent$}{value}"));
                }
            }
        }
    }
}

fn columns_of(line: &str) -> usize {
    line.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Look;

    fn sample() -> Table {
        let mut table = Table::new([
            Column::text("zone"),
            Column::number("managed pages"),
            Column::number("free"),
        ]);
        table.row(["DMA".into(), "1024".into(), "12".into()]);
        table.row(["Normal".into(), "123456789".into(), "3".into()]);
        table
    }

    fn printed(width: usize, colour: bool) -> String {
        let mut screen = Screen::new(Look { width, colour });
        sample().print(&mut screen);
        screen.text().to_owned()
    }

    #[test]
    fn a_wide_screen_has_one_line_for_each_row() {
        assert_eq!(
            printed(80, false),
            "zone    managed pages  free\n\
             ───────────────────────────\n\
             DMA              1024    12\n\
             Normal      123456789     3\n"
        );
    }

    #[test]
    fn a_narrow_screen_has_records() {
        assert_eq!(
            printed(26, false),
            "zone         DMA\n\
             managed      1024\n\
             pages\n\
             free         12\n\
             \n\
             zone         Normal\n\
             managed      123456789\n\
             pages\n\
             free         3\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        for width in 20..100 {
            for line in printed(width, false).lines() {
                assert!(columns_of(line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn headings_are_bold_where_there_is_colour() {
        assert!(printed(80, true).contains("\x1b[1m"));
        assert!(!printed(80, false).contains('\x1b'));
    }
}
