//! Text in columns.

use crate::output::Paint;

use super::clean;

/// Rows of cells, each column as wide as its widest cell.
#[derive(Debug)]
pub(crate) struct Table {
    head: Option<Vec<&'static str>>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a heading over each column.
    pub(crate) fn new<const N: usize>(head: [&'static str; N]) -> Self {
        Self {
            head: Some(head.to_vec()),
            rows: Vec::new(),
        }
    }

    /// Names and values, without headings.
    pub(crate) fn plain() -> Self {
        Self {
            head: None,
            rows: Vec::new(),
        }
    }

    /// Adds a row, as long as the others.
    pub(crate) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.rows.push(cells.map(clean).to_vec());
    }

    /// The text, indented by two; `none` where there is no row.
    pub(crate) fn render(&self, paint: Paint) -> String {
        if self.rows.is_empty() {
            return format!("  {}\n", paint.dim("none"));
        }
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let head = self.head.iter().filter_map(|head| head.get(column));
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                head.map(|text| width(text))
                    .chain(cells.map(|text| width(text)))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        if let Some(head) = &self.head {
            let cells: Vec<&str> = head.clone();
            text.push_str(&format!("  {}\n", paint.dim(&aligned(&cells, &widths))));
        }
        for row in &self.rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            let line = aligned(&cells, &widths);
            match (&self.head, cells.first()) {
                (None, Some(name)) => {
                    let rest = line.get(name.len()..).unwrap_or_default();
                    text.push_str(&format!("  {}{rest}\n", paint.dim(name)));
                }
                _ => text.push_str(&format!("  {line}\n")),
            }
        }
        text
    }
}

/// Cells padded to their columns' widths, two spaces between them, none at the end.
fn aligned(cells: &[&str], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width_wanted) in cells.iter().zip(widths) {
        line.push_str(cell);
        let padding = width_wanted.saturating_sub(width(cell)) + 2;
        line.extend(std::iter::repeat_n(' ', padding));
    }
    line.trim_end().to_owned()
}

/// Columns of a terminal that a text takes, near enough: one for each character.
fn width(text: &str) -> usize {
    text.chars().count()
}
