//! If a service manager signals the workers together with their host, and the host receives the signal
//! last, no worker counts as crashed (R-1, R-2, E-3).

use std::sync::Arc;

use procession::internals::{Root, RootOptions};
use procession::{
    event::EventKind,
    process::{Command, Signal},
    protocol::ReadyLine,
    restart::{Backoff, RestartPolicy},
    state::{ChildState, SecondIncarnationRole},
    supervision::{ChildSpec, EventReceiver, SupervisorSpec},
    testing::{ScriptExit, ScriptedLauncher},
    worker::{WorkerRef, WorkerSpec},
};
use tokio::time::Instant;

use crate::support::*;

/// A program that ends like this on `SIGUSR1`, after it has written a line.
fn obedient(launcher: &ScriptedLauncher, ending: ScriptExit) {
    launcher.program("worker", move |mut me| async move {
        let mut told = me.on_signal(Signal::USR1);
        let _ = me.write_line("up").await;
        told.next().await;
        ending
    });
}

fn spec(launcher: &ScriptedLauncher) -> WorkerSpec {
    let launcher = Arc::new(launcher.clone());
    WorkerSpec::new(Command::new("worker")).protocol(ReadyLine::new("up")).launcher(launcher)
}

fn tell(launcher: &ScriptedLauncher) {
    for pid in launcher.alive() {
        launcher.kill(pid, Signal::USR1).unwrap();
    }
}

async fn start(spec: SupervisorSpec) -> Root {
    Root::start(spec, RootOptions::default()).await.unwrap()
}

fn crashes(events: &mut EventReceiver) -> Vec<String> {
    std::iter::from_fn(|| events.try_next().ok().flatten())
        .filter(|e| e.is_crash())
        .map(|e| e.to_string())
        .collect()
}

const ENDINGS: [ScriptExit; 9] = [
    ScriptExit::Code(0),
    ScriptExit::Code(1),
    ScriptExit::Code(143),
    // Other reactions of programs: 128 + SIGINT, a code of their own, the default actions.
    ScriptExit::Code(130),
    ScriptExit::Code(2),
    ScriptExit::Signal(Signal::TERM),
    ScriptExit::Signal(Signal::HUP),
    ScriptExit::Signal(Signal::QUIT),
    // It wrote to a sibling that had been stopped before it.
    ScriptExit::Signal(Signal::PIPE),
];

