//! The bytes that wait for the writer: [`Outbox`].
//!
//! Whole frames go in, the writer takes all of them at once and writes them in one go. Room is counted in bytes by a
//! fair semaphore: calls, notifications and replies of handlers wait for it in order of arrival; what cannot wait
//! (replies made by the reader, cancellations) has a reserve of the same size. It knows nothing of what a frame says.

use std::{
    io::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, Semaphore, TryAcquireError};

use crate::rpc::Framing;

/// A frame of this size that is alone is not copied; its buffer changes places with the empty one.
const SWAPPED_BYTES: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Outbox {
    framing: Framing,
    limit: usize,
    room: Semaphore,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    buf: Vec<u8>,
    /// Bytes of `buf` that came in through `room`.
    charged: usize,
    /// Bytes of `buf`, and of what the writer has taken, that came in through the reserve.
    urgent: usize,
    frames: u64,
    /// Bytes the writer has taken, ever. What begins at or after this has not been sent.
    taken: u64,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Open,
    /// The writer writes what is there and ends.
    Finishing,
    /// Frames are swallowed; their senders are answered by the channel's owner.
    Held,
    /// Nothing goes in any more.
    Closed,
}

/// A place for one frame; given back when dropped unused.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    outbox: &'a Outbox,
    charge: usize,
}

/// Where a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// Behind this many bytes, counted from the beginning of the channel.
    At(u64),
    /// Nowhere: the channel has ended, and its owner will say how.
    Held,
    /// Nowhere: the channel does not send any more.
    Closed,
}

/// What the writer took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Batch {
    charged: usize,
    urgent: usize,
}

/// The reserve is used up.
#[derive(Debug)]
pub(crate) struct ReserveFull;

/// There is no room now.
#[derive(Debug)]
pub(crate) struct NoRoom;

impl Outbox {
    pub(crate) fn new(framing: Framing, limit: usize) -> Outbox {
        let limit = limit.clamp(1, u32::MAX as usize);
        Outbox { framing, limit, room: Semaphore::new(limit), state: Mutex::default(), wake: Notify::new() }
    }

