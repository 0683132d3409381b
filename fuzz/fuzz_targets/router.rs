#![no_main]

#[path = "../../tests/rpc/fuzzed/router.rs"]
mod router;

libfuzzer_sys::fuzz_target!(|data: &[u8]| router::run(data));
