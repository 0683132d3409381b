//! Functions that the tests share: launching, reading, and checking the process table.

use std::{
    future::Future,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use procession::{
    exit::Exit,
    process::{
        Command, HeldUntilReaped, KILL_WAIT, Launcher, OsLauncher, Process, SocketsForStdio, Technique,
    },
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// Far longer than any step takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LONG, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long: {what}"),
    }
}

/// Waits for a condition by polling, where no event announces it.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(what, wait).await;
}

/// The variable that selects the technique: everything is tested with the best one, and once more with the
/// other.
pub(crate) const POSIX_SPAWN: &str = "PROCESSION_TEST_POSIX_SPAWN";

pub(crate) fn technique() -> Technique {
    if std::env::var_os(POSIX_SPAWN).is_some() { Technique::PosixSpawn } else { Technique::Auto }
}

/// The variable that forbids sockets: everything is tested with them, and once more with pipes alone.
pub(crate) const NO_SOCKETS: &str = "PROCESSION_TEST_NO_SOCKETS";

pub(crate) fn sockets() -> SocketsForStdio {
    if std::env::var_os(NO_SOCKETS).is_some() { SocketsForStdio::Never } else { SocketsForStdio::Auto }
}

/// Whether a channel is made of sockets: since Linux 6.16 the kernel refuses descriptors that are sent over
/// them.
pub(crate) fn sockets_are_expected() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let numbers: Vec<u32> = release.split(['.', '-']).take(2).map_while(|n| n.parse().ok()).collect();
    sockets() == SocketsForStdio::Auto && numbers >= vec![6, 16]
}

pub(crate) fn launcher() -> OsLauncher {
    OsLauncher::builder().technique(technique()).sockets(sockets()).build()
}

pub(crate) fn sh(script: &str) -> Command {
    Command::new("/bin/sh").args(["-c", script])
}

pub(crate) async fn launch(command: Command) -> Process {
    soon("launch", launcher().launch(&command, HeldUntilReaped::none())).await.expect("launches")
}

pub(crate) async fn refusal(command: Command) -> Exit {
    soon("launch", launcher().launch(&command, HeldUntilReaped::none())).await.expect_err("must not launch")
}

/// Runs to the end, without input, and returns what it wrote to stdout.
pub(crate) async fn output(command: Command) -> Vec<u8> {
    let mut process = launch(command).await;
    tokio::io::AsyncWriteExt::shutdown(&mut process.stdin).await.unwrap();
    let mut out = Vec::new();
    soon("stdout", process.stdout.read_to_end(&mut out)).await.unwrap();
    reaped(&process).await;
    out
}

pub(crate) async fn reaped(process: &Process) -> procession::process::ExitStatus {
    soon("reap", process.control.reap(KILL_WAIT)).await.expect("reaped")
}

/// The first line of stdout, as a number: scripts print a process id this way, and show that they are ready.
pub(crate) async fn number(process: &mut Process) -> i32 {
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(1, &mut process.stdout);
    soon("a line of stdout", reader.read_line(&mut line)).await.unwrap();
    line.trim().parse().unwrap_or_else(|_| panic!("not a number: {line:?}"))
}

/// The state letter of a process, `None` if there is no such process.
pub(crate) fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].chars().next()
}

/// Whether it runs: there is such a process and it is not a zombie.
pub(crate) fn runs(pid: i32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Whether anything is left of a process, even a zombie.
pub(crate) fn exists(pid: u32) -> bool {
    state(pid as i32).is_some()
}

/// A held value, and a function that tells whether it is still held.
pub(crate) fn held_value() -> (HeldUntilReaped, impl Fn() -> bool) {
    struct Held(Arc<AtomicBool>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }
    let held = Arc::new(AtomicBool::new(true));
    let value = Held(Arc::clone(&held));
    (HeldUntilReaped::new(value), move || held.load(Ordering::SeqCst))
}

/// Runs one of this program's ignored tests in a host of its own and returns what it printed. For tests of
/// what belongs to a whole program, such as its descriptors and signals. `prepare` is shell code that runs
/// first.
pub(crate) fn host_of_its_own(prepare: &str, test: &str) -> String {
    let me = std::env::current_exe().unwrap();
    let script = format!("{prepare} exec {} --exact {test} --ignored --nocapture", me.display());
    let host = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
    let out = String::from_utf8_lossy(&host.stdout).into_owned();
    let err = String::from_utf8_lossy(&host.stderr);
    assert!(host.status.success() && out.contains("1 passed"), "{:?}: {out} {err}", host.status);
    out
}

/// Like [`until`], without a runtime.
pub(crate) fn block_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < LONG, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
