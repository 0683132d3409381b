//! The frames that wait for the writer: [`Outbox`].
//!
//! Whole frames go in. Small ones are gathered so that one write carries all of them. Large ones
//! are neither copied nor gathered, since moving them would cost more than a write. A fair
//! semaphore counts room in bytes. Senders that hold no [`OutboxTurn`] wait for room in order of
//! arrival; the others first wait for the turn, so that only one of them at a time has made its
//! frame. Frames that cannot wait go into a reserve of the same size. The outbox does not know what
//! a frame says.

use std::{
    collections::VecDeque,
    io::Write as _,
    sync::{Mutex, MutexGuard},
};

use tokio::sync::{Notify, Semaphore, SemaphorePermit, TryAcquireError};

use crate::channel::{
    framing::Framing,
    lock::lock,
    scratch::{append, fit},
};

/// A frame of this size is not copied: it is written from the buffer that it came in.
const LARGE_BYTES: usize = 16 * 1024;
/// Small frames are gathered up to this size.
const GATHERED_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Outbox {
    framing: Framing,
    limit: usize,
    room: Semaphore,
    /// Held by the sender that is next to wait for room.
    turn: Semaphore,
    state: Mutex<OutboxState>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct OutboxState {
    /// In the order in which they are written.
    batches: VecDeque<WriteBatch>,
    /// An empty buffer for the next batch.
    spare: Vec<u8>,
    /// Bytes in the reserve that are not written yet, including those that the writer has taken.
    urgent: usize,
    frames: u64,
    /// All bytes that were ever put.
    put: u64,
    /// All bytes that the writer has ever taken. A frame that begins at or after this position has
    /// not been sent.
    taken: u64,
    /// The tag of the frame that came in last, if it had one.
    last_tag: Option<u64>,
    mode: OutboxMode,
}

/// Frames that are written in one go.
#[derive(Debug, Default)]
struct WriteBatch {
    bytes: Vec<u8>,
    /// It is one large frame, to which nothing is added.
    large: bool,
    room: WriteBatchPermits,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OutboxMode {
    #[default]
    Open,
    /// The writer writes what is queued, and ends.
    Finishing,
    /// Frames are dropped; the user of the channel answers their senders.
    Discarding,
    /// No frame is accepted.
    Closed,
}

/// Room for one frame; given back when dropped unused.
#[derive(Debug)]
pub(crate) struct OutboxPermit<'a> {
    outbox: &'a Outbox,
    charge: usize,
}

/// The right to be the next sender that waits for room; held until the frame is put.
pub(crate) type OutboxTurn<'a> = SemaphorePermit<'a>;

/// Where a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enqueued {
    /// Behind this many bytes, counted from the beginning of the channel.
    At(u64),
    /// Nowhere: the channel has ended, and its user will answer the sender.
    Discarded,
    /// Nowhere: the channel has stopped sending.
    Closed,
}

/// The room that a batch gives back once it is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WriteBatchPermits {
    /// Bytes that came in through `room`.
    charged: usize,
    /// Bytes that came in through the reserve.
    urgent: usize,
}

/// The reserve is used up.
#[derive(Debug)]
pub(crate) struct UrgentReserveFull;

/// There is no room now.
#[derive(Debug)]
pub(crate) struct OutboxFull;

impl Outbox {
    pub(crate) fn new(framing: Framing, limit: usize) -> Outbox {
        let limit = limit.clamp(1, u32::MAX as usize);
        Outbox {
            framing,
            limit,
            room: Semaphore::new(limit),
            turn: Semaphore::new(1),
            state: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Whether a sender waits for room. A frame that would only wait behind that one should not be
    /// made yet: many large ones would be held in memory, beyond what `limit` bounds.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.turn.available_permits() == 0
    }

    /// Waits for the turn to wait for room, in order of arrival. `None` when no more turns are given.
    pub(crate) async fn turn(&self) -> Option<OutboxTurn<'_>> {
        let turn = self.turn.acquire().await.ok()?;
        if self.lock().mode != OutboxMode::Discarding {
            return Some(turn);
        }
        // Sending has stopped, so the frame need not be made. The channel's user is about to answer this
        // sender.
        turn.forget();
        self.turn.acquire().await.ok()
    }

    /// Gives no more turns: ends the wait of all that wait for one.
    pub(crate) fn end_turns(&self) {
        self.turn.close();
    }

