//! The workers of a pool have no back-off unless the pool is given one.

use std::time::Duration;

use procession::{
    event::{EventKind, ExitConsequence},
    pool::{Pool, PoolSpec},
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn of_every_kind_of_pool() {
    for is_keyed in [true, false] {
        let setup = start(|launcher| match is_keyed {
            true => PoolSpec::keyed(1, worker(launcher, "worker")),
            false => PoolSpec::anonymous(1, 1, worker(launcher, "worker")),
        })
        .await;
        let acquire = async |pool: &Pool| match is_keyed {
            true => pool.acquire("a").await.unwrap(),
            false => pool.acquire_any().await.unwrap(),
        };
        let mut events = setup.root.events();
        for _ in 0..3 {
            let lease = acquire(&setup.pool).await;
            setup.kill(&lease);
            lease.revoked().await;
            let ended =
                events.wait_for(|event| matches!(event.kind, EventKind::Exited { .. })).await.unwrap();
            let EventKind::Exited { then, .. } = &ended.kind else { panic!("{ended}") };
            assert!(matches!(then, ExitConsequence::Restart { delay: Duration::ZERO, .. }), "{ended}");
        }
        setup.end().await;
    }
}
