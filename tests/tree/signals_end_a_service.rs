//! T-4, with a real service: this test binary again.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command as StdCommand, Stdio},
};

use procession::{process::Command, tree::Tree, worker::WorkerSpec};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// The service. Run by the tests below, in a process of its own.
#[test]
#[ignore = "run by another test, as a service of its own"]
fn inner_service() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stubborn = Command::new("sh").arg("-c").arg("trap '' TERM; while :; do sleep 1; done");
        let tree = Tree::builder().worker("stubborn", WorkerSpec::new(stubborn)).start().await.unwrap();
        let pid = tree.worker("/stubborn").unwrap().pid().unwrap();
        let mut run = std::pin::pin!(tree.run_until_signal(Tree::DEFAULT_DEADLINE));
        // The first poll installs the handlers; the test sends no signal before it has read the pid.
        tokio::select! {
            biased;
            _ = &mut run => panic!("nobody has said so"),
            () = std::future::ready(()) => println!("\npid {pid}"),
        }
        println!("\nended: {}", run.await.unwrap());
    });
}

struct Service {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    worker: Pid,
}

impl Service {
    fn start() -> Service {
        let mut child = StdCommand::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "signals_end_a_service::inner_service", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let pid = lines.find_map(|l| l.unwrap().strip_prefix("pid ").map(str::to_owned)).unwrap();
        Service { child, lines, worker: Pid::from_raw(pid.parse().unwrap()).unwrap() }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(mut self) -> String {
        let end = self.lines.find_map(|l| l.unwrap().strip_prefix("ended: ").map(str::to_owned)).unwrap();
        assert!(self.child.wait().unwrap().success());
        assert!(test_kill_process(self.worker).is_err(), "no process is left");
        end
    }
}

#[test]
fn sigterm_stops_in_order_and_a_stubborn_process_is_killed_in_the_end() {
    // T-4: SIGTERM, five seconds of grace, SIGKILL
    let service = Service::start();
    service.signal(Signal::TERM);
    assert_eq!(service.end(), "stopped on request");
}

#[test]
fn a_second_signal_kills_at_once() {
    // T-4
    let service = Service::start();
    service.signal(Signal::INT);
    // Whether the second one comes before the first was handled does not matter: both have handlers by now.
    service.signal(Signal::TERM);
    assert_eq!(service.end(), "stopped on request");
}
