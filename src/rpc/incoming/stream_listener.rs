//! [`StreamListener`]: receives the streams that the other side opens, one by one, out of a bounded
//! [`StreamBacklog`].

use tokio::sync::mpsc;

use crate::rpc::{
    error::{RpcError, error_codes},
    incoming::{
        stream_acceptor::{OfferedStream, StreamAcceptor},
        stream_receiver::StreamReceiver,
    },
};

/// Holds streams for the task that has the [`StreamListener`], as long as that exists. Cheap to clone.
///
/// Takes streams of every channel. When as many streams as it holds wait for that task, further ones are
/// refused with −32000.
#[derive(Clone, Debug)]
pub struct StreamBacklog {
    streams: mpsc::Sender<StreamReceiver>,
    items: usize,
}

impl StreamBacklog {
    /// Whether it would take one more stream now.
    pub fn has_room(&self) -> bool {
        self.streams.capacity() > 0 && !self.is_closed()
    }

    /// Whether the other end was dropped.
    pub fn is_closed(&self) -> bool {
        self.streams.is_closed()
    }
}

impl StreamAcceptor for StreamBacklog {
    fn open<'a>(&self, offered: OfferedStream<'a>) -> Option<OfferedStream<'a>> {
        match self.streams.try_reserve() {
            Ok(room) => {
                room.send(offered.accept(self.items));
            }
            Err(mpsc::error::TrySendError::Full(())) => {
                offered.refuse(RpcError::new(
                    error_codes::OVERLOADED,
                    "overloaded: too many streams wait for their consumer",
                ));
            }
            Err(mpsc::error::TrySendError::Closed(())) => return Some(offered),
        }
        None
    }
}

/// The streams that a [`StreamBacklog`] has taken. Dropped, it takes no more, and cancels those that were
/// not received.
#[derive(Debug)]
pub struct StreamListener {
    streams: mpsc::Receiver<StreamReceiver>,
}

impl StreamListener {
    /// A queue of at most so many streams, each with a buffer of so many items (at least one each).
    pub fn new(streams: usize, items: usize) -> (StreamBacklog, StreamListener) {
        let (sender, receiver) = mpsc::channel(streams.max(1));
        (StreamBacklog { streams: sender, items }, StreamListener { streams: receiver })
    }

    /// The next stream; `None` when no more can come. Cancel safe.
    pub async fn accept(&mut self) -> Option<StreamReceiver> {
        self.streams.recv().await
    }

    /// The next stream, if one waits.
    pub fn try_accept(&mut self) -> Option<StreamReceiver> {
        self.streams.try_recv().ok()
    }
}
