use super::{Printer, Style};

/// Rows in aligned columns.
#[derive(Debug)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<(String, Option<Style>)>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(head: impl IntoIterator<Item = &'static str>) -> Self {
        Self { head: head.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row: a text and its style for each heading.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = (C, Option<Style>)>) {
        self.rows.push(cells.into_iter().map(|(cell, style)| (super::sane(&cell.into()), style)).collect());
    }

    /// The text of the table, its columns as wide as their widest cells.
    pub fn show(&self, printer: &Printer) -> String {
        let head = self.head.iter().map(|cell| ((*cell).to_owned(), Some(Style::Dim))).collect();
        let rows: Vec<&Vec<(String, Option<Style>)>> = std::iter::once(&head).chain(&self.rows).collect();
        let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|(cell, _)| cells(cell)).max();
        let mut text = String::new();
        for row in &rows {
            let mut line = String::new();
            for (column, (cell, style)) in row.iter().enumerate() {
                let gap = width(column).unwrap_or_default().saturating_sub(cells(cell));
                let cell = style.map_or_else(|| cell.clone(), |style| printer.paint(style, cell));
                line.push_str(&cell);
                if column + 1 < row.len() {
                    line.extend(std::iter::repeat_n(' ', gap + 2));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn cells(text: &str) -> usize {
    console::measure_text_width(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(["NAME", "STATE"]);
        table.row([("ide", None), ("up", Some(Style::Good))]);
        table.row([("terminal", None), ("down", None)]);
        let text = table.show(&Printer::new(true, false));
        assert_eq!(text, "NAME      STATE\nide       up\nterminal  down\n");
    }
}
