//! The stored inputs of the fuzzers, for the ordinary tests that run them: the crate's unit tests and
//! `tests/rpc`.

use std::{fs, path::Path};

/// Hands each stored input to the property: the fuzzers' seeds, and what they once found.
pub(crate) fn each(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(folder).unwrap() {
        property(&fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0);
}