    /// A place for `body`, if there is room now. A closed outbox has room: [`put`](Outbox::put) says that it is closed.
    pub(crate) fn try_room(&self, body: &[u8]) -> Result<Room<'_>, NoRoom> {
        let charge = self.charge(body);
        match self.room.try_acquire_many(charge) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::NoPermits) => return Err(NoRoom),
            Err(TryAcquireError::Closed) => return Ok(Room { outbox: self, charge: 0 }),
        }
        Ok(Room { outbox: self, charge: charge as usize })
    }

    /// A place for `body`, as soon as there is room.
    pub(crate) async fn room(&self, body: &[u8]) -> Room<'_> {
        let charge = self.charge(body);
        let charge = match self.room.acquire_many(charge).await {
            Ok(permit) => {
                permit.forget();
                charge as usize
            }
            Err(_) => 0,
        };
        Room { outbox: self, charge }
    }

    /// Puts a frame into its place. What is left in `body` is of no use.
    pub(crate) fn put(&self, mut room: Room<'_>, body: &mut Vec<u8>) -> Put {
        let mut state = self.lock();
        match state.mode {
            Mode::Open => {}
            Mode::Held => return Put::Held,
            Mode::Finishing | Mode::Closed => return Put::Closed,
        }
        let at = state.taken + state.buf.len() as u64;
        let was_empty = state.buf.is_empty();
        state.charged += std::mem::take(&mut room.charge);
        self.append(&mut state, body);
        drop(state);
        if was_empty {
            self.wake.notify_one();
        }
        Put::At(at)
    }

    /// Puts a frame into the reserve, without waiting.
    pub(crate) fn put_urgent(&self, body: &mut Vec<u8>) -> Result<Put, ReserveFull> {
        let mut state = self.lock();
        match state.mode {
            Mode::Open => {}
            Mode::Held => return Ok(Put::Held),
            Mode::Finishing | Mode::Closed => return Ok(Put::Closed),
        }
        if state.urgent + body.len() > self.limit {
            return Err(ReserveFull);
        }
        let at = state.taken + state.buf.len() as u64;
        state.urgent += self.append(&mut state, body);
        drop(state);
        self.wake.notify_one();
        Ok(Put::At(at))
    }

    fn append(&self, state: &mut State, body: &mut Vec<u8>) -> usize {
        let before = state.buf.len();
        if before == 0 && body.len() >= SWAPPED_BYTES && self.framing == Framing::Lines {
            std::mem::swap(&mut state.buf, body);
            state.buf.push(b'\n');
            state.frames += 1;
            return state.buf.len();
        }
        if self.framing == Framing::ContentLength {
            // Writing to memory does not fail.
            let _ = write!(state.buf, "Content-Length: {}\r\n\r\n", body.len());
        }
        state.buf.extend_from_slice(body);
        if self.framing == Framing::Lines {
            state.buf.push(b'\n');
        }
        state.frames += 1;
        state.buf.len() - before
    }

    /// For the writer: waits for frames and swaps them for the empty `into`. `None` when there will be no more.
    ///
    /// If it had to wait and others are about to send too (`crowded`), it lets those that are ready go first, so that
    /// one write carries all their frames.
    pub(crate) async fn take(&self, into: &mut Vec<u8>, crowded: impl Fn() -> bool) -> Option<Batch> {
        loop {
            {
                let mut state = self.lock();
                if matches!(state.mode, Mode::Open | Mode::Finishing) && !state.buf.is_empty() {
                    std::mem::swap(&mut state.buf, into);
                    state.taken += into.len() as u64;
                    return Some(Batch { charged: std::mem::take(&mut state.charged), urgent: state.urgent });
                }
                if matches!(state.mode, Mode::Finishing | Mode::Closed) {
                    return None;
                }
            }
            self.wake.notified().await;
            if crowded() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// For the writer: `written` bytes of the batch have left; their room is free.
    pub(crate) fn written(&self, batch: &mut Batch, written: usize) {
        let free = batch.charged.min(written);
        batch.charged -= free;
        if free > 0 {
            self.room.add_permits(free);
        }
    }

    /// For the writer: the batch is through.
    pub(crate) fn finished(&self, batch: Batch) {
        self.room.add_permits(batch.charged);
        if batch.urgent > 0 {
            self.lock().urgent -= batch.urgent;
        }
    }

    /// Sends what is there, then no more.
    pub(crate) fn finish(&self) {
        self.end(Mode::Finishing);
    }

    /// Sends nothing more; swallows what comes.
    pub(crate) fn hold(&self) {
        self.end(Mode::Held);
    }

    /// Sends nothing more; wakes those who wait for room.
    pub(crate) fn close(&self) {
        self.end(Mode::Closed);
        self.room.close();
    }

    fn end(&self, mode: Mode) {
        let mut state = self.lock();
        if state.mode == Mode::Closed || (state.mode == Mode::Finishing && mode != Mode::Closed) {
            return;
        }
        state.mode = mode;
        if mode != Mode::Finishing {
            state.buf = Vec::new();
            self.room.add_permits(std::mem::take(&mut state.charged));
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Whether any byte of the frame may have been sent.
    pub(crate) fn may_be_sent(&self, put: Put) -> bool {
        matches!(put, Put::At(at) if at < self.lock().taken)
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        let urgent = self.lock().urgent;
        self.limit.saturating_sub(self.room.available_permits()) + urgent
    }

    pub(crate) fn frames(&self) -> u64 {
        self.lock().frames
    }

    fn charge(&self, body: &[u8]) -> u32 {
        // A frame larger than all room waits until it is alone. `limit` fits by construction.
        u32::try_from(body.len().min(self.limit)).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.charge > 0 {
            self.outbox.room.add_permits(self.charge);
        }
    }
}
