//! P-4, P-8, P-9, P-10: without a control group, processes that have left the group but not the session are
//! swept too.

use std::{os::unix::process::CommandExt, time::Duration};

use procession::process::{
    CgroupMode, Command, ExitStatus, HeldUntilReaped, KILL_WAIT, Ladder, Launcher, OsLauncher, Process, Rung,
    terminate,
};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::common::*;

const KIND: &str = "PROCESSION_TEST_KIND";

/// A process whose child has left its group but not its session, as a debugger's debuggee or a job of a
/// shell has.
fn debugger(kind: &str) -> Command {
    let args = ["--exact", "the_session_is_swept::inner_debugger", "--ignored", "--nocapture"];
    Command::new(std::env::current_exe().unwrap()).args(args).env(KIND, kind)
}

#[test]
#[ignore = "run by another test: the leader"]
#[allow(clippy::zombie_processes)] // The host's sweep ends it.
fn inner_debugger() {
    let kind = std::env::var(KIND).unwrap();
    if kind == "headless" {
        println!("debuggee: {}", headless());
        wait_for_a_line();
    }
    let script = match kind.as_str() {
        // The child's own child is an orphan in yet another group.
        "chain" => "trap '' TERM; (sh -c 'echo debuggee: $$; exec sleep 1000 >/dev/null' & wait) & exit 0",
        "deaf" => "trap '' TERM; echo debuggee: $$; while :; do sleep 1000; done >/dev/null",
        _ => "echo debuggee: $$; exec sleep 1000 >/dev/null",
    };
    let mut debuggee =
        std::process::Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap();
    if kind == "chain" {
        debuggee.wait().unwrap();
    }
    wait_for_a_line();
}

fn wait_for_a_line() -> ! {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    // SAFETY: ends the process at once.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(5)
    }
}

/// A child in a group of its own whose main thread has ended while another one runs. The process table
/// calls it a zombie.
fn headless() -> i32 {
    extern "C" fn run(_: *mut libc::c_void) -> *mut libc::c_void {
        loop {
            // SAFETY: waits for a signal.
            #[allow(unsafe_code)]
            unsafe {
                libc::pause();
            }
        }
    }
    // SAFETY: the child only calls the C library, which can make a thread after a fork, and never returns.
    #[allow(unsafe_code)]
    let child = unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::setpgid(0, 0);
            for fd in 0..3 {
                libc::close(fd);
            }
            let mut thread = std::mem::zeroed();
            libc::pthread_create(&mut thread, std::ptr::null(), run, std::ptr::null_mut());
            libc::syscall(libc::SYS_exit, 0);
        }
        child
    };
    while runs(child) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

/// Whether any of its threads runs.
fn runs_in_part(pid: i32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    })
}

/// Launches it without a control group, which would sweep the session too.
async fn launch_debugger(kind: &str, held_until_reaped: HeldUntilReaped) -> (Process, i32) {
    let launcher = OsLauncher::builder().technique(technique()).cgroup(CgroupMode::Never).build();
    let mut process = soon("launch", launcher.launch(&debugger(kind), held_until_reaped)).await.unwrap();
    let mut lines = BufReader::new(&mut process.stdout).lines();
    loop {
        let line = soon("a line", lines.next_line()).await.unwrap().expect("it has not said so");
        if let Some((_, pid)) = line.split_once("debuggee: ") {
            let pid = pid.trim().parse().unwrap();
            return (process, pid);
        }
    }
}

#[tokio::test]
async fn by_a_reap() {
    // P-4, P-8
    for kind in ["plain", "deaf", "chain"] {
        let (held_until_reaped, held) = held_value();
        let (process, debuggee) = launch_debugger(kind, held_until_reaped).await;
        drop(process.stdin);
        assert_eq!(soon("exit", process.control.exited()).await, ExitStatus::code(5));
        assert!(runs(debuggee), "{kind}");
        assert_eq!(soon("reap", process.control.reap(KILL_WAIT)).await, Ok(ExitStatus::code(5)));
        assert!(!runs(debuggee) && !held() && !exists(process.pid), "{kind}: gone when the reap returns");
    }
}

#[tokio::test]
async fn also_without_its_main_thread() {
    // P-4: by a reap, and by a stop, which asks it to end first
    let (process, debuggee) = launch_debugger("headless", HeldUntilReaped::none()).await;
    assert!(runs_in_part(debuggee) && !runs(debuggee), "the premise");
    drop(process.stdin);
    assert_eq!(soon("exit", process.control.exited()).await, ExitStatus::code(5));
    assert!(runs_in_part(debuggee));
    assert_eq!(soon("reap", process.control.reap(KILL_WAIT)).await, Ok(ExitStatus::code(5)));
    assert!(!runs_in_part(debuggee), "gone when the reap returns");

    let (process, debuggee) = launch_debugger("headless", HeldUntilReaped::none()).await;
    let ladder = Ladder { drain: Duration::ZERO, term_grace: LONG, kill_wait: LONG };
    let ended = soon("stop", terminate(&*process.control, &ladder, None)).await.unwrap();
    assert_eq!(ended.rung, Rung::Term);
    assert!(!runs_in_part(debuggee));
}

#[tokio::test]
async fn by_a_drop() {
    // P-10
    let (held_until_reaped, held) = held_value();
    let (process, debuggee) = launch_debugger("deaf", held_until_reaped).await;
    drop(process);
    until("the held value is released", || !held()).await;
    assert!(!runs(debuggee), "released only when all is gone");
}

