//! S-9, S-25, pitfall 51: on several threads an end is often seen before its cause.

use procession::{
    event::EventKind,
    exit::Exit,
    restart::RestartPolicy,
    supervision::{Root, RootOptions, SupervisorSpec},
};

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_cause_is_known_and_every_crash_counted_once() {
    // S-25: transient children are restarted only because their cause is known to be a failure.
    let record = Record::default();
    let policy = RestartPolicy::transient().with_backoff(procession::restart::Backoff::None);
    let mut spec = SupervisorSpec::one_for_one().intensity(u32::MAX, SEC);
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
    root.shutdown(10 * SEC).await;
}
