//! [`LedgerConfig`]: the limits and options of a pool, checked when a ledger is built.

use std::time::Duration;

/// How callers name the worker that they want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PoolKind {
    /// Each caller names a key; one worker per key (L-1).
    Keyed,
    /// Any worker will do; the pool names its workers `w1`, `w2`, … and never reuses a name (L-2).
    Anonymous,
}

/// The configuration of one pool. Made by [`keyed`](LedgerConfig::keyed) or
/// [`anonymous`](LedgerConfig::anonymous), then changed field by field;
/// [`Ledger::new`](super::Ledger::new) checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LedgerConfig {
    /// How callers name the worker that they want.
    pub(crate) kind: PoolKind,
    /// The cap: workers that are starting, ready, waiting for a restart or stopping, all together
    /// (L-3).
    pub(crate) max: usize,
    /// Anonymous pools: workers that are kept alive even when idle (L-2).
    pub(crate) min: usize,
    /// Anonymous pools: spare workers kept alive beside those in use, up to `max` (L-5).
    pub(crate) min_idle: usize,
    /// Leases on one worker at a time; `None` for no bound.
    pub(crate) per_worker: Option<u32>,
    /// Callers that may wait for a slot or for a lease on a full worker. Callers that join a start do
    /// not count.
    pub(crate) max_waiting: usize,
    /// How long a worker may stay unused before it is stopped; `None` for ever (L-5).
    pub(crate) idle_ttl: Option<Duration>,
    /// Keyed pools: a busy worker may be stopped to make room when none is idle (L-4).
    ///
    /// A lease is never revoked for a caller that was already waiting when the lease was granted.
    /// Otherwise two callers at a cap of one would endlessly stop each other's worker at the moment it
    /// becomes ready.
    pub(crate) evict_busy: bool,
    /// Keyed pools: a worker that is due is replaced by a successor that is ready before it goes, if the cap
    /// has room for both (W-5).
    pub(crate) overlap: bool,
    /// Starts under way at the same time (L-5). Those of successors and restarts count here but are not
    /// delayed.
    pub(crate) start_concurrency: usize,
    /// Keyed pools: how many younger callers may get a lease on a warm worker while the oldest caller
    /// waits for a slot and none is on its way. Later callers queue behind it, so that a key in
    /// constant use cannot starve the others. `None` for no bound.
    pub(crate) max_overtakes: Option<u32>,
    /// Anonymous pools: the pause between the death of a worker that was never leased and the start of
    /// another *spare* worker (callers are served without a pause). It keeps a broken program from
    /// being started in a tight loop.
    pub(crate) spare_pause: Duration,
    /// How long a key stays given up (in an anonymous pool: all of it, except for live workers):
    /// callers are refused at once, and nothing is started. It keeps callers from starting a broken
    /// program as often as they ask. With zero, each caller triggers another start.
    pub(crate) failed_pause: Duration,
}

impl LedgerConfig {
    /// A keyed pool of at most `max` workers: unbounded leases per worker, 1,024 waiting callers, no idle
    /// TTL.
    pub(crate) fn keyed(max: usize) -> LedgerConfig {
        LedgerConfig {
            kind: PoolKind::Keyed,
            max,
            min: 0,
            min_idle: 0,
            per_worker: None,
            max_waiting: 1024,
            idle_ttl: None,
            evict_busy: false,
            overlap: false,
            start_concurrency: 4,
            max_overtakes: Some(1024),
            spare_pause: Duration::from_secs(1),
            failed_pause: Duration::from_secs(30),
        }
    }

    /// An anonymous pool of at most `max` workers: one lease per worker, nothing kept warm, otherwise as
    /// `keyed`.
    pub(crate) fn anonymous(max: usize) -> LedgerConfig {
        LedgerConfig { kind: PoolKind::Anonymous, per_worker: Some(1), ..LedgerConfig::keyed(max) }
    }

    /// Every mistake in this configuration; none if it is valid.
    pub(crate) fn mistakes(&self) -> Vec<LedgerConfigMistake> {
        let keyed = self.kind == PoolKind::Keyed;
        let mut all = Vec::new();
        let mut refuse = |wrong: bool, mistake| {
            if wrong {
                all.push(mistake);
            }
        };
        refuse(self.max == 0, LedgerConfigMistake::Zero("max"));
        refuse(self.per_worker == Some(0), LedgerConfigMistake::Zero("per_worker"));
        refuse(self.start_concurrency == 0, LedgerConfigMistake::Zero("start_concurrency"));
        refuse(self.idle_ttl == Some(Duration::ZERO), LedgerConfigMistake::Zero("idle_ttl"));
        refuse(
            self.min > self.max,
            LedgerConfigMistake::AboveMax { field: "min", value: self.min, max: self.max },
        );
        refuse(
            self.min_idle > self.max,
            LedgerConfigMistake::AboveMax { field: "min_idle", value: self.min_idle, max: self.max },
        );
        refuse(keyed && self.min > 0, LedgerConfigMistake::AnonymousOnly("min"));
        refuse(keyed && self.min_idle > 0, LedgerConfigMistake::AnonymousOnly("min_idle"));
        refuse(!keyed && self.evict_busy, LedgerConfigMistake::KeyedOnly("evict_busy"));
        refuse(!keyed && self.overlap, LedgerConfigMistake::KeyedOnly("overlap"));
        refuse(!keyed && self.spare_pause.is_zero(), LedgerConfigMistake::Zero("spare_pause"));
        all
    }

    pub(super) fn capacity(&self) -> usize {
        self.per_worker.map_or(usize::MAX, |n| n as usize)
    }

    pub(in crate::pool) fn is_keyed(&self) -> bool {
        self.kind == PoolKind::Keyed
    }
}

/// One thing that is wrong with a [`LedgerConfig`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LedgerConfigMistake {
    /// The field must not be zero.
    #[error("`{0}` must be greater than zero")]
    Zero(&'static str),
    /// The field must not exceed the cap.
    #[error("`{field}` is {value}, above `max`, which is {max}")]
    AboveMax {
        /// The field.
        field: &'static str,
        /// Its value.
        value: usize,
        /// The cap.
        max: usize,
    },
    /// A keyed pool cannot know which keys to keep warm.
    #[error("`{0}` has no effect in a keyed pool")]
    AnonymousOnly(&'static str),
    /// The workers of an anonymous pool are interchangeable: stopping one to start another gains
    /// nothing.
    #[error("`{0}` has no effect in an anonymous pool")]
    KeyedOnly(&'static str),
}

/// A configuration was refused; names every mistake in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid pool: {}", self.mistakes.iter().map(LedgerConfigMistake::to_string).collect::<Vec<_>>().join("; "))]
pub(crate) struct InvalidPool {
    /// What is wrong, in the order of the fields.
    pub(crate) mistakes: Vec<LedgerConfigMistake>,
}
