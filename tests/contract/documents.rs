//! Reads `docs/CONTRACT.md` and `docs/CONTRACT-TESTS.md`.

use std::{collections::BTreeMap, fs, path::PathBuf};

/// A path below the root of the repository.
pub(crate) fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

pub(crate) fn read(relative: &str) -> String {
    fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// The number of a rule: the letter of its section, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rule(pub(crate) char, pub(crate) u32);

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// The sections of the contract, in their order.
pub(crate) const SECTIONS: &str = "SRPCWGLTED";

impl Rule {
    /// `S-12`, and nothing else.
    pub(crate) fn parse(text: &str) -> Option<Rule> {
        let (section, number) = text.split_once('-')?;
        let mut letters = section.chars();
        let letter = letters.next().filter(|l| SECTIONS.contains(*l))?;
        let digits = number.bytes().all(|b| b.is_ascii_digit());
        (letters.next().is_none() && digits).then(|| number.parse().ok().map(|n| Rule(letter, n)))?
    }

    /// All rules that a text cites: not `UTF-8`, not `X-Y-1`, not `S-1a`.
    pub(crate) fn cited(text: &str) -> Vec<Rule> {
        let is_joined = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        let words = text.split(|c: char| !is_joined(c));
        words.filter_map(Rule::parse).collect()
    }
}

/// The rules of the contract in the order in which they stand there. A rule is a paragraph that
/// begins with its number.
pub(crate) fn contract() -> Vec<Rule> {
    let text = read("docs/CONTRACT.md");
    let number = |line: &str| Rule::parse(line.strip_prefix("**")?.split_once("**")?.0);
    text.lines().filter_map(number).collect()
}

/// What a cell of the table names: a file, and something in it.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) file: String,
    pub(crate) name: Option<String>,
}

/// What `docs/CONTRACT-TESTS.md` says of one rule.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) rule: Rule,
    pub(crate) code: Vec<Listed>,
    pub(crate) tests: Vec<Listed>,
}

pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    /// Rules of which nothing is built.
    pub(crate) not_built: Vec<Rule>,
    /// Rules of which a part is not built.
    pub(crate) in_part: Vec<Rule>,
    /// Rules that no test shows: benches measure them.
    pub(crate) measured: Vec<Rule>,
}

/// Reads the table and the lists before it. A row has a rule, a subject, an item of its code and a test of
/// it; one without a rule belongs to the rule above it.
pub(crate) fn table() -> Table {
    let text = read("docs/CONTRACT-TESTS.md");
    let mut table =
        Table { rows: Vec::new(), not_built: Vec::new(), in_part: Vec::new(), measured: Vec::new() };
    let mut heading = "";
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let rule = cells.get(1).and_then(|cell| Rule::parse(cell));
        match (heading, rule, cells.as_slice()) {
            ("Not built yet", Some(rule), _) => table.not_built.push(rule),
            ("Built in part", Some(rule), _) => table.in_part.push(rule),
            ("Measured, not tested", Some(rule), _) => table.measured.push(rule),
            (_, Some(rule), ["", _, _, code, test, ""]) => {
                table.rows.push(Row {
                    rule,
                    code: Vec::from_iter(listed(code)),
                    tests: Vec::from_iter(listed(test)),
                });
            }
            (_, None, ["", "", "", code, test, ""]) => {
                let row = table.rows.last_mut().expect("the first row has a rule");
                row.code.extend(listed(code));
                row.tests.extend(listed(test));
            }
            (_, Some(_), _) => panic!("docs/CONTRACT-TESTS.md: a row needs four cells: {line}"),
            (_, None, _) => {}
        }
    }
    table
}

/// `` `a/file.rs`: `name` ``, a file alone, or nothing.
fn listed(cell: &str) -> Option<Listed> {
    let mut quoted = cell.split('`').skip(1).step_by(2).map(String::from);
    let file = quoted.next()?;
    Some(Listed { file, name: quoted.next() })
}

/// How often each rule occurs in a list.
pub(crate) fn counted(rules: impl IntoIterator<Item = Rule>) -> BTreeMap<Rule, usize> {
    let mut count = BTreeMap::new();
    for rule in rules {
        *count.entry(rule).or_default() += 1;
    }
    count
}
