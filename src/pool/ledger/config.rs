//! What a pool is allowed to do: [`LedgerConfig`], checked when a ledger is built.

use std::time::Duration;

/// How callers name the worker they want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// Each caller names a key; one worker per key (L-1).
    Keyed,
    /// Any worker will do; the pool names them `w1`, `w2`, … and never uses a name twice (L-2).
    Anonymous,
}

/// The rules of one pool. Built by [`keyed`](LedgerConfig::keyed) or [`anonymous`](LedgerConfig::anonymous), then
/// changed field by field; [`Ledger::new`](super::Ledger::new) checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerConfig {
    /// How callers name what they want.
    pub kind: PoolKind,
    /// The cap: workers that start, are ready, wait for a restart or stop, all together (L-3).
    pub max: usize,
    /// Anonymous pools: workers kept alive however idle they are (L-2).
    pub min: usize,
    /// Anonymous pools: spare workers kept alive beside those in use, up to `max` (L-5).
    pub min_idle: usize,
    /// Leases on one worker at a time; `None` for no bound.
    pub per_worker: Option<u32>,
    /// Callers that may wait for a slot or for a lease of a full worker. Callers that join a start do not count.
    pub max_waiting: usize,
    /// How long a worker may stay unused before it is stopped; `None` for ever (L-5).
    pub idle_ttl: Option<Duration>,
    /// Keyed pools: a busy worker may be stopped to make room when none is idle (L-4).
    ///
    /// A holder is never sacrificed for a caller that was already waiting when the lease was granted: otherwise two
    /// callers at a cap of one would kill each other's worker at the moment it becomes ready, for ever.
    pub evict_busy: bool,
    /// Starts under way at the same time (L-5). Restarts are decided elsewhere; they count here but are not held up.
    pub start_concurrency: usize,
    /// Keyed pools: how many younger callers may get a warm worker while the oldest one waits for a slot and none
    /// is on its way. Then they queue behind it, so that a key in constant use cannot starve the others.
    /// `None` lets them pass for ever.
    pub max_overtakes: Option<u32>,
    /// Anonymous pools: the pause after a worker died without having done anything, before another *spare* is
    /// started (callers are served without pause). It keeps a broken program from being started in a tight loop.
    pub spare_pause: Duration,
    /// How long a key rests whose worker was given up (an anonymous pool: all of it, but for what lives): whoever asks
    /// for it meanwhile is refused at once, and nothing is started. It keeps callers from having a broken program started
    /// as often as they ask. Zero: each caller has it tried anew.
    pub failed_pause: Duration,
}

impl LedgerConfig {
    /// A keyed pool of at most `max` workers: unbounded leases per worker, 1,024 waiting callers, no idle TTL.
    pub fn keyed(max: usize) -> LedgerConfig {
        LedgerConfig {
            kind: PoolKind::Keyed,
            max,
            min: 0,
            min_idle: 0,
            per_worker: None,
            max_waiting: 1024,
            idle_ttl: None,
            evict_busy: false,
            start_concurrency: 4,
            max_overtakes: Some(1024),
            spare_pause: Duration::from_secs(1),
            failed_pause: Duration::from_secs(30),
        }
    }

    /// An anonymous pool of at most `max` workers: one lease per worker, nothing kept warm, otherwise as `keyed`.
    pub fn anonymous(max: usize) -> LedgerConfig {
        LedgerConfig { kind: PoolKind::Anonymous, per_worker: Some(1), ..LedgerConfig::keyed(max) }
    }

    /// Every mistake in this configuration; none if it is valid.
    pub fn mistakes(&self) -> Vec<PoolMistake> {
        let keyed = self.kind == PoolKind::Keyed;
        let mut all = Vec::new();
        let mut refuse = |wrong: bool, mistake| {
            if wrong {
                all.push(mistake);
            }
        };
        refuse(self.max == 0, PoolMistake::Zero("max"));
        refuse(self.per_worker == Some(0), PoolMistake::Zero("per_worker"));
        refuse(self.start_concurrency == 0, PoolMistake::Zero("start_concurrency"));
        refuse(self.idle_ttl == Some(Duration::ZERO), PoolMistake::Zero("idle_ttl"));
        refuse(self.min > self.max, PoolMistake::AboveMax { field: "min", value: self.min, max: self.max });
        refuse(
            self.min_idle > self.max,
            PoolMistake::AboveMax { field: "min_idle", value: self.min_idle, max: self.max },
        );
        refuse(keyed && self.min > 0, PoolMistake::AnonymousOnly("min"));
        refuse(keyed && self.min_idle > 0, PoolMistake::AnonymousOnly("min_idle"));
        refuse(!keyed && self.evict_busy, PoolMistake::KeyedOnly("evict_busy"));
        refuse(!keyed && self.spare_pause.is_zero(), PoolMistake::Zero("spare_pause"));
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
pub enum PoolMistake {
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
    #[error("`{0}` has no meaning in a keyed pool")]
    AnonymousOnly(&'static str),
    /// The workers of an anonymous pool are alike: stopping one to start another wins nothing.
    #[error("`{0}` has no meaning in an anonymous pool")]
    KeyedOnly(&'static str),
}

/// A configuration was refused; names every mistake in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid pool: {}", self.mistakes.iter().map(PoolMistake::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidPool {
    /// What is wrong, in the order of the fields.
    pub mistakes: Vec<PoolMistake>,
}
