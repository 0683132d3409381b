//! The parts that this program plays in its own tests.

use std::{
    io::{BufRead, Write},
    process::{Command as StdCommand, ExitCode},
    sync::Arc,
    time::Duration,
};

use procession::{
    process::{CgroupMode, Command, HeldUntilReaped, Launcher, OsLauncher, Process},
    protocol::{Plugin, Server},
    restart::{Backoff, RestartPolicy},
    rpc::MethodRouter,
    tree::Tree,
    worker::WorkerSpec,
};
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, setsid};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    common::{MARK, me, state, until},
    terminal,
};

pub(crate) fn play(role: &str, args: &[String]) -> ExitCode {
    let arg = |n: usize| args.get(n).map_or("", String::as_str);
    match role {
        "sleeper" => sleeper(arg(0)),
        "parent" => parent(arg(0)),
        "worker" => worker(),
        "slow_worker" => slow_worker(),
        "host" => host(arg(0), arg(1), arg(2).parse().unwrap()),
        "busy_host" => busy_host(arg(0).parse().unwrap()),
        "twin_host" => twin_host(arg(0), arg(1).parse().unwrap()),
        "service" => service(arg(0)),
        "exit" => exit(arg(0).parse().unwrap()),
        "leave_behind" => leave_behind(arg(0)),
        "die" => die(arg(0).parse().unwrap()),
        "signals" => signals(),
        "group" => signals_its_group(),
        "reader" => reader(),
        "orphans" => orphans(),
        "threads" => threads(),
        "twice" => twice(),
        "addressed" => addressed(),
        "comets" => comets(arg(0).parse().unwrap()),
        "comet" => comet(),
        "shell" => terminal::shell(arg(0), arg(1)),
        other => panic!("no such role: {other}"),
    }
}

fn guard() {
    procession::guardian().unwrap();
    println!("host {}", getpid());
}

fn say(what: impl std::fmt::Display) {
    println!("{what}");
    std::io::stdout().flush().unwrap();
}

fn forever() -> ! {
    loop {
        std::thread::park();
    }
}

/// A grandchild: in its parent's group, in a session of its own, or a daemon that its parent has left behind.
fn sleeper(kind: &str) -> ExitCode {
    match kind {
        "plain" => {}
        "session" => drop(setsid().unwrap()),
        "nest" => {
            setsid().unwrap();
            nest(300);
        }
        "daemon" => {
            setsid().unwrap();
            StdCommand::new(me()).args(["role:sleeper", "plain"]).spawn().unwrap();
            return ExitCode::SUCCESS;
        }
        other => panic!("no such kind: {other}"),
    }
    say("ready");
    forever()
}

/// Makes control groups in its own where that is possible, each in the one before, and moves to the last of
/// them.
fn nest(depth: usize) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let Some(mount) = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")) else { return };
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    let Ok(()) = std::env::set_current_dir(format!("{}{own}", mount.split(' ').nth(1).unwrap())) else {
        return;
    };
    for _ in 0..depth {
        let Ok(()) = std::fs::create_dir(".a group that is hidden") else { return };
        std::env::set_current_dir(".a group that is hidden").unwrap();
    }
    std::fs::write("cgroup.procs", "0").unwrap();
    std::env::set_current_dir("/").unwrap();
}

