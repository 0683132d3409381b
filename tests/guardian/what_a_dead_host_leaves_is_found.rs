//! P-12: the control groups that a dead host has left are removed, by its guardian or by the next host.

use std::{fs, path::PathBuf};

use rustix::process::Signal;

use crate::{
    common::{Family, Program, signal, until},
    runner::tests,
};

tests![by_the_next_one, by_its_guardian, nests_too];

/// The groups of a host in the control group that this program is in too, if it has any.
fn groups(host: i32) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let Some(mount) = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")) else {
        return Vec::new();
    };
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    let own = PathBuf::from(format!("{}{own}", mount.split(' ').nth(1).unwrap()));
    let is_its = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("procession-") && name.split('-').nth(2) == Some(&host.to_string())
    };
    fs::read_dir(own).unwrap().map(|entry| entry.unwrap().path()).filter(is_its).collect()
}

/// A host with a daemon, killed.
fn killed(family: &Family, guarded: &str, kind: &str) -> Option<i32> {
    let mut program = Program::start(&mut family.role("host", &[guarded, kind, "5"]));
    let host = program.number("host");
    assert_eq!(program.line(), "ready");
    if groups(host).is_empty() {
        println!("skipped: no control group may be made here");
        return None;
    }
    signal(host, Signal::KILL);
    program.end();
    Some(host)
}

fn by_the_next_one() {
    // P-12
    let (family, next) = (Family::new(), Family::new());
    // Nothing of a host that is alive is touched.
    let mut living = Program::start(&mut next.role("host", &["bare", "daemon", "3"]));
    let other = living.number("host");
    assert_eq!(living.line(), "ready");
    // The process that has started a daemon may still be about to end.
    let members = until("host, children and daemons are all there is", || {
        Some(next.members()).filter(|members| members.len() == 1 + 2 * 3)
    });
    let Some(host) = killed(&family, "bare", "daemon") else { return };
    assert!(!family.members().is_empty(), "the daemons live on");

    let last = Family::new();
    let mut program = Program::start(&mut last.role("host", &["bare", "plain", "1"]));
    program.number("host");
    assert_eq!(program.line(), "ready");
    until("what it has left is gone", || family.members().is_empty().then_some(()));
    assert_eq!(groups(host), Vec::<PathBuf>::new());
    assert_eq!(next.members(), members);
    assert_eq!(groups(other).len(), 1);
    for program in [&mut program, &mut living] {
        program.signal(Signal::KILL);
        program.end();
    }
    // Nothing of this test is left for a later start.
    drop((last, next));
    killed(&family, "guarded", "daemon");
    assert_eq!(groups(other), Vec::<PathBuf>::new());
}

fn by_its_guardian() {
    // P-12
    let family = Family::new();
    let Some(host) = killed(&family, "guarded", "daemon") else { return };
    assert_eq!(groups(host), Vec::<PathBuf>::new());
}

fn nests_too() {
    // P-4, P-12
    let family = Family::new();
    let Some(host) = killed(&family, "guarded", "nest") else { return };
    assert_eq!(groups(host), Vec::<PathBuf>::new());
    let Some(host) = killed(&family, "bare", "nest") else { return };
    let last = Family::new();
    let mut program = Program::start(&mut last.role("host", &["guarded", "plain", "1"]));
    program.number("host");
    assert_eq!(program.line(), "ready");
    until("what it has left is gone", || groups(host).is_empty().then_some(()));
    family.assert_gone("a host without a guardian");
    program.signal(Signal::KILL);
    program.end();
}
