//! P-12: a guardian ends as its host ends, takes the host with it if it is killed, and keeps no pipe open.

use std::{os::unix::process::ExitStatusExt, process::Command};

use rustix::process::Signal;

use crate::{
    common::{Family, NAMESPACE, Program, can_unshare, field, state, until},
    runner::tests,
};

tests![
    with_its_exit_code,
    by_its_signal,
    as_process_1_of_a_container,
    and_takes_the_host_with_it_when_it_is_killed,
    and_holds_no_pipe_open,
];

fn with_its_exit_code() {
    // P-12
    let family = Family::new();
    for code in [0, 1, 7, 255] {
        let mut program = Program::start(&mut family.role("exit", &[&code.to_string()]));
        let host = program.number("host");
        assert_ne!(host, program.pid(), "the pid that was started is the guardian's");
        assert_eq!(program.end().code(), Some(code));
    }
}

fn by_its_signal() {
    // P-12
    let family = Family::new();
    for signal in [Signal::KILL, Signal::TERM, Signal::INT, Signal::ABORT, Signal::SEGV, Signal::PIPE] {
        let mut program = Program::start(&mut family.role("die", &[&signal.as_raw().to_string()]));
        program.number("host");
        let status = program.end();
        assert_eq!((status.signal(), status.core_dumped()), (Some(signal.as_raw()), false));
    }
}

fn as_process_1_of_a_container() {
    // P-12
    let family = Family::new();
    let container = |role: &str, arg: &str| {
        let (me, role) = (crate::common::me(), format!("role:{role}"));
        let args = [NAMESPACE, &["--", me.to_str().unwrap(), &role, arg]].concat();
        Program::start(&mut family.marked(Command::new("unshare"), &args))
    };
    if !can_unshare() {
        println!("skipped: no process namespace may be made here");
        return;
    }
    let mut program = container("exit", "7");
    assert_eq!(program.number("host"), 2, "the guardian is process 1");
    assert_eq!(program.end().code(), Some(7));

    let mut program = container("die", "15");
    program.number("host");
    assert_eq!(program.end().code(), Some(128 + 15), "process 1 cannot kill itself");

    let mut program = container("orphans", "");
    program.number("host");
    assert_eq!(program.line(), "reaped");
    assert_eq!(program.end().code(), Some(0));

    let mut program = container("signals", "");
    program.number("host");
    let unshare = program.pid();
    let guardian = until("the guardian is found", || {
        family.members().into_iter().find(|pid| field(*pid, 1) == Some(unshare))
    });
    crate::common::signal(guardian, Signal::TERM);
    assert_eq!(program.line(), "signal 15");
    crate::common::signal(guardian, Signal::KILL);
    program.end();
    family.assert_gone("the namespace ends with its process 1");
}

fn and_takes_the_host_with_it_when_it_is_killed() {
    // P-12
    let family = Family::new();
    let mut program = Program::start(&mut family.role("host", &["guarded", "plain", "5"]));
    let host = program.number("host");
    assert_eq!(program.line(), "ready");
    program.signal(Signal::KILL);
    program.end();
    until("the host is gone", || matches!(state(host), None | Some('Z')).then_some(()));
    // Its children are killed too, because they have a death signal. Their own children are out of reach now.
    let is_child = |pid: &i32| {
        let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.contains("role:parent")
    };
    until("its children are gone", || (!family.members().iter().any(is_child)).then_some(()));
    // The guardian of another host removes the control groups that are left, if there are any.
    let other = Family::new();
    let mut program = Program::start(&mut other.role("host", &["guarded", "plain", "1"]));
    let host = program.number("host");
    assert_eq!(program.line(), "ready");
    drop(family);
    crate::common::signal(host, Signal::KILL);
    program.end();
}

fn and_holds_no_pipe_open() {
    // P-12: a reader of the host's stdout does not wait for the guardian, which is stopped here.
    let family = Family::new();
    let mut program = Program::start(&mut family.role("signals", &[]));
    let host = program.number("host");
    // The host may get here before the guardian has closed its files.
    let files = format!("/proc/{}/fd", program.pid());
    let is_null = |file: std::io::Result<std::fs::DirEntry>| {
        file.is_ok_and(|file| std::fs::read_link(file.path()).is_ok_and(|file| file.ends_with("dev/null")))
    };
    until("it holds no file", || std::fs::read_dir(&files).unwrap().all(is_null).then_some(()));
    program.signal(Signal::STOP);
    until("it is stopped", || (state(program.pid()) == Some('T')).then_some(()));
    crate::common::signal(host, Signal::USR2);
    assert_eq!(program.line(), "", "end of file");
    assert_eq!(state(program.pid()), Some('T'), "the guardian has not run meanwhile");
    program.signal(Signal::CONT);
    assert_eq!(program.end().code(), Some(0));
}
