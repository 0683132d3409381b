//! A file or folder that ARCHITECTURE.md or CONTRIBUTING.md names exists.

use crate::{documents::read, sources::paths};

#[test]
fn each_file_and_folder_exists() {
    let folders = ["src", "tests", "benches", "examples", "fuzz", "docs", "api"];
    let files = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];
    let paths = paths(&[&folders[..], &files].concat());
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        for name in read(document).split('`').skip(1).step_by(2).filter(|text| is_path(text)) {
            assert!(exists(name, &paths), "{document} names `{name}`, which does not exist");
        }
    }
}

/// `folder/`, `folder/file.rs` or `FILE.md`.
fn is_path(text: &str) -> bool {
    let named = [".rs", ".md", "/"].iter().any(|ending| text.ends_with(ending));
    named && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
}

/// A name without a folder before it is that of a file or folder anywhere; others are below the root
/// of the repository, or below `src/`.
fn exists(name: &str, paths: &[String]) -> bool {
    let below = |path: &str, root: &str| path.starts_with(&format!("{root}{name}"));
    if name.trim_end_matches('/').contains('/') {
        return paths.iter().any(|path| below(path, "") || below(path, "src/"));
    }
    match name.ends_with('/') {
        true => paths.iter().any(|path| path.starts_with(name) || path.contains(&format!("/{name}"))),
        false => paths.iter().any(|path| path.rsplit('/').next() == Some(name)),
    }
}

#[test]
fn only_what_exists_is_found() {
    let paths = ["src/rpc/peer.rs".to_owned(), "docs/CONTRACT.md".to_owned()];
    for name in ["rpc/", "rpc/peer.rs", "src/rpc/peer.rs", "peer.rs", "CONTRACT.md"] {
        assert!(is_path(name) && exists(name, &paths), "{name}");
    }
    for name in ["pool/", "rpc/call.rs", "eer.rs", "README.md"] {
        assert!(is_path(name) && !exists(name, &paths), "{name}");
    }
    assert!(!is_path("src/bin/*.rs") && !is_path("A / B/") && !is_path("rpc::Peer"));
}
