//! Panics in code of the user, turned into values, so that no task of the crate ends silently.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use crate::{exit::Exit, untrusted};

/// Drops a value of the user. A panic in its destructor is reported by the panic hook and affects
/// nothing else.
pub(crate) fn discard<T>(foreign: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(foreign)));
}

/// Runs a future to completion. A panic in it becomes an exit that says where it happened.
///
/// What the future owns is dropped when this returns. After a panic it is not used again, so no
/// broken invariant can be observed.
pub(crate) async fn catch_panic_async<F: Future>(what: &str, future: F) -> Result<F::Output, Exit> {
    let mut future = pin!(future);
    let poll = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    poll.await.map_err(|panic| panic_exit(what, &*panic))
}

/// The same for a function.
pub(crate) fn catch_panic<T>(what: &str, run: impl FnOnce() -> T) -> Result<T, Exit> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| panic_exit(what, &*panic))
}

fn panic_exit(what: &str, panic: &(dyn Any + Send)) -> Exit {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).map(untrusted::into_one_line);
    let chain = std::iter::once(format!("{what} panicked")).chain(text).collect();
    Exit::ActorFailed { chain }
}
