//! The bytes that wait for the writer: [`Outbox`].
//!
//! Whole frames go in. Small ones are gathered, so that the writer writes all of them in one go; large ones are neither
//! copied nor gathered, since moving them would cost more than a write. Room is counted in bytes by a fair semaphore:
//! replies of handlers and one call or notification wait for it in order of arrival, further ones for their turn to be that
//! one; what cannot wait (replies made by the reader, cancellations) has a reserve of the same size. It knows nothing of
//! what a frame says.

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
/// Frames are gathered until there are so many bytes.
const GATHERED_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Outbox {
    framing: Framing,
    limit: usize,
    room: Semaphore,
    /// Held by the one of those who wait for room that is next.
    turn: Semaphore,
    state: Mutex<OutboxState>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct OutboxState {
    /// In the order in which they are written.
    chunks: VecDeque<Chunk>,
    /// An empty buffer for the next chunk.
    spare: Vec<u8>,
    /// Bytes that came in through the reserve and are not through yet, also of what the writer has taken.
    urgent: usize,
    frames: u64,
    /// Bytes that came in, ever.
    put: u64,
    /// Bytes the writer has taken, ever. What begins at or after this has not been sent.
    taken: u64,
    /// The tag of the frame that came in last, if it had one.
    last_tag: Option<u64>,
    mode: OutboxMode,
}

/// Frames that are written in one go.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// One large frame; nothing is added to it.
    large: bool,
    batch: WrittenFrames,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OutboxMode {
    #[default]
    Open,
    /// The writer writes what is there and ends.
    Finishing,
    /// Frames are swallowed; their senders are answered by the channel's owner.
    Discarding,
    /// Nothing goes in any more.
    Closed,
}

/// A place for one frame; given back when dropped unused.
#[derive(Debug)]
pub(crate) struct OutboxPermit<'a> {
    outbox: &'a Outbox,
    charge: usize,
}

/// The right to be the next that waits for room; held until the frame is put.
pub(crate) type OutboxTurn<'a> = SemaphorePermit<'a>;

/// Where a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enqueued {
    /// Behind this many bytes, counted from the beginning of the channel.
    At(u64),
    /// Nowhere: the channel has ended, and its owner will say how.
    Discarded,
    /// Nowhere: the channel does not send any more.
    Closed,
}

/// What a chunk has to give back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WrittenFrames {
    /// Bytes that came in through `room`.
    charged: usize,
    /// Bytes that came in through the reserve.
    urgent: usize,
}

