//! The properties of the fuzzers hold for the stored inputs: their seeds, and every input that once found
//! something.

#[path = "../../corpus/mod.rs"]
mod corpus;
mod peer;
mod router;

use corpus::each;

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
