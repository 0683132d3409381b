//! Signals stop, kill and reload a service (T-4). The service is a real one: this test binary run
//! again.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command as StdCommand, Stdio},
    time::Duration,
};

use procession::{
    process::Command,
    protocol::ReadyLine,
    tree::{HostSignal, SignalPolicy, Tree},
    worker::WorkerSpec,
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const MODE: &str = "PROCESSION_TEST_MODE";

/// The service. Run by the tests below, in a process of its own.
#[test]
#[ignore = "run by another test, as a service of its own"]
fn inner_service() {
    let mode = std::env::var(MODE).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // It has a child of its own, and either says good-bye on SIGTERM or ignores it.
        let trap = if mode == "orderly" { "trap 'echo bye >&2; exit 0' TERM" } else { "trap '' TERM" };
        let script = format!("{trap}; sleep 1000 & echo grandchild $!; while :; do sleep 0.05; done");
        let program = Command::new("sh").args(["-c", &script]);
        let worker = WorkerSpec::new(program).protocol(ReadyLine::new("grandchild"));
        let tree = Tree::builder().worker("w", worker).start().await.unwrap();
        let worker = tree.worker("/w").unwrap();
        let signals = SignalPolicy::from(Tree::DEFAULT_DEADLINE);
        let signals = match mode.as_str() {
            "reloading" => {
                let (tree, count) = (tree.clone(), std::sync::atomic::AtomicU32::new(0));
                signals.reload_on(HostSignal::Hangup, move || {
                    let (tree, number) =
                        (tree.clone(), count.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
                    async move {
                        println!("\nreload {number} begins, ready: {}", tree.ready());
                        match number {
                            1 => panic!("this reload fails"),
                            3 => std::future::pending().await,
                            _ => tokio::time::sleep(Duration::from_millis(200)).await,
                        }
                        println!("\nreload {number} is over");
                    }
                })
            }
            _ => signals,
        };
        let pid = worker.pid().unwrap();
        let mut run = std::pin::pin!(tree.run_until_signal(signals));
        // The first poll installs the handlers; the test sends no signal before it has read the pid.
        tokio::select! {
            biased;
            _ = &mut run => panic!("no signal was sent"),
            () = std::future::ready(()) => println!("\npid {pid}"),
        }
        let exit = run.await.unwrap();
        let tail = worker.diagnostics().worker.unwrap().stderr_tail;
        println!("\nended: {exit}{}", if tail.contains("bye") { ", said good-bye" } else { "" });
    });
}

struct Service {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    worker: Pid,
}

impl Service {
    fn start(mode: &str) -> Service {
        Service::start_ignoring(mode, &[])
    }

    /// With these signals ignored and all others at their default, since a test runner may ignore some.
    fn start_ignoring(mode: &str, ignored: &'static [i32]) -> Service {
        let mut command = StdCommand::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "signals_end_a_service::inner_service", "--nocapture"])
            .env(MODE, mode)
            .stdout(Stdio::piped());
        // SAFETY: `signal` may be called between fork and exec; nothing is allocated.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || {
                for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
                    let action = if ignored.contains(&signal) { libc::SIG_IGN } else { libc::SIG_DFL };
                    libc::signal(signal, action);
                }
                Ok(())
            });
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let pid = lines.find_map(|l| l.unwrap().strip_prefix("pid ").map(str::to_owned)).unwrap();
        Service { child, lines, worker: Pid::from_raw(pid.parse().unwrap()).unwrap() }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The rest of the line that begins with this text.
    fn line(&mut self, begins: &str) -> String {
        self.lines.find_map(|l| l.unwrap().strip_prefix(begins).map(str::to_owned)).unwrap()
    }

    fn end(mut self) -> String {
        let end = self.line("ended: ");
        assert!(self.child.wait().unwrap().success());
        assert!(test_kill_process(self.worker).is_err(), "no process is left");
        assert_eq!(living_members(self.worker.as_raw_nonzero().get()), [0; 0], "its grandchild neither");
        end
    }
}

