//! Words and columns: how numbers and lists read.

/// Columns as wide as their widest cell; numbers go right, texts left.
pub struct Table {
    rows: Vec<Vec<String>>,
    right: &'static [bool],
}

impl Table {
    /// `right` says for each column whether it holds numbers.
    pub fn new(head: &[&str], right: &'static [bool]) -> Self {
        Table { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()], right }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// One line for each row, the head first, without spaces at the ends.
    pub fn lines(&self) -> Vec<String> {
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| console::measure_text_width(cell))
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(self.right).map(|((cell, &width), &right)| {
                let side = if right { console::Alignment::Right } else { console::Alignment::Left };
                console::pad_str(cell, width, side, None).into_owned()
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// "128 x 128 x 32".
pub fn size(size: [usize; 3]) -> String {
    size.map(|n| n.to_string()).join(" x ")
}

/// "0.7 x 0.7 x 5".
pub fn spacing(spacing: [f64; 3]) -> String {
    spacing.map(|mm| format!("{}", (mm * 1000.0).round() / 1000.0)).join(" x ")
}

/// "105.3 M", "12.4 k", "812".
pub fn count(n: usize) -> String {
    match n {
        1_000_000.. => format!("{:.1} M", n as f64 / 1e6),
        1_000.. => format!("{:.1} k", n as f64 / 1e3),
        _ => n.to_string(),
    }
}

/// "421 MB".
pub fn bytes(n: u64) -> String {
    match n {
        1_000_000_000.. => format!("{:.1} GB", n as f64 / 1e9),
        1_000_000.. => format!("{:.1} MB", n as f64 / 1e6),
        1_000.. => format!("{:.1} kB", n as f64 / 1e3),
        _ => format!("{n} bytes"),
    }
}

/// "1 slice", "32 slices".
pub fn plural(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}
