//! Children stop newest first, each awaited; one that exceeds its time is killed; and a stop
//! returns when nothing is left (S-18, S-19, S-20, T-3).

use std::{sync::Arc, time::Duration};

use procession::internals::{Root, RootOptions};
use procession::{
    event::EventKind,
    exit::Exit,
    state::ChildState,
    supervision::{
        ChildPolicy, ChildSpec, IncarnationWaitGroup, RequestError, Shutdown, Start, StartContext, Started,
        StopHandle, SupervisorSpec,
    },
};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_shutdown_goes_newest_first_each_awaited_while_the_supervisor_answers() {
    // S-18, S-20
    let record = Record::default();
    let mut spec = SupervisorSpec::one_for_one();
    for id in ["a", "b", "c"] {
        spec = spec.child(puppet(id, Script::slow_stop(100), &record));
    }
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    record.take();
    let supervisor = root.supervisor();
    root.stop(None);
    tokio::time::sleep(50 * MS).await;
    assert_eq!(supervisor.count_children().await.unwrap().active, 3);
    assert_eq!(supervisor.restart("a").await, Err(RequestError::ShuttingDown));
    assert_eq!(root.wait().await, Exit::Requested);
    assert_eq!(record.take(), ["-c", "-b", "-a"]);
}

#[tokio::test(start_paused = true)]
async fn ractors_own_stop_does_the_same() {
    // S-20: the mailbox is closed by then
    let record = Record::default();
    let mut spec = SupervisorSpec::one_for_one();
    for id in ["a", "b", "c"] {
        spec = spec.child(puppet(id, Script::slow_stop(10), &record));
    }
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    record.take();
    let begin = tokio::time::Instant::now();
    root.cell().stop(None);
    assert_eq!(root.wait().await, Exit::Requested);
    assert_eq!(record.take(), ["-c", "-b", "-a"]);
    assert_eq!(begin.elapsed().as_millis(), 30, "it does not wait for causes that cannot come any more");
}

#[tokio::test(start_paused = true)]
async fn ractors_own_stop_waits_for_no_state_that_nobody_takes() {
    // S-19, S-20: the state of an actor that was stopped goes to its supervisor, which reads no mail by then.
    let record = Record::default();
    let inner = |child| SupervisorSpec::one_for_one().child(child);
    let inner = inner(ChildSpec::supervisor("deep", inner(plain("c", &record))));
    let spec = SupervisorSpec::one_for_one()
        .child(puppet("a", Script::slow_stop(10), &record))
        .child(puppet("b", Script::slow_stop(10), &record))
        .child(ChildSpec::supervisor("inner", inner));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    record.take();
    root.cell().stop(None);
    tokio::time::sleep(15 * MS).await;
    assert_eq!(record.take(), ["-c", "-b"], "nothing is left of `b` while `a` stops");
    assert_eq!(tokio::time::timeout(SEC, root.wait()).await, Ok(Exit::Requested));
    assert_eq!(record.take(), ["-a"]);
}

#[tokio::test(start_paused = true)]
async fn ractors_own_stop_overtakes_the_end_of_a_killed_supervisor() {
    // S-20, S-21: a stop goes before events, and the killed one's engine is in one.
    let record = Record::default();
    let inner = SupervisorSpec::one_for_one().child(plain("b", &record));
    let spec = SupervisorSpec::one_for_one()
        .child(puppet("a", Script::slow_stop(10), &record))
        .child(ChildSpec::supervisor("inner", inner));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    record.take();
    root.find("/inner").unwrap().live().as_ref().unwrap().cell.kill();
    root.cell().stop(None);
    assert_eq!(tokio::time::timeout(SEC, root.wait()).await, Ok(Exit::Requested));
    let mut left = record.take();
    left.sort();
    assert_eq!(left, ["-a", "-b"]);
}

#[tokio::test(start_paused = true)]
async fn what_ended_before_ractors_own_stop_is_not_brought_back_by_it() {
    // S-20: the cause of this end never comes, and is not waited for in a stop.
    let record = Record::default();
    let root = Root::start(SupervisorSpec::one_for_one().child(plain("a", &record)), RootOptions::default())
        .await
        .unwrap();
    let a = root.child::<Pull>("/a").unwrap();
    a.actor().unwrap().1.unlink(root.cell());
    a.cast(Pull::StopYourself).unwrap();
    settle().await;
    root.cell().stop(None);
    assert_eq!(root.wait().await, Exit::Requested);
    assert_eq!(record.take(), ["?a", "+a", "-a"]);
    assert_eq!(a.node().last_exit(), Some(Exit::Requested));
}

