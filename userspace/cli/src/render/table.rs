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
use comfy_table::ColumnConstraint;
use comfy_table::ContentArrangement;
use comfy_table::TableComponent;
use comfy_table::Width;

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
        let Some(text) = self.lay(screen.width()) else {
            return self.print_records(screen);
        };
        let is_rule = |line: &&str| line.starts_with(RULE);
        let lines = text.lines().filter(|line| !is_rule(line));
        let lines: Vec<&str> = lines.map(str::trim_end).collect();
        let width = widest(&lines);
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

    /// The table as text, if it can be had in `width` columns. A last column of
    /// text may be broken between words, as long as some are left side by side.
    fn lay(&self, width: usize) -> Option<String> {
        const ENOUGH: usize = 24;
        let mut table = self.build();
        let natural = table.to_string();
        let lines: Vec<&str> = natural.lines().map(str::trim_end).collect();
        let rows = lines.iter().filter(|line| !line.starts_with(RULE));
        if rows.clone().all(|line| columns_of(line) <= width) {
            return Some(natural);
        }
        let widths = table.column_max_content_widths();
        let gaps = usize::from(self.gap) * (widths.len() - 1);
        let (_, others) = widths.split_last()?;
        let others: usize = others.iter().map(|&width| usize::from(width)).sum();
        let left = width.checked_sub(others + gaps)?;
        if left < ENOUGH || self.columns.last().is_some_and(|column| column.number) {
            return None;
        }
        let last = table.column_mut(self.columns.len() - 1)?;
        last.set_constraint(ColumnConstraint::Absolute(Width::Fixed(
            u16::try_from(left).ok()?,
        )));
        last.set_padding((0, 0));
        table.set_content_arrangement(ContentArrangement::Dynamic);
        // The other columns keep the width that they need.
        table.set_width(u16::try_from(width + usize::from(self.gap)).ok()?);
        for column in table.column_iter_mut().take(widths.len() - 1) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        Some(table.to_string())
    }

    fn build(&self) -> comfy_table::Table {
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
        table
    }

    fn print_records(&self, screen: &mut Screen) {
        for (number, row) in self.rows.iter().enumerate() {
            if number > 0 {
                screen.blank();
            }
            let names = self.columns.iter().map(|column| column.name);
            let values = row.iter().map(String::as_str);
            let fields: Vec<(&str, &str)> = names
                .zip(values)
                .filter(|(_, value)| !value.is_empty())
                .collect();
            print_fields(&fields, screen);
        }
    }
}

/// Names and values, each on a line of its own.
#[derive(Debug, Default)]
pub struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// Adds one.
    pub fn add(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }

    /// Puts them on the screen.
    pub fn print(&self, screen: &mut Screen) {
        let fields = self.0.iter().map(|(name, value)| (*name, value.as_str()));
        print_fields(&fields.collect::<Vec<_>>(), screen);
    }
}

fn print_fields(fields: &[(&str, &str)], screen: &mut Screen) {
    let names = fields.iter().map(|(name, _)| columns_of(name));
    // A narrow screen is left to the values.
    let indent = (names.max().unwrap_or(0) + 2).min(screen.width() / 2);
    for (name, value) in fields {
        let names = wrap(name, indent.saturating_sub(1));
        let values = wrap(value, screen.width() - indent);
        for line in 0..names.len().max(values.len()) {
            let name = names.get(line).map_or("", String::as_str);
            let value = values.get(line).map_or("", String::as_str);
            screen.line(&format!("{name:indent$}{value}"));
        }
    }
}

fn widest(lines: &[&str]) -> usize {
    lines.iter().map(|line| columns_of(line)).max().unwrap_or(0)
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
    fn a_last_column_of_text_is_broken_between_words() {
        let mut table = Table::new([Column::number("times"), Column::text("why")]);
        table.row(["7".into(), "the page belongs to another open file".into()]);
        let mut screen = Screen::new(Look {
            width: 36,
            colour: false,
        });
        table.print(&mut screen);
        assert_eq!(
            screen.text(),
            "times  why\n\
             ──────────────────────────────────\n    \
             7  the page belongs to another\n       \
             open file\n"
        );
    }

    #[test]
    fn fields_stand_below_each_other() {
        let mut fields = Fields::default();
        fields.add("state", "tail");
        fields.add("node", "0");
        let mut screen = Screen::new(Look {
            width: 40,
            colour: false,
        });
        fields.print(&mut screen);
        assert_eq!(screen.text(), "state  tail\nnode   0\n");
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
