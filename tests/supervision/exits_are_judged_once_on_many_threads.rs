//! Every exit is judged once and with its own cause, although on several threads an end is often
//! seen before its cause (S-9, S-25).

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use procession::internals::{Root, RootOptions};
use procession::{
    event::{EventKind, ExitConsequence},
    exit::Exit,
    restart::{Backoff, RestartPolicy},
    state::ChildState,
    supervision::{ChildSpec, SupervisorSpec},
};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_cause_is_known_and_every_crash_counted_once() {
    // S-25: transient children are restarted only because their cause is known to be a failure.
    let record = Record::default();
    let policy = RestartPolicy::transient().with_backoff(procession::restart::Backoff::None);
    let mut spec = SupervisorSpec::one_for_one().intensity(1_000_000, SEC);
    let ids: Vec<String> = (0..64).map(|i| format!("c{i}")).collect();
    for id in &ids {
        spec = spec.child(plain(id, &record).restart(policy.clone()));
    }
    let options = RootOptions { event_capacity: 1 << 18, ..RootOptions::default() };
    let root = Root::start(spec, options).await.unwrap();
    let mut events = root.events();
    const CRASHES: u64 = 150;
    let tasks: Vec<_> = ids
        .iter()
        .map(|id| {
            let child = root.child::<Pull>(&format!("/{id}")).unwrap();
            tokio::spawn(async move {
                let mut done = 0;
                while done < CRASHES {
                    let incarnation = child.wait_ready(30 * SEC).await.unwrap().0;
                    if incarnation == done + 1
                        && child.cast(Pull::Fail("boom")).is_ok_and(|i| i.0 == incarnation)
                    {
                        done += 1;
                    }
                    tokio::task::yield_now().await;
                }
                loop {
                    if child.wait_ready(30 * SEC).await.unwrap().0 == CRASHES + 1 {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let node = root.snapshot().root;
    for child in &node.children {
        assert_eq!((child.total_failures, child.incarnation.0), (CRASHES, CRASHES + 1), "{}", child.path);
    }
    let boom = Exit::ActorFailed { chain: vec!["boom".into()] };
    let exits: Vec<_> = drain(&mut events)
        .iter()
        .filter_map(|e| match &e.kind {
            EventKind::Exited { exit, .. } => Some(exit.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(exits.len() as u64, 64 * CRASHES);
    let others: Vec<_> = exits.iter().filter(|exit| **exit != boom).collect();
    assert!(others.is_empty(), "{others:?}");
    let _ = root.shutdown(10 * SEC).await;
}

/// How a [`Victim`] ends.
#[derive(Clone, Copy, Debug)]
enum How {
    Fails,
    Panics,
    KillsItself,
    /// Something outside the tree kills it.
    IsKilled,
    Stops,
    /// Its typed error says that it was a success.
    Succeeds,
}

impl How {
    /// How this incarnation of this child ends: siblings and incarnations differ.
    fn of(child: u64, incarnation: u64) -> How {
        use How::*;
        [Fails, Panics, KillsItself, IsKilled, Stops, Fails, Succeeds, Panics]
            [(child * 3 + incarnation) as usize % 8]
    }

    /// The exit that its supervisor must judge, and whether it brings a transient child back.
    fn judged(self, name: &str, incarnation: u64) -> (Exit, bool) {
        let failed = |how: &str| Exit::ActorFailed { chain: vec![format!("{how} {name}#{incarnation}")] };
        match self {
            How::Fails => (failed("fails"), true),
            How::Panics => (failed("panics"), true),
            How::KillsItself | How::IsKilled => (Exit::ActorKilled, true),
            How::Stops => (Exit::ActorStopped { reason: Some(format!("stops {name}#{incarnation}")) }, false),
            How::Succeeds => (Exit::Clean { code: incarnation as i32 }, false),
        }
    }
}

struct Victim;

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Victim {
    type Msg = Option<(How, u64)>;
    type State = String;
    type Arguments = String;

    async fn pre_start(&self, _: ActorRef<Self::Msg>, name: String) -> Result<String, ActorProcessingErr> {
        Ok(name)
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: Self::Msg,
        name: &mut String,
    ) -> Result<(), ActorProcessingErr> {
        // Nothing to do for what is only there to keep it busy.
        let Some((how, incarnation)) = message else { return Ok(()) };
        match how {
            How::Fails => return Err(format!("fails {name}#{incarnation}").into()),
            How::Panics => std::panic::panic_any(format!("panics {name}#{incarnation}")),
            How::KillsItself => me.kill(),
            How::IsKilled => {}
            How::Stops => me.stop(Some(format!("stops {name}#{incarnation}"))),
            How::Succeeds => return Err(Box::new(Exit::Clean { code: incarnation as i32 })),
        }
        Ok(())
    }
}

const SUPERVISORS: u64 = 4;
const CHILDREN: u64 = 64;
const LIVES: u64 = 1565;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_thousand_ends_of_every_kind_are_judged_once_each_by_their_causes() {
    // S-9, S-10, S-25
    hush();
    let name = |child: u64| format!("/s{}/c{child}", child % SUPERVISORS);
    let policy = RestartPolicy::transient().with_backoff(Backoff::None);
    let mut top = SupervisorSpec::one_for_one();
    for s in 0..SUPERVISORS {
        let mut low = SupervisorSpec::one_for_one().intensity(1_000_000, SEC);
        for child in (0..CHILDREN).filter(|child| child % SUPERVISORS == s) {
            let spec = ChildSpec::actor(format!("c{child}"), move || (Victim, name(child)));
            low = low.child(spec.restart(policy.clone()));
        }
        top = top.child(ChildSpec::supervisor(format!("s{s}"), low));
    }
    let root =
        Root::start(top, RootOptions { event_capacity: 1 << 19, ..RootOptions::default() }).await.unwrap();
    let mut events = root.events();

    // A reader takes snapshots all the time.
    let observer = tokio::spawn({
        let root = root.clone();
        async move {
            let mut looks = 0_u64;
            while root.is_ready() {
                let alive = root.snapshot().root.walk().filter(|node| node.state.is_alive()).count() as u64;
                assert!(alive <= 1 + SUPERVISORS + CHILDREN);
                let s = root.supervisor_at(&format!("/s{}", looks % SUPERVISORS)).unwrap();
                let count = s.count_children().await;
                assert!(count.is_err() || count.unwrap().specs as u64 == CHILDREN / SUPERVISORS);
                looks += 1;
                tokio::time::sleep(MS).await;
            }
        }
    });
    // Every exit is checked as it is published.
    let judge = tokio::spawn(async move {
        let mut lives: HashMap<String, u64> = HashMap::new();
        let mut ends = 0;
        while ends < CHILDREN * LIVES {
            let event = events.next().await.unwrap();
            let EventKind::Exited { exit, then } = &event.kind else { continue };
            let path = event.path.as_str();
            let life = lives.entry(path.to_owned()).or_default();
            *life += 1;
            assert_eq!(event.incarnation.0, *life, "each life of {path} ends once");
            let child = path.rsplit_once('c').unwrap().1.parse().unwrap();
            let (expected, back) = How::of(child, *life).judged(path, *life);
            assert_eq!(*exit, expected, "{path}#{life}");
            assert_eq!(matches!(then, ExitConsequence::Restart { .. }), back, "{path}#{life}: {then:?}");
            assert!(back || *then == ExitConsequence::Leave, "{path}#{life}: {then:?}");
            ends += 1;
        }
        events
    });
    let killers: Vec<_> = (0..CHILDREN)
        .map(|n| {
            let child = root.child::<Option<(How, u64)>>(&name(n)).unwrap();
            tokio::spawn(async move {
                for life in 1..=LIVES {
                    let node = child.node();
                    node.wait_state(|s| *s == ChildState::Ready && node.incarnation().0 == life).await;
                    let (incarnation, actor) = child.actor().unwrap();
                    assert_eq!(incarnation.0, life);
                    for _ in 0..life % 5 {
                        let _ = actor.send_message(None);
                    }
                    let how = How::of(n, life);
                    match how {
                        How::IsKilled => actor.kill(),
                        how => actor.send_message(Some((how, life))).unwrap(),
                    }
                    if !how.judged("", 0).1 {
                        // It is not restarted by policy: an operator has to ask for it.
                        node.wait_state(ChildState::is_down).await;
                        assert_eq!(node.restart().await.unwrap().0, life + 1);
                    }
                }
                let node = child.node();
                node.wait_state(|s| *s == ChildState::Ready && node.incarnation().0 == LIVES + 1).await;
            })
        })
        .collect();
    for killer in killers {
        killer.await.unwrap();
    }
    let mut events = judge.await.unwrap();
    // And nothing is judged afterwards.
    tokio::time::sleep(20 * MS).await;
    let late: Vec<_> =
        drain(&mut events).into_iter().filter(|e| matches!(e.kind, EventKind::Exited { .. })).collect();
    assert!(late.is_empty(), "{late:?}");
    let _ = root.shutdown(10 * SEC).await;
    observer.await.unwrap();
}

/// Stops itself as soon as it is told to, and holds what there is one of.
struct Holder(Arc<AtomicUsize>);

struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Holder {
    type Msg = ();
    type State = Held;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<Held, ActorProcessingErr> {
        let stopped_by_operator = self.0.fetch_add(1, Ordering::SeqCst);
        // Not taken back at once, so that it counts however late it is seen.
        if stopped_by_operator > 0 {
            Err("the last one is still held".into())
        } else {
            Ok(Held(self.0.clone()))
        }
    }

    async fn handle(&self, me: ActorRef<()>, (): (), _: &mut Held) -> Result<(), ActorProcessingErr> {
        me.stop(None);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_stopped_actor_held_is_free_for_its_successor() {
    // S-19: its state comes with its cause, which may be the last thing that its successor waits for.
    let stopped_by_operator = Arc::new(AtomicUsize::new(0));
    let policy = RestartPolicy::permanent().with_backoff(Backoff::None);
    let holder = ChildSpec::actor("a", move || (Holder(stopped_by_operator.clone()), ())).restart(policy);
    let root = Root::start(
        SupervisorSpec::one_for_one().intensity(1_000_000, SEC).child(holder),
        RootOptions::default(),
    )
    .await
    .unwrap();
    let busy: Vec<_> = (0..3)
        .map(|_| {
            let supervisor = root.supervisor();
            // It reads what they ask, and finds the end there before it looks for events.
            tokio::spawn(async move { while supervisor.count_children().await.is_ok() {} })
        })
        .collect();
    let child = root.child::<()>("/a").unwrap();
    for incarnation in 1..=500 {
        assert_eq!(
            child.wait_ready(30 * SEC).await.unwrap().0,
            incarnation,
            "{:?}",
            child.node().last_exit()
        );
        child.cast(()).unwrap();
        while child.actor().is_ok_and(|(live, _)| live.0 == incarnation) {
            tokio::task::yield_now().await;
        }
    }
    let _ = root.shutdown(10 * SEC).await;
    for task in busy {
        task.await.unwrap();
    }
}
