//! To which incarnation a call goes, and whether it is sent again (C-9): [`send`].

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::live_worker::LiveWorker;
use crate::{
    id::Incarnation,
    rpc::{CallEffect, CallError, CallOptions, Peer, PeerConfig, StreamBacklog, Timeout},
    state::{ChildState, DownReason},
    supervision::{LiveIncarnation, Node},
};

/// A call that kills its worker must not kill each of its successors.
const MAX_SENDINGS: u32 = 3;

/// The live incarnation of the worker at a node, and its channel.
pub(super) fn live_peer(node: &Node) -> Option<(Incarnation, Peer)> {
    let live = node.load_live();
    let live = live.as_ref()?;
    Some((live.incarnation, live_worker(live)?.peer()?.clone()))
}

fn live_worker(live: &LiveIncarnation) -> Option<&LiveWorker> {
    live.attachment.as_ref()?.as_any().downcast_ref()
}

/// Sends a request to the live incarnation, and again to a later one where that is safe. Returns the
/// text of the result, and the peer that it came from. The streams of all sendings go to `streams`.
pub(super) async fn send<P: Serialize + ?Sized>(
    node: &Node,
    method: &str,
    params: &P,
    options: CallOptions,
    streams: Option<&StreamBacklog>,
) -> Result<(Peer, String), CallError> {
    let mut deadline = WorkerCallDeadline::new(options);
    let mut sendings = 0;
    let mut refused_by = None;
    // How an earlier sending failed whose effect is unknown. What follows does not make it known (C-12).
    let mut unknown = None;
    loop {
        let (incarnation, peer) = match live_peer(node).filter(|(live, _)| Some(*live) != refused_by) {
            Some(found) => found,
            None => {
                let waits = options.idempotent || refused_by.is_some();
                match next_live(node, method, waits, refused_by, &deadline).await {
                    Ok(found) => found,
                    Err(error) => return Err(unknown.unwrap_or(error)),
                }
            }
        };
        deadline.is_that_of(&peer, options.timeout);
        let so_far = if unknown.is_some() { CallEffect::Unknown } else { CallEffect::NotSent };
        // A timeout of zero is refused by the peer, as a mistake.
        let timeout = match (options.timeout, deadline.left()) {
            (Timeout::After(Duration::ZERO), _) => options.timeout,
            (_, Some(Duration::ZERO)) => return Err(deadline.error(method, so_far)),
            (_, Some(left)) => Timeout::After(left),
            (_, None) => Timeout::Never,
        };
        let max_total = options.max_total.map(|total| total.saturating_sub(deadline.began.elapsed()));
        let left = CallOptions { timeout, max_total, extend_by: deadline.whole, ..options };
        let error = match peer.call_text(method, params, left, streams).await {
            Ok(result) => return Ok((peer, result)),
            Err(error) => error,
        };
        let effect = error.effect();
        let again = match effect {
            CallEffect::NotSent => error.is_retryable(),
            CallEffect::Unknown => {
                sendings += 1;
                options.idempotent && sendings < MAX_SENDINGS
            }
            CallEffect::Answered => false,
        };
        match error {
            CallError::WorkerLost { .. } | CallError::Closed { .. } if again => {
                refused_by = Some(incarnation);
                if effect == CallEffect::Unknown {
                    unknown = Some(error);
                }
            }
            // It has had its time, of which only the rest was given to the peer.
            CallError::Timeout { method, effect, .. } => {
                let effect = if effect == CallEffect::NotSent { so_far } else { effect };
                return Err(deadline.error(&method, effect));
            }
            error if effect == CallEffect::NotSent => return Err(unknown.unwrap_or(error)),
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
    deadline: &WorkerCallDeadline,
) -> Result<(Incarnation, Peer), CallError> {
    loop {
        // Read once: between two looks another incarnation may become live.
        let live = node.live();
        let worker = live.as_deref().and_then(live_worker);
        let peer = worker.and_then(LiveWorker::peer);
        if let (Some(live), Some(peer)) = (&live, peer)
            && Some(live.incarnation) != refused_by
        {
            return Ok((live.incarnation, peer.clone()));
        }
        let (state, retry_after) = node.absence();
        let no_channel = worker.is_some_and(LiveWorker::has_no_channel);
        let is_other_kind = live.is_some() && peer.is_none();
        // It must not be kept while its successor is waited for.
        drop(live);
        let unavailable = || {
            let (method, path) = (method.to_owned(), node.path().clone());
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
        if !(waits || dormant) || is_other_kind {
            return Err(unavailable());
        }
        // Due after the deadline, or never.
        let left = deadline.left();
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
struct WorkerCallDeadline {
    began: Instant,
    /// `None` if it has no bound.
    whole: Option<Duration>,
    /// That of a peer has been taken.
    is_of_peer: bool,
    /// Progress may have given it more time (C-14).
    is_extended: bool,
}

impl WorkerCallDeadline {
    /// Before any peer is known, the default is that of a worker whose channel is not configured.
    fn new(options: CallOptions) -> WorkerCallDeadline {
        WorkerCallDeadline {
            began: Instant::now(),
            whole: PeerConfig::default().time_of(options.timeout),
            is_of_peer: false,
            is_extended: options.max_total.is_some(),
        }
    }

    /// What the first peer allows applies to all sendings.
    fn is_that_of(&mut self, peer: &Peer, timeout: Timeout) {
        if !std::mem::replace(&mut self.is_of_peer, true) {
            self.whole = peer.config().time_of(timeout);
        }
    }

    /// What is left of it; `None` if it has no bound.
    fn left(&self) -> Option<Duration> {
        self.whole.map(|whole| whole.saturating_sub(self.began.elapsed()))
    }

    fn error(&self, method: &str, effect: CallEffect) -> CallError {
        let after = if self.is_extended { self.began.elapsed() } else { self.whole.unwrap_or_default() };
        CallError::Timeout { method: method.to_owned(), after, effect }
    }
}