    /// Room for `body`, if there is room now. A closed outbox always has room: [`put`](Outbox::put)
    /// then says that it is closed.
    pub(crate) fn try_room(&self, body: &[u8]) -> Result<OutboxPermit<'_>, OutboxFull> {
        let charge = self.charge(body);
        match self.room.try_acquire_many(charge) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::NoPermits) => return Err(OutboxFull),
            Err(TryAcquireError::Closed) => return Ok(OutboxPermit { outbox: self, charge: 0 }),
        }
        Ok(OutboxPermit { outbox: self, charge: charge as usize })
    }

    /// Waits for room for `body`.
    pub(crate) async fn room(&self, body: &[u8]) -> OutboxPermit<'_> {
        let charge = self.charge(body);
        let charge = match self.room.acquire_many(charge).await {
            Ok(permit) => {
                permit.forget();
                charge as usize
            }
            Err(_) => 0,
        };
        OutboxPermit { outbox: self, charge }
    }

    /// Queues a frame. Afterwards the contents of `body` are unspecified.
    pub(crate) fn put(&self, room: OutboxPermit<'_>, body: &mut Vec<u8>) -> Enqueued {
        self.put_with(room, body, None)
    }

    /// The same, with a tag for [`last_tag`](Outbox::last_tag).
    pub(crate) fn put_tagged(&self, room: OutboxPermit<'_>, body: &mut Vec<u8>, tag: u64) -> Enqueued {
        self.put_with(room, body, Some(tag))
    }

    fn put_with(&self, mut room: OutboxPermit<'_>, body: &mut Vec<u8>, tag: Option<u64>) -> Enqueued {
        let mut state = self.lock();
        match state.mode {
            OutboxMode::Open => {}
            OutboxMode::Discarding => return Enqueued::Discarded,
            OutboxMode::Finishing | OutboxMode::Closed => return Enqueued::Closed,
        }
        let at = state.put;
        let was_empty = state.batches.is_empty();
        let charged = std::mem::take(&mut room.charge);
        self.append(&mut state, body, |room, _| room.charged += charged);
        state.last_tag = tag;
        drop(state);
        if was_empty {
            self.wake.notify_one();
        }
        Enqueued::At(at)
    }

    /// Queues a frame in the reserve, without waiting.
    pub(crate) fn put_urgent(&self, body: &mut Vec<u8>) -> Result<Enqueued, UrgentReserveFull> {
        self.put_reserved(body, self.limit)
    }

    /// Queues a frame that may be left out in the reserve. Half of the reserve is kept for frames
    /// that may not.
    pub(crate) fn put_dispensable(&self, body: &mut Vec<u8>) -> Result<Enqueued, UrgentReserveFull> {
        self.put_reserved(body, self.limit / 2)
    }

    fn put_reserved(&self, body: &mut Vec<u8>, limit: usize) -> Result<Enqueued, UrgentReserveFull> {
        let mut state = self.lock();
        match state.mode {
            OutboxMode::Open => {}
            OutboxMode::Discarding => return Ok(Enqueued::Discarded),
            OutboxMode::Finishing | OutboxMode::Closed => return Ok(Enqueued::Closed),
        }
        if state.urgent + body.len() > limit {
            return Err(UrgentReserveFull);
        }
        let at = state.put;
        state.urgent += self.append(&mut state, body, |room, bytes| room.urgent += bytes);
        state.last_tag = None;
        drop(state);
        self.wake.notify_one();
        Ok(Enqueued::At(at))
    }

    /// Adds a frame to the last batch or as a new one, and records the room that it gives back.
    /// Afterwards the contents of `body` are unspecified.
    fn append(
        &self,
        state: &mut OutboxState,
        body: &mut Vec<u8>,
        note: impl FnOnce(&mut WriteBatchPermits, usize),
    ) -> usize {
        let large = body.len() >= LARGE_BYTES;
        let gathered = |last: &&mut WriteBatch| !large && !last.large && last.bytes.len() < GATHERED_BYTES;
        let bytes;
        if let Some(last) = state.batches.back_mut().filter(gathered) {
            let before = last.bytes.len();
            self.frame(&mut last.bytes, body);
            bytes = last.bytes.len() - before;
            note(&mut last.room, bytes);
        } else {
            let mut batch =
                WriteBatch { bytes: std::mem::take(&mut state.spare), large, ..WriteBatch::default() };
            if large && self.framing == Framing::Lines {
                std::mem::swap(&mut batch.bytes, body);
                append(&mut batch.bytes, b"\n");
                fit(&mut batch.bytes);
            } else {
                self.frame(&mut batch.bytes, body);
                if large {
                    fit(&mut batch.bytes);
                }
            }
            bytes = batch.bytes.len();
            note(&mut batch.room, bytes);
            state.batches.push_back(batch);
        }
        state.frames += 1;
        state.put += bytes as u64;
        bytes
    }

    fn frame(&self, out: &mut Vec<u8>, body: &[u8]) {
        match self.framing {
            Framing::Lines => {
                append(out, body);
                append(out, b"\n");
            }
            Framing::ContentLength => {
                // Writing to memory does not fail.
                let _ = write!(out, "Content-Length: {}\r\n\r\n", body.len());
                append(out, body);
            }
        }
    }

    /// For the writer: waits for frames and swaps the first batch for the empty `into`. `None` when
    /// no more will come.
    ///
    /// If it had to wait and other senders are about to send too (`crowded`), it lets them run
    /// first, so that one write carries all their frames.
    pub(crate) async fn take(
        &self,
        into: &mut Vec<u8>,
        crowded: impl Fn() -> bool,
    ) -> Option<WriteBatchPermits> {
        loop {
            {
                let mut state = self.lock();
                if let Some(batch) = state.batches.pop_front() {
                    state.spare = std::mem::replace(into, batch.bytes);
                    state.taken += into.len() as u64;
                    return Some(batch.room);
                }
                if matches!(state.mode, OutboxMode::Finishing | OutboxMode::Closed) {
                    return None;
                }
            }
            self.wake.notified().await;
            if crowded() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// For the writer: `written` bytes of the batch are written; their room is free.
    pub(crate) fn written(&self, room: &mut WriteBatchPermits, written: usize) {
        let free = room.charged.min(written);
        room.charged -= free;
        if free > 0 {
            self.room.add_permits(free);
        }
    }

    /// For the writer: the whole batch is written.
    pub(crate) fn finished(&self, room: WriteBatchPermits) {
        self.room.add_permits(room.charged);
        if room.urgent > 0 {
            self.lock().urgent -= room.urgent;
        }
    }

    /// Sends what is queued, and accepts no more.
    pub(crate) fn finish(&self) {
        self.end(OutboxMode::Finishing);
    }

    /// Sends nothing more; drops what is queued and what is put.
    pub(crate) fn discard(&self) {
        self.end(OutboxMode::Discarding);
    }

    /// Sends nothing more; wakes all senders that wait for room.
    pub(crate) fn close(&self) {
        self.end(OutboxMode::Closed);
        self.end_turns();
        self.room.close();
    }

    fn end(&self, mode: OutboxMode) {
        let mut state = self.lock();
        if state.mode == OutboxMode::Closed
            || (state.mode == OutboxMode::Finishing && mode != OutboxMode::Closed)
        {
            return;
        }
        state.mode = mode;
        if mode != OutboxMode::Finishing {
            let batches = std::mem::take(&mut state.batches);
            state.spare = Vec::new();
            state.urgent -= batches.iter().map(|batch| batch.room.urgent).sum::<usize>();
            self.room.add_permits(batches.iter().map(|batch| batch.room.charged).sum());
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Whether any byte of the frame may have been sent.
    pub(crate) fn may_be_sent(&self, put: Enqueued) -> bool {
        matches!(put, Enqueued::At(at) if at < self.lock().taken)
    }

    /// The tag of the frame that was put last, if it had one and all of it is on its way.
    pub(crate) fn last_tag(&self) -> Option<u64> {
        let state = self.lock();
        state.last_tag.filter(|_| state.taken == state.put)
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        let urgent = self.lock().urgent;
        self.limit.saturating_sub(self.room.available_permits()) + urgent
    }

    pub(crate) fn frames(&self) -> u64 {
        self.lock().frames
    }

    fn charge(&self, body: &[u8]) -> u32 {
        // A frame larger than `limit` waits until it is alone. `limit` fits into u32 by construction.
        u32::try_from(body.len().min(self.limit)).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        lock(&self.state)
    }
}

impl Drop for OutboxPermit<'_> {
    fn drop(&mut self) {
        if self.charge > 0 {
            self.outbox.room.add_permits(self.charge);
        }
    }
}