/// Owns a tree, and stops it in a handler.
struct Owner(Record);

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Owner {
    type Msg = RpcReplyPort<Exit>;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        reply: Self::Msg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let spec = SupervisorSpec::one_for_one().child(plain("a", &self.0));
        let options = RootOptions { owner: Some(me.get_cell()), ..RootOptions::default() };
        let root = Root::start(spec, options).await?;
        let supervisor = root.supervisor();
        let _ = reply.send(root.shutdown(SEC).await);
        // A request to an engine that has ended does not wait either.
        assert_eq!(supervisor.restart("a").await, Err(RequestError::ShuttingDown));
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorTerminated(..) = event {
            me.stop(None);
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_returns_to_the_owner_of_the_tree() {
    // S-26: the owner reads no mail while it waits.
    let record = Record::default();
    let (owner, join) = Actor::spawn(None, Owner(record.clone()), ()).await.unwrap();
    assert_eq!(ractor::call_t!(owner, |reply| reply, 5000).unwrap(), Exit::Requested);
    assert_eq!(record.take(), ["?a", "+a", "-a"]);
    join.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_stop_is_killed_after_its_time() {
    // S-19
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one().child(puppet("a", Script::slow_stop(60_000), &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let begin = tokio::time::Instant::now();
    root.supervisor().terminate_child("a").await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 5);
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_bounds_the_whole_in_order_still() {
    // S-20, T-3
    let record = Record::default();
    let mut spec = SupervisorSpec::one_for_one();
    for id in ["a", "b", "c"] {
        spec = spec.child(puppet(id, Script::slow_stop(60_000), &record).shutdown(Shutdown::Infinity));
    }
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    record.take();
    let begin = tokio::time::Instant::now();
    let _ = root.shutdown(3 * SEC).await;
    assert_eq!(begin.elapsed().as_secs(), 3);
    assert_eq!(record.take(), ["-c", "-b", "-a"]);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_holds_also_when_others_have_gone_off_before_it() {
    // S-20: there is one timer task for all that is due.
    let record = Record::default();
    let endless = puppet("a", Script::slow_stop(60_000), &record).shutdown(Shutdown::Infinity);
    let slow = puppet("b", Script::slow_stop(60_000), &record).shutdown(Shutdown::Timeout(SEC));
    let spec = SupervisorSpec::one_for_one().child(endless).child(slow);
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let begin = tokio::time::Instant::now();
    let _ = root.shutdown(3 * SEC).await;
    assert_eq!(begin.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_shuts_the_tree_down() {
    // T-3
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one().child(plain("a", &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    drop(root);
    settle().await;
    assert_eq!(record.take(), ["?a", "+a", "-a"]);
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_supervisor_stops_all_at_once() {
    // S-20, S-23
    let record = Record::default();
    let root = Root::start(SupervisorSpec::dynamic().max_children(3), RootOptions::default()).await.unwrap();
    for id in ["a", "b", "c"] {
        root.supervisor().start_child(puppet(id, Script::slow_stop(1000), &record)).await.unwrap();
    }
    let full = root.supervisor().start_child(plain("d", &record)).await;
    assert_eq!(full, Err(RequestError::MaxChildren(3)));
    let begin = tokio::time::Instant::now();
    let _ = root.shutdown(10 * SEC).await;
    assert_eq!(begin.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_last_states_of_children_does_not_keep_ractors_own_stop() {
    // S-20: their states come with supervision events that are never read, and hold wait groups.
    let record = Record::default();
    let inner =
        || SupervisorSpec::one_for_one().child(puppet("a", Script::slow_stop(10), &Record::default()));
    let spec = SupervisorSpec::one_for_one()
        .child(ChildSpec::supervisor("inner", inner()))
        .child(ChildSpec::new("holds", ChildPolicy::actor(), Holds(Duration::ZERO)))
        .child(ChildSpec::new("late", ChildPolicy::actor(), Holds(20 * SEC)).background())
        .child(puppet("b", Script::slow_stop(10), &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    record.take();
    root.cell().stop(None);
    let exit = tokio::time::timeout(60 * SEC, root.wait()).await;
    assert_eq!(exit, Ok(Exit::Requested));
    assert_eq!(record.take(), ["-b"]);

    // One that has ended by itself just before.
    let spec = SupervisorSpec::one_for_one().child(ChildSpec::supervisor("inner", inner()));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let mut events = root.events();
    root.find("/inner").unwrap().live().as_ref().unwrap().cell.stop(None);
    // It ends in the very poll in which it tells this, and a task is the first to hear.
    let cell = root.cell();
    tokio::spawn(async move {
        while !matches!(&events.next().await.unwrap().kind, EventKind::State { to, .. } if to.is_down()) {}
        cell.stop(None);
    });
    let exit = tokio::time::timeout(60 * SEC, root.wait()).await;
    assert_eq!(exit, Ok(Exit::Requested));
}

#[tokio::test(start_paused = true)]
async fn ractors_own_stop_waits_for_no_cause_and_a_kill_ends_it() {
    // S-20, S-21
    let record = Record::default();
    let endless = puppet("b", Script::slow_stop(60_000), &record).shutdown(Shutdown::Infinity);
    let spec = SupervisorSpec::one_for_one().child(endless).child(plain("a", &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    record.take();
    // Its cause never comes.
    let a = root.find("/a").unwrap().live().as_ref().unwrap().cell.clone();
    a.unlink(root.cell());
    a.kill();
    settle().await;
    root.cell().stop(None);
    settle().await;
    assert_eq!(
        root.find("/b").unwrap().state(),
        ChildState::Stopping,
        "nobody waits for the end of `a` any more"
    );
    root.cell().kill();
    let begin = tokio::time::Instant::now();
    assert_eq!(root.wait().await, Exit::ActorKilled);
    assert!(begin.elapsed() < SEC);
    assert_eq!(record.take(), ["-a", "-b"]);
}

/// Starts an actor that has its wait group in its state.
#[derive(Debug)]
struct Holds(Duration);

#[async_trait::async_trait]
impl Start for Holds {
    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        let (time, wait_group, supervisor) = (self.0, cx.wait_group, cx.supervisor);
        let (actor, join) = Holder::spawn_linked(None, Holder, wait_group, supervisor).await.unwrap();
        let ready = Box::pin(async move {
            tokio::time::sleep(time).await;
            Ok(())
        });
        let (cell, stop) = (actor.get_cell(), StopHandle::Actor);
        Ok(Started { cell, join, ready: Some(ready), stop, attachment: None })
    }
}

struct Holder;

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Holder {
    type Msg = ();
    type State = IncarnationWaitGroup;
    type Arguments = IncarnationWaitGroup;

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        wait_group: IncarnationWaitGroup,
    ) -> Result<IncarnationWaitGroup, ActorProcessingErr> {
        Ok(wait_group)
    }
}

/// Starts a puppet that is up and never ready.
#[derive(Debug)]
struct HalfBorn(Arc<dyn Start>);

#[async_trait::async_trait]
impl Start for HalfBorn {
    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        let started = self.0.start(cx).await?;
        Ok(Started { ready: Some(Box::pin(std::future::pending())), ..started })
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_up_and_not_yet_ready_is_asked_and_then_killed_like_any_other() {
    // S-19
    for (stop, takes) in [(10, 10), (60_000, 5_000)] {
        let record = Record::default();
        let half_born = HalfBorn(puppet("a", Script::slow_stop(stop), &record).start);
        let spec = SupervisorSpec::one_for_one()
            .child(ChildSpec::new("a", ChildPolicy::actor(), half_born).background());
        let root = Root::start(spec, RootOptions::default()).await.unwrap();
        settle().await;
        let begin = tokio::time::Instant::now();
        let stopped = tokio::time::timeout(120 * SEC, root.supervisor().terminate_child("a")).await;
        assert_eq!(stopped, Ok(Ok(())));
        assert_eq!(begin.elapsed().as_millis(), takes);
        assert_eq!(record.take(), ["?a", "+a", "-a"]);
        let _ = root.shutdown(SEC).await;
    }
}
