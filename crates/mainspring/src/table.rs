//! Tables of text: columns as wide as they must be, headings faint, colours that do not count as width.

use crate::screen::{Paint, Tone};

/// A cell with its colour.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    pub(crate) fn toned(tone: Tone, text: impl Into<String>) -> Cell {
        Cell {
            text: text.into(),
            tone: Some(tone),
        }
    }
}

impl Cell {
    /// The cell by itself.
    pub(crate) fn draw(&self, paint: Paint) -> String {
        self.tone
            .map_or_else(|| self.text.clone(), |tone| paint.put(tone, &self.text))
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell {
            text: text.into(),
            tone: None,
        }
    }
}

/// A table that grows by rows.
#[derive(Debug)]
pub(crate) struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(heads: &[&str]) -> Table {
        Table {
            heads: heads.iter().map(ToString::to_string).collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn draw(&self, paint: Paint) -> String {
        let columns = self.heads.len();
        let width = |n: usize| {
            let cells = self
                .rows
                .iter()
                .filter_map(|row| row.get(n))
                .map(|cell| cell.text.chars().count());
            cells
                .chain([self.heads[n].chars().count()])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let heads: Vec<Cell> = self
            .heads
            .iter()
            .map(|head| Cell::toned(Tone::Faint, head.as_str()))
            .collect();
        let mut drawn = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for (n, cell) in row.iter().enumerate() {
                let padding = if n + 1 < row.len() {
                    widths[n] + 2 - cell.text.chars().count()
                } else {
                    0
                };
                line += &cell.draw(paint);
                line += &" ".repeat(padding);
            }
            drawn += line.trim_end();
            drawn.push('\n');
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_whatever_its_colour() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(["nightly-dump".into(), Cell::toned(Tone::Good, "Finished")]);
        table.row(["å".into(), Cell::toned(Tone::Bad, "Failed")]);
        assert_eq!(
            table.draw(Paint { is_on: false }),
            "NAME          STATE\nnightly-dump  Finished\nå             Failed\n"
        );
        assert!(
            table
                .draw(Paint { is_on: true })
                .contains("nightly-dump  \u{1b}[32mFinished")
        );
    }
}
