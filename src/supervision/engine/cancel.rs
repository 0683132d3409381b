//! How a start that takes its time is told to stop: [`StartCancel`].

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::supervision::policy::Shutdown;

/// What an incarnation has been told. Orders only ever get harder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopLevel {
    /// Nothing.
    Live,
    /// Ask, and kill when the time is over.
    Stop(Shutdown),
    /// No time.
    Kill,
}

impl StopLevel {
    pub(crate) fn stop(mode: Shutdown) -> StopLevel {
        if mode == Shutdown::BrutalKill { StopLevel::Kill } else { StopLevel::Stop(mode) }
    }

    /// Takes a new order, unless it is no harder than this one.
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

/// The engine's side of a start that goes on in its own task; dropping it cancels the start. How hard the order is does
/// not matter to a start: its task gives back what there is, and the engine makes an end of that.
#[derive(Debug)]
pub(crate) struct StartCancel(Arc<CancelSignal>);

/// Whether the start is to be given up, and who is to hear of it: its task, and nobody else.
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

    /// Gives the start up; may be repeated.
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
    /// Waits until the start is to be given up.
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
