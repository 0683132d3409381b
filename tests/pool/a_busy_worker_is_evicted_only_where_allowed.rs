//! A busy worker is evicted only if the pool allows it (L-4); its lease holder is then told at once.

use procession::{
    pool::{AcquireError, Revocation},
    rpc::{CallEffect, Timeout},
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn the_holder_is_told_and_its_calls_fail_with_that_reason() {
    let setup = keyed(1, |spec| spec.evict_busy(true)).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    let began = tokio::time::Instant::now();
    let (called, revoked, other) = tokio::join!(
        lease.call_value("hang", &(), Timeout::Never),
        async {
            let why = lease.revoked().await;
            (why, began.elapsed())
        },
        setup.pool.acquire("b"),
    );
    assert_eq!(revoked.0, Revocation::Evicted);
    assert!(revoked.1 < MS, "at once, not when the process is gone: {:?}", revoked.1);
    let error = called.unwrap_err();
    assert_eq!(error.revocation(), Some(&Revocation::Evicted), "{error}");
    assert_eq!((error.effect(), error.is_retryable()), (CallEffect::Unknown, false));
    let why = "the lease is over (the worker was stopped to make room for another key); acquire another one";
    assert_eq!(
        error.to_string(),
        format!("`hang` was not answered, but perhaps carried out, by `/pool/a`: {why}")
    );
    let error = lease.call_value("pid", &(), Timeout::Default).await.unwrap_err();
    assert_eq!(error.revocation(), Some(&Revocation::Evicted), "{error}");
    assert_eq!((error.effect(), error.is_retryable()), (CallEffect::NotSent, true));
    assert_eq!(error.to_string(), format!("`pid` was not sent to `/pool/a`: {why}"));
    drop(other.unwrap());
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn else_the_caller_waits_and_the_holder_is_left_in_peace() {
    let setup = keyed(1, |spec| spec).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    let error = setup.pool.acquire_within("b", 5 * SEC).await.unwrap_err();
    assert!(matches!(error, AcquireError::Timeout { .. }) && error.is_retryable(), "{error}");
    let (cause, way_out) =
        ("its workers were in use or starting", "try again, wait longer, or raise its `max`");
    assert_eq!(error.to_string(), format!("pool `/pool` had no lease for `b` within 5s: {cause}; {way_out}"));
    assert!(lease.revocation().is_none());
    assert_eq!(pid(&lease).await, lease.pid().unwrap());
    drop(lease);
    setup.end().await;
}