#[tokio::test(start_paused = true)]
async fn also_with_a_spare() {
    // R-1, W-6: the spare has taken the place of a process whose end is still to be judged.
    for ending in ENDINGS {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", move |mut me| async move {
            let mut told = me.on_signal(Signal::USR1);
            shake_hands(&mut me).await;
            told.next().await;
            ending
        });
        let root = start(SupervisorSpec::one_for_one().child(plugin(&launcher).child("w").standby())).await;
        tokio::time::sleep(SEC).await;
        let mut events = root.events();
        launcher.kill(launcher.alive()[0], Signal::USR1).unwrap();
        tokio::time::sleep(30 * MS).await;
        let second = root.find("/w").unwrap().snapshot().second.unwrap();
        assert_eq!(second.role, SecondIncarnationRole::Failing, "{ending:?}");
        let began = Instant::now();
        let exit = root.shutdown(600 * SEC).await;
        assert!(began.elapsed() < 60 * SEC, "{ending:?}: {:?}", began.elapsed());
        assert_eq!(exit.into_result(), Ok(()), "{ending:?}");
        assert_eq!(crashes(&mut events), [""; 0], "{ending:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn however_its_workers_answer_the_signal() {
    // R-1, E-3
    let strategies = [SupervisorSpec::one_for_one, SupervisorSpec::one_for_all, SupervisorSpec::rest_for_one];
    for ending in ENDINGS {
        for strategy in strategies {
            let launcher = ScriptedLauncher::new();
            obedient(&launcher, ending);
            let mut tree = strategy().intensity(3, 5 * SEC);
            for id in ["a", "b", "c", "d", "e", "f"] {
                tree = tree.child(spec(&launcher).child(id));
            }
            let root = start(tree).await;
            let mut events = root.events();
            tell(&launcher);
            tokio::time::sleep(30 * MS).await;
            let exit = root.shutdown(60 * SEC).await;
            assert_eq!(exit.into_result(), Ok(()), "{ending:?}");
            assert_eq!(crashes(&mut events), [""; 0], "{ending:?}");
            assert_eq!(launcher.launched().len(), 6, "{ending:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_comes_back_as_soon_as_its_backoff_says() {
    //
    let tree = |strategy: fn() -> SupervisorSpec, launcher: &ScriptedLauncher, backoff| {
        let policy = RestartPolicy::permanent().with_backoff(backoff).with_jitter(0.0);
        let child = |id| spec(launcher).restart(policy.clone()).child(id);
        strategy().intensity(100, SEC).child(child("a")).child(child("b"))
    };
    let strategies: [fn() -> SupervisorSpec; 2] = [SupervisorSpec::one_for_one, SupervisorSpec::one_for_all];
    for ending in ENDINGS {
        for (strategy, backoff) in
            strategies.iter().flat_map(|s| [0, 1, 100, 400, 2000].map(|backoff| (*s, backoff * MS)))
        {
            // A signal that means "stop" waits in any case.
            let waits = matches!(ending, ScriptExit::Signal(signal) if signal != Signal::PIPE);
            let due = if waits { backoff.max(250 * MS) } else { backoff };
            let launcher = ScriptedLauncher::new();
            obedient(&launcher, ending);
            let backoff = if backoff.is_zero() { Backoff::None } else { Backoff::fixed(backoff) };
            let root = start(tree(strategy, &launcher, backoff)).await;
            let mut events = root.events();
            let began = Instant::now();
            launcher.kill(1000, Signal::USR1).unwrap();
            let worker = WorkerRef::new(root.find("/a").unwrap());
            let path = worker.path().clone();
            let again = |e: &procession::event::Event| {
                e.path == path && matches!(e.kind, EventKind::State { to: ChildState::Starting, .. })
            };
            let event = events.wait_for(again).await.unwrap();
            assert_eq!(event.incarnation.0, 2);
            let took = began.elapsed();
            assert!(
                took >= due && took <= due + 2 * MS,
                "{ending:?} {backoff:?}: {took:?} instead of {due:?}"
            );
            let _ = root.shutdown(60 * SEC).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn meanwhile_it_is_seen_to_back_off() {
    // the classification waits, the node status does not.
    let launcher = ScriptedLauncher::new();
    obedient(&launcher, ScriptExit::Code(7));
    let root = start(SupervisorSpec::one_for_one().child(spec(&launcher).child("w"))).await;
    let worker = WorkerRef::new(root.find("/w").unwrap());
    let mut events = root.events();
    tell(&launcher);
    tokio::time::sleep(MS).await;
    let ChildState::BackingOff { until, attempt: 1 } = worker.state() else { panic!("{}", worker.state()) };
    assert_eq!(worker.diagnostics().last_exit.unwrap().to_string(), "failed with exit code 7");
    assert_eq!(worker.pid(), None);
    assert_eq!(crashes(&mut events), [""; 0], "not classified yet");
    tokio::time::sleep(49 * MS).await;
    assert_eq!(crashes(&mut events).len(), 1, "classified before the back-off is over");
    assert_eq!(worker.state(), ChildState::BackingOff { until, attempt: 1 });
    assert_eq!(worker.diagnostics().total_failures, 1);
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_restarted_for_a_worker_whose_turn_comes_late() {
    // R-1, S-20: its siblings take their time to stop
    let launcher = ScriptedLauncher::new();
    obedient(&launcher, ScriptExit::Code(1));
    launcher.program("slow", |me| async move {
        let mut term = me.on_signal(Signal::TERM);
        term.next().await;
        me.sleep(3 * SEC).await;
        0
    });
    let slow = WorkerSpec::new(Command::new("slow")).launcher(Arc::new(launcher.clone()));
    let policy = RestartPolicy::permanent().with_backoff(Backoff::fixed(MS)).with_jitter(0.0);
    let inner =
        SupervisorSpec::one_for_one().intensity(0, SEC).child(spec(&launcher).restart(policy).child("w"));
    let root = start(
        SupervisorSpec::one_for_one().child(ChildSpec::supervisor("inner", inner)).child(slow.child("slow")),
    )
    .await;
    let mut events = root.events();
    let stop = root.shutdown(60 * SEC);
    let told = async {
        tokio::time::sleep(SEC).await;
        launcher.kill(1000, Signal::USR1).unwrap();
    };
    let (exit, ()) = tokio::join!(stop, told);
    assert_eq!(exit.into_result(), Ok(()));
    assert_eq!(crashes(&mut events), [""; 0]);
    assert_eq!(launcher.launched().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_that_closes_its_channel_first_may_finish() {
    // R-1, P-11
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        shake_hands(&mut me).await;
        let mut told = me.on_signal(Signal::USR1);
        told.next().await;
        me.close_stdin();
        me.close_stdout();
        me.sleep(2 * SEC).await;
        me.exit(99).await
    });
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    let mut events = root.events();
    let began = Instant::now();
    tell(&launcher);
    tokio::time::sleep(100 * MS).await;
    let exit = root.shutdown(60 * SEC).await;
    assert_eq!(exit.into_result(), Ok(()));
    assert_eq!(crashes(&mut events), [""; 0]);
    assert_eq!(began.elapsed().as_millis(), 2000, "not killed as one whose channel is lost");
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn the_policy_counts_that_is_in_force_at_the_end() {
    // it is set while the process runs
    for (at_first, later) in [(2000 * MS, 10 * MS), (10 * MS, 2000 * MS)] {
        let policy =
            |backoff| RestartPolicy::permanent().with_backoff(Backoff::fixed(backoff)).with_jitter(0.0);
        let started = async || {
            let launcher = ScriptedLauncher::new();
            obedient(&launcher, ScriptExit::Code(1));
            let child = |backoff| spec(&launcher).restart(policy(backoff)).child("w");
            let root = start(SupervisorSpec::one_for_one().intensity(100, SEC).child(child(at_first))).await;
            root.supervisor().set_policy("w", (*child(later).policy).clone()).await.unwrap();
            let events = root.events();
            tell(&launcher);
            (root, events)
        };
        let (root, mut events) = started().await;
        let began = Instant::now();
        let again = |e: &procession::event::Event| {
            matches!(e.kind, EventKind::State { to: ChildState::Starting, .. }) && e.incarnation.0 == 2
        };
        events.wait_for(again).await.unwrap();
        let took = began.elapsed();
        assert!(took >= later && took <= later + 2 * MS, "{took:?} instead of {later:?}");
        let _ = root.shutdown(60 * SEC).await;
        let (root, mut events) = started().await;
        tokio::time::sleep(100 * MS).await;
        assert_eq!(root.shutdown(60 * SEC).await.into_result(), Ok(()));
        assert_eq!(crashes(&mut events).is_empty(), later > at_first, "{at_first:?}, then {later:?}");
    }
}
