//! [`ThreadQueue`]: what other threads hand to one plain thread of this crate.

use std::{
    collections::VecDeque,
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// The items that wait for one thread, and whether that thread has been started. It never ends.
pub(super) struct ThreadQueue<T> {
    state: Mutex<ThreadQueueState<T>>,
    arrived: Condvar,
}

struct ThreadQueueState<T> {
    items: VecDeque<T>,
    running: bool,
}

impl<T> ThreadQueue<T> {
    pub(super) const fn new() -> ThreadQueue<T> {
        let state = ThreadQueueState { items: VecDeque::new(), running: false };
        ThreadQueue { state: Mutex::new(state), arrived: Condvar::new() }
    }

    /// Starts the thread unless it runs. This must happen before there is anything to do, because the
    /// system may refuse a new thread later.
    ///
    /// # Errors
    /// No thread can be started now. The next call tries again.
    pub(super) fn start(&self, name: &str, run: fn()) -> io::Result<()> {
        let mut state = self.lock();
        if !state.running {
            thread::Builder::new().name(name.into()).stack_size(512 * 1024).spawn(run)?;
            state.running = true;
        }
        Ok(())
    }

    /// Hands an item to the thread.
    pub(super) fn push(&self, item: T) {
        self.lock().items.push_back(item);
        self.arrived.notify_one();
    }

    /// All items that have arrived, possibly none.
    pub(super) fn take(&self) -> VecDeque<T> {
        std::mem::take(&mut self.lock().items)
    }

    /// Waits for items and takes them. With a timeout, there may be none.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> VecDeque<T> {
        let mut state = self.lock();
        match timeout {
            None => {
                while state.items.is_empty() {
                    state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
            Some(timeout) if state.items.is_empty() => {
                state = self.arrived.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0;
            }
            Some(_) => {}
        }
        std::mem::take(&mut state.items)
    }

    fn lock(&self) -> MutexGuard<'_, ThreadQueueState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
