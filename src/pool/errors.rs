//! What can go wrong between a caller and a pool: [`AcquireError`], and between a holder and its worker:
//! [`LeaseCallError`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    exit::{Exit, ExitReport},
    human_duration::brief,
    id::{ChildId, TreePath},
    rpc::{CallEffect, CallError},
    state::{ChildState, DownReason},
    supervision::{Unavailable, never_starts},
};

/// Why a caller got no lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// All workers are in use and the wait queue is full (rule L-4).
    #[error(
        "pool `{path}` is exhausted: all workers are in use and the wait queue is full; try again later, or raise its `max` or `max_waiting`"
    )]
    Exhausted {
        /// The pool.
        path: TreePath,
    },
    /// No lease became free within the caller's deadline.
    #[error("pool `{path}` had no lease{} within {after:?}: its workers were in use or starting; try again, wait longer, or raise its `max`", of(.key))]
    Timeout {
        /// The pool.
        path: TreePath,
        /// The key; `None` in an anonymous pool.
        key: Option<ChildId>,
        /// The deadline.
        after: Duration,
    },
    /// The pool itself is not running: it is starting, restarting, stopping or down.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The pool is being drained and takes no more work.
    #[error("pool `{path}` is draining and grants no leases; restart the pool to use it again")]
    Draining {
        /// The pool.
        path: TreePath,
    },
    /// The worker did not become ready, and its policy does not retry by itself.
    #[error(
        "pool `{path}` could not start a worker{}: {}{}{}",
        of(.key),
        ChildState::down(.why.clone()),
        .lost.as_ref().map(|lost| format!(" ({lost})")).unwrap_or_default(),
        .retry_after.map(|d| format!("; it is not retried for {:?}", brief(d))).unwrap_or_default()
    )]
    Failed {
        /// The pool.
        path: TreePath,
        /// The key; `None` in an anonymous pool.
        key: Option<ChildId>,
        /// The state that the worker is down in.
        why: DownReason,
        /// How its last start ended, and what its process wrote last.
        lost: Option<Box<ExitReport>>,
        /// For how long the key stays given up: until then each request gets this error at once, and
        /// nothing is started.
        retry_after: Option<Duration>,
    },
    /// Misuse: a keyed pool needs a key, an anonymous pool takes none.
    #[error(
        "pool `{path}` was asked in the wrong way: use `acquire` with a key for a keyed pool, `acquire_any` for an anonymous one"
    )]
    WrongKind {
        /// The pool.
        path: TreePath,
    },
    /// Misuse: a key or a session is longer than [`ChildId::MAX_BYTES`].
    #[error("pool `{path}` was given a {what} of {bytes} bytes; at most {max} are allowed", max = ChildId::MAX_BYTES)]
    TooLong {
        /// The pool.
        path: TreePath,
        /// What is too long: the key or the session.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// Misuse: a key must not be empty.
    #[error("pool `{path}` was asked for an empty key; give the key at least one character")]
    EmptyKey {
        /// The pool.
        path: TreePath,
    },
}

fn of(key: &Option<ChildId>) -> String {
    key.as_ref().map(|key| format!(" for `{key}`")).unwrap_or_default()
}

impl AcquireError {
    /// How the last start of the worker ended, if that is what went wrong.
    pub fn exit(&self) -> Option<&Exit> {
        match self {
            AcquireError::Failed { lost, .. } => lost.as_ref().map(|lost| &lost.exit),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without a change. A worker that its policy has given
    /// up has failed several times in a row and needs an operator;
    /// [`retry_after`](AcquireError::retry_after) says when the pool would nevertheless try it again.
    pub fn is_retryable(&self) -> bool {
        match self {
            AcquireError::Exhausted { .. } | AcquireError::Timeout { .. } => true,
            AcquireError::Unavailable(unavailable) => unavailable.is_retryable(),
            AcquireError::Failed { why, lost, .. } => {
                let never = lost.as_ref().is_some_and(|lost| never_starts(&lost.exit));
                !matches!(why, DownReason::GaveUp { .. }) && !never
            }
            AcquireError::Draining { .. }
            | AcquireError::WrongKind { .. }
            | AcquireError::TooLong { .. }
            | AcquireError::EmptyKey { .. } => false,
        }
    }

    /// How long to wait before the same request can have another outcome, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            AcquireError::Failed { retry_after, .. } => *retry_after,
            AcquireError::Unavailable(unavailable) => unavailable.retry_after,
            _ => None,
        }
    }

