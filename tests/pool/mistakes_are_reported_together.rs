//! All mistakes of a pool's declaration are reported together, each with its field (S-6).

use std::time::Duration;

use procession::internals::{Root, RootOptions};
use procession::{
    pool::{PoolSpec, WorkerTemplate},
    process::Command,
    restart::RestartPolicy,
    supervision::{SupervisorSpec, TreeStartError},
    worker::WorkerSpec,
};

use crate::support::*;

fn wrong() -> PoolSpec {
    PoolSpec::keyed(0, WorkerSpec::new(Command::new("x")).start_timeout(Duration::ZERO))
        .per_worker(0)
        .idle_ttl(Duration::ZERO)
        .start_concurrency(0)
        .recycle_after_calls(0)
        .recycle_after(Duration::ZERO)
        .min_idle(1)
        .intensity(1, Duration::ZERO)
        .restart(RestartPolicy::actor().with_jitter(7.0))
}

#[tokio::test(start_paused = true)]
async fn all_mistakes_of_a_pool_are_named_at_once() {
    let errors = wrong().validate().unwrap_err();
    let fields: Vec<_> = errors.iter().map(|e| e.field.as_str()).collect();
    for field in [
        "max",
        "per_worker",
        "idle_ttl",
        "start_concurrency",
        "recycle_after_calls",
        "recycle_after",
        "min_idle",
        "intensity.period",
        "worker.start_timeout",
        "worker.restart",
    ] {
        assert!(fields.contains(&field), "{field} is missing in {fields:?}");
    }
    let spec = SupervisorSpec::one_for_one().child(wrong().child("pool"));
    let Err(TreeStartError::Invalid(errors)) = Root::start(spec, RootOptions::default()).await else {
        panic!()
    };
    assert!(errors.to_string().contains("children[pool].max"), "{errors}");
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_added_at_run_time_is_checked_too() {
    let setup = keyed(1, |spec| spec).await;
    let error = setup.root.supervisor().start_child(wrong().child("other")).await.unwrap_err();
    assert!(error.to_string().contains("max"), "{error}");
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_in_the_workers_declaration_is_no_silence() {
    // The workers of a pool have the pool's policy.
    let own = || WorkerSpec::new(Command::new("x")).restart(RestartPolicy::temporary());
    let errors = PoolSpec::keyed(1, own()).validate().unwrap_err();
    assert_eq!(
        errors.to_string(),
        "invalid declaration: worker.restart has no effect in a pool: set it with `PoolSpec::restart`"
    );
    assert!(PoolSpec::anonymous(0, 1, own()).validate().is_err());
    // A declaration that is made for a key is checked when it is made.
    let setup = start(|l| {
        let worker = worker(l, "worker").restart(RestartPolicy::temporary());
        PoolSpec::keyed(1, WorkerTemplate::each(move |_| worker.clone()))
    })
    .await;
    let error = setup.pool.acquire("a").await.unwrap_err();
    assert!(error.to_string().contains("`PoolSpec::restart`"), "{error}");
    assert_eq!(setup.alive(), 0);
    setup.end().await;
}

// L-5: a pool stops and replaces its workers itself, between two leases.
#[test]
fn what_would_replace_a_worker_that_is_lent_is_refused() {
    let worker = || WorkerSpec::new(Command::new("x"));
    let declarations = [
        worker().idle_timeout(SEC),
        worker().recycle_after_calls(5),
        worker().recycle_above_rss(1 << 30),
        #[cfg(feature = "watch")]
        worker().watch(procession::worker::FileWatch::new()),
    ];
    for declaration in declarations {
        let errors = PoolSpec::keyed(1, declaration).validate().unwrap_err();
        assert!(errors.to_string().contains("is not for a pool"), "{errors}");
    }
}
