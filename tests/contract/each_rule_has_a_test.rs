//! Each rule has a test that exists, or is listed as not built.

use std::collections::BTreeSet;

use crate::{
    documents::{Listed, SECTIONS, contract, counted, path, read, table},
    sources::{defines, has_function},
};

#[test]
fn rules_are_numbered_once_and_in_order() {
    let rules = contract();
    assert!(rules.len() > 100, "only {} rules are found in docs/CONTRACT.md", rules.len());
    let position = |section: char| SECTIONS.find(section);
    for pair in rules.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let follows = if a.0 == b.0 { b.1 == a.1 + 1 } else { position(a.0) < position(b.0) && b.1 <= 1 };
        assert!(follows, "docs/CONTRACT.md: {b} comes after {a}");
    }
}

#[test]
fn each_rule_is_in_the_table_or_listed_as_not_built() {
    let rules: BTreeSet<_> = contract().into_iter().collect();
    let table = table();
    let shown = counted(table.rows.iter().map(|row| row.rule));
    let not_built = counted(table.not_built.iter().copied());
    for rule in &rules {
        let places = shown.get(rule).unwrap_or(&0) + not_built.get(rule).unwrap_or(&0);
        assert_eq!(places, 1, "{rule} must be once in docs/CONTRACT-TESTS.md: in the table, or as not built");
    }
    for rule in shown.keys().chain(not_built.keys()).chain(&table.in_part) {
        assert!(rules.contains(rule), "docs/CONTRACT-TESTS.md lists {rule}, which is no rule");
    }
    for rule in &table.in_part {
        assert!(shown.contains_key(rule), "{rule} is built in part, but the table does not show that part");
    }
}

#[test]
fn each_test_of_the_table_exists() {
    let table = table();
    for rule in &table.measured {
        assert!(
            table.rows.iter().any(|row| row.rule == *rule),
            "{rule} is measured, but is not in the table"
        );
    }
    for row in table.rows {
        let is_measured = table.measured.contains(&row.rule);
        assert!(!row.tests.is_empty(), "{} has no test", row.rule);
        for Listed { file, name } in row.tests {
            assert!(path(&file).is_file(), "{}: there is no {file}", row.rule);
            let Some(name) = name else { panic!("{}: no test of {file} is named", row.rule) };
            assert_eq!(
                file.starts_with("benches/"),
                is_measured,
                "{}: a bench stands for a test only where the page says so, and no test beside it: {file}",
                row.rule
            );
            assert!(has_function(&read(&file), &name), "{}: there is no `fn {name}` in {file}", row.rule);
        }
    }
}

#[test]
fn the_code_of_the_table_exists() {
    for row in table().rows {
        assert!(!row.code.is_empty(), "{} names no code", row.rule);
        for Listed { file, name } in row.code {
            let file = format!("src/{file}");
            assert!(path(&file).is_file(), "{}: there is no {file}", row.rule);
            if let Some(name) = name {
                assert!(defines(&read(&file), &name), "{}: {file} does not define `{name}`", row.rule);
            }
        }
    }
}

#[test]
fn what_is_found_is_only_what_is_defined() {
    let source = "    pub(crate) async fn one() {}\n// fn two() {}\nlet three = four();\nstruct Five;\n";
    assert!(has_function(source, "one") && defines(source, "one") && defines(source, "Five"));
    assert!(!has_function(source, "two") && !defines(source, "two"));
    assert!(!defines(source, "three") && !has_function(source, "four"));
    let source = "pub(in crate::process) fn six(seven: Eight) -> Nine {\n\
        pub const fn ten(eleven: usize) {}\n    pub(super) unsafe extern \"C\" fn twelve() {\n\
        const THIRTEEN: usize = fourteen;\nenum Fifteen<Sixteen> {\n";
    for name in ["six", "ten", "twelve", "THIRTEEN", "Fifteen"] {
        assert!(defines(source, name), "{name}");
    }
    for name in ["seven", "Eight", "Nine", "eleven", "fn", "usize", "fourteen", "Sixteen", "process", "teen"]
    {
        assert!(!defines(source, name), "{name}");
    }
}
