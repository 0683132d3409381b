#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| procession::rpc::fuzzing::framing(data));
