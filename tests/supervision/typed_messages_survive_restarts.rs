//! One typed address reaches all incarnations of a child.

use procession::internals::{Root, RootOptions};
use procession::supervision::{SendError, SupervisorSpec};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_child_ref_reaches_whoever_is_live() {
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one().child(puppet("a", Script::slow_start(10), &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let a = root.child::<Pull>("/a").unwrap();
    assert_eq!(a.call(Pull::Name, SEC).await.unwrap(), "a");
    assert_eq!(a.cast(Pull::Fail("x")).unwrap().0, 1);
    settle().await;
    assert!(matches!(a.call(Pull::Name, SEC).await, Err(SendError::Unavailable(_))));
    assert_eq!(a.wait_ready(SEC).await.unwrap().0, 2);
    assert_eq!(a.call(Pull::Name, SEC).await.unwrap(), "a");
    let wrong = root.child::<String>("/a").unwrap();
    assert_eq!(wrong.cast("hello".into()), Err(SendError::WrongType(a.path().clone())));
    a.cast(Pull::Sleep(10 * SEC)).unwrap();
    assert!(matches!(a.call(Pull::Name, SEC).await, Err(SendError::Timeout { .. })));
    let _ = root.shutdown(SEC).await;
    assert!(matches!(a.cast(Pull::Panic), Err(SendError::Unavailable(_))));
}
