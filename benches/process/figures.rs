//! Samples, and how they are printed.

use std::time::Instant;

use procession::process::{CgroupMode, OsLauncher};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) fn quantile(samples: &mut [f64], q: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[((samples.len() - 1) as f64 * q) as usize]
}

pub(crate) fn us(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

pub(crate) fn report(name: &str, ours: &mut [f64], floor: (&str, &mut [f64]), target: f64) {
    let [p50, p99] = [quantile(ours, 0.5), quantile(ours, 0.99)];
    let [floor50, floor99] = [quantile(floor.1, 0.5), quantile(floor.1, 0.99)];
    println!(
        "{name:36} {p50:8.0} ({p99:7.0})  {:14} {floor50:8.0} ({floor99:7.0}) us   ratio {:5.2}  target <= {target}",
        floor.0,
        p50 / floor50,
    );
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Launches without control groups, which the bare loops do not have either, unless `--cgroups` is among
/// the arguments.
pub(crate) fn launcher() -> OsLauncher {
    let with = std::env::args().any(|arg| arg == "--cgroups");
    OsLauncher::builder().cgroup(if with { CgroupMode::WhenPossible } else { CgroupMode::Never }).build()
}

pub(crate) fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}
