//! The crates that a build needs: their licences, where they come from, and the Rust version that they ask
//! for.
//!
//! `cargo deny` checks the first two more thoroughly where it is installed; this needs nothing but cargo.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

use super::source::{read, root};

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn licences_sources_and_versions_are_acceptable() {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "metadata",
            "--format-version=1",
            "--all-features",
            "--locked",
            "--offline",
            "--filter-platform",
        ])
        .arg(host())
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let used: BTreeSet<_> =
        metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|node| &node["id"]).map(text).collect();
    let packages: Vec<_> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| used.contains(text(&package["id"])))
        .collect();
    let own = packages.iter().find(|package| package["name"] == env!("CARGO_PKG_NAME")).unwrap();
    let rust = version(text(&own["rust_version"]));
    let allowed = allowed_licences();

    let mut wrong = Vec::new();
    for package in &packages {
        let name = format!("{} {}", text(&package["name"]), text(&package["version"]));
        let licence = package["license"].as_str().unwrap_or("none");
        if !satisfied(licence, &allowed) {
            wrong.push(format!("{name}: the licence is {licence}, and deny.toml allows {allowed:?}"));
        }
        if package["source"].as_str().is_some_and(|source| source != REGISTRY) {
            wrong.push(format!("{name}: comes from {}", package["source"]));
        }
        if package["rust_version"].as_str().is_some_and(|wanted| version(wanted) > rust) {
            wrong.push(format!("{name}: needs Rust {}, more than `rust-version`", package["rust_version"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn host() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    output.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

fn version(text: &str) -> Vec<u64> {
    let mut parts: Vec<_> = text.split('.').map(|part| part.parse().unwrap()).collect();
    parts.resize(3, 0);
    parts
}

/// The list `allow` of deny.toml, the one place where licences are named.
fn allowed_licences() -> BTreeSet<String> {
    let deny = read("deny.toml");
    let (_, list) = deny.split_once("\nallow = [").expect("deny.toml has a list of licences");
    let (list, _) = list.split_once(']').unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether a licence expression (SPDX, without nesting deeper than one pair of parentheses) needs only
/// `allowed` ones.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    if let (Some(open), Some(close)) = (expression.find('('), expression.find(')')) {
        let inner = satisfied(&expression[open + 1..close], allowed);
        let name = if inner { allowed.first().unwrap().as_str() } else { "none" };
        return satisfied(&format!("{}{name}{}", &expression[..open], &expression[close + 1..]), allowed);
    }
    let all = |part: &str| part.split(" AND ").all(|licence| allowed.contains(licence.trim()));
    expression.replace('/', " OR ").split(" OR ").any(all)
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "Apache-2.0".to_owned(), "Unicode-3.0".to_owned()]);
    for good in
        ["MIT", "GPL-3.0 OR MIT", "(MIT OR GPL-3.0) AND Unicode-3.0", "GPL-3.0/MIT", "MIT AND Apache-2.0"]
    {
        assert!(satisfied(good, &allowed), "{good}");
    }
    for bad in
        ["none", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-3.0", "(GPL-3.0 OR Zlib) OR X"]
    {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}
