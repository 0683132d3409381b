//! What the parts of one channel share: [`ChannelShared`].
//!
//! Reader, writer and owner all hold it; it holds none of them except as something to abort. A
//! channel finishes in two steps: it *ends* (the first cause is kept), and it is *closed* with what
//! callers are told ([`FailCallsWith`]). Both happen at once unless the owner has asked to close it
//! itself ([`ChannelConfig::closes_at_end`]).

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::SetOnce, task::AbortHandle};

use crate::{
    channel::{
        close_reason::{CloseReason, FailCallsWith},
        counter::ChannelCounters,
        framing::Framing,
        lock::lock,
        outbox::Outbox,
        recent_noise::{RecentNoise, shortened},
    },
    id::{Incarnation, TreePath},
    log_event_macro::log_event,
    log_limiter::{ChannelLogLimiter, LogTopic},
    untrusted::one_line,
};

/// Called on the thread that notices the end of a channel; it must not block.
pub(crate) type EndHook = Arc<dyn Fn() + Send + Sync>;

/// How a channel behaves.
#[derive(Clone)]
pub(crate) struct ChannelConfig {
    pub(crate) framing: Framing,
    /// The largest frame that is read. A larger one ends the channel as a violation.
    pub(crate) max_frame_bytes: usize,
    /// Bytes that may wait to be written.
    pub(crate) max_queued_bytes: usize,
    /// How long a write may make no progress; `None` for ever (C-11).
    pub(crate) write_stall: Option<Duration>,
    /// Whether the end of the channel closes it at once. Otherwise its owner closes it later: it is
    /// about to learn more about the end.
    pub(crate) closes_at_end: bool,
    /// The child on the other side, for logs.
    pub(crate) path: TreePath,
    pub(crate) incarnation: Incarnation,
    /// Called when the channel ends, before anything else can see the end; perhaps more than once.
    pub(crate) at_end: Option<EndHook>,
}

#[derive(Debug)]
pub(crate) struct ChannelShared {
    pub(crate) config: ChannelConfig,
    pub(crate) outbox: Outbox,
    pub(crate) counters: ChannelCounters,
    /// The newest lines that were no messages.
    pub(crate) noise: RecentNoise,
    /// Asked before each line of the log that the other side can cause.
    pub(crate) log: ChannelLogLimiter,
    writes_watched: AtomicBool,
    pub(crate) reader_done: SetOnce<()>,
    pub(crate) writer_done: SetOnce<()>,
    tasks: Mutex<Vec<AbortHandle>>,
    end: OnceLock<CloseReason>,
    ended: SetOnce<()>,
    closed_with: OnceLock<FailCallsWith>,
}

impl ChannelShared {
    pub(crate) fn new(config: ChannelConfig) -> ChannelShared {
        ChannelShared {
            outbox: Outbox::new(config.framing, config.max_queued_bytes),
            counters: ChannelCounters::default(),
            noise: RecentNoise::default(),
            log: ChannelLogLimiter::new(config.path.clone(), config.incarnation),
            writes_watched: AtomicBool::new(true),
            reader_done: SetOnce::new(),
            writer_done: SetOnce::new(),
            tasks: Mutex::default(),
            end: OnceLock::new(),
            ended: SetOnce::new(),
            closed_with: OnceLock::new(),
            config,
        }
    }

    /// The channel has ended; the first cause stays. Returns what the owner has to close it with
    /// now, if it has to.
    pub(crate) fn end(&self, cause: CloseReason) -> Option<FailCallsWith> {
        self.tell_end_hook();
        if self.end.set(cause.clone()).is_err() {
            return None;
        }
        if self.config.closes_at_end {
            return Some(FailCallsWith::Closed(cause));
        }
        // After a mere end of its output, the other side may still read answers to what it asked.
        if !matches!(cause, CloseReason::Eof | CloseReason::ReadFailed { .. }) {
            self.outbox.discard();
        }
        let _ = self.ended.set(());
        None
    }

