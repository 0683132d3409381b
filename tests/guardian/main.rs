//! The guarantees about the guardian and about control groups that only real processes can prove (P-12):
//! which processes survive which.
//!
//! This program is its own host, worker and grandchild. A host that is put under a guardian must not have
//! threads, and a test harness has some. So the program has a `main` of its own: with `role:…` it plays a
//! part (`roles`); otherwise it runs the tests (`runner`), one after the other.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
// Leaving processes behind is what is tried here.
#![allow(clippy::zombie_processes)]

mod common;
mod roles;
mod runner;
mod terminal;

mod a_guardian_ends_as_its_host;
mod a_guardian_needs_a_program_without_threads;
mod a_terminal_reaches_the_host_once;
mod nothing_survives_the_host;
mod signals_reach_the_host_once;
mod what_a_dead_host_leaves_is_found;

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let Some(role) = args.get(1).and_then(|arg| arg.strip_prefix("role:")) {
        return roles::play(role, &args[2..]);
    }
    runner::run(
        &[
            a_guardian_ends_as_its_host::TESTS,
            a_guardian_needs_a_program_without_threads::TESTS,
            a_terminal_reaches_the_host_once::TESTS,
            nothing_survives_the_host::TESTS,
            signals_reach_the_host_once::TESTS,
            what_a_dead_host_leaves_is_found::TESTS,
        ],
        &args[1..],
    )
}
