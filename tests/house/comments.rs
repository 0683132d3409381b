//! Comments are wrapped as the code is.

use super::source::{Token, files, read, tokens};

/// As `max_width` of rustfmt.toml, which leaves comments alone.
const WIDTH: usize = 110;

#[test]
fn comments_are_wrapped() {
    assert!(
        read("rustfmt.toml").contains(&format!("max_width = {WIDTH}\n")),
        "rustfmt.toml has another width"
    );
    let mut wide = Vec::new();
    for folder in ["src", "tests", "examples", "benches"] {
        for file in files(folder, ".rs") {
            let source = read(&file);
            let lines: Vec<_> = source.lines().collect();
            for (first, token) in tokens(&source) {
                let Token::Comment(comment) = token else { continue };
                let count = comment.lines().count();
                for (line, number) in lines[first - 1..first - 1 + count].iter().zip(first..) {
                    if line.chars().count() > WIDTH && !may_be_wide(line) {
                        wide.push(format!("{file}:{number}: {} columns", line.chars().count()));
                    }
                }
            }
        }
    }
    assert!(wide.is_empty(), "comments of more than {WIDTH} columns:\n{}", wide.join("\n"));
}

/// Rows of tables and links cannot be wrapped.
fn may_be_wide(line: &str) -> bool {
    let text = line.trim_start().trim_start_matches(['/', '!']).trim_start();
    text.starts_with('|') || (text.starts_with('[') && text.contains("]: ")) || text.contains("https://")
}
