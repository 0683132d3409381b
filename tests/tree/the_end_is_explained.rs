//! The end of a tree is ordered and complete, is reported with its cause to every waiter, and ends the
//! event stream (T-3, S-17, S-20, E-1, E-3).

use procession::{event::EventKind, exit::Exit, supervision::RecvError, testing::ScriptedLauncher};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_ordered_complete_and_reports_no_crash() {
    // S-20, E-3
    let launcher = ScriptedLauncher::new();
    let mut builder = tree(&launcher);
    let mut events = builder.events();
    let tree = builder.start().await.unwrap();
    echo(&tree, "red").await.unwrap();
    tree.wait_healthy(10 * SEC).await.unwrap();
    assert_eq!(tree.shutdown(60 * SEC).await, Exit::Requested);
    assert_eq!(tree.shutdown(60 * SEC).await, Exit::Requested, "again is no harm");
    let mut ends = Vec::new();
    let mut seq = 0;
    while let Ok(Some(event)) = events.try_next() {
        assert_eq!(event.seq, seq + 1, "no gaps");
        seq = event.seq;
        assert!(!event.is_crash(), "{event}");
        if matches!(event.kind, EventKind::Exited { .. }) && event.path.ids().count() == 1 {
            ends.push(event.path.to_string());
        }
    }
    assert_eq!(ends, ["/plugins", "/pool", "/counter"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_learns_how_many_events_it_lost() {
    // E-1
    let launcher = ScriptedLauncher::new();
    let mut builder = tree(&launcher).event_capacity(8);
    let mut events = builder.events();
    let tree = builder.start().await.unwrap();
    let _ = tree.shutdown(60 * SEC).await;
    let Err(RecvError::Lost(lost)) = events.next().await else { panic!() };
    assert_eq!(events.next().await.unwrap().seq, lost + 1);
    drop(tree);
}

#[tokio::test(start_paused = true)]
async fn everybody_who_waits_gets_the_same_end() {
    // T-3
    let launcher = ScriptedLauncher::new();
    let tree = tree(&launcher).start().await.unwrap();
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let tree = tree.clone();
            tokio::spawn(async move { tree.wait().await })
        })
        .collect();
    let _ = tree.kill().await;
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Exit::Requested);
    }
    assert!(launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_event_stream_ends_with_the_tree() {
    // E-1: although handles are still held.
    let launcher = ScriptedLauncher::new();
    let mut builder = tree(&launcher);
    let mut events = builder.events();
    let tree = builder.start().await.unwrap();
    let _ = tree.shutdown(60 * SEC).await;
    let mut last = None;
    let end = loop {
        match events.next().await {
            Ok(event) => last = Some(event),
            Err(end) => break end,
        }
    };
    assert_eq!(end, RecvError::Closed);
    assert!(last.unwrap().path.is_root(), "the root's end is the last event");
    assert_eq!(tree.events().next().await.unwrap_err(), RecvError::Closed);
}
