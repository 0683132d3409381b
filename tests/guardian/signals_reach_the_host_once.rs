//! P-12: every signal that can be caught reaches the host once, with its value.

use rustix::process::{Pid, Signal};

use crate::{
    common::{Family, Program},
    runner::tests,
};

tests![
    all_that_can_be_caught,
    with_their_values,
    but_not_those_that_the_host_has_sent,
    and_a_service_is_not_killed_by_an_echo,
    orphans_are_reaped
];

fn all_that_can_be_caught() {
    // P-12
    let family = Family::new();
    let mut program = Program::start(&mut family.role("signals", &[]));
    program.number("host");
    for signal in [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::ABORT,
        Signal::USR1,
        Signal::ALARM,
        Signal::TERM,
        Signal::TSTP,
        Signal::TTIN,
        Signal::WINCH,
        Signal::IO,
    ] {
        for _ in 0..3 {
            program.signal(signal);
            assert_eq!(program.line(), format!("signal {}", signal.as_raw()));
        }
    }
    program.signal(Signal::USR2);
    assert_eq!(program.line(), "", "nothing came twice");
    assert_eq!(program.end().code(), Some(0));
}

fn with_their_values() {
    // P-12
    let family = Family::new();
    let mut program = Program::start(&mut family.role("signals", &[]));
    program.number("host");
    for (signal, value) in [(libc::SIGRTMIN() + 3, 42), (libc::SIGRTMIN() + 3, 43), (libc::SIGUSR1, 44)] {
        let value = libc::sigval { sival_ptr: value as *mut libc::c_void };
        // SAFETY: plain numbers; the pointer is one.
        #[allow(unsafe_code)]
        let sent = unsafe { libc::sigqueue(program.pid(), signal, value) };
        assert_eq!(sent, 0);
        assert_eq!(program.line(), format!("signal {signal} with {}", value.sival_ptr as usize));
    }
    program.signal(Signal::USR2);
    assert_eq!((program.line(), program.end().code()), (String::new(), Some(0)));
}

fn but_not_those_that_the_host_has_sent() {
    // P-12
    use std::os::unix::process::CommandExt;
    let family = Family::new();
    let mut program = Program::start(family.role("group", &[]).process_group(0));
    let host = program.number("host");
    assert_eq!(program.number("host"), host);
    assert_eq!(program.line(), "signal 10");
    program.signal(Signal::USR2);
    assert_eq!((program.line(), program.end().code()), (String::new(), Some(0)));
    assert!(Pid::from_raw(host).is_some());
}

fn and_a_service_is_not_killed_by_an_echo() {
    // T-4, P-12: a service manager signals all processes of a service
    for signal in [Signal::TERM, Signal::HUP, Signal::QUIT] {
        let family = Family::new();
        let file = std::env::temp_dir().join(format!("procession-echo-{}", std::process::id()));
        let mut program = Program::start(&mut family.role("service", &[file.to_str().unwrap()]));
        let host = program.number("host");
        assert_eq!(program.line(), "ready");
        program.signal(signal);
        // Some of them, so that they do not all arrive as one.
        for _ in 0..30 {
            crate::common::signal(host, signal);
            std::thread::yield_now();
        }
        assert_eq!(program.end().code(), Some(0));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "done\n", "stopped in order");
        std::fs::remove_file(&file).unwrap();
    }
}

fn orphans_are_reaped() {
    // P-12
    let family = Family::new();
    let mut program = Program::start(&mut family.role("orphans", &[]));
    program.number("host");
    assert_eq!(program.line(), "reaped");
    assert_eq!(program.end().code(), Some(0));
}
