#![no_main]

#[path = "../../tests/rpc/fuzzed/peer.rs"]
mod peer;

libfuzzer_sys::fuzz_target!(|data: &[u8]| peer::run(data));
