//! P-1, P-2: a process sees the arguments, the directory and the variables that its command names, and no
//! others.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use procession::process::{Command, StdioTransport};

use crate::common::*;

/// A variable of the host that is on no list.
const UNNAMED: &str = "PROCESSION_TEST_UNNAMED";

#[test]
fn what_is_in_the_hosts_environment_passes_only_if_it_is_named() {
    // P-2: runs in a host of its own, because it needs a variable of its own.
    for inner in ["nothing_but_the_short_list", "named_variables_and_the_whole_environment"] {
        host_of_its_own(
            &format!("{UNNAMED}=1; export {UNNAMED};"),
            &format!("the_environment_is_the_callers::inner_{inner}"),
        );
    }
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_nothing_but_the_short_list() {
    let seen = output(Command::new("env").env("MINE", "a=b c").env("LANG", "xx").env_remove("HOME")).await;
    let seen = String::from_utf8(seen).unwrap();
    let names: Vec<_> = seen.lines().map(|line| line.split_once('=').unwrap().0).collect();
    assert!(
        seen.lines().any(|line| line == "MINE=a=b c") && seen.lines().any(|line| line == "LANG=xx"),
        "{seen}"
    );
    assert!(std::env::var_os(UNNAMED).is_some() && !names.contains(&UNNAMED), "{seen}");
    assert!(names.contains(&"PATH") && !names.contains(&"HOME"), "{seen}");
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_named_variables_and_the_whole_environment() {
    for command in [
        Command::new("env").pass_env(UNNAMED),
        Command::new("env").inherit_env(true).transport(StdioTransport::Pipes),
    ] {
        let seen = String::from_utf8(output(command).await).unwrap();
        assert!(seen.contains(&format!("{UNNAMED}=1")), "{seen}");
    }
}

#[tokio::test]
async fn arguments_arrive_as_they_are() {
    // P-1
    let odd = OsString::from_vec(b"\xff\xfe".to_vec());
    let args = ["a b".into(), OsString::new(), "$HOME 'x' \"y\" *".into(), odd, "new\nline".into()];
    let out = output(Command::new("printf").arg("%s\\0").args(args.clone())).await;
    let seen: Vec<_> = out.split(|byte| *byte == 0).collect();
    let mut expected: Vec<_> = args.iter().map(|arg| arg.as_bytes()).collect();
    expected.push(b"");
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_program_sees_the_name_it_was_called_by_and_its_directory() {
    // P-1
    let out = output(Command::new("sh").args(["-c", "echo $0; pwd"]).cwd("/usr")).await;
    assert_eq!(String::from_utf8(out).unwrap(), "sh\n/usr\n");
    // A relative program is relative to that directory, and so are relative entries of its PATH.
    let out = output(Command::new("bin/pwd").cwd("/usr")).await;
    assert_eq!(out, b"/usr\n");
    let out = output(Command::new("pwd").cwd("/usr").env("PATH", "bin")).await;
    assert_eq!(out, b"/usr\n");
}
