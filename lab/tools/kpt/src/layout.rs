// SPDX-License-Identifier: GPL-2.0
//! How numbers and tables look in text: sizes in binary units, columns that line up.

/// A size in the largest binary unit that gives at least 1, with at most two decimals.
pub fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut shown = (1, "B");
    let mut size = 1u64;
    for unit in units {
        size *= 1024;
        if bytes < size {
            break;
        }
        shown = (size, unit);
    }
    let (size, unit) = shown;
    if bytes % size == 0 {
        return format!("{} {unit}", bytes / size);
    }
    let decimals = format!("{:.2}", bytes as f64 / size as f64);
    let decimals = decimals.trim_end_matches('0').trim_end_matches('.');
    format!("{decimals} {unit}")
}

/// A change of a size, with its sign.
pub fn signed_bytes(change: i64) -> String {
    let sign = if change < 0 { "-" } else { "+" };
    format!("{sign}{}", bytes(change.unsigned_abs()))
}

/// A number of things, in the singular or the plural.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What is to be added to `before` to get `after`. Sizes of address ranges are far from where
/// this saturates.
pub fn change(before: u64, after: u64) -> i64 {
    0i64.saturating_add_unsigned(after)
        .saturating_sub_unsigned(before)
}

/// To which side the cells of a column are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// A table of aligned columns.
#[derive(Debug)]
pub struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns: their heads, and how they are aligned.
    pub fn new<Head: Into<String>>(columns: impl IntoIterator<Item = (Head, Align)>) -> Self {
        let columns = columns
            .into_iter()
            .map(|(head, align)| (head.into(), align));
        let (heads, aligns) = columns.unzip();
        Self {
            aligns,
            rows: vec![heads],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as lines, each indented by two spaces.
    pub fn render(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let columns = self.aligns.iter().enumerate();
        let columns: Vec<_> = columns.map(|(column, a)| (*a, width(column))).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&columns);
            let cells: Vec<String> = cells
                .map(|(cell, (align, width))| match align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                })
                .collect();
            text.push_str("  ");
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new([("name", Align::Left), ("n", Align::Right)]);
        table.row(["linear".to_owned(), "12".to_owned()]);
        assert_eq!(table.render(), "  name     n\n  linear  12\n");
    }

    #[test]
    fn sizes_are_humanised() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(4096), "4 KiB");
        assert_eq!(bytes(64 << 20), "64 MiB");
        assert_eq!(bytes((6 << 20) + (512 << 10)), "6.5 MiB");
        assert_eq!(bytes(u64::MAX), "16384 PiB");
        assert_eq!(signed_bytes(-4096), "-4 KiB");
        assert_eq!(signed_bytes(0), "+0 B");
    }
}
