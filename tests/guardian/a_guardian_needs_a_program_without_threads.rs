//! P-12: a guardian is refused once other threads run, and a second call does nothing.

use std::process::Command;

use crate::{
    common::{Family, Program, me},
    runner::tests,
};

tests![
    else_there_is_an_error_and_nothing_has_changed,
    a_second_call_does_nothing,
    variables_that_name_its_process_id_name_the_hosts,
];

fn else_there_is_an_error_and_nothing_has_changed() {
    // P-12
    let family = Family::new();
    let mut program = Program::start(&mut family.role("threads", &[]));
    assert!(program.line().contains("before any other thread, but 2 threads run already"));
    assert_eq!(program.line(), "unchanged");
    assert_eq!(program.end().code(), Some(0));
}

fn a_second_call_does_nothing() {
    // P-12
    let family = Family::new();
    let mut program = Program::start(&mut family.role("twice", &[]));
    let host = program.number("host");
    assert_eq!(program.number("host"), host);
    assert_eq!(program.end().code(), Some(0));
}

fn variables_that_name_its_process_id_name_the_hosts() {
    // P-12
    let family = Family::new();
    let addressed = |to: &str| {
        let script = format!("LISTEN_PID={to} WATCHDOG_PID={to} exec {} role:addressed", me().display());
        let mut program = Program::start(&mut family.marked(Command::new("sh"), &["-c", &script]));
        (program.line(), program.end().code())
    };
    assert_eq!(addressed("$$"), ("true true".into(), Some(0)));
    assert_eq!(addressed("1"), ("false false".into(), Some(0)), "addressed to another process");
}
