//! The files of the repository, and what they define.

use std::{fs, path::Path};

use crate::documents::path;

/// All files below these folders of the repository whose names end in one of these ways, with their
/// text. A folder that is not there, such as one that the published package leaves out, has none.
pub(crate) fn files(folders: &[&str], endings: &[&str]) -> Vec<(String, String)> {
    let is_wanted = |name: &String| endings.iter().any(|ending| name.ends_with(ending));
    let wanted = paths(folders).into_iter().filter(is_wanted);
    wanted.map(|name| (name.clone(), fs::read_to_string(path(&name)).unwrap())).collect()
}

/// The paths of all files below these folders of the repository.
pub(crate) fn paths(folders: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&path(folder), &mut found);
    }
    found.sort();
    found
}

fn collect(at: &Path, found: &mut Vec<String>) {
    if at.is_file() {
        found.push(at.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string());
        return;
    }
    let Ok(entries) = fs::read_dir(at) else { return };
    for entry in entries {
        let entry = entry.unwrap().path();
        if entry.file_name().is_some_and(|name| name != "target" && name != "node_modules") {
            collect(&entry, found);
        }
    }
}

/// Whether a source text defines a function, type, trait, constant or static of this name: a line
/// begins with the item, or with what may stand before it.
pub(crate) fn defines(source: &str, name: &str) -> bool {
    source.lines().any(|line| defined(line) == Some(name))
}

/// The name of the item that a line begins to define.
fn defined(line: &str) -> Option<&str> {
    const KINDS: [&str; 7] = ["fn", "struct", "enum", "trait", "type", "const", "static"];
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = line.trim_start();
    loop {
        let (word, behind) = rest.split_once(' ')?;
        let next = behind.split(|c| !is_part(c)).next().unwrap_or_default();
        match word {
            // `const fn` and `const unsafe fn` define functions.
            "const" if matches!(next, "fn" | "async" | "unsafe" | "extern") => {}
            kind if KINDS.contains(&kind) => return Some(next).filter(|name| !name.is_empty()),
            "pub" | "async" | "unsafe" | "extern" | "default" => {}
            "in" => {}
            word if word.starts_with("pub(") => {}
            // `extern "C"`, and the end of `pub(in a::module)`.
            word if word.starts_with('"') || word.ends_with(')') && !word.contains('(') => {}
            _ => return None,
        }
        rest = behind;
    }
}

/// Whether a source text defines a function of this name that runs as a test, or in a test.
pub(crate) fn has_function(source: &str, name: &str) -> bool {
    let begin = format!("fn {name}(");
    source.lines().any(|line| {
        let line = line.trim_start();
        !line.starts_with("//") && (line.starts_with(&begin) || line.contains(&format!(" {begin}")))
    })
}
