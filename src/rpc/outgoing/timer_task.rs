//! The timer task of a peer: times calls out, and reports how many log lines were left out.
//!
//! One timer per peer instead of one per call. It sleeps until the earliest deadline and is woken
//! when a call brings an earlier one. Most calls share one timeout, so that happens about once per
//! timeout.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use crate::{channel::lock::lock, rpc::peer_shared::PeerShared};

/// Times calls out, and reports the log lines that were left out.
pub(crate) async fn keep_time(shared: Arc<PeerShared>) {
    tokio::join!(keep_deadlines(&shared), shared.channel.log.keep_reporting());
}

async fn keep_deadlines(shared: &PeerShared) {
    loop {
        let next = lock(&shared.pending).next_deadline();
        let Some(next) = next else {
            shared.earlier_deadline.notified().await;
            continue;
        };
        tokio::select! {
            biased;
            () = shared.earlier_deadline.notified() => continue,
            () = sleep_until(next) => {}
        }
        let expired = lock(&shared.pending).expire(Instant::now());
        for (id, caller) in expired {
            // The caller first: it has its answer already and must not wait for the other side in any way.
            caller.wake();
            shared.call_is_done();
            shared.send_cancel(id);
        }
    }
}
