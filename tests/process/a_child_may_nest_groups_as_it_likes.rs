//! P-4, P-9, P-10, P-12: a process may make any number of control groups in its own, nested to any depth.
//! Stop, kill and removal still reach all of them, and they cost the threads of the runtime nothing.

use std::{
    ffi::{CStr, CString},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    time::Duration,
};

use procession::process::{
    Command, HeldUntilReaped, Ladder, Launcher, OsLauncher, Process, Rung, Technique, terminate,
};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, chmodat, mkdirat, openat},
    process::Signal,
    thread::ClockId,
    time::clock_gettime,
};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::common::*;

const SHAPE: &str = "PROCESSION_TEST_SHAPE";

/// A process that makes groups in its own and starts a daemon in the last one.
fn nester(shape: &str) -> Command {
    let inner = "a_child_may_nest_groups_as_it_likes::inner_that_nests";
    let args = ["--exact", inner, "--ignored", "--nocapture"];
    Command::new(std::env::current_exe().unwrap()).args(args).env(SHAPE, shape)
}

fn unified() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    Some(PathBuf::from(mount.split(' ').nth(1).unwrap()))
}

fn own() -> Option<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(unified()?.join(own))
}

/// The directory of its group and the process id of its daemon, once all of its groups have been made.
async fn nested(process: &mut Process) -> Option<(PathBuf, i32)> {
    let group = process.control.containment().cgroup?;
    let mut lines = BufReader::new(&mut process.stdout).lines();
    loop {
        let line = soon("a line", lines.next_line()).await.unwrap().expect("it has not said so");
        if let Some((_, daemon)) = line.split_once("daemon: ") {
            return Some((unified()?.join(group.trim_start_matches('/')), daemon.parse().unwrap()));
        }
    }
}

async fn launch_nester(shape: &str) -> Option<(Process, PathBuf, i32)> {
    if technique() == Technique::PosixSpawn {
        return None;
    }
    let mut process =
        soon("launch", OsLauncher::new().launch(&nester(shape), HeldUntilReaped::none())).await.unwrap();
    if process.control.containment().cgroup.is_none() {
        println!("skipped: no control group may be made here");
        return None;
    }
    let (directory, daemon) = nested(&mut process).await?;
    Some((process, directory, daemon))
}

#[test]
#[ignore = "run by another test: the child"]
fn inner_that_nests() {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |at: &dyn std::os::fd::AsFd, name: &CStr| openat(at, name, flags, Mode::empty()).unwrap();
    let top = openat(CWD, own().unwrap(), flags, Mode::empty()).unwrap();
    let mut last = top.try_clone().unwrap();
    let go = |at: std::os::fd::OwnedFd, name: &CStr| {
        mkdirat(&at, name, Mode::from_bits_retain(0o755)).unwrap();
        open(&at, name)
    };
    let shape = std::env::var(SHAPE).unwrap();
    let (kind, count) = shape.split_once(' ').unwrap_or((&shape, "0"));
    let count: usize = count.parse().unwrap();
    match kind {
        "deep" => (0..count).for_each(|_| last = go(last.try_clone().unwrap(), c"one-more-level")),
        "wide" => {
            for number in 0..count {
                let name = CString::new(format!("g{number}")).unwrap();
                mkdirat(&top, &name, Mode::from_bits_retain(0o755)).unwrap();
            }
        }
        // A comb: each tooth has a group in it.
        "comb" => {
            for number in 0..count {
                let name = CString::new(format!("g{number}")).unwrap();
                go(go(top.try_clone().unwrap(), &name), c"tooth");
            }
        }
        "names" => {
            for name in [c".hidden", c"..more", c"...", c"\xff\xfe", c" ", c"*"] {
                last = go(go(top.try_clone().unwrap(), name), name);
            }
        }
        "closed" => {
            last = go(go(last, c"one"), c"two");
        }
        other => panic!("no such shape: {other}"),
    }
    // In a session of its own, and ignoring the signals of a terminal.
    let script = "echo daemon: $$; exec sleep 1000 >/dev/null";
    let procs = openat(&last, "cgroup.procs", OFlags::WRONLY, Mode::empty()).unwrap();
    let mut daemon = std::process::Command::new("setsid");
    daemon.args(["sh", "-c", &format!("echo $$ >&7; exec 7>&-; {script}")]);
    #[allow(unsafe_code)]
    // SAFETY: dup2 may be called between fork and exec.
    unsafe {
        use std::os::fd::AsRawFd;
        let procs = procs.as_raw_fd();
        daemon.pre_exec(
            move || if libc::dup2(procs, 7) < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) },
        );
    }
    #[allow(clippy::zombie_processes)]
    let _ = daemon.spawn().unwrap();
    if kind == "closed" {
        // Takes away all rights that the host needs, as far as the files belong to the same user.
        block_until("the daemon is there", || {
            !std::fs::read(own().unwrap().join("one/two/cgroup.procs")).unwrap().is_empty()
        });
        let one = open(&top, c"one");
        for (at, name) in [(&one, c"two"), (&top, c"one")] {
            chmodat(at, name, Mode::empty(), AtFlags::empty()).unwrap();
        }
        for name in [c"cgroup.procs", c"cgroup.events", c"cgroup.kill", c"cgroup.stat"] {
            chmodat(&top, name, Mode::empty(), AtFlags::empty()).unwrap();
        }
        chmodat(CWD, own().unwrap(), Mode::empty(), AtFlags::empty()).unwrap();
    }
    loop {
        std::thread::park();
    }
}

