//! P-7: a host that adopts orphans reaps those that belonged to its processes, and no other child.

use std::time::Duration;

use procession::process::{
    AdoptedOrphansToReap, CgroupMode, ExitStatus, HeldUntilReaped, KILL_WAIT, Launcher, OsLauncher,
};

use crate::common::*;

/// Makes this program a subreaper, which adopts orphans as process 1 of a container does.
fn adopt() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
}

/// The zombies among the children of this program.
fn zombies() -> Vec<i32> {
    let me = std::process::id().to_string();
    let is_ours = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut fields = stat[stat.rfind(')').map_or(0, |end| end + 1)..].split_ascii_whitespace();
        fields.next() == Some("Z") && fields.next() == Some(&*me)
    };
    let names = std::fs::read_dir("/proc").unwrap().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
}

fn launchers() -> [OsLauncher; 2] {
    [CgroupMode::WhenPossible, CgroupMode::Never]
        .map(|mode| OsLauncher::builder().technique(technique()).cgroup(mode).build())
}

/// Leaves four orphans: two that end by themselves, one that has to be killed, and one in a session of its
/// own.
const LEAVES: &str = "(sleep 0.01 & sleep 0.01 & sleep 1000 & setsid sleep 0.01 &)";

#[test]
fn after_each_end_and_while_a_process_lives() {
    // P-7
    host_of_its_own("", "orphans_are_reaped_if_they_were_ours::inner_that_adopts");
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_that_adopts() {
    adopt();
    // The statuses of the host's own children are left alone, even if they have sessions of their own.
    let mut own = std::process::Command::new("setsid").args(["sh", "-c", "exit 7"]).spawn().unwrap();
    let own_pid = own.id().cast_signed();
    until("it has ended", || zombies() == [own_pid]).await;
    for launcher in launchers() {
        let mut held = false;
        for stop in [false, true] {
            for _ in 0..5 {
                let script = format!("{LEAVES}; sleep 0.05; exit 3");
                let process =
                    soon("launch", launcher.launch(&sh(&script), HeldUntilReaped::none())).await.unwrap();
                held = process.control.containment().cgroup.is_some();
                assert_eq!(soon("exit", process.control.exited()).await, ExitStatus::code(3));
                let ended = match stop {
                    true => soon("reap", process.control.reap(KILL_WAIT)).await,
                    false => {
                        soon("burial", process.control.reap_after_exit(KILL_WAIT, HeldUntilReaped::none()))
                            .await
                    }
                };
                assert_eq!(ended, Ok(ExitStatus::code(3)));
            }
            // Without a control group, an orphan that has left the session is not known to be ours.
            let is_ours = |pid: &i32| *pid != own_pid && (held || !has_left(*pid));
            until("they are reaped", || !zombies().iter().any(is_ours)).await;
        }
        let script = "(sleep 1000 >/dev/null 2>&1 & echo $!); read line";
        let mut lives = soon("launch", launcher.launch(&sh(script), HeldUntilReaped::none())).await.unwrap();
        let orphan = number(&mut lives).await;
        kill(orphan);
        until("it is reaped while the process lives", || state(orphan).is_none()).await;
        reaped(&lives).await;
    }
    assert_eq!(own.wait().unwrap().code(), Some(7));
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, procession::process::Signal::KILL).unwrap();
}

fn session(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].split(' ').nth(3)?.parse().ok()
}

/// Whether it leads a session of its own.
fn has_left(pid: i32) -> bool {
    session(pid) == Some(pid)
}

#[test]
fn and_all_of_them_if_the_program_asks_for_it() {
    // P-7
    host_of_its_own("", "orphans_are_reaped_if_they_were_ours::inner_that_reaps_all");
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_that_reaps_all() {
    adopt();
    let script = "setsid sleep 1000 >/dev/null 2>&1 & echo $!";
    let output = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
    let stranger = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    kill(stranger);
    until("it has ended", || zombies().contains(&stranger)).await;
    let one = async || {
        let process = launch(sh("exit 4")).await;
        assert_eq!(soon("exit", process.control.exited()).await, ExitStatus::code(4));
        assert_eq!(reaped(&process).await, ExitStatus::code(4), "the status of ours is ours");
    };
    one().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(zombies().contains(&stranger), "it is not one of ours");
    let _launcher = OsLauncher::builder().reap_adopted(AdoptedOrphansToReap::All).build();
    for _ in 0..20 {
        one().await;
    }
    until("it is reaped", || zombies().is_empty()).await;
}
