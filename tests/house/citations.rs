//! Nothing is cited that a reader of this repository does not have.

use std::fs;

use super::source::{files, root};

/// Words that, before a number, cite a list that is elsewhere. (Split, so that this file does not cite any.)
const LISTS: [&str; 4] =
    [concat!("pit", "fall"), concat!("des", "ign"), concat!("iss", "ue"), concat!("tick", "et")];

/// Where the paths of one machine begin.
const MACHINES: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

#[test]
fn nothing_is_cited_that_is_not_here() {
    let mut found = Vec::new();
    for file in files("", "") {
        let Ok(text) = String::from_utf8(fs::read(root().join(&file)).unwrap()) else { continue };
        for (line, number) in text.lines().zip(1..) {
            if cites(line) || MACHINES.iter().any(|path| line.contains(path)) {
                found.push(format!("{file}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn cites(line: &str) -> bool {
    let lower = line.to_lowercase();
    let words: Vec<_> = lower.split_whitespace().collect();
    words.windows(2).any(|pair| {
        let word = pair[0].trim_start_matches(|char: char| !char.is_alphanumeric());
        let number = pair[1].trim_start_matches('#').trim_end_matches(|char: char| !char.is_alphanumeric());
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number && LISTS.contains(&word.strip_suffix('s').unwrap_or(word))
    })
}

#[test]
fn citations_are_recognised() {
    let [list, ..] = LISTS;
    for cited in
        [format!("// C-1, {list} 22: an endless line"), format!("//! {list}s 13, 14"), format!("({list} #3)")]
    {
        assert!(cites(&cited), "{cited}");
    }
    for free in ["// C-1: 22 lines", &format!("the {list} of 22 lines"), &format!("{list}: 3")] {
        assert!(!cites(free), "{free}");
    }
}
