//! A child that crashes under one-for-one is restarted alone, after its own back-off, and its
//! siblings notice nothing; a killed or unlinked actor counts as a crash (S-10, S-11, S-16, S-25,
//!

use std::sync::{Arc, Mutex};

use procession::internals::{Root, RootOptions};
use procession::{
    event::{EventKind, ExitConsequence},
    exit::Exit,
    restart::{Backoff, RestartPolicy},
    state::ChildState,
    supervision::{ActorChildRef, ChildSpec, Start, StartContext, Started, SupervisorSpec},
};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::AbortHandle;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn every_kind_of_end_brings_a_permanent_child_back_and_leaves_the_others_alone() {
    // S-5, S-11, S-25
    hush();
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one()
        .intensity(100, SEC)
        .child(plain("a", &record))
        .child(plain("b", &record))
        .child(plain("c", &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let mut events = root.events();
    record.take();
    let b: ActorChildRef<Pull> = root.child("/b").unwrap();
    let exits = [
        (Pull::Fail("boom"), Exit::ActorFailed { chain: vec!["boom".into()] }),
        (Pull::Panic, Exit::ActorFailed { chain: vec!["pulled too hard".into()] }),
        (Pull::StopYourself, Exit::ActorStopped { reason: None }),
    ];
    for (n, (pull, expected)) in exits.into_iter().enumerate() {
        assert_eq!(b.cast(pull).unwrap().0, n as u64 + 1);
        settle().await;
        assert_eq!(record.take(), ["-b", "?b", "+b"]);
        let exit = drain(&mut events).iter().find_map(|e| match &e.kind {
            EventKind::Exited { exit, then: ExitConsequence::Restart { .. } } => Some(exit.clone()),
            _ => None,
        });
        assert_eq!(exit, Some(expected));
    }
    b.actor().unwrap().1.kill();
    settle().await;
    assert_eq!(b.node().last_exit(), Some(Exit::ActorKilled));
    assert_eq!(b.wait_ready(SEC).await.unwrap().0, 5);
    for other in ["/a", "/c"] {
        assert_eq!(root.find(other).unwrap().incarnation().0, 1);
    }
    let _ = root.shutdown(SEC).await;
}

/// Starts the child and gives away the handle with which its task can be aborted.
#[derive(Debug)]
struct Abortable {
    inner: Arc<dyn Start>,
    task: Arc<Mutex<Option<AbortHandle>>>,
}

#[async_trait::async_trait]
impl Start for Abortable {
    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        let started = self.inner.start(cx).await?;
        *self.task.lock().unwrap() = Some(started.join.abort_handle());
        Ok(started)
    }
}

#[tokio::test(start_paused = true)]
async fn an_aborted_task_and_a_stop_by_the_word_of_a_kill_are_kills() {
    // S-25: both are abnormal, so a transient child comes back.
    let record = Record::default();
    let task = Arc::default();
    let mut child = plain("a", &record).restart(RestartPolicy::transient().with_backoff(Backoff::None));
    child.start = Arc::new(Abortable { inner: child.start.clone(), task: Arc::clone(&task) });
    let spec = SupervisorSpec::one_for_one().intensity(100, SEC).child(child);
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let a: ActorChildRef<Pull> = root.child("/a").unwrap();
    a.actor().unwrap().1.stop(Some("killed".to_owned()));
    settle().await;
    assert_eq!((a.node().last_exit(), a.node().incarnation().0), (Some(Exit::ActorKilled), 2));
    task.lock().unwrap().take().unwrap().abort();
    settle().await;
    assert_eq!((a.node().last_exit(), a.node().incarnation().0), (Some(Exit::ActorKilled), 3));
    assert_eq!(root.snapshot().root.children[0].total_failures, 2);
    // Any other word is an end by itself.
    a.actor().unwrap().1.stop(Some("done".to_owned()));
    settle().await;
    assert_eq!(a.node().last_exit(), Some(Exit::ActorStopped { reason: Some("done".into()) }));
    assert!(a.state().is_down());
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_temporary_child_leaves_the_table_and_a_transient_one_only_when_it_fails() {
    // S-5
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one()
        .child(plain("temporary", &record).restart(RestartPolicy::temporary()))
        .child(plain("transient", &record).restart(RestartPolicy::transient().with_backoff(Backoff::None)));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let child = |id: &str| root.child::<Pull>(&format!("/{id}")).unwrap();
    let transient = child("transient");
    child("temporary").cast(Pull::Fail("x")).unwrap();
    transient.cast(Pull::Fail("x")).unwrap();
    settle().await;
    assert!(root.find("/temporary").is_err());
    assert_eq!(transient.state(), ChildState::Ready);
    transient.cast(Pull::StopYourself).unwrap();
    settle().await;
    assert_eq!(transient.state().to_string(), "ended");
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_waits_for_its_back_off_and_a_stop_wins_over_it() {
    // S-16, R-2, R-9
    let record = Record::default();
    let policy = RestartPolicy::permanent().with_backoff(Backoff::exponential(SEC, 8 * SEC)).with_jitter(0.0);
    let spec = SupervisorSpec::one_for_one().child(plain("a", &record).restart(policy));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let a: ActorChildRef<Pull> = root.child("/a").unwrap();
    for seconds in [1, 2] {
        a.cast(Pull::Fail("x")).unwrap();
        settle().await;
        let error = a.cast(Pull::Panic).unwrap_err();
        assert!(error.is_retryable());
        assert!(a.state().is_restarting(), "{}", a.state());
        let begin = tokio::time::Instant::now();
        a.wait_ready(10 * SEC).await.unwrap();
        let waited = begin.elapsed();
        assert!(waited > seconds * SEC - 3 * MS && waited <= seconds * SEC, "{waited:?}");
    }
    a.cast(Pull::Fail("x")).unwrap();
    settle().await;
    a.stop().await.unwrap();
    record.take();
    tokio::time::sleep(100 * SEC).await;
    assert!(record.take().is_empty(), "the timer of the back-off does nothing");
    assert_eq!(a.state().to_string(), "stopped");
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn each_waits_for_its_own_back_off() {
    // S-16: one timer's end is not another's.
    let record = Record::default();
    let after = |delay| RestartPolicy::permanent().with_backoff(Backoff::Fixed { delay }).with_jitter(0.0);
    let spec = SupervisorSpec::one_for_one()
        .child(plain("late", &record).restart(after(3 * SEC)))
        .child(plain("early", &record).restart(after(SEC)))
        .child(plain("later", &record).restart(after(5 * SEC)));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    for path in ["/late", "/early", "/later"] {
        root.child::<Pull>(path).unwrap().cast(Pull::Fail("x")).unwrap();
    }
    settle().await;
    record.take();
    tokio::time::sleep(1500 * MS).await;
    assert_eq!(record.take(), ["?early", "+early"]);
    // The first timer is disarmed: the others still go off.
    root.supervisor().terminate_child("late").await.unwrap();
    tokio::time::sleep(3 * SEC).await;
    assert!(record.take().is_empty());
    tokio::time::sleep(SEC).await;
    assert_eq!(record.take(), ["?later", "+later"]);
    let _ = root.shutdown(SEC).await;
}

/// What it leaves to its supervisor panics.
struct Trap;

#[derive(Debug)]
struct Spring;

impl Drop for Spring {
    fn drop(&mut self) {
        panic!("pulled too hard");
    }
}

#[derive(Debug)]
struct Unspeakable;

impl std::error::Error for Unspeakable {}

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("pulled too hard")
    }
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Trap {
    /// Whether it fails.
    type Msg = bool;
    type State = Option<Spring>;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<bool>, (): ()) -> Result<Option<Spring>, ActorProcessingErr> {
        Ok(None)
    }

    async fn handle(
        &self,
        me: ActorRef<bool>,
        fail: bool,
        state: &mut Option<Spring>,
    ) -> Result<(), ActorProcessingErr> {
        if fail {
            return Err(Box::new(Unspeakable));
        }
        *state = Some(Spring);
        me.stop(None);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_actor_leaves_behind_may_panic_in_its_supervisor() {
    // S-11, S-18
    hush();
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one()
        .intensity(100, SEC)
        .child(ChildSpec::actor("a", || (Trap, ())))
        .child(plain("b", &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let a: ActorChildRef<bool> = root.child("/a").unwrap();
    let chain = vec!["the actor's error panicked".into(), "pulled too hard".into()];
    for (fail, exit) in [(false, Exit::ActorStopped { reason: None }), (true, Exit::ActorFailed { chain })] {
        let incarnation = a.cast(fail).unwrap().0;
        settle().await;
        assert_eq!(a.node().last_exit(), Some(exit));
        assert_eq!(a.wait_ready(SEC).await.unwrap().0, incarnation + 1);
    }
    assert_eq!(root.find("/b").unwrap().incarnation().0, 1);
    assert_eq!(root.shutdown(SEC).await, Exit::Requested);
}

#[tokio::test(start_paused = true)]
async fn an_end_whose_cause_never_comes_is_judged_without_it() {
    // S-25: it was unlinked, so ractor sends no event. An earlier timer makes no difference.
    let record = Record::default();
    let early = RestartPolicy::permanent().with_backoff(Backoff::fixed(300 * MS)).with_jitter(0.0);
    let at_once = RestartPolicy::permanent().with_backoff(Backoff::None);
    let spec = SupervisorSpec::one_for_one()
        .child(plain("a", &record).restart(at_once))
        .child(plain("b", &record).restart(early));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    root.child::<Pull>("/b").unwrap().cast(Pull::Fail("x")).unwrap();
    settle().await;
    let a = root.find("/a").unwrap();
    let cell = a.live().as_ref().unwrap().cell.clone();
    cell.unlink(root.cell());
    cell.kill();
    tokio::time::sleep(900 * MS).await;
    assert_eq!((a.incarnation().0, root.find("/b").unwrap().incarnation().0), (1, 2));
    tokio::time::sleep(200 * MS).await;
    assert_eq!((a.incarnation().0, a.state()), (2, ChildState::Ready));
    let chain = vec!["the actor ended without telling its supervisor why".into()];
    assert_eq!(a.last_exit(), Some(Exit::ActorFailed { chain }));
    let _ = root.shutdown(SEC).await;
}
