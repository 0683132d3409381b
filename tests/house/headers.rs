//! Each file of tests says in its first line which guarantee it shows.

use super::source::{files, read};

#[test]
fn every_test_file_has_a_header() {
    let files = files("tests", ".rs");
    let bare: Vec<_> = files.iter().filter(|file| !read(file).starts_with("//! ")).collect();
    assert!(bare.is_empty(), "these do not begin with a `//!` header: {bare:#?}");
}
