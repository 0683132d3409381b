//! The entry of a call in the table of pending calls, as a future: [`ResponseFuture`].
//!
//! Owned by the caller's future. Entered right before the frame is put, so that an answer can never
//! come before it, with the waker of the poll that it is entered in.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::time::Instant;

use crate::{
    channel::lock::lock,
    rpc::{
        outgoing::pending_calls::{CallExtension, CallPoll, PendingCall, PendingCallsClosed, RawAnswer},
        peer_shared::PeerShared,
    },
};

/// The answer to a call, as a future. Dropped before there is one, it abandons the call and tells
/// the other side.
pub(crate) struct ResponseFuture<'a> {
    shared: &'a PeerShared,
    id: u64,
    /// Entered in the current poll, so the table already has its waker.
    fresh: bool,
    open: bool,
}

/// The waker of the current poll.
pub(crate) async fn waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

impl<'a> ResponseFuture<'a> {
    /// Enters a call; `caller` is the waker of the current poll, in which the reply is also polled
    /// for the first time.
    pub(crate) fn enter(
        shared: &'a PeerShared,
        id: u64,
        caller: Waker,
        deadline: Option<Instant>,
        extension: Option<Box<CallExtension>>,
    ) -> Result<ResponseFuture<'a>, PendingCallsClosed> {
        let sooner = lock(&shared.pending).insert(id, caller, deadline, extension)?;
        if sooner {
            shared.earlier_deadline.notify_one();
        }
        Ok(ResponseFuture { shared, id, fresh: true, open: true })
    }

    /// Removes a call that was not sent.
    pub(crate) fn withdraw(mut self) {
        self.open = false;
        let _outside_the_lock = lock(&self.shared.pending).withdraw(self.id);
        self.shared.call_is_done();
    }
}

impl Future for ResponseFuture<'_> {
    type Output = RawAnswer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RawAnswer> {
        // Nothing is missed: an answer that came since then has woken that waker.
        if std::mem::take(&mut self.fresh) {
            return Poll::Pending;
        }
        let found = lock(&self.shared.pending).collect(self.id, cx.waker());
        match found {
            CallPoll::Answer(answer) => {
                self.open = false;
                Poll::Ready(answer)
            }
            CallPoll::Nothing { stale } => {
                // Dropped outside of the lock.
                drop(stale);
                Poll::Pending
            }
        }
    }
}

impl Drop for ResponseFuture<'_> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let abandoned = lock(&self.shared.pending).abandon(self.id);
        if matches!(abandoned, Some(PendingCall::Waiting { .. })) {
            self.shared.send_cancel(self.id);
            self.shared.call_is_done();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::value::RawValue;

    use super::*;
    use crate::rpc::{
        config::{CallOptions, PeerConfig},
        incoming::{handler::NoHandler, method_router::MethodRouter},
        peer::Peer,
    };

    #[tokio::test]
    async fn a_call_may_be_dropped_with_what_its_thread_keeps() {
        // C-3: the cancel is written when the thread's own buffer is gone.
        type KeptBytes = std::cell::RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>;
        thread_local! {
            static KEPT: KeptBytes = const { KeptBytes::new(None) };
        }
        let cancel = |_: &_| Some(("cancel".into(), RawValue::NULL.to_owned()));
        let config = PeerConfig { cancel: Some(Arc::new(cancel)), ..PeerConfig::default() };
        let (near, _far) =
            Peer::memory_pair((config, Arc::new(NoHandler)), (PeerConfig::default(), Arc::new(NoHandler)));
        let stats = near.clone();
        let thread = std::thread::spawn(move || {
            // Made first, and so destroyed last.
            KEPT.with(|kept| *kept.borrow_mut() = None);
            let mut call: Pin<Box<dyn Future<Output = ()>>> =
                Box::pin(async move { drop(near.call_value("m", &(), CallOptions::default()).await) });
            assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            KEPT.with(|kept| *kept.borrow_mut() = Some(call));
        });
        // A panic in there would end the process.
        thread.join().unwrap();
        assert_eq!(stats.stats().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_moves_to_another_task_is_answered_there() {
        // C-4
        let router = MethodRouter::new().method_value("one", |_, _| async { Ok(RawValue::TRUE.to_owned()) });
        let config = PeerConfig::default;
        let (near, _far) = Peer::memory_pair((config(), Arc::new(NoHandler)), (config(), Arc::new(router)));
        let mut call = Box::pin(async move {
            let answer = near.call_value("one", &(), CallOptions::default()).await;
            (answer, near.stats().in_flight)
        });
        // Sent by a task that never looks again.
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let (answer, in_flight) = tokio::spawn(call).await.unwrap();
        assert_eq!((answer.unwrap().get(), in_flight), ("true", 0));
    }
}
