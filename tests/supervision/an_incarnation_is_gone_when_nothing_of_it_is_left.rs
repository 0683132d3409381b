//! Whatever outlives its actor is awaited before the child is down, and an incarnation that is
//! ending can no longer be reached (S-19, S-21).

use std::{sync::Arc, time::Duration};

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    supervision::{ChildPolicy, ChildSpec, Shutdown, Start, StartContext, Started, SupervisorSpec},
};

use crate::support::*;

/// Leaves something behind for so long after its actor has ended.
#[derive(Debug)]
struct Lingers(Arc<dyn Start>, Duration, Record);

#[async_trait::async_trait]
impl Start for Lingers {
    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        let (wait_group, time, record) = (cx.wait_group.clone(), self.1, self.2.clone());
        let started = self.0.start(cx).await?;
        let cell = started.cell.clone();
        tokio::spawn(async move {
            let _ = cell.wait(None).await;
            tokio::time::sleep(time).await;
            record.push("~a");
            drop(wait_group);
        });
        Ok(started)
    }
}

fn lingers(record: &Record) -> ChildSpec {
    ChildSpec::new("a", ChildPolicy::actor(), Lingers(plain("a", record).start, SEC, record.clone()))
}

#[tokio::test(start_paused = true)]
async fn a_stop_and_a_successor_wait_for_it() {
    // S-19, E-3: a successor.
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one().child(lingers(&record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let a = root.child::<Pull>("/a").unwrap();
    a.cast(Pull::Fail("x")).unwrap();
    settle().await;
    assert!(a.actor().is_err(), "nobody is reached while it lingers");
    a.wait_ready(2 * SEC).await.unwrap();
    assert_eq!(record.take(), ["?a", "+a", "-a", "~a", "?a", "+a"]);
    // A stop, and the end of the whole tree.
    a.stop().await.unwrap();
    assert_eq!(record.take(), ["-a", "~a"]);
    a.restart().await.unwrap();
    let _ = root.shutdown(10 * SEC).await;
    assert_eq!(record.take(), ["?a", "+a", "-a", "~a"]);
}

#[tokio::test(start_paused = true)]
async fn a_successor_of_its_supervisor_waits_for_it() {
    // S-21: a killed supervisor's children are not its successor's.
    let record = Record::default();
    let inner = SupervisorSpec::one_for_one().child(lingers(&record));
    let spec = SupervisorSpec::one_for_one().child(ChildSpec::supervisor("inner", inner));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    root.find("/inner").unwrap().live().as_ref().unwrap().cell.kill();
    tokio::time::sleep(2 * SEC).await;
    assert_eq!(record.take(), ["?a", "+a", "-a", "~a", "?a", "+a"]);
    root.cell().kill();
    let _ = root.wait().await;
    assert_eq!(record.take(), ["-a", "~a"], "and a killed root has ended when nothing is left");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_reached_who_has_been_asked_to_stop() {
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one().child(puppet("a", Script::slow_stop(1000), &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let a = root.child::<Pull>("/a").unwrap();
    let stop = tokio::spawn({
        let a = a.clone();
        async move { a.stop().await }
    });
    settle().await;
    assert_eq!(a.state().to_string(), "stopping");
    assert!(a.actor().is_err());
    assert!(a.cast(Pull::Panic).is_err());
    stop.await.unwrap().unwrap();
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn what_it_leaves_behind_does_not_change_how_it_ended() {
    // S-19, S-25: it has ended by itself, and is then stopped while it lingers.
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one()
        .child(lingers(&record).shutdown(Shutdown::Timeout(Duration::from_millis(100))));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let a = root.child::<Pull>("/a").unwrap();
    a.cast(Pull::Fail("x")).unwrap();
    settle().await;
    a.stop().await.unwrap();
    assert_eq!(a.node().last_exit(), Some(Exit::ActorFailed { chain: vec!["x".into()] }));
    // It has ended in the time that it was given, and what lingers longer was not killed.
    a.restart().await.unwrap();
    a.stop().await.unwrap();
    assert_eq!(a.node().last_exit(), Some(Exit::Requested));
    assert_eq!(record.take(), ["?a", "+a", "-a", "~a", "?a", "+a", "-a", "~a"]);
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_from_a_killed_supervisor_hears_of_it() {
    // S-21: the supervisor had waited for it before.
    let record = Record::default();
    let root = Root::start(SupervisorSpec::one_for_one().child(lingers(&record)), RootOptions::default())
        .await
        .unwrap();
    root.child::<Pull>("/a").unwrap().cast(Pull::Fail("x")).unwrap();
    settle().await;
    root.cell().kill();
    let exit = tokio::time::timeout(60 * SEC, root.wait()).await;
    assert_eq!(exit, Ok(Exit::ActorKilled));
    assert_eq!(record.take(), ["?a", "+a", "-a", "~a"]);
    assert!(root.find("/a").unwrap().state().is_down());
}

/// Its start is over when it is told.
#[derive(Debug)]
struct WhenTold(Arc<dyn Start>, Arc<tokio::sync::Notify>);

#[async_trait::async_trait]
impl Start for WhenTold {
    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        let started = self.0.start(cx).await?;
        self.1.notified().await;
        Ok(started)
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_start_hands_over_while_its_supervisor_is_killed_is_not_lost() {
    // S-21: it is still being delivered when nothing reads the inbox any longer.
    let (record, told) = (Record::default(), Arc::new(tokio::sync::Notify::new()));
    let start = WhenTold(lingers(&record).start, told.clone());
    let a = ChildSpec::new("a", ChildPolicy::actor(), start).background();
    let root = Root::start(SupervisorSpec::one_for_one().child(a), RootOptions::default()).await.unwrap();
    settle().await;
    told.notify_one();
    root.cell().kill();
    assert_eq!(root.wait().await, Exit::ActorKilled);
    assert_eq!(record.take(), ["?a", "+a", "-a", "~a"]);
    assert!(root.find("/a").unwrap().state().is_down());
}
