//! What the fuzzers run, over the stored inputs: their seeds, and whatever they once found.

use std::{fs, path::Path};

mod peer;
mod router;

fn each(folder: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let mut inputs = 0;
    for entry in fs::read_dir(folder).unwrap() {
        property(&fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0);
}

// C-4, C-5, C-6, C-13
#[test]
fn stored_streams_end_a_peer_once_and_within_its_bounds() {
    each("peer", peer::run);
}

// C-7
#[test]
fn stored_params_are_answered_once_each() {
    each("router", router::run);
}