#[test]
fn a_nest_takes_neither_stack_nor_descriptors() {
    // P-4, P-10
    host_of_its_own("ulimit -n 1024;", "a_child_may_nest_groups_as_it_likes::inner_deep");
}

#[test]
#[ignore = "run by another test, in a host of its own"]
fn inner_deep() {
    // Deeper than there are descriptors, with a path of five times the length that the kernel accepts.
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime().block_on(async {
        let Some((process, directory, daemon)) = launch_nester("deep 1400").await else { return };
        let ladder = Ladder { drain: Duration::ZERO, term_grace: LONG, kill_wait: LONG };
        let ended = soon("stop", terminate(&*process.control, &ladder, None)).await.unwrap();
        assert_eq!(ended.rung, Rung::Term, "those in inner groups are asked too");
        assert!(!runs(daemon) && !directory.exists());
    });
    // On the small stack of the reaper thread.
    let runtime = runtime();
    let Some((process, directory, daemon)) = runtime.block_on(launch_nester("deep 1400")) else { return };
    drop((runtime, process));
    block_until("all is gone", || !runs(daemon) && !directory.exists());
}

#[tokio::test]
async fn names_need_not_be_text_nor_visible() {
    // P-4
    let Some((process, directory, daemon)) = launch_nester("names").await else { return };
    assert!(directory.join(".hidden/.hidden").is_dir());
    reaped(&process).await;
    assert!(!runs(daemon) && !directory.exists());
}

/// Processor time of this thread, including the kernel's work for it.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// The processor time that a runtime's thread may spend on the end of one process, whatever that process
/// has made.
const LITTLE: Duration = Duration::from_millis(100);

#[tokio::test]
async fn thousands_of_groups_cost_the_runtime_nothing() {
    // P-10
    for shape in ["wide 12000", "comb 6000"] {
        let Some((process, directory, daemon)) = launch_nester(shape).await else { return };
        let before = used();
        process.control.signal(Signal::KILL).unwrap();
        reaped(&process).await;
        let used = used() - before;
        assert!(used < LITTLE, "{used:?} for {shape}");
        assert!(!runs(daemon));
        until("the groups are gone", || !directory.exists()).await;
    }
}

#[tokio::test]
async fn nor_do_hundreds_of_members_that_are_signalled() {
    // P-9
    if technique() == Technique::PosixSpawn {
        return;
    }
    const MEMBERS: usize = 700;
    let script = format!(
        "i=0; while [ $i -lt {MEMBERS} ]; do setsid sleep 1000 </dev/null >/dev/null & i=$((i+1)); done; echo 1; wait"
    );
    let mut process =
        soon("launch", OsLauncher::new().launch(&sh(&script), HeldUntilReaped::none())).await.unwrap();
    let Some(group) = process.control.containment().cgroup else { return };
    number(&mut process).await;
    let members = unified().unwrap().join(group.trim_start_matches('/')).join("cgroup.procs");
    let count = || std::fs::read_to_string(&members).unwrap_or_default().lines().count();
    until("all have left the group", || count() == 1 + MEMBERS && !shares_group(&members, process.pid)).await;
    let before = used();
    let ladder = Ladder { drain: Duration::ZERO, term_grace: LONG, kill_wait: LONG };
    let ended = soon("stop", terminate(&*process.control, &ladder, None)).await.unwrap();
    let used = used() - before;
    assert_eq!(ended.rung, Rung::Term, "each has got its signal");
    assert!(used < LITTLE, "{used:?}");
}

/// Whether any process on the list is still in the process group of a leader.
fn shares_group(members: &Path, leader: u32) -> bool {
    let list = std::fs::read_to_string(members).unwrap_or_default();
    let group = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat[stat.rfind(')')? + 2..].split(' ').nth(2)?.parse::<u32>().ok()
    };
    list.lines().filter(|pid| **pid != leader.to_string()).any(|pid| group(pid) == Some(leader))
}

