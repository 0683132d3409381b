//! Buffers for frames: the one that each thread keeps ([`Scratch`]), and how buffers that wait are sized.

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
};

/// A larger buffer is kept only while frames fill it.
pub(crate) const KEEP_BYTES: usize = 256 * 1024;
/// A larger buffer is never kept.
const KEEP_FULL_BYTES: usize = 4 * 1024 * 1024;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The buffer of this thread, empty; it goes back when dropped. Nested use gets a new buffer.
#[derive(Debug)]
pub(crate) struct Scratch(Vec<u8>);

impl Scratch {
    pub(crate) fn take() -> Scratch {
        // While a thread ends, a call may be dropped after this slot is gone.
        let mut bytes = SCRATCH.try_with(Cell::take).unwrap_or_default();
        bytes.clear();
        Scratch(bytes)
    }

    /// Leaves a used buffer to the thread if it is worth keeping: getting fresh memory from the
    /// system costs as much as filling it.
    pub(crate) fn give(bytes: Vec<u8>) {
        // While the thread ends, the slot is gone and the buffer is freed.
        let _ = SCRATCH.try_with(|slot| {
            let present = slot.take();
            slot.set(if present.capacity() < bytes.capacity() && worth_keeping(&bytes) {
                bytes
            } else {
                present
            });
        });
    }

    /// The bytes in a buffer of their size, for a frame that has to wait.
    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.0);
        fit(&mut bytes);
        bytes
    }
}

/// Shrinks a buffer that is about to wait: the bounds count its length, so its capacity must not be
/// much larger.
pub(crate) fn fit(bytes: &mut Vec<u8>) {
    if bytes.capacity() - bytes.len() > bytes.len() / 8 {
        bytes.shrink_to_fit();
    }
}

/// Appends to a buffer that waits. It grows by a quarter at a time, since the bounds count its length.
pub(crate) fn append(bytes: &mut Vec<u8>, more: &[u8]) {
    if bytes.capacity() - bytes.len() < more.len() {
        bytes.reserve_exact(more.len() + (bytes.len() / 4).max(256));
    }
    bytes.extend_from_slice(more);
}

impl Drop for Scratch {
    fn drop(&mut self) {
        Scratch::give(std::mem::take(&mut self.0));
    }
}

/// Whether the buffer is small, or large and well filled by its last use.
fn worth_keeping(bytes: &Vec<u8>) -> bool {
    let capacity = bytes.capacity();
    capacity <= KEEP_BYTES || (capacity <= KEEP_FULL_BYTES && capacity / 8 <= bytes.len())
}

impl Deref for Scratch {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_stays_as_long_as_frames_fill_it() {
        // C-5
        const MIB: usize = 1024 * 1024;
        Scratch::give(vec![0; MIB]);
        // A smaller one does not take its place.
        Scratch::give(vec![0; 100]);
        let mut frame = Scratch::take();
        assert!(frame.is_empty() && frame.capacity() >= MIB);
        frame.resize(MIB / 2, 0);
        drop(frame);
        let mut frame = Scratch::take();
        assert!(frame.capacity() >= MIB);
        frame.push(b'x');
        drop(frame);
        assert_eq!(Scratch::take().capacity(), 0);
        Scratch::give(vec![0; 2 * KEEP_FULL_BYTES]);
        assert_eq!(Scratch::take().capacity(), 0);
    }
}
