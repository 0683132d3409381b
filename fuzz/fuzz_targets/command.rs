#![no_main]

use procession::process::Command;

// What has been read can be written, and is the same when it is read again.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(command) = serde_json::from_slice::<Command>(data) else { return };
    let written = serde_json::to_string(&command).expect("a command can be written");
    let again: Command = serde_json::from_str(&written).expect("and read");
    assert_eq!(format!("{command:?}"), format!("{again:?}"));
});