#[tokio::test]
async fn by_a_stop_which_asks_it_to_end() {
    // P-9
    for (kind, rung) in [("plain", Rung::Term), ("deaf", Rung::Kill)] {
        let (process, debuggee) = launch_debugger(kind, HeldUntilReaped::none()).await;
        let term_grace = if rung == Rung::Term { LONG } else { Duration::from_millis(300) };
        let ladder = Ladder { drain: Duration::ZERO, term_grace, kill_wait: LONG };
        let ended = soon("stop", terminate(&*process.control, &ladder, None)).await.unwrap();
        assert_eq!(ended.rung, rung);
        assert!(!runs(debuggee));
    }
}

#[tokio::test]
async fn behind_the_successor_of_a_crash() {
    // P-4: at the end, the leader has been reaped long before.
    for kind in ["plain", "deaf", "chain"] {
        let ((held_until_reaped, held), (held_until_swept, sweep_held)) = (held_value(), held_value());
        let (process, debuggee) = launch_debugger(kind, held_until_reaped).await;
        drop(process.stdin);
        soon("exit", process.control.exited()).await;
        let reaped_status = soon("reap", process.control.reap_after_exit(KILL_WAIT, held_until_swept)).await;
        assert_eq!(reaped_status, Ok(ExitStatus::code(5)));
        assert!(!held() && !exists(process.pid));
        until("it is swept", || !sweep_held()).await;
        assert!(!runs(debuggee), "{kind}: gone when the value held until the sweep is released");
    }
}

#[tokio::test]
async fn and_no_other_session() {
    // P-4: neither the host's session nor one that a process has left.
    let mut other = std::process::Command::new("sleep");
    let mut own = other.arg("1000").process_group(0).spawn().unwrap();
    let script = "(setsid sh -c 'echo $$; exec sleep 1000 >/dev/null' </dev/null &); read line";
    let launcher = OsLauncher::builder().technique(technique()).cgroup(CgroupMode::Never).build();
    let mut process = soon("launch", launcher.launch(&sh(script), HeldUntilReaped::none())).await.unwrap();
    let daemon = number(&mut process).await;
    reaped(&process).await;
    assert!(runs(daemon) && runs(own.id().cast_signed()));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(daemon).unwrap(),
        procession::process::Signal::KILL,
    )
    .unwrap();
    own.kill().unwrap();
    own.wait().unwrap();
}

#[test]
fn a_successor_waits_for_no_scan() {
    // P-4: the process table cannot even be read.
    host_of_its_own("", "the_session_is_swept::inner_without_process_table");
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_without_process_table() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let ((held_until_reaped, held), (held_until_swept, sweep_held)) = (held_value(), held_value());
    let (process, debuggee) = launch_debugger("deaf", held_until_reaped).await;
    process.control.signal(procession::process::Signal::KILL).unwrap();
    soon("exit", process.control.exited()).await;
    let full = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..full }).unwrap();
    let reaped_status = soon("reap", process.control.reap_after_exit(KILL_WAIT, held_until_swept)).await;
    let (alive, sweep_held_before, held) = (runs_without_process_table(debuggee), sweep_held(), held());
    setrlimit(Resource::Nofile, full).unwrap();
    assert_eq!(reaped_status, Ok(ExitStatus::signal(9, false)));
    assert!(alive && sweep_held_before && !held);
    until("it is swept", || !sweep_held()).await;
    assert!(!runs(debuggee));
}

fn runs_without_process_table(pid: i32) -> bool {
    rustix::process::test_kill_process(rustix::process::Pid::from_raw(pid).unwrap()).is_ok()
}

#[test]
fn a_stop_needs_no_new_thread() {
    // P-9: at the limit of processes no thread can be started. The limit does not bind root.
    if !rustix::process::geteuid().is_root() || technique() != procession::process::Technique::Auto {
        return;
    }
    // A user of its own, because all processes of a user count.
    const USER: u32 = 64_123;
    let mut host = std::process::Command::new(std::env::current_exe().unwrap());
    host.args(["--exact", "the_session_is_swept::inner_at_the_limit", "--ignored", "--nocapture"]);
    let Ok(host) = host.uid(USER).gid(USER).current_dir("/").output() else {
        println!("skipped: the program cannot be run by another user");
        return;
    };
    let (out, err) = (String::from_utf8_lossy(&host.stdout), String::from_utf8_lossy(&host.stderr));
    assert!(host.status.success() && out.contains("1 passed"), "{:?}: {out} {err}", host.status);
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_at_the_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let launcher = OsLauncher::builder().cgroup(CgroupMode::Never).build();
    let process = soon("launch", launcher.launch(&sh("read line"), HeldUntilReaped::none())).await.unwrap();
    let full = getrlimit(Resource::Nproc);
    setrlimit(Resource::Nproc, Rlimit { current: Some(1), ..full }).unwrap();
    assert!(std::thread::Builder::new().spawn(|| {}).is_err(), "there are threads");
    let ladder = Ladder { drain: Duration::ZERO, term_grace: LONG, kill_wait: LONG };
    let ended = soon("stop", terminate(&*process.control, &ladder, None)).await.unwrap();
    assert_eq!(ended.rung, Rung::Term);
}
