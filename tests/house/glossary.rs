//! One word means one thing: the glossary of CONTRIBUTING.md names types and folders that exist, and no type
//! has a namesake.

use std::collections::{BTreeMap, BTreeSet};

use super::{modules::Crate, source::root, tables};

const ORIGINS: [&str; 11] =
    ["OTP", "POSIX", "Linux", "JSON-RPC", "LSP", "MCP", "Rust", "tokio", "tower", "ractor", "ours"];

#[test]
fn no_type_has_a_namesake() {
    let read = Crate::read();
    let mut by_name: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for found in &read.types {
        by_name.entry(&found.name).or_default().push(found);
    }
    let mut twice = Vec::new();
    for (name, found) in by_name {
        for (at, one) in found.iter().enumerate() {
            for other in found[at + 1..].iter().filter(|other| !one.is_alternative_of(other)) {
                twice.push(format!("`{name}`: {}:{} and {}:{}", one.file, one.line, other.file, other.line));
            }
        }
    }
    assert!(twice.is_empty(), "two types of one name:\n{}", twice.join("\n"));
}

#[test]
fn every_term_is_where_the_glossary_says() {
    let read = Crate::read();
    let head = ["term", "one meaning", "where it lives", "whose term"];
    let rows = tables::rows("CONTRIBUTING.md", &head);
    assert!(rows.len() >= 40, "only {} terms", rows.len());

    let (mut terms, mut types, mut wrong) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (line, row) in rows {
        let [term, meaning, place, origin] = &row[..] else { unreachable!() };
        let mut complain = |what: String| wrong.push(format!("CONTRIBUTING.md:{line}: *{term}*: {what}"));
        if !terms.insert(term.to_lowercase()) {
            complain("a second row".into());
        }
        if meaning.is_empty() {
            complain("no meaning".into());
        }
        if !origin.split(", ").all(|origin| ORIGINS.contains(&origin)) {
            complain(format!("`{origin}` is none of {ORIGINS:?}"));
        }
        let (paths, names): (Vec<_>, Vec<_>) =
            tables::quoted(place).partition(|quoted| quoted.ends_with('/') || quoted.ends_with(".rs"));
        if paths.is_empty() && names.is_empty() {
            complain("lives nowhere".into());
        }
        for path in &paths {
            if !root().join("src").join(path).exists() {
                complain(format!("there is no src/{path}"));
            }
        }
        for name in names {
            if !types.insert(name.to_owned()) {
                complain(format!("`{name}` belongs to another term"));
            }
            let here = |file: &str| {
                let file = file.strip_prefix("src/").unwrap();
                paths.is_empty()
                    || paths.iter().any(|path| file == *path || path.ends_with('/') && file.starts_with(path))
            };
            let found: Vec<_> = read.types.iter().filter(|found| found.name == name).collect();
            match &found[..] {
                [] => complain(format!("there is no type `{name}`")),
                found if !found.iter().all(|found| here(&found.file)) => {
                    complain(format!("`{name}` is in {}", found[0].file));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
