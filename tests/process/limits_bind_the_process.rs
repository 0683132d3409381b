//! P-6: limits bind the process and not the host. W-4: what a process uses can be read until it is reaped.

use procession::{
    exit::{Exit, LaunchStage},
    process::{
        CgroupMode, Command, ExitStatus, ExitStatusKind, HeldUntilReaped, Launcher, Limits, OsLauncher,
        Signal, SuccessExitStatus, Technique,
    },
};
use rustix::io::Errno;

use crate::common::*;

/// `posix_spawn` cannot set limits; another test checks that it reports this.
fn not_here() -> bool {
    technique() == Technique::PosixSpawn
}

async fn text(command: Command) -> String {
    String::from_utf8(output(command).await).unwrap()
}

#[tokio::test]
async fn they_are_seen_from_inside_and_not_by_the_host() {
    // P-6
    if not_here() {
        return;
    }
    let own = || {
        let own =
            ["limits", "oom_score_adj"].map(|f| std::fs::read_to_string(format!("/proc/self/{f}")).unwrap());
        (own, rustix::process::getpriority_process(None).unwrap())
    };
    let before = own();
    let limits = Limits {
        address_space: Some(1 << 32),
        open_files: Some(77),
        cpu_seconds: Some(100),
        core_size: Some(0),
        processes: Some(12_345),
        nice: Some(5),
        oom_score_adj: Some(321),
        no_new_privileges: true,
    };
    let of = |file: &str| text(Command::new("cat").arg(file).limits(limits.clone()));
    let seen = of("/proc/self/limits").await;
    for (name, soft, hard) in [
        ("Max address space", "4294967296", "4294967296"),
        ("Max open files", "77", "77"),
        ("Max cpu time", "100", "101"),
        ("Max core file size", "0", "0"),
        ("Max processes", "12345", "12345"),
    ] {
        let line = seen.lines().find(|line| line.starts_with(name)).unwrap();
        let values: Vec<_> = line[name.len()..].split_whitespace().take(2).collect();
        assert_eq!(values, [soft, hard], "{name}");
    }
    assert_eq!(of("/proc/self/oom_score_adj").await, "321\n");
    assert!(of("/proc/self/status").await.contains("NoNewPrivs:\t1\n"));
    let stat = of("/proc/self/stat").await;
    assert_eq!(stat.split_whitespace().nth(18), Some("5"));
    assert_eq!(own(), before);
}

#[tokio::test]
async fn without_limits_the_process_has_the_hosts() {
    // P-6
    let own = std::fs::read_to_string("/proc/self/limits").unwrap();
    assert_eq!(text(Command::new("cat").arg("/proc/self/limits")).await, own);
}

#[tokio::test]
async fn a_process_that_uses_up_its_processor_time_has_exceeded_a_limit() {
    // P-6, R-1
    if not_here() {
        return;
    }
    let limits = Limits { cpu_seconds: Some(1), core_size: Some(0), ..Limits::default() };
    for (script, signal) in [("", Signal::XCPU), ("trap '' XCPU;", Signal::KILL)] {
        let process = launch(sh(&format!("{script} while :; do :; done")).limits(limits.clone())).await;
        let exited = soon("exit", process.control.exited()).await;
        assert_eq!(exited.status, ExitStatusKind::Limit { which: "cpu_seconds", signal: signal.as_raw() });
        let exit = exited.exit(&SuccessExitStatus::default());
        assert_eq!(exit, Exit::LimitExceeded { which: "cpu_seconds".into() });
        assert_eq!(reaped(&process).await, exited);
    }
}

#[tokio::test]
async fn a_process_that_is_killed_before_that_has_not() {
    // P-6, R-1
    if not_here() {
        return;
    }
    let limits = Limits { cpu_seconds: Some(100), core_size: Some(0), ..Limits::default() };
    for signal in [Signal::XCPU, Signal::KILL] {
        let script = format!("kill -{} $$", signal.as_raw());
        let process = launch(sh(&script).limits(limits.clone())).await;
        assert_eq!(soon("exit", process.control.exited()).await, ExitStatus::signal(signal.as_raw(), false));
        reaped(&process).await;
    }
}

#[tokio::test]
async fn a_limit_that_cannot_be_applied_is_a_failed_launch_with_its_name() {
    // P-6, R-6
    if not_here() {
        return;
    }
    // More than the kernel allows any process.
    let too_many = Limits { open_files: Some(1 << 40), ..Limits::default() };
    let impossible = Limits { nice: Some(99), ..Limits::default() };
    for (limits, name, expected) in
        [(too_many, "open_files", Errno::PERM), (impossible, "nice", Errno::INVAL)]
    {
        match refusal(sh("exit 0").limits(limits)).await {
            Exit::NeverStarted { errno, stage, reason } => {
                assert_eq!((errno, stage), (Some(expected.raw_os_error()), LaunchStage::Command));
                assert!(reason.contains(name), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_a_process_uses_is_known_until_it_is_reaped() {
    // W-4
    let mut process = launch(sh("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo 1; read x")).await;
    number(&mut process).await;
    let probe = process.control.usage_probe().unwrap();
    let usage = probe.read().unwrap();
    assert!(usage.rss_bytes > 100_000 && !usage.cpu_time.is_zero(), "{usage:?}");
    assert!(probe.read_group_rss().unwrap() > 100_000);
    reaped(&process).await;
    assert_eq!((probe.read(), probe.read_group_rss()), (None, None));
    // W-5: a child of its own counts as well, with control groups and without.
    for mode in [CgroupMode::WhenPossible, CgroupMode::Never] {
        let launcher = OsLauncher::builder().technique(technique()).cgroup(mode).build();
        let family = sh("sleep 1000 & echo 1; read x");
        let mut family = launcher.launch(&family, HeldUntilReaped::none()).await.unwrap();
        number(&mut family).await;
        let probe = family.control.usage_probe().unwrap();
        // A process that has just been created may have no memory yet, and without control groups the
        // members may be those of some seconds ago.
        until("its child counts", || {
            let (own, both) = (probe.read().unwrap().rss_bytes, probe.read_group_rss().unwrap());
            both > own
        })
        .await;
        reaped(&family).await;
    }
}

#[test]
fn what_takes_privileges_is_known_before_the_launch() {
    // P-6: runs in a host of its own, which drops its privileges.
    if !not_here() {
        host_of_its_own("ulimit -n 256;", "limits_bind_the_process::inner_without_privileges");
    }
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_without_privileges() {
    use procession::process::Launcher;
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    // The privileges of this thread, which starts the launch thread.
    let mut own = capabilities(None).unwrap();
    own.effective.remove(CapabilitySet::SYS_RESOURCE | CapabilitySet::SYS_NICE);
    set_capabilities(None, own).unwrap();
    let own = rustix::process::getpriority_process(None).unwrap();
    for (limits, field) in [
        (Limits { open_files: Some(257), ..Limits::default() }, Some("limits.open_files")),
        (Limits { nice: Some(own - 1), ..Limits::default() }, Some("limits.nice")),
        (Limits { open_files: Some(256), nice: Some(own), ..Limits::default() }, None),
    ] {
        let command = sh("exit 0").limits(limits);
        let fields: Vec<String> =
            launcher().mistakes(&command).into_iter().map(|mistake| mistake.field).collect();
        assert_eq!(fields.first().map(String::as_str), field);
        // The launch fails as the check predicted.
        assert_eq!(
            launcher().launch(&command, procession::process::HeldUntilReaped::none()).await.is_err(),
            field.is_some()
        );
    }
}
