//! The task that keeps the time of a peer: lets calls time out, and says how much of the log was left out.
//!
//! One timer per peer instead of one per call: it sleeps until the earliest deadline and is woken when a call brings
//! an earlier one. Calls mostly share one timeout, so that happens about once per timeout.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use crate::rpc::peer_shared::{PeerShared, lock};

/// Lets calls time out, and reports the log lines that were left out.
pub(crate) async fn keep_time(link: Arc<PeerShared>) {
    tokio::join!(keep_deadlines(&link), link.log.keep_reporting());
}

async fn keep_deadlines(link: &PeerShared) {
    loop {
        let next = lock(&link.pending).next_deadline();
        let Some(next) = next else {
            link.rearm.notified().await;
            continue;
        };
        tokio::select! {
            biased;
            () = link.rearm.notified() => continue,
            () = sleep_until(next) => {}
        }
        let expired = lock(&link.pending).expire(Instant::now());
        for (id, caller) in expired {
            // First the caller, who has its answer already: it must not wait for the other side in any way.
            caller.wake();
            link.call_is_done();
            link.send_cancel(id);
        }
    }
}
