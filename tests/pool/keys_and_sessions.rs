//! Sessions are registered before a process starts, and looked up in both directions (L-1).

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_session_is_registered_before_its_key_starts_and_found_both_ways() {
    let setup = keyed(1, |spec| spec).await;
    let pool = &setup.pool;
    pool.set_session("a", Some("s-1")).unwrap();
    assert_eq!(setup.launcher.launched().len(), 0);
    assert_eq!(pool.session(&"a".into()).as_deref(), Some("s-1"));
    assert_eq!(pool.key_of_session("s-1"), Some("a".into()));
    let lease = pool.acquire("a").await.unwrap();
    assert_eq!(lease.session().as_deref(), Some("s-1"));
    assert_eq!(pool.status().unwrap().workers[0].status.session.as_deref(), Some("s-1"));
    drop(lease);
    // It outlives the worker, and moves to the key that claims it.
    drop(pool.acquire("b").await.unwrap());
    assert_eq!(pool.session(&"a".into()).as_deref(), Some("s-1"));
    pool.set_session("b", Some("s-1")).unwrap();
    assert_eq!((pool.session(&"a".into()), pool.key_of_session("s-1")), (None, Some("b".into())));
    pool.set_session("b", Some("s-2")).unwrap();
    assert_eq!(pool.key_of_session("s-1"), None);
    pool.set_session("b", None).unwrap();
    assert_eq!((pool.session(&"b".into()), pool.key_of_session("s-2")), (None, None));
    setup.end().await;
}
