//! Documents, comments and tests cite no rule that does not exist.

use std::collections::BTreeSet;

use crate::{
    documents::{Rule, contract, table},
    sources::files,
};

#[test]
fn every_citation_is_of_a_rule() {
    let rules: BTreeSet<Rule> = contract().into_iter().collect();
    let folders = ["src", "tests", "benches", "examples", "fuzz", "docs"];
    let documents = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"];
    let texts = files(&[&folders[..], &documents[..]].concat(), &[".rs", ".md"]);
    let mut cited = BTreeSet::new();
    for (file, text) in texts.iter().filter(|(file, _)| !file.starts_with("tests/contract/")) {
        for (number, line) in text.lines().enumerate() {
            for rule in Rule::cited(line) {
                assert!(rules.contains(&rule), "{file}:{}: {rule} is no rule", number + 1);
                cited.insert((rule, file.starts_with("tests/")));
            }
        }
    }
    assert!(cited.len() > 100, "only {} citations are found", cited.len());
}

/// A test that is listed for a rule says so itself, in its header or beside it.
#[test]
fn the_files_of_the_table_cite_their_rules() {
    let tests = files(&["tests", "src", "benches"], &[".rs"]);
    for row in table().rows {
        let listed = |file: &str| row.tests.iter().any(|listed| listed.file == file);
        for (file, text) in tests.iter().filter(|(file, _)| listed(file)) {
            assert!(
                Rule::cited(text).contains(&row.rule),
                "{file} is a test of {} and does not cite it",
                row.rule
            );
        }
    }
}

#[test]
fn a_citation_is_a_word() {
    let cited = |text| Rule::cited(text).iter().map(Rule::to_string).collect::<Vec<_>>();
    assert_eq!(cited("// S-7, R-0 (1): as in P-12. (C-3)"), ["S-7", "R-0", "P-12", "C-3"]);
    assert!(cited("UTF-8 ISO-8859-1 S-1a D1 S-x -L-3 X-1").is_empty());
}