/// The reserve is used up.
#[derive(Debug)]
pub(crate) struct ReserveFull;

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

    /// Whether somebody waits for room. A frame that could only wait behind it is better not made yet: many large ones
    /// would be held in memory, outside of what `limit` bounds.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.turn.available_permits() == 0
    }

    /// Waits to be the next that waits for room, in order of arrival. `None` when there are no more turns.
    pub(crate) async fn turn(&self) -> Option<OutboxTurn<'_>> {
        let turn = self.turn.acquire().await.ok()?;
        if self.lock().mode != OutboxMode::Discarding {
            return Some(turn);
        }
        // Nothing is sent any more. Frames that nobody will write are not made; the owner is about to say how it ended.
        turn.forget();
        self.turn.acquire().await.ok()
    }

    /// Ends the wait of those whose turn has not come.
    pub(crate) fn end_turns(&self) {
        self.turn.close();
    }

    /// A place for `body`, if there is room now. A closed outbox has room: [`put`](Outbox::put) says that it is closed.
    pub(crate) fn try_room(&self, body: &[u8]) -> Result<OutboxPermit<'_>, OutboxFull> {
        let charge = self.charge(body);
        match self.room.try_acquire_many(charge) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::NoPermits) => return Err(OutboxFull),
            Err(TryAcquireError::Closed) => return Ok(OutboxPermit { outbox: self, charge: 0 }),
        }
        Ok(OutboxPermit { outbox: self, charge: charge as usize })
    }

    /// A place for `body`, as soon as there is room.
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

    /// Puts a frame into its place. What is left in `body` is of no use.
    pub(crate) fn put(&self, room: OutboxPermit<'_>, body: &mut Vec<u8>) -> Enqueued {
        self.put_with(room, body, None)
    }

    /// The same, with a tag to find the frame by.
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
        let was_empty = state.chunks.is_empty();
        let charged = std::mem::take(&mut room.charge);
        self.append(&mut state, body, |batch, _| batch.charged += charged);
        state.last_tag = tag;
        drop(state);
        if was_empty {
            self.wake.notify_one();
        }
        Enqueued::At(at)
    }

    /// Puts a frame into the reserve, without waiting.
    pub(crate) fn put_urgent(&self, body: &mut Vec<u8>) -> Result<Enqueued, ReserveFull> {
        self.put_reserved(body, self.limit)
    }

    /// Puts a frame into the reserve, which may be left out: half of the reserve is kept for what may not.
    pub(crate) fn put_dispensable(&self, body: &mut Vec<u8>) -> Result<Enqueued, ReserveFull> {
        self.put_reserved(body, self.limit / 2)
    }

    fn put_reserved(&self, body: &mut Vec<u8>, limit: usize) -> Result<Enqueued, ReserveFull> {
        let mut state = self.lock();
        match state.mode {
            OutboxMode::Open => {}
            OutboxMode::Discarding => return Ok(Enqueued::Discarded),
            OutboxMode::Finishing | OutboxMode::Closed => return Ok(Enqueued::Closed),
        }
        if state.urgent + body.len() > limit {
            return Err(ReserveFull);
        }
        let at = state.put;
        state.urgent += self.append(&mut state, body, |batch, bytes| batch.urgent += bytes);
        state.last_tag = None;
        drop(state);
        self.wake.notify_one();
        Ok(Enqueued::At(at))
    }

    /// Adds a frame to the last chunk, or as a new one, and notes in it what the frame has to give back. What is left
    /// in `body` is of no use.
    fn append(
        &self,
        state: &mut OutboxState,
        body: &mut Vec<u8>,
        note: impl FnOnce(&mut WrittenFrames, usize),
    ) -> usize {
        let large = body.len() >= LARGE_BYTES;
        let gathered = |last: &&mut Chunk| !large && !last.large && last.bytes.len() < GATHERED_BYTES;
        let bytes;
        if let Some(last) = state.chunks.back_mut().filter(gathered) {
            let before = last.bytes.len();
            self.frame(&mut last.bytes, body);
            bytes = last.bytes.len() - before;
            note(&mut last.batch, bytes);
        } else {
            let mut chunk = Chunk { bytes: std::mem::take(&mut state.spare), large, ..Chunk::default() };
            if large && self.framing == Framing::Lines {
                std::mem::swap(&mut chunk.bytes, body);
                append(&mut chunk.bytes, b"\n");
                fit(&mut chunk.bytes);
            } else {
                self.frame(&mut chunk.bytes, body);
                if large {
                    fit(&mut chunk.bytes);
                }
            }
            bytes = chunk.bytes.len();
            note(&mut chunk.batch, bytes);
            state.chunks.push_back(chunk);
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

    /// For the writer: waits for frames and swaps those of the first chunk for the empty `into`. `None` when there will
    /// be no more.
    ///
    /// If it had to wait and others are about to send too (`crowded`), it lets those that are ready go first, so that
    /// one write carries all their frames.
    pub(crate) async fn take(&self, into: &mut Vec<u8>, crowded: impl Fn() -> bool) -> Option<WrittenFrames> {
        loop {
            {
                let mut state = self.lock();
                if let Some(chunk) = state.chunks.pop_front() {
                    state.spare = std::mem::replace(into, chunk.bytes);
                    state.taken += into.len() as u64;
                    return Some(chunk.batch);
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

    /// For the writer: `written` bytes of the batch have left; their room is free.
    pub(crate) fn written(&self, batch: &mut WrittenFrames, written: usize) {
        let free = batch.charged.min(written);
        batch.charged -= free;
        if free > 0 {
            self.room.add_permits(free);
        }
    }

    /// For the writer: the batch is through.
    pub(crate) fn finished(&self, batch: WrittenFrames) {
        self.room.add_permits(batch.charged);
        if batch.urgent > 0 {
            self.lock().urgent -= batch.urgent;
        }
    }

    /// Sends what is there, then no more.
    pub(crate) fn finish(&self) {
        self.end(OutboxMode::Finishing);
    }

    /// Sends nothing more; swallows what comes.
    pub(crate) fn discard(&self) {
        self.end(OutboxMode::Discarding);
    }

    /// Sends nothing more; wakes those who wait for room.
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
            let chunks = std::mem::take(&mut state.chunks);
            state.spare = Vec::new();
            state.urgent -= chunks.iter().map(|chunk| chunk.batch.urgent).sum::<usize>();
            self.room.add_permits(chunks.iter().map(|chunk| chunk.batch.charged).sum());
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
        // A frame larger than all room waits until it is alone. `limit` fits by construction.
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