    /// Whether the request itself was wrong, so that it fails however often it is made.
    pub fn is_misuse(&self) -> bool {
        matches!(
            self,
            AcquireError::WrongKind { .. } | AcquireError::TooLong { .. } | AcquireError::EmptyKey { .. }
        )
    }
}

/// Why a lease ended before its holder dropped it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "because")]
#[non_exhaustive]
pub enum Revocation {
    /// The worker was stopped although it was busy, to make room for another key.
    #[error("the worker was stopped to make room for another key")]
    Evicted,
    /// The worker ended by itself.
    #[error("the worker died: {exit}")]
    Lost {
        /// How it ended.
        exit: Exit,
    },
    /// The worker or the whole pool is being stopped or restarted. Calls under way may still be
    /// answered.
    #[error("the worker is being stopped")]
    Stopping,
    /// The pool was killed.
    #[error("the pool has ended")]
    PoolEnded,
}

/// Why a call through a lease did not return its output.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseCallError {
    /// The lease is over; the call was not sent to another incarnation instead (rule L-7).
    #[error("`{method}` {} `{path}`: the lease is over ({why}); acquire another one", what_became(*.effect))]
    Revoked {
        /// The method called.
        method: String,
        /// The worker.
        path: TreePath,
        /// Why the lease is over.
        why: Revocation,
        /// What is known of the effect.
        effect: CallEffect,
    },
    /// The call itself failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Misuse: the worker's protocol has no channel to call on.
    #[error(
        "`{method}` was not sent to `{path}`: its protocol has no channel; \
         give the pool's workers a protocol that has one (`.protocol(…)`)"
    )]
    NoChannel {
        /// The method called.
        method: String,
        /// The worker.
        path: TreePath,
    },
}

fn what_became(effect: CallEffect) -> &'static str {
    match effect {
        CallEffect::NotSent => "was not sent to",
        CallEffect::Unknown => "was not answered, but perhaps carried out, by",
        CallEffect::Answered => "failed at",
    }
}

impl LeaseCallError {
    /// What is known of the call's effect.
    pub fn effect(&self) -> CallEffect {
        match self {
            LeaseCallError::Revoked { effect, .. } => *effect,
            LeaseCallError::Call(error) => error.effect(),
            LeaseCallError::NoChannel { .. } => CallEffect::NotSent,
        }
    }

    /// Whether the same call can safely be made again, through another lease if this one is over.
    pub fn is_retryable(&self) -> bool {
        match self {
            LeaseCallError::Revoked { effect, .. } => *effect == CallEffect::NotSent,
            LeaseCallError::Call(error) => error.is_retryable(),
            LeaseCallError::NoChannel { .. } => false,
        }
    }

    /// Whether the call itself was wrong, so that it fails however often it is made.
    pub fn is_misuse(&self) -> bool {
        match self {
            LeaseCallError::NoChannel { .. } => true,
            LeaseCallError::Call(error) => error.is_misuse(),
            LeaseCallError::Revoked { .. } => false,
        }
    }

    /// Why the lease is over, if that is why the call failed.
    pub fn revocation(&self) -> Option<&Revocation> {
        match self {
            LeaseCallError::Revoked { why, .. } => Some(why),
            _ => None,
        }
    }

    /// How the worker ended, if that is why the call failed.
    pub fn exit(&self) -> Option<&Exit> {
        match self {
            LeaseCallError::Revoked { why: Revocation::Lost { exit }, .. } => Some(exit),
            LeaseCallError::Call(error) => error.exit(),
            _ => None,
        }
    }
}
