//! To which incarnation a call goes, and whether it is sent again (C-9): [`send`].

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::live_worker::LiveWorker;
use crate::{
    id::Incarnation,
    rpc::{CallError, CallOptions, CallOutcome, Peer, PeerConfig, StreamQueue, Timeout},
    state::{ChildState, DownReason},
    supervision::Node,
};

/// A call that kills its worker must not kill each of its successors.
const MAX_SENDINGS: u32 = 3;

/// The live incarnation of the worker at a node, and its channel.
pub(super) fn live_peer(node: &Node) -> Option<(Incarnation, Peer)> {
    let live = node.load_live();
    let live = live.as_ref()?;
    let channel = live.attachment.as_ref()?.as_any().downcast_ref::<LiveWorker>()?;
    Some((live.incarnation, channel.peer()?.clone()))
}

/// Sends a request to the live incarnation, and again to a later one where that is safe. Returns the
/// text of the result, and the peer that it came from. The streams of all sendings go to `streams`.
pub(super) async fn send<P: Serialize + ?Sized>(
    node: &Node,
    method: &str,
    params: &P,
    options: CallOptions,
    streams: Option<&StreamQueue>,
) -> Result<(Peer, String), CallError> {
    let began = Instant::now();
    let mut sendings = 0;
    let mut refused_by = None;
    loop {
        let deadline = SendDeadline { began, timeout: options.timeout };
        let (incarnation, peer) = match live_peer(node).filter(|(live, _)| Some(*live) != refused_by) {
            Some(found) => found,
            None => {
                let waits = options.idempotent || refused_by.is_some();
                next_live(node, method, waits, refused_by, &deadline).await?
            }
        };
        // A timeout of zero is refused by the peer, as a mistake.
        let timeout = match (options.timeout, deadline.left(&peer)) {
            (Timeout::After(Duration::ZERO), _) => options.timeout,
            (_, Some(Duration::ZERO)) => return Err(deadline.error(method, &peer)),
            (_, Some(left)) => Timeout::After(left),
            (_, None) => Timeout::Never,
        };
        let error = match peer.call_text(method, params, CallOptions { timeout, ..options }, streams).await {
            Ok(result) => return Ok((peer, result)),
            Err(error) => error,
        };
        let again = match error.outcome() {
            CallOutcome::NotSent => error.is_retryable(),
            CallOutcome::Unknown => {
                sendings += 1;
                options.idempotent && sendings < MAX_SENDINGS
            }
            CallOutcome::Failed => false,
        };
        match error {
            CallError::WorkerLost { .. } | CallError::Closed { .. } if again => {
                refused_by = Some(incarnation)
            }
            // It has had its time, of which only the rest was given to the peer.
            CallError::Timeout { method, outcome, .. } => {
                let after = deadline.whole(&peer).unwrap_or_default();
                return Err(CallError::Timeout { method, after, outcome });
            }
            error => return Err(error),
        }
    }
}

/// Waits for an incarnation other than `refused_by`, if there is reason to.
async fn next_live(
    node: &Node,
    method: &str,
    waits: bool,
    refused_by: Option<Incarnation>,
    deadline: &SendDeadline,
) -> Result<(Incarnation, Peer), CallError> {
    loop {
        if let Some(found) = live_peer(node).filter(|(live, _)| Some(*live) != refused_by) {
            return Ok(found);
        }
        let (state, retry_after) = node.absence();
        let unavailable = || {
            let (method, path) = (method.to_owned(), node.path().clone());
            let no_channel = node.load_live().as_ref().is_some_and(|live| {
                let channel = live.attachment.as_ref();
                channel
                    .and_then(|channel| channel.as_any().downcast_ref::<LiveWorker>())
                    .is_some_and(LiveWorker::has_no_channel)
            });
            if no_channel {
                return CallError::NoChannel { method, path };
            }
            CallError::Unavailable { method, path, state: state.clone(), retry_after }
        };
        let dormant = match &state {
            ChildState::Starting | ChildState::Stopping => node.is_on_demand(),
            ChildState::Down { why: DownReason::Idle } => true,
            ChildState::Down { .. } => node.is_on_demand(),
            _ => false,
        };
        let other_is_live =
            node.load_live().as_ref().is_some_and(|live| Some(live.incarnation) != refused_by);
        if !(waits || dormant) || other_is_live {
            return Err(unavailable());
        }
        // Due after the deadline, or never.
        let left = deadline.left_by_default();
        if left.is_some_and(|left| retry_after.is_some_and(|due| due >= left)) {
            return Err(unavailable());
        }
        let other = async {
            match node.wait_ready_after(refused_by).await {
                Ok(_) => Ok(()),
                Err(_) => Err(unavailable()),
            }
        };
        match left.and_then(|left| Instant::now().checked_add(left)) {
            Some(at) => match timeout_at(at, other).await {
                Ok(found) => found?,
                Err(_) => return Err(unavailable()),
            },
            None => other.await?,
        }
    }
}

/// The time of a call, waiting included.
struct SendDeadline {
    began: Instant,
    timeout: Timeout,
}

impl SendDeadline {
    fn whole(&self, peer: &Peer) -> Option<Duration> {
        peer.config().time_of(self.timeout)
    }

    /// What is left of it; `None` if it has no bound.
    fn left(&self, peer: &Peer) -> Option<Duration> {
        self.whole(peer).map(|whole| whole.saturating_sub(self.began.elapsed()))
    }

    /// The same, while no peer is there whose default might apply.
    fn left_by_default(&self) -> Option<Duration> {
        let whole = PeerConfig::default().time_of(self.timeout);
        whole.map(|whole| whole.saturating_sub(self.began.elapsed()))
    }

    fn error(&self, method: &str, peer: &Peer) -> CallError {
        CallError::Timeout {
            method: method.to_owned(),
            after: self.whole(peer).unwrap_or_default(),
            outcome: CallOutcome::NotSent,
        }
    }
}