fn parent(kind: &str) -> ExitCode {
    let mut child = StdCommand::new(me()).args(["role:sleeper", kind]).spawn().unwrap();
    if kind == "daemon" {
        child.wait().unwrap();
    }
    forever()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn marked(args: &[&str]) -> Command {
    Command::new(me()).args(args).env(MARK, std::env::var(MARK).unwrap())
}

/// Launches `count` processes, each with a grandchild, and waits to be killed.
fn host(guarded: &str, kind: &str, count: usize) -> ExitCode {
    match guarded {
        "bare" => println!("host {}", getpid()),
        _ => guard(),
    }
    // Without control groups the guardian has to do it alone.
    let mode = if guarded == "guarded_only" { CgroupMode::Never } else { CgroupMode::WhenPossible };
    runtime().block_on(async {
        let launcher = OsLauncher::builder().cgroup(mode).build();
        let one = async || {
            let mut process =
                launcher.launch(&marked(&["role:parent", kind]), HeldUntilReaped::none()).await.unwrap();
            assert_eq!(process.control.containment().guardian, guarded != "bare");
            let mut line = String::new();
            BufReader::new(&mut process.stdout).read_line(&mut line).await.unwrap();
            assert_eq!(line, "ready\n");
            process
        };
        let mut processes: Vec<Process> = Vec::new();
        for _ in 0..count {
            processes.push(one().await);
        }
        say("ready");
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

/// A worker with a daemon that it has left behind.
fn worker() -> ExitCode {
    serve_with_daemon(MethodRouter::new())
}

/// The same with a method that takes its time.
fn slow_worker() -> ExitCode {
    serve_with_daemon(MethodRouter::new().method_value("slow", |_, params| async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        Ok(params.unwrap_or_default())
    }))
}

fn serve_with_daemon(methods: MethodRouter) -> ExitCode {
    StdCommand::new(me())
        .args(["role:sleeper", "daemon"])
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    let serve = Server::new(methods).serve_stdio();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serve).unwrap();
    ExitCode::SUCCESS
}

/// Launches, restarts, stops and kills workers all the time, until it is killed itself.
fn busy_host(seed: usize) -> ExitCode {
    guard();
    runtime().block_on(async {
        const WORKERS: usize = 3;
        let spec = || WorkerSpec::new(marked(&["role:worker"])).protocol(Plugin::default());
        let mut tree = Tree::builder().intensity(1_000_000, Duration::from_secs(1));
        for number in 0..WORKERS {
            tree = tree.worker(number.to_string(), spec());
        }
        let tree = tree.start().await.unwrap();
        for step in seed.. {
            let worker = tree.worker(&format!("/{}", step % WORKERS)).unwrap();
            match (step / WORKERS) % 3 {
                0 => drop(worker.restart("again").await),
                1 => {
                    if let Some(pid) = worker.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
                        let _ = kill_process(pid, Signal::KILL);
                    }
                }
                _ => {
                    let _ = worker.stop().await;
                    let _ = worker.restart("again").await;
                }
            }
        }
    });
    ExitCode::SUCCESS
}

/// Has workers of two incarnations each, all the time: with a spare, a successor, one that leaves
/// with an open call, or one that is failing.
fn twin_host(mode: &str, seed: usize) -> ExitCode {
    guard();
    let mode = if mode == "guarded_only" { CgroupMode::Never } else { CgroupMode::WhenPossible };
    runtime().block_on(async {
        let spec = || {
            WorkerSpec::new(marked(&["role:slow_worker"]))
                .protocol(Plugin::default())
                .restart(RestartPolicy::permanent().with_backoff(Backoff::fixed(Duration::from_millis(1))))
                .launcher(Arc::new(OsLauncher::builder().cgroup(mode).build()))
        };
        let tree = Tree::builder()
            .intensity(1_000_000, Duration::from_secs(1))
            .child(spec().child("0").standby())
            .child(spec().child("1").overlap())
            .start()
            .await
            .unwrap();
        say("ready");
        for step in seed.. {
            let worker = tree.worker(&format!("/{}", step % 2)).unwrap();
            let calling = worker.clone();
            tokio::spawn(async move { calling.call_value("slow", &1, Duration::from_secs(60)).await });
            tokio::time::sleep(Duration::from_millis(1)).await;
            if (step / 2) % 3 == 0 {
                if let Some(pid) = worker.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
                    let _ = kill_process(pid, Signal::KILL);
                }
                let _ = worker.wait_ready(Duration::from_secs(60)).await;
            } else {
                let _ = worker.recycle().await;
            }
        }
    });
    ExitCode::SUCCESS
}

/// Runs until it is told to stop. Its worker takes some time to clean up, and writes a file when it has.
fn service(file: &str) -> ExitCode {
    guard();
    runtime().block_on(async {
        let script = format!(
            "trap 'sleep 0.5; echo done >{file}; exit 0' TERM; echo up >{file}; while :; do sleep 0.05; done"
        );
        let worker = WorkerSpec::new(Command::new("sh").args(["-c", &script]));
        let tree = Tree::builder().worker("worker", worker).start().await.unwrap();
        until("the worker is up", || std::path::Path::new(file).exists().then_some(()));
        let mut run = std::pin::pin!(tree.run_until_signal(Tree::DEFAULT_DEADLINE));
        // The first poll installs the handlers.
        tokio::select! {
            biased;
            _ = &mut run => panic!("the service ended without being told to"),
            () = std::future::ready(()) => say("ready"),
        }
        let _ = run.await.unwrap();
    });
    ExitCode::SUCCESS
}

fn exit(code: u8) -> ExitCode {
    guard();
    ExitCode::from(code)
}

