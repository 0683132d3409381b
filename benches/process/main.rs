//! What one OS process costs, compared with bare loops around the same system calls in the same run.
//!
//! `cargo bench --bench process`; a filter may follow (`-- launch`, `-- death`, `-- restart`, `-- standby`,
//! `-- storm`, `-- fleet`). Linux only. It has a harness of its own, because it measures single latencies
//! between this program and others, for which a loop around a closure does not fit. The sides of a
//! comparison take turns, sample by sample where that is possible.

#![cfg_attr(target_os = "linux", allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout))]
#![allow(missing_docs)]

#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
#[path = "../support/counting.rs"]
mod counting;
#[cfg(target_os = "linux")]
mod death;
#[cfg(target_os = "linux")]
mod figures;
#[cfg(target_os = "linux")]
mod fleet;
#[cfg(target_os = "linux")]
mod launch;
#[cfg(target_os = "linux")]
mod restart;
#[cfg(target_os = "linux")]
mod standby;
#[cfg(target_os = "linux")]
mod storm;

use std::time::Duration;

/// Longer than any step takes.
const BOUND: Duration = Duration::from_secs(60);

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|f| name.contains(f.as_str()));
    let child = child::Child::compile();
    println!("p50 (p99)");
    if wanted("launch") {
        let small = launch::launch(&child, 10, 400);
        launch::launch(&child, 1024, 200);
        let large = launch::launch(&child, 4096, 200);
        println!("launch, 4 GiB against 10 MiB{:>72} {:5.2}  target <= 1.3", "ratio", large / small);
    }
    if wanted("death") {
        for n in [1, 1000] {
            death::death(&child, n, 400);
        }
    }
    if wanted("restart") {
        for (n, rounds) in [(1, 400), (100, 400), (1000, 400)] {
            restart::restart(&child, n, rounds);
        }
    }
    if wanted("standby") {
        standby::standby(&child, 200);
    }
    if wanted("storm") {
        storm::storm(&child, 1000, 7);
    }
    if wanted("fleet") {
        fleet::fleet(&child, 1000);
    }
}
