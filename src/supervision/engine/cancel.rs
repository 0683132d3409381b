//! How firmly an incarnation has been told to stop ([`StopLevel`]), and how a start that goes on in
//! a task of its own is cancelled ([`StartCancel`]).

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::supervision::child_policy::Shutdown;

/// How firmly an incarnation has been told to stop. The level is only ever raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopLevel {
    /// Not at all.
    Live,
    /// Ask it, and kill it when its time is over.
    Stop(Shutdown),
    /// Kill it at once.
    Kill,
}

impl StopLevel {
    pub(crate) fn stop(mode: Shutdown) -> StopLevel {
        if mode == Shutdown::BrutalKill { StopLevel::Kill } else { StopLevel::Stop(mode) }
    }

    /// Raises the level. Returns whether it was lower before.
    pub(crate) fn harden(&mut self, level: StopLevel) -> bool {
        let harder = matches!(
            (*self, level),
            (StopLevel::Live, StopLevel::Stop(_) | StopLevel::Kill) | (StopLevel::Stop(_), StopLevel::Kill)
        );
        if harder {
            *self = level;
        }
        harder
    }
}

/// The engine's side of a start that goes on in its own task. Dropping it cancels the start. The
/// level does not matter to a start: its task hands back what there is, and the engine ends that.
#[derive(Debug)]
pub(crate) struct StartCancel(Arc<CancelSignal>);

/// Whether the start is to be orphaned, and the task to be woken when it is.
#[derive(Debug, Default)]
pub(crate) struct CancelSignal(Mutex<CancelState>);

#[derive(Debug, Default)]
struct CancelState {
    cancelled: bool,
    task: Option<Waker>,
}

impl StartCancel {
    pub(crate) fn new() -> (StartCancel, Arc<CancelSignal>) {
        let signal = Arc::new(CancelSignal::default());
        (StartCancel(signal.clone()), signal)
    }

    /// Cancels the start. May be repeated.
    pub(crate) fn cancel(&self) {
        let task = {
            let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.cancelled = true;
            state.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Drop for StartCancel {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl CancelSignal {
    /// Waits until the start is cancelled.
    pub(crate) async fn cancelled(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.cancelled {
            return Poll::Ready(());
        }
        match &mut state.task {
            Some(task) => task.clone_from(cx.waker()),
            task => *task = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}
