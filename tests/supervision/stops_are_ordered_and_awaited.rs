//! S-18, S-19, S-20, T-3.

use procession::{
    exit::Exit,
    supervision::{ChildSpec, RequestError, Root, RootOptions, Shutdown, SupervisorSpec},
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
    // S-20, design 2: the mailbox is closed by then
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
    assert_eq!(a.place().last_exit(), Some(Exit::Requested));
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
        // Nor does anybody wait who asks an engine that has ended.
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
