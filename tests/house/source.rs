//! The files of the repository, and Rust source cut into tokens: as much of the language as the checks need.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the repository, named by its path from the root.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files beneath `folder` whose name ends with `suffix`, as paths from the root, in order.
pub(crate) fn files(folder: &str, suffix: &str) -> Vec<String> {
    fn walk(folder: &Path, suffix: &str, found: &mut Vec<String>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            // Build output and version control, at any depth, and what an editor or Python leaves.
            if matches!(&*name, "target" | ".git" | "node_modules" | "__pycache__") {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                walk(&path, suffix, found);
            } else if name.ends_with(suffix) {
                found.push(relative(&path));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), suffix, &mut found);
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().expect("names of files are UTF-8").to_owned()
}

/// A path from the root with `.` and `..` resolved by name.
pub(crate) fn normal(path: &Path) -> String {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => assert!(parts.pop(), "{path:?} leaves the repository"),
            std::path::Component::CurDir => {}
            part => parts.push(part),
        }
    }
    parts.to_str().unwrap().to_owned()
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    /// An identifier or a keyword; raw identifiers without their `r#`.
    Word(&'a str),
    /// A string, character, number or lifetime.
    Literal(&'a str),
    Punct(char),
    Comment(&'a str),
}

/// Cuts source into tokens, each with the number of the line that it begins in.
pub(crate) fn tokens(source: &str) -> Vec<(usize, Token<'_>)> {
    let bytes = source.as_bytes();
    let (mut at, mut line, mut found) = (0, 1, Vec::new());
    while let Some(&byte) = bytes.get(at) {
        let rest = &source[at..];
        let (length, token) = if byte.is_ascii_whitespace() {
            (1, None)
        } else if rest.starts_with("//") {
            let length = rest.find('\n').unwrap_or(rest.len());
            (length, Some(Token::Comment(&rest[..length])))
        } else if rest.starts_with("/*") {
            let length = block_comment(rest);
            (length, Some(Token::Comment(&rest[..length])))
        } else if let Some(length) = string(rest) {
            (length, Some(Token::Literal(&rest[..length])))
        } else if byte == b'\'' {
            let length = quoted_or_lifetime(rest);
            (length, Some(Token::Literal(&rest[..length])))
        } else if byte.is_ascii_digit() {
            let length = word(rest);
            (length, Some(Token::Literal(&rest[..length])))
        } else if byte == b'_' || rest.starts_with(char::is_alphabetic) {
            let prefix = if rest.starts_with("r#") { 2 } else { 0 };
            let length = prefix + word(&rest[prefix..]);
            (length, Some(Token::Word(&rest[prefix..length])))
        } else {
            let char = rest.chars().next().unwrap();
            (char.len_utf8(), Some(Token::Punct(char)))
        };
        found.extend(token.map(|token| (line, token)));
        line += rest[..length].matches('\n').count();
        at += length;
    }
    found
}

fn word(rest: &str) -> usize {
    rest.find(|char: char| char != '_' && !char.is_alphanumeric()).unwrap_or(rest.len())
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            match rest[at..].chars().next() {
                Some(char) => at += char.len_utf8(),
                None => return at,
            }
        }
    }
}

/// The length of the string literal that `rest` begins with, if it does.
fn string(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|rest| {
            rest.starts_with('"') || (prefix.ends_with('r') && rest.trim_start_matches('#').starts_with('"'))
        })
    })?;
    let quoted = &rest[prefix.len()..];
    let length = if prefix.ends_with('r') {
        let hashes = quoted.find('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        hashes + 1 + quoted[hashes + 1..].find(&end)? + end.len()
    } else {
        escaped(quoted, '"')?
    };
    Some(prefix.len() + length)
}

fn escaped(quoted: &str, quote: char) -> Option<usize> {
    let mut chars = quoted.char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => drop(chars.next()),
            char if char == quote => return Some(at + char.len_utf8()),
            _ => {}
        }
    }
    None
}

fn quoted_or_lifetime(rest: &str) -> usize {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => escaped(rest, '\'').unwrap_or(rest.len()),
        (Some(char), Some('\'')) => char.len_utf8() + 2,
        _ => 1 + word(&rest[1..]),
    }
}

#[test]
fn strings_comments_and_lifetimes_are_told_apart() {
    use Token::{Comment, Literal, Punct, Word};
    let source = "a/*/**/ struct*/'b'\"// \\\" struct\"r#\"\"c\"#'d r#use // struct\n'\\''e";
    let found: Vec<_> = tokens(source).into_iter().map(|(_, token)| token).collect();
    assert_eq!(
        found,
        [
            Word("a"),
            Comment("/*/**/ struct*/"),
            Literal("'b'"),
            Literal("\"// \\\" struct\""),
            Literal("r#\"\"c\"#"),
            Literal("'d"),
            Word("use"),
            Comment("// struct"),
            Literal("'\\''"),
            Word("e")
        ]
    );
    assert_eq!(tokens(source).last(), Some(&(2, Word("e"))));
    assert_eq!(
        tokens("b'\\n'::1.0"),
        [
            (1, Word("b")),
            (1, Literal("'\\n'")),
            (1, Punct(':')),
            (1, Punct(':')),
            (1, Literal("1")),
            (1, Punct('.')),
            (1, Literal("0"))
        ]
    );
}
