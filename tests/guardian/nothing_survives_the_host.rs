//! P-12: whenever and however the host ends, no descendant is left.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    common::{Family, Program, signal, state, until},
    runner::tests,
};

tests![
    that_is_killed_with_a_hundred_families,
    that_ends_in_order,
    that_is_killed_at_any_moment,
    that_is_killed_while_its_workers_have_two_incarnations,
    not_even_what_forks_all_the_time,
];

const KINDS: [&str; 3] = ["plain", "session", "daemon"];

/// The host, `count` processes, `count` grandchildren, and the guardian.
fn that_is_killed_with_a_hundred_families() {
    // P-12
    const COUNT: usize = 100;
    for kind in KINDS {
        let family = Family::new();
        let mut program =
            Program::start(&mut family.role("host", &["guarded_only", kind, &COUNT.to_string()]));
        let host = program.number("host");
        assert_eq!(program.line(), "ready");
        // The processes that have started a daemon may still be about to end.
        until("all are there", || (family.members().len() == 2 + 2 * COUNT).then_some(()));
        let began = Instant::now();
        signal(host, Signal::KILL);
        program.end();
        let took = began.elapsed();
        family.assert_gone(kind);
        println!("{COUNT} families, {kind}: all gone in {took:?}");
    }
}

fn that_ends_in_order() {
    // P-12
    for kind in KINDS {
        let family = Family::new();
        let mut program = Program::start(family.role("leave_behind", &[kind]).stdin(Stdio::piped()));
        program.number("host");
        assert_eq!(program.line(), "ready");
        writeln!(program.input(), "go on").unwrap();
        assert_eq!(program.end().code(), Some(0));
        family.assert_gone(kind);
    }
}

/// `PROCESSION_KILLS=200 cargo test --test guardian any_moment` kills more often.
fn that_is_killed_at_any_moment() {
    // P-12: in launches, handshakes, stops and restarts
    let kills = std::env::var("PROCESSION_KILLS").map_or(30_u64, |kills| kills.parse().unwrap());
    let strangers = Family::new();
    let mut stranger = Program::start(&mut strangers.marked(Command::new("sleep"), &["1000"]));
    for round in 0..kills {
        let family = Family::new();
        let mut program = Program::start(&mut family.role("busy_host", &[&round.to_string()]));
        let host = program.number("host");
        // This waits for nothing: the test tries different moments.
        std::thread::sleep(Duration::from_micros(round * 7919 % 400 * 500));
        assert_ne!(state(host), Some('Z'), "it runs until it is killed");
        signal(host, Signal::KILL);
        program.end();
        family.assert_gone(&format!("round {round}"));
    }
    assert_eq!(state(stranger.pid()), Some('S'), "nothing of others is touched");
    stranger.signal(Signal::KILL);
    stranger.end();
}

fn that_is_killed_while_its_workers_have_two_incarnations() {
    // P-12, S-27: during swaps, with spares, with incarnations that leave or fail
    let kills = std::env::var("PROCESSION_KILLS").map_or(24_u64, |kills| kills.parse().unwrap());
    for round in 0..kills {
        let mode = if round % 2 == 0 { "guarded_only" } else { "guarded" };
        let family = Family::new();
        let mut program = Program::start(&mut family.role("twin_host", &[mode, &round.to_string()]));
        let host = program.number("host");
        assert_eq!(program.line(), "ready");
        let is_worker = |pid: &i32| {
            let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
            command.is_ok_and(|command| command.contains("slow_worker"))
        };
        until("one of the two workers has another incarnation", || {
            (family.members().iter().filter(|pid| is_worker(pid)).count() > 2).then_some(())
        });
        // As above.
        std::thread::sleep(Duration::from_micros(round * 7919 % 400 * 500));
        assert_ne!(state(host), Some('Z'), "it runs until it is killed");
        signal(host, Signal::KILL);
        program.end();
        family.assert_gone(&format!("round {round}, {mode}"));
    }
}

fn not_even_what_forks_all_the_time() {
    // P-12
    let family = Family::new();
    let mut program = Program::start(&mut family.role("comets", &["5"]));
    let host = program.number("host");
    assert_eq!(program.line(), "ready");
    let first = family.members();
    until("others have taken their place", || {
        family.members().iter().any(|pid| !first.contains(pid)).then_some(())
    });
    signal(host, Signal::KILL);
    program.end();
    family.assert_gone("comets");
}