/// The live members of a process group. (The adopter of an orphan may take some time to reap it.)
fn living_members(group: i32) -> Vec<i32> {
    let stat = |entry: std::fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut fields = stat[stat.rfind(')')? + 2..].split_ascii_whitespace();
        let lives = fields.next()? != "Z";
        (lives && fields.nth(1)?.parse() == Ok(group)).then_some(pid)
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(stat).collect()
}

#[test]
fn each_signal_that_means_stop_stops_in_order() {
    // T-4
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let service = Service::start("orderly");
        service.signal(signal);
        assert_eq!(service.end(), "stopped on request, said good-bye", "{signal:?}");
    }
}

#[test]
fn a_stubborn_process_is_killed_in_the_end() {
    // T-4: SIGTERM, five seconds of grace, SIGKILL
    let service = Service::start("stubborn");
    service.signal(Signal::TERM);
    assert_eq!(service.end(), "stopped on request");
}

#[test]
fn a_second_signal_kills_at_once() {
    // T-4
    for second in [Signal::TERM, Signal::QUIT] {
        let mut service = Service::start("stubborn");
        service.signal(Signal::INT);
        // Signals that come too soon are an echo of the first.
        let began = std::time::Instant::now();
        while service.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed().as_secs() < 5, "it had no time for SIGTERM");
            std::thread::sleep(Duration::from_millis(50));
            service.signal(second);
        }
        assert!(began.elapsed() >= Duration::from_millis(250));
        assert_eq!(service.end(), "stopped on request");
    }
}

#[test]
fn an_echo_of_the_first_signal_is_no_second_one() {
    // T-4: programs that start a host pass on signals that the whole group gets too, as `timeout` does;
    // a service manager may send a hangup after its signal, and so do a closing terminal and its shell.
    for signals in [
        [Signal::TERM, Signal::TERM],
        [Signal::INT, Signal::INT],
        [Signal::INT, Signal::TERM],
        [Signal::TERM, Signal::HUP],
        [Signal::HUP, Signal::HUP],
    ] {
        let service = Service::start("orderly");
        service.signal(signals[0]);
        // Apart, so that they do not arrive as one.
        std::thread::sleep(Duration::from_millis(1));
        service.signal(signals[1]);
        assert_eq!(service.end(), "stopped on request, said good-bye", "{signals:?}");
    }
}

#[test]
fn what_was_ignored_at_the_start_stays_ignored() {
    // T-4: `nohup`, and a background job of a script. An ignored signal is not the first signal either:
    // otherwise the second one would kill the worker.
    let service = Service::start_ignoring("orderly", &[libc::SIGHUP, libc::SIGINT]);
    service.signal(Signal::INT);
    service.signal(Signal::HUP);
    service.signal(Signal::TERM);
    assert_eq!(service.end(), "stopped on request, said good-bye");
}

#[test]
fn a_signal_that_reloads_does_not_stop() {
    // T-4
    let mut service = Service::start("reloading");
    service.signal(Signal::HUP);
    assert_eq!(service.line("reload 0 "), "begins, ready: true");
    // Both arrive during the first reload, and cause one more.
    service.signal(Signal::HUP);
    service.signal(Signal::HUP);
    assert_eq!(service.line("reload "), "0 is over");
    assert_eq!(service.line("reload "), "1 begins, ready: true");
    // It panics, and the next reload runs nevertheless.
    service.signal(Signal::HUP);
    assert_eq!(service.line("reload "), "2 begins, ready: true");
    assert_eq!(service.line("reload "), "2 is over");
    service.signal(Signal::HUP);
    assert_eq!(service.line("reload "), "3 begins, ready: true");
    // It does not end, and a stop does not wait for it.
    service.signal(Signal::TERM);
    service.signal(Signal::INT);
    assert_eq!(service.end(), "stopped on request");
}
