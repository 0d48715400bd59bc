// SPDX-License-Identifier: GPL-2.0
//! How numbers and tables look in text: digits in groups, columns that line up.

/// A number with its digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// The average of a sum of `count` numbers, to a tenth.
pub fn tenths(sum: u64, count: u64) -> String {
    let average = sum as f64 / count.max(1) as f64;
    let scaled = (average * 10.0).round() as u64;
    format!("{}.{}", grouped(scaled / 10), scaled % 10)
}

/// A number with as many as four decimals, where it has some.
pub fn decimal(number: f64) -> String {
    const SCALE: f64 = 1e4;

    let scaled = (number * SCALE).round();
    let whole = grouped((scaled / SCALE).trunc() as u64);
    let fraction = format!("{:04}", (scaled % SCALE) as u64);
    match fraction.trim_end_matches('0') {
        "" => whole,
        fraction => format!("{whole}.{fraction}"),
    }
}

/// Rows as lines: the first column to the left, the others to the right.
pub fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 {
                line.push_str(&format!("{cell:<width$}"));
            } else {
                line.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1 000");
        assert_eq!(grouped(1234567), "1 234 567");
        assert_eq!(grouped(u64::MAX), "18 446 744 073 709 551 615");
    }

    #[test]
    fn decimals_are_shown_where_there_are_some() {
        assert_eq!(decimal(0.0), "0");
        assert_eq!(decimal(1600.0), "1 600");
        assert_eq!(decimal(12.25), "12.25");
        assert_eq!(decimal(0.97), "0.97");
        assert_eq!(decimal(1234.00001), "1 234");
        assert_eq!(decimal(0.99996), "1");
        assert_eq!(decimal(3.0421), "3.0421");
    }

    #[test]
    fn averages_are_to_a_tenth() {
        assert_eq!(tenths(0, 104), "0.0");
        assert_eq!(tenths(10, 4), "2.5");
        assert_eq!(tenths(199, 10), "19.9");
        assert_eq!(tenths(1999, 100), "20.0");
        assert_eq!(tenths(1_234_567, 1), "1 234 567.0");
        assert_eq!(tenths(3, 0), "3.0");
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["name".into(), "n".into()],
            vec!["a".into(), "12".into()],
            vec![],
        ];
        assert_eq!(render(&rows), "name   n\na     12\n\n");
    }
}
