//! Panics of code that is not ours, turned into values: no task of the crate ends without saying so.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use crate::{exit::Exit, untrusted};

/// Drops what is not ours. A panic of that is told by the panic hook, and hurts nobody who waits for something else.
pub(crate) fn discard<T>(foreign: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(foreign)));
}

/// Runs a future to its end; a panic in it is an exit that says where it happened.
///
/// What the future owns is dropped when this returns. After a panic nothing of it is used again, so that no broken
/// invariant can be seen.
pub(crate) async fn catch_panic_async<F: Future>(what: &str, future: F) -> Result<F::Output, Exit> {
    let mut future = pin!(future);
    let poll = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    poll.await.map_err(|panic| panic_exit(what, &*panic))
}

/// The same for what does not wait.
pub(crate) fn catch_panic<T>(what: &str, run: impl FnOnce() -> T) -> Result<T, Exit> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| panic_exit(what, &*panic))
}

fn panic_exit(what: &str, panic: &(dyn Any + Send)) -> Exit {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).map(untrusted::into_one_line);
    let chain = std::iter::once(format!("{what} panicked")).chain(text).collect();
    Exit::ActorFailed { chain }
}