    /// The first half of a close: from now on everything is answered with this. `false` if it is
    /// closed already, in which case nothing is left to do. Otherwise the owner first answers what
    /// is open, and then calls [`finish_close`](ChannelShared::finish_close).
    pub(crate) fn begin_close(&self, fail_with: FailCallsWith) -> bool {
        self.tell_end_hook();
        self.closed_with.set(fail_with).is_ok()
    }

    /// The second half of a close: makes the end visible and aborts the tasks, which drops both streams.
    pub(crate) fn finish_close(&self) {
        let _ = self.end.set(CloseReason::Requested);
        let _ = self.ended.set(());
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
    }

    /// The owner hears of the end first: a caller that learns of it from the channel and looks for
    /// another one must not be sent here again.
    fn tell_end_hook(&self) {
        if let Some(hook) = self.config.at_end.as_ref().filter(|_| !self.has_ended()) {
            hook();
        }
    }

    /// Takes over the tasks that are aborted when the channel is closed.
    pub(crate) fn adopt(&self, tasks: Vec<AbortHandle>) {
        lock(&self.tasks).extend(tasks);
        if self.is_closed() {
            for task in lock(&self.tasks).drain(..) {
                task.abort();
            }
        }
    }

    /// Waits for the end and returns its cause.
    pub(crate) async fn ended(&self) -> CloseReason {
        self.ended.wait().await;
        self.close_reason().unwrap_or(CloseReason::Requested)
    }

    /// Why the channel has ended, if it has.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.end.get().cloned()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.get().is_some()
    }

    /// What everything is answered with, if the channel is closed.
    pub(crate) fn closed_with(&self) -> Option<&FailCallsWith> {
        self.closed_with.get()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed_with.get().is_some()
    }

    /// Waits until what the other side had sent before it ended has been read: until the end of the
    /// stream, or until nothing came for `quiet`, at most `max` (C-4, P-8).
    pub(crate) async fn drain(&self, quiet: Duration, max: Duration) {
        // It may take a while until what was read has been handled.
        let progress = || (self.counters.bytes_in.get(), self.counters.yields.get());
        // In parts, between which others have their turns: if this program has had no processor for a while,
        // that is no silence of the other side.
        const PARTS: u32 = 5;
        let until_quiet = async {
            let (mut seen, mut quiet_parts) = (progress(), 0);
            while quiet_parts < PARTS {
                tokio::select! {
                    biased;
                    _ = self.reader_done.wait() => return,
                    () = tokio::time::sleep(quiet / PARTS) => {}
                }
                let now = progress();
                quiet_parts = if now == seen { quiet_parts + 1 } else { 0 };
                seen = now;
            }
        };
        // Quiet or out of time: the wait is over either way.
        let _ = tokio::time::timeout(max, until_quiet).await;
    }

    /// Sends what is queued, then closes the stream to the other side; returns when it is closed.
    pub(crate) async fn close_writer(&self) {
        self.outbox.finish();
        self.writer_done.wait().await;
    }

    /// Whether a write without progress ends the channel (C-11).
    pub(crate) fn watch_writes(&self, on: bool) {
        self.writes_watched.store(on, Ordering::Relaxed);
    }

    pub(crate) fn writes_are_watched(&self) -> bool {
        self.writes_watched.load(Ordering::Relaxed)
    }

    /// The child that a line of the log is about.
    pub(crate) fn whose(&self) -> (&TreePath, Incarnation) {
        (&self.config.path, self.config.incarnation)
    }

    /// Keeps and logs a line that is no message (C-8).
    pub(crate) fn log_noise(&self, line: &[u8]) {
        self.noise.keep(line);
        if self.log.admit(LogTopic::Noise) {
            let (path, incarnation) = self.whose();
            log_event!(
                info, target: "procession::rpc::noise", path, incarnation,
                "stdout: {}", one_line(&shortened(line))
            );
        }
    }
}

impl fmt::Debug for ChannelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelConfig")
            .field("path", &self.path)
            .field("incarnation", &self.incarnation)
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}