/// Ends in order, and leaves a grandchild behind.
fn leave_behind(kind: &str) -> ExitCode {
    guard();
    let mut child = StdCommand::new(me()).args(["role:sleeper", kind]).spawn().unwrap();
    if kind == "daemon" {
        child.wait().unwrap();
    }
    // Waits until it has reached its group or session; it reports that itself.
    let mut go_on = String::new();
    std::io::stdin().read_line(&mut go_on).unwrap();
    ExitCode::SUCCESS
}

fn die(signal: i32) -> ExitCode {
    guard();
    // SAFETY: no handler is installed. (The standard library ignores or handles some signals.)
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
    }
    kill_process(getpid(), Signal::from_named_raw(signal).unwrap()).unwrap();
    forever()
}

fn block_all() -> libc::sigset_t {
    // SAFETY: sigfillset initialises the set; a null pointer asks for no answer.
    #[allow(unsafe_code)]
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
        all
    }
}

/// Reports each signal, until SIGUSR2.
fn signals() -> ExitCode {
    let all = block_all();
    guard();
    loop {
        // SAFETY: the set is initialised, the answer is zeroed, and its value is only read if the signal
        // was queued with one.
        #[allow(unsafe_code)]
        let (signal, value) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let signal = libc::sigwaitinfo(&all, &mut info);
            let queued = info.si_code == libc::SI_QUEUE;
            (signal, if queued { info.si_value().sival_ptr as usize } else { 0 })
        };
        match (signal, value) {
            (-1 | libc::SIGCHLD, _) => {}
            (libc::SIGUSR2, _) => return ExitCode::SUCCESS,
            (signal, 0) => say(format_args!("signal {signal}")),
            (signal, value) => say(format_args!("signal {signal} with {value}")),
        }
    }
}

/// Signals its own group, as `kill(0, …)` does, when it is told to, and reports what has arrived.
fn signals_its_group() -> ExitCode {
    block_all();
    guard();
    rustix::process::kill_current_process_group(Signal::USR1).unwrap();
    signals()
}

/// Reads lines; from a terminal, once it is in the foreground.
fn reader() -> ExitCode {
    guard();
    let stdin = std::io::stdin();
    if rustix::termios::isatty(&stdin) {
        let foreground = || rustix::termios::tcgetpgrp(&stdin) == Ok(rustix::process::getpgrp());
        until("it is in the foreground", || foreground().then_some(()));
    }
    for line in std::io::stdin().lock().lines() {
        say(format_args!("read {}", line.unwrap()));
    }
    ExitCode::from(7)
}

/// Starts a process, lets it become an orphan that ends, and waits until it has been reaped.
fn orphans() -> ExitCode {
    guard();
    for _ in 0..20 {
        let shell = StdCommand::new("sh").args(["-c", "sleep 0.01 & echo $!"]).output().unwrap();
        let orphan = String::from_utf8(shell.stdout).unwrap().trim().parse().unwrap();
        until("the orphan is reaped", || state(orphan).is_none().then_some(()));
    }
    say("reaped");
    ExitCode::SUCCESS
}

fn threads() -> ExitCode {
    let me = getpid();
    let thread = std::thread::spawn(|| forever());
    say(procession::guardian().unwrap_err());
    drop(thread);
    assert_eq!((getpid(), rustix::process::child_subreaper().unwrap()), (me, None));
    say("unchanged");
    ExitCode::SUCCESS
}

fn twice() -> ExitCode {
    guard();
    let (me, guardian) = (getpid(), getppid());
    guard();
    assert_eq!((getpid(), getppid()), (me, guardian));
    ExitCode::SUCCESS
}

/// Is started by a shell that sets the variables with its process id, as a service manager does.
fn addressed() -> ExitCode {
    procession::guardian().unwrap();
    let is_me = |name| std::env::var(name).unwrap() == getpid().to_string();
    say(format_args!("{} {}", is_me("LISTEN_PID"), is_me("WATCHDOG_PID")));
    ExitCode::SUCCESS
}

/// Starts processes that never stay: each starts its successor and ends.
fn comets(count: usize) -> ExitCode {
    guard();
    for _ in 0..count {
        StdCommand::new(me()).arg("role:comet").spawn().unwrap();
    }
    say("ready");
    forever()
}

fn comet() -> ExitCode {
    let _ = setsid();
    StdCommand::new(me()).arg("role:comet").spawn().unwrap();
    ExitCode::SUCCESS
}
