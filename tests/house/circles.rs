//! Files of one folder do not import each other in a circle, so that each can be read after those that it
//! imports.
//!
//! A folder's `mod.rs` is not counted: it may hold the central type of the folder, whose parts are in the
//! other files.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{Crate, Import};

/// Pairs of types, each in a file of its own, that are allowed to know each other, and why. (Types, since
/// files move.)
const PAIRS: &[(&str, &str, &str)] = &[
    (
        "PoolCore",
        "Lease",
        "RAII: the core grants leases, and a lease that is dropped is given back to the core",
    ),
    (
        "PoolCore",
        "LeaseWait",
        "RAII: the core answers callers, and a caller that is dropped leaves the core's queue",
    ),
];

#[test]
fn files_of_one_folder_import_each_other_in_no_circle() {
    assert!(PAIRS.len() <= 3, "three pairs are the most");
    let read = Crate::read();
    let file = |name: &str| {
        let found = read.types.iter().find(|found| found.name == name);
        found.unwrap_or_else(|| panic!("there is no type `{name}`")).file.clone()
    };
    let pairs: Vec<_> =
        PAIRS.iter().map(|(one, other, _)| BTreeSet::from([file(one), file(other)])).collect();

    let mut imports: BTreeMap<String, Vec<Import>> = BTreeMap::new();
    let mut seen = vec![false; pairs.len()];
    for import in read.imports() {
        let (from, to) = (folder(&import.from), folder(&import.to));
        if from != to || [&import.from, &import.to].iter().any(|file| file.ends_with("/mod.rs")) {
            continue;
        }
        match pairs.iter().position(|pair| *pair == BTreeSet::from([import.from.clone(), import.to.clone()]))
        {
            Some(pair) => seen[pair] = true,
            None => imports.entry(import.from.clone()).or_default().push(import),
        }
    }
    assert!(seen.iter().all(|seen| *seen), "a pair is no pair any longer: {PAIRS:?} {seen:?}");

    let circles = circles(&imports);
    let shown = circles.iter().map(|circle| {
        let of_circle = |import: &&Import| circle.contains(&import.from) && circle.contains(&import.to);
        let lines = imports.values().flatten().filter(of_circle);
        let lines = lines.map(|import| format!("  {}:{}: `{}`", import.from, import.line, import.path));
        format!("a circle of {} files:\n{}", circle.len(), lines.collect::<Vec<_>>().join("\n"))
    });
    assert!(circles.is_empty(), "{}", shown.collect::<Vec<_>>().join("\n"));
}

fn folder(file: &str) -> &str {
    file.rsplit_once('/').unwrap().0
}

/// The largest sets of files each of which reaches all others of its set.
fn circles(imports: &BTreeMap<String, Vec<Import>>) -> BTreeSet<BTreeSet<String>> {
    let reached = |from: &str| {
        let (mut found, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(file) = open.pop() {
            for import in imports.get(&file).into_iter().flatten() {
                if found.insert(import.to.clone()) {
                    open.push(import.to.clone());
                }
            }
        }
        found
    };
    let all: BTreeMap<_, _> = imports.keys().map(|file| (file, reached(file))).collect();
    let circle = |file: &String| -> BTreeSet<_> {
        let reaches_back = |other: &&String| all.get(other).is_some_and(|back| back.contains(file));
        all[file].iter().filter(reaches_back).cloned().collect()
    };
    all.keys().map(|file| circle(file)).filter(|circle| !circle.is_empty()).collect()
}
