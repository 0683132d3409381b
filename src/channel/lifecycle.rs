//! Control over the life of a channel, whatever is spoken on it: [`ChannelLifecycle`].

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::channel::close_reason::{CloseReason, FailCallsWith};

/// What the lifecycle of a process does with the channel on its stdin and stdout, apart from speaking
/// its protocol.
///
/// Object-safe, so that channels of plain lines or bytes can stand beside JSON-RPC. Its futures are
/// boxed: each of them is awaited a few times in the life of a process, never for a call.
#[async_trait]
pub(crate) trait ChannelLifecycle: fmt::Debug + Send + Sync {
    /// Waits for the end of the channel and returns its cause.
    async fn closed(&self) -> CloseReason;

    /// Why the channel has ended, if it has.
    fn close_reason(&self) -> Option<CloseReason>;

    /// Closes the channel: everything that is open, and everything later, is answered with this.
    /// The first close stays.
    fn close(&self, fail_with: FailCallsWith);

    /// Sends what is queued, then closes the stream to the process; returns when it is closed.
    async fn close_writer(&self);

    /// Reads what the process wrote before it ended: until the end of the stream, or until nothing
    /// came for `quiet`, at most for `max`.
    async fn drain(&self, quiet: Duration, max: Duration);

    /// Tells the channel that the process has closed its input, which otherwise only a write would notice.
    fn input_closed(&self);

    /// From now on this side asks nothing new of the process, and takes streams of open calls only; what is
    /// open goes on. Refused calls were not sent. Calls that belong to the stop itself, or to a request of
    /// the process that is being handled, are still made.
    fn retire(&self);

    /// Waits until what this side has asked so far is answered, or can no longer be answered.
    async fn calls_answered(&self);

    /// How many calls this side has made, those of the protocol itself not counted.
    fn calls_made(&self) -> u64;

    /// How often the process has been used so far; `None` while something is open.
    fn uses(&self) -> Option<u64>;

    /// Waits until no stream of the process is open, or the end of one can no longer come.
    async fn streams_ended(&self);

    /// Waits until nothing that the process has asked is being handled.
    async fn requests_answered(&self);

    /// Whether a write without progress ends the channel (C-11).
    fn watch_writes(&self, on: bool);

    /// The figures of this moment.
    fn stats(&self) -> ChannelStats;

    /// The newest lines that were no messages.
    fn recent_noise(&self) -> String;
}

/// The figures of a channel that a snapshot of its worker shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChannelStats {
    /// What this side has asked and the process has not answered.
    pub(crate) calls_in_flight: usize,
    /// Bytes that wait to be written.
    pub(crate) bytes_queued: usize,
}
