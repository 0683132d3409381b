//! Tables of Markdown documents.

use super::source::read;

/// The rows of the one table of `document` whose head is `head`, each with the number of its line.
pub(crate) fn rows(document: &str, head: &[&str]) -> Vec<(usize, Vec<String>)> {
    let text = read(document);
    let mut lines = text.lines().zip(1..);
    lines
        .by_ref()
        .find(|(line, _)| cells(line) == head)
        .unwrap_or_else(|| panic!("{document} has no table {head:?}"));
    let rows = lines.skip(1).take_while(|(line, _)| line.starts_with('|'));
    let rows: Vec<_> = rows.map(|(line, number)| (number, cells(line))).collect();
    for (line, cells) in &rows {
        assert_eq!(cells.len(), head.len(), "{document}:{line}: {cells:?}");
    }
    rows
}

fn cells(line: &str) -> Vec<String> {
    let Some(line) = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
        return Vec::new();
    };
    line.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// What stands between backticks.
pub(crate) fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}
