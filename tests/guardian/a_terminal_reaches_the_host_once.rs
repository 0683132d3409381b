//! P-12: signals of a terminal reach the host once, and a stop gives the terminal back to the shell.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use rustix::process::Signal;

use crate::{
    common::{Family, NAMESPACE, Program, can_unshare, field, me, signal, state, until},
    runner::tests,
    terminal::Terminal,
};

tests![
    ctrl_c_is_not_sent_again,
    the_shell_gets_the_terminal_back,
    a_guardian_without_a_shell_does_not_stop,
    nor_does_one_whose_session_is_out_of_sight,
];

fn ctrl_c_is_not_sent_again() {
    // P-12
    let family = Family::new();
    let mut terminal = Terminal::start(&family, "signals");
    let host = terminal.shell.number("host");
    for _ in 0..20 {
        for (key, number) in [("\x03", 2), ("\x1c", 3)] {
            terminal.keys(key);
            assert_eq!(terminal.shell.number("signal"), number);
        }
    }
    // Signals to the guardian are forwarded in the order in which they came.
    let guardian = field(host, 1).unwrap();
    signal(guardian, Signal::TERM);
    assert_eq!(terminal.shell.number("signal"), 15);
    signal(guardian, Signal::USR2);
    assert_eq!(terminal.shell.line(), "exited 0");
}

fn the_shell_gets_the_terminal_back() {
    // P-12
    let family = Family::new();
    let mut terminal = Terminal::start(&family, "reader");
    let host = terminal.shell.number("host");
    let guardian = field(host, 1).unwrap();
    let states = || (state(guardian).unwrap(), state(host).unwrap());
    for round in 0..10 {
        terminal.keys("one\n");
        assert_eq!(terminal.shell.line(), "read one");
        terminal.keys("\x1a");
        assert_eq!(terminal.shell.line(), "stopped 20", "by SIGTSTP, round {round}");
        assert_eq!(states(), ('T', 'T'));
        // In the background it may not read from the terminal.
        terminal.command("bg");
        assert_eq!(terminal.shell.line(), "stopped 21", "by SIGTTIN, round {round}");
        assert_eq!(states(), ('T', 'T'));
        terminal.command("fg");
    }
    terminal.keys("two\n");
    assert_eq!(terminal.shell.line(), "read two");
    // The host or the guardian is stopped by a signal that was sent to it.
    for pid in [host, guardian] {
        until("the guardian has come back", || (state(guardian) == Some('S')).then_some(()));
        signal(pid, Signal::TSTP);
        assert_eq!(terminal.shell.line(), "stopped 20");
        assert_eq!(states(), ('T', 'T'));
        terminal.command("fg");
        terminal.keys("three\n");
        assert_eq!(terminal.shell.line(), "read three");
    }
    terminal.keys("\x04");
    assert_eq!(terminal.shell.line(), "exited 7");
}

fn a_guardian_without_a_shell_does_not_stop() {
    // P-12
    let family = Family::new();
    // A parent in another session does not watch for stops, so a guardian that stopped would never be
    // continued.
    let mut command = Command::new("setsid");
    command.arg(me());
    let mut program = Program::start(family.marked(command, &["role:reader"]).stdin(Stdio::piped()));
    let host = program.number("host");
    let guardian = program.pid();
    goes_on_when_continued(&mut program, guardian, host);
}

fn nor_does_one_whose_session_is_out_of_sight() {
    // P-12: a process that a container runtime or `unshare` starts in a namespace is in a session of
    // another namespace.
    if !can_unshare() {
        println!("skipped: no process namespace may be made here");
        return;
    }
    for session in ["", "setsid "] {
        let family = Family::new();
        let script = format!("{session}\"$0\" role:reader; exit $?");
        let me = me();
        let args = [NAMESPACE, &["--", "sh", "-c", &script, me.to_str().unwrap()]].concat();
        let mut command = family.marked(Command::new("unshare"), &args);
        let mut program = Program::start(command.stdin(Stdio::piped()));
        program.number("host");
        // From here, its process id is a different one.
        let child = |parent| family.members().into_iter().find(|pid| field(*pid, 1) == Some(parent)).unwrap();
        let guardian = child(child(program.pid()));
        goes_on_when_continued(&mut program, guardian, child(guardian));
        family.assert_gone("the namespace ends with its process 1");
    }
}

/// The host is stopped, and continued through its guardian and directly; then its input ends.
fn goes_on_when_continued(program: &mut Program, guardian: i32, host: i32) {
    let mut input = program.input();
    for continued in [guardian, host] {
        signal(host, Signal::STOP);
        until("the host is stopped", || (state(host) == Some('T')).then_some(()));
        signal(continued, Signal::CONT);
        writeln!(input, "go on").unwrap();
        assert_eq!(program.line(), "read go on");
    }
    drop(input);
    assert_eq!(program.end().code(), Some(7));
}
