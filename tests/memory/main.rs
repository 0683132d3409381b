//! C-15: the memory that one process can make its host hold is bounded by 1.2 times the sum of the bounds of
//! its channel, whatever it sends.
//!
//! Each parser of a process's text is tried with inputs that cost little to send. An allocator that belongs
//! to the whole program counts, so the shapes are tried one after the other, by a `main` of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../../benches/support/counting.rs"]
mod counting;

mod afterwards;
mod channel;
mod idle;
mod shapes;
mod workers;

use std::{process::ExitCode, time::Instant};

/// What a peak may be, for a sum of bounds.
const SLACK: f64 = 1.2;

/// One that was tried: its name, the most that was held, and what may be.
struct Tried {
    name: String,
    peak: isize,
    bound: usize,
}

impl Tried {
    fn is_within(&self) -> bool {
        self.peak as f64 <= self.bound as f64 * SLACK
    }
}

/// Runs on one thread under paused time and says what was held at most beyond what was there before.
fn peak_of(work: impl AsyncFnOnce()) -> isize {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let before = counting::live();
        counting::reset_peak();
        work().await;
        counting::peak() - before
    })
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| {
        let mut filters = args.iter().filter(|arg| !arg.starts_with('-')).peekable();
        filters.peek().is_none() || filters.any(|filter| name.contains(filter.as_str()))
    };
    if args.iter().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let begin = Instant::now();
    let mut failed = 0;
    let mut tried = 0;
    let mut check = |one: Tried| {
        let verdict = if one.is_within() { "ok" } else { "TOO MUCH" };
        println!("{:>9} KiB of {:>7}: {} ... {verdict}", one.peak / 1024, one.bound / 1024, one.name);
        failed += usize::from(!one.is_within());
        tried += 1;
    };
    channel::try_all(&wanted, &mut check);
    workers::try_all(&wanted, &mut check);
    idle::try_all(&wanted, &mut check);
    afterwards::try_all(&wanted, &mut check);
    println!("\n{tried} shapes, {failed} of them too much; {:?}", begin.elapsed());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