/// A group that is delegated to a user without privileges. Removed at the end.
struct Delegated(PathBuf);

const NOBODY: u32 = 65534;

impl Delegated {
    fn new(name: &str) -> Option<Delegated> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let group = own()?.join(format!("test-{name}-{}", std::process::id()));
        std::fs::create_dir(&group).ok()?;
        let group = Delegated(group);
        for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            std::os::unix::fs::chown(group.0.join(file), Some(NOBODY), Some(NOBODY)).ok()?;
        }
        Some(group)
    }

    /// Runs one of this program's ignored tests as that user in the group. Returns whether it could be run.
    fn run(&self, test: &str) -> bool {
        let procs = CString::new(self.0.join("cgroup.procs").to_str().unwrap()).unwrap();
        let mut host = std::process::Command::new(std::env::current_exe().unwrap());
        host.args(["--exact", test, "--ignored", "--nocapture"]).current_dir("/");
        // SAFETY: only system calls.
        #[allow(unsafe_code)]
        unsafe {
            host.pre_exec(move || {
                let file = libc::open(procs.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                let done = libc::write(file, c"0".as_ptr().cast(), 1) == 1
                    && libc::setgroups(0, std::ptr::null()) == 0
                    && libc::setgid(NOBODY) == 0
                    && libc::setuid(NOBODY) == 0;
                if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            });
        }
        let Ok(host) = host.output() else { return false };
        let out = String::from_utf8_lossy(&host.stdout);
        let err = String::from_utf8_lossy(&host.stderr);
        assert!(host.status.success() && out.contains("1 passed"), "{:?}: {out} {err}", host.status);
        true
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        block_until("the group is empty", || {
            std::fs::read_to_string(self.0.join("cgroup.events")).is_ok_and(|e| e.contains("populated 0"))
        });
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn all_the_same_without_rights_in_a_delegated_group() {
    // P-4, P-12
    if technique() == Technique::PosixSpawn {
        return;
    }
    let Some(group) = Delegated::new("delegated") else {
        println!("skipped: no control group can be delegated here");
        return;
    };
    if !group.run("a_child_may_nest_groups_as_it_likes::inner_without_rights") {
        println!("skipped: the program cannot be run by another user");
        return;
    }
    // The first launch of the next host removes what is left of a host that was killed.
    assert!(group.run("a_child_may_nest_groups_as_it_likes::inner_that_is_killed"));
    let left = || std::fs::read_dir(&group.0).unwrap().flatten().filter(|e| e.path().is_dir()).count();
    assert_eq!(left(), 1);
    assert!(group.run("a_child_may_nest_groups_as_it_likes::inner_that_clears"));
    assert_eq!(left(), 0);
}

#[test]
#[ignore = "run by another test, in a host of its own"]
fn inner_without_rights() {
    assert!(!rustix::process::geteuid().is_root());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for shape in ["deep 400", "names", "comb 200", "closed"] {
            let Some((process, directory, daemon)) = launch_nester(shape).await else {
                panic!("there are no groups");
            };
            reaped(&process).await;
            assert!(!runs(daemon), "{shape}");
            assert!(!directory.exists(), "{shape}");
        }
    });
}

#[test]
#[ignore = "run by another test, in a host of its own"]
fn inner_that_is_killed() {
    // A host that leaves two nested groups behind, with the processes in them.
    let me = std::env::current_exe().unwrap();
    let inner = "a_child_may_nest_groups_as_it_likes::inner_that_leaves";
    let mut host = std::process::Command::new(me)
        .args(["--exact", inner, "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(host.stdout.take().unwrap()));
    let nested = lines.map_while(Result::ok).any(|line| line.contains("nested"));
    host.kill().unwrap();
    host.wait().unwrap();
    assert!(nested);
}

#[test]
#[ignore = "run by another test, in a host of its own"]
fn inner_that_leaves() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let _all = [launch_nester("deep 400").await.unwrap(), launch_nester("closed").await.unwrap()];
        println!("nested");
        std::future::pending::<()>().await;
    });
}

#[test]
#[ignore = "run by another test, in a host of its own"]
fn inner_that_clears() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // Independent of the technique of the other tests, because one of the two has no groups.
        let process =
            soon("launch", OsLauncher::new().launch(&sh("exit 0"), HeldUntilReaped::none())).await.unwrap();
        let groups =
            || std::fs::read_dir(own().unwrap()).unwrap().flatten().filter(|e| e.path().is_dir()).count();
        until("what was left is gone", || groups() == 1).await;
        reaped(&process).await;
    });
}
