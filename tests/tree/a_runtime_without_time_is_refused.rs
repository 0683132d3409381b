//! A tree does not start on a runtime without time, or outside of one, and says what is missing (T-1).

use procession::{
    process::Command,
    supervision::TreeStartError,
    tree::{Tree, TreeBuilder},
    worker::WorkerSpec,
};
use tokio::runtime::Builder;

fn tree() -> TreeBuilder {
    Tree::builder().worker("w", WorkerSpec::new(Command::new("sleep").arg("1000")))
}

/// Fails if it takes long: what waits without a timer waits for ever.
fn soon(work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    let timeout = std::time::Duration::from_secs(60);
    let hangs = is_done.recv_timeout(timeout) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
    assert!(!hangs, "it hangs");
    if let Err(panicked) = thread.join() {
        std::panic::resume_unwind(panicked);
    }
}

#[test]
fn a_start_without_a_timer_is_an_error() {
    soon(start_without_a_timer);
}

fn start_without_a_timer() {
    // T-1
    for runtime in [Builder::new_current_thread().build(), Builder::new_multi_thread().enable_io().build()] {
        let error = runtime.unwrap().block_on(tree().start()).unwrap_err();
        assert!(matches!(error, TreeStartError::Runtime { .. }), "{error}");
        assert!(error.to_string().contains("has no timer"), "{error}");
        assert!(error.to_string().contains("enable_all"), "{error}");
    }
}

#[test]
fn so_is_one_without_a_runtime() {
    // T-1
    let waker = std::task::Waker::noop();
    let mut start = std::pin::pin!(tree().start());
    let std::task::Poll::Ready(Err(error)) = start.as_mut().poll(&mut std::task::Context::from_waker(waker))
    else {
        panic!("it has not failed at once")
    };
    assert!(matches!(error, TreeStartError::Runtime { .. }), "{error}");
}

#[test]
fn a_process_without_io_is_one_too() {
    // T-1, R-6: a tree with actors only would work.
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let error = runtime.block_on(tree().start()).unwrap_err();
    assert!(matches!(error, TreeStartError::Failed { .. }), "{error}");
    assert!(error.to_string().contains("enable_io"), "{error}");
    let actors = runtime.block_on(Tree::builder().start());
    assert!(!matches!(actors, Err(TreeStartError::Runtime { .. })));
}
