//! The items of one stream, for its consumer: [`StreamReceiver`].
//!
//! The items wait in the table of the peer; this is the right to take them, owned by the consumer. It does
//! not keep the channel open.

use std::{
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use serde_json::value::RawValue;

use crate::{
    channel::lock::lock,
    id::{Incarnation, TreePath},
    rpc::{
        incoming::stream_table::TakenItem, peer_shared::PeerShared, stream_end::StreamEnd,
        wire::request_id::RequestId,
    },
};

/// What the other side said when it opened a stream.
#[derive(Debug)]
pub(crate) struct StreamOpenParams {
    pub(crate) id: RequestId,
    pub(crate) channel: String,
    pub(crate) scope: Option<String>,
    /// The call of this side that the stream belongs to.
    pub(crate) call: Option<RequestId>,
    pub(crate) wants_credit: bool,
}

/// A stream of items that the other side has opened (C-10).
///
/// Its items wait here until they are taken, as many as its buffer holds, and are never waited for by the
/// channel: an item that finds no room ends the stream with [`StreamEnd::Overflow`]. The stream ends
/// exactly once, after the last item that had room, also when the process ends. Dropping it before that
/// cancels it and tells the other side.
pub struct StreamReceiver {
    shared: Arc<PeerShared>,
    /// Its number in the table.
    number: u64,
    opening: StreamOpenParams,
    end: Option<StreamEnd>,
}

impl StreamReceiver {
    pub(crate) fn new(shared: Arc<PeerShared>, number: u64, opening: StreamOpenParams) -> StreamReceiver {
        StreamReceiver { shared, number, opening, end: None }
    }

    /// The next item, exactly as the other side wrote it. After the last one an end other than
    /// [`StreamEnd::Closed`] is returned as an error, once; then, and after [`StreamEnd::Closed`], `None`.
    /// Cancel safe.
    ///
    /// # Errors
    /// How the stream has ended.
    pub async fn recv(&mut self) -> Option<Result<Box<RawValue>, StreamEnd>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`recv`](StreamReceiver::recv) as a poll, to make other kinds of streams of it.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Box<RawValue>, StreamEnd>>> {
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        let taken = lock(&self.shared.streams).take(self.number, cx.waker());
        match taken {
            TakenItem::Item { item, credit } => {
                if let Some(items) = credit {
                    self.shared.send_stream_credit(&self.opening.id, items);
                }
                Poll::Ready(Some(Ok(item)))
            }
            TakenItem::End(end) => {
                self.end = Some(end.clone());
                Poll::Ready(match end {
                    StreamEnd::Closed => None,
                    end => Some(Err(end)),
                })
            }
            TakenItem::Nothing { stale } => {
                // Dropped outside of the lock.
                drop(stale);
                Poll::Pending
            }
        }
    }

    /// How it has ended, once all its items have been taken.
    pub fn end(&self) -> Option<&StreamEnd> {
        self.end.as_ref()
    }

    /// Gives it up, with the items that were not taken, and tells the other side; nothing more is received.
    /// Without effect on a stream whose end was received.
    pub fn cancel(&mut self) {
        if self.end.is_none() {
            self.end = Some(StreamEnd::Cancelled);
            self.give_up();
        }
    }

    fn give_up(&self) {
        let cancelled = lock(&self.shared.streams).cancel(self.number, &self.opening.id);
        if cancelled.is_some_and(|cancelled| cancelled.was_open) {
            self.shared.send_stream_close(&self.opening.id, "cancelled");
            self.shared.stream_is_done();
        }
    }

    /// The id that the other side chose for it.
    pub fn id(&self) -> &RequestId {
        &self.opening.id
    }

    /// The channel that it belongs to, which is what its consumers ask for.
    pub fn channel(&self) -> &str {
        &self.opening.channel
    }

    /// The part of the channel that it is about, if the other side named one.
    pub fn scope(&self) -> Option<&str> {
        self.opening.scope.as_deref()
    }

    /// The call of this side that the other side opened it for, if it named one.
    pub fn call(&self) -> Option<&RequestId> {
        self.opening.call.as_ref()
    }

    /// Where the other side is in the tree. The last segment is the id of the worker or plugin.
    pub fn path(&self) -> &TreePath {
        &self.shared.config.path
    }

    /// The incarnation of that child. No other incarnation sends items to this stream.
    pub fn incarnation(&self) -> Incarnation {
        self.shared.config.incarnation
    }
}

impl Drop for StreamReceiver {
    fn drop(&mut self) {
        if self.end.is_none() {
            self.give_up();
        }
    }
}

impl fmt::Debug for StreamReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReceiver")
            .field("path", self.path())
            .field("incarnation", &self.incarnation())
            .field("channel", &self.channel())
            .field("scope", &self.scope())
            .field("id", self.id())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
