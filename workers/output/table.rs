//! Plain tables: columns by spaces, no frames, so that `awk` and eyes both read them.

use comfy_table::{CellAlignment, ContentArrangement, presets::NOTHING};

/// A table under construction.
#[derive(Debug)]
pub struct Table(comfy_table::Table);

impl Table {
    pub fn new(columns: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(columns);
        Self(table)
    }

    /// Numbers stand under each other.
    #[must_use]
    pub fn right(mut self, column: usize) -> Self {
        if let Some(column) = self.0.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells);
    }

    pub fn text(&self) -> String {
        let lines: Vec<_> = self
            .0
            .lines()
            // Every cell is padded by a blank on both sides; the first column needs none before it.
            .map(|line| {
                line.strip_prefix(' ')
                    .unwrap_or(&line)
                    .trim_end()
                    .to_owned()
            })
            .collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_blanks() {
        let mut table = Table::new(&["ID", "SIZE"]).right(1);
        table.row(["7f3a".to_owned(), "50 MiB".to_owned()]);
        table.row(["4e02".to_owned(), "5 MiB".to_owned()]);
        let text = table.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines[1].ends_with("50 MiB") && lines[2].ends_with(" 5 MiB"),
            "{text}"
        );
        assert_eq!(lines[1].len(), lines[2].len());
    }
}
