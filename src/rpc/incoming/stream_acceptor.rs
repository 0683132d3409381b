//! What takes the streams that the other side opens: [`StreamAcceptor`].

use std::{fmt, sync::Arc};

use crate::{
    channel::lock::lock,
    id::{Incarnation, TreePath},
    rpc::{
        error::RpcError,
        incoming::stream_receiver::{StreamOpenParams, StreamReceiver},
        peer_shared::PeerShared,
        wire::request_id::RequestId,
    },
};

/// The error code of a stream that nothing takes.
const NOT_TAKEN: i64 = -32001;

/// Takes streams that the other side opens.
pub trait StreamAcceptor: Send + Sync + 'static {
    /// Takes the stream, refuses it, or returns it. A stream that is returned, and one that is dropped, is
    /// refused with −32001. The reader itself calls this, so it must not block.
    fn open<'a>(&self, offered: OfferedStream<'a>) -> Option<OfferedStream<'a>>;
}

/// Answers a request to open a stream: with the credit that it has at first, if it wants credit.
pub(crate) type OpeningAnswer<'a> = Box<dyn FnOnce(Result<Option<usize>, RpcError>) + Send + 'a>;

/// A stream that the other side wants to open, until something takes it.
pub struct OfferedStream<'a> {
    shared: Arc<PeerShared>,
    opening: StreamOpenParams,
    responder: StreamOpenResponder<'a>,
}

/// The right to answer the request; used or not, the request is answered once.
struct StreamOpenResponder<'a> {
    shared: Arc<PeerShared>,
    answer: Option<OpeningAnswer<'a>>,
}

impl<'a> OfferedStream<'a> {
    pub(crate) fn new(
        shared: Arc<PeerShared>,
        opening: StreamOpenParams,
        answer: OpeningAnswer<'a>,
    ) -> OfferedStream<'a> {
        let responder = StreamOpenResponder { shared: shared.clone(), answer: Some(answer) };
        OfferedStream { shared, opening, responder }
    }

    /// Takes the stream, with a buffer of so many items (at least one). The other side is answered before
    /// this returns.
    pub fn accept(self, items: usize) -> StreamReceiver {
        let OfferedStream { shared, opening, mut responder } = self;
        let opened = lock(&shared.streams).open(opening.id.clone(), items, opening.wants_credit);
        // Checked before it was offered, so that only the end of the channel can have come between. Then no
        // stream has this number, and its consumer finds that end.
        let number = opened.unwrap_or(0);
        shared.count_use();
        responder.send(Ok(opening.wants_credit.then_some(items.max(1))));
        StreamReceiver::new(shared, number, opening)
    }

    /// Refuses the stream with this error.
    pub fn refuse(mut self, error: RpcError) {
        self.responder.send(Err(error));
    }

    /// The channel that it belongs to.
    pub fn channel(&self) -> &str {
        &self.opening.channel
    }

    /// The part of the channel that it is about, if the other side named one.
    pub fn scope(&self) -> Option<&str> {
        self.opening.scope.as_deref()
    }

    /// The call of this side that the other side opens it for, if it named one.
    pub fn call(&self) -> Option<&RequestId> {
        self.opening.call.as_ref()
    }

    /// Where the other side is in the tree.
    pub fn path(&self) -> &TreePath {
        &self.shared.config.path
    }

    /// The incarnation of that child.
    pub fn incarnation(&self) -> Incarnation {
        self.shared.config.incarnation
    }
}

impl StreamOpenResponder<'_> {
    fn send(&mut self, answered: Result<Option<usize>, RpcError>) {
        let Some(answer) = self.answer.take() else { return };
        if answered.is_err() {
            self.shared.counters.refused_streams.increment();
        }
        answer(answered);
    }
}

impl Drop for StreamOpenResponder<'_> {
    fn drop(&mut self) {
        self.send(Err(RpcError::new(NOT_TAKEN, "nothing takes streams of this channel")));
    }
}

impl fmt::Debug for OfferedStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferedStream")
            .field("path", self.path())
            .field("incarnation", &self.incarnation())
            .field("channel", &self.channel())
            .field("scope", &self.scope())
            .finish_non_exhaustive()
    }
}
