//! Aligned text tables for the console.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

/// Spaces between columns.
const GAP: usize = 2;

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table being put together.
#[derive(Debug)]
pub struct Table<const N: usize> {
    columns: [(&'static str, Align); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// An empty table with these headings.
    #[must_use]
    pub fn new(columns: [(&'static str, Align); N]) -> Table<N> {
        Table { columns, rows: Vec::new() }
    }

    /// Appends a row.
    pub fn row(&mut self, cells: [&dyn Display; N]) {
        self.rows.push(cells.map(|cell| cell.to_string()));
    }

    /// The table, lines ended by `\n`; `nothing` where there are no rows.
    #[must_use]
    pub fn render(&self, nothing: &str) -> String {
        if self.rows.is_empty() {
            return alloc::format!("{nothing}\n");
        }
        let widths: [usize; N] = core::array::from_fn(|i| {
            let cells = self.rows.iter().map(|row| row[i].chars().count());
            cells.chain([self.columns[i].0.len()]).max().unwrap_or(0)
        });
        let aligns = self.columns.map(|(_, align)| align);
        let mut text = String::new();
        append_line(&mut text, &widths, &aligns, &self.columns.map(|(heading, _)| heading));
        for row in &self.rows {
            append_line(&mut text, &widths, &aligns, &core::array::from_fn::<&str, N, _>(|i| &row[i]));
        }
        text
    }
}

fn append_line(text: &mut String, widths: &[usize], aligns: &[Align], cells: &[&str]) {
    let start = text.len();
    for (i, cell) in cells.iter().enumerate() {
        let padding = widths[i].saturating_sub(cell.chars().count());
        let (before, after) = if aligns[i] == Align::Left { (0, padding) } else { (padding, 0) };
        text.extend(core::iter::repeat_n(' ', before + if i > 0 { GAP } else { 0 }));
        text.push_str(cell);
        text.extend(core::iter::repeat_n(' ', after));
    }
    text.truncate(start + text[start..].trim_end().len());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns() {
        let mut table = Table::new([("NAME", Align::Left), ("CPU ms", Align::Right), ("STATE", Align::Left)]);
        assert_eq!(table.render("no applications"), "no applications\n");
        table.row([&"echo", &12, &"running"]);
        table.row([&"a-long-name", &1_234_567, &""]);
        let expected = "\
NAME          CPU ms  STATE
echo              12  running
a-long-name  1234567
";
        assert_eq!(table.render(""), expected);
    }
}
