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

/// Whether a source text defines a function, type, trait, constant or static of this name.
pub(crate) fn defines(source: &str, name: &str) -> bool {
    const KINDS: [&str; 7] = ["fn", "struct", "enum", "trait", "type", "const", "static"];
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    source.lines().any(|line| {
        let mut words = line.split(|c: char| !is_part(c)).filter(|word| !word.is_empty());
        let is_comment = line.trim_start().starts_with("//");
        !is_comment && words.by_ref().any(|word| KINDS.contains(&word)) && words.any(|word| word == name)
    })
}

/// Whether a source text defines a function of this name that runs as a test, or in a test.
pub(crate) fn has_function(source: &str, name: &str) -> bool {
    let begin = format!("fn {name}(");
    source.lines().any(|line| {
        let line = line.trim_start();
        !line.starts_with("//") && (line.starts_with(&begin) || line.contains(&format!(" {begin}")))
    })
}
