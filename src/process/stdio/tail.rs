//! [`Tail`]: the newest bytes of a stream, in bounded memory.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Keeps the last bytes that were written to it. Older ones are dropped and counted. Cheap to clone: all
/// clones share one tail. 8 KiB by default.
#[derive(Clone)]
pub struct Tail {
    ring: Arc<Mutex<Ring>>,
    capacity_bytes: usize,
}

struct Ring {
    bytes: VecDeque<u8>,
    dropped: u64,
}

impl Tail {
    /// The default capacity.
    pub const DEFAULT_BYTES: usize = 8 * 1024;

    /// An empty tail that keeps `capacity_bytes`.
    pub fn new(capacity_bytes: usize) -> Tail {
        let ring = Ring { bytes: VecDeque::new(), dropped: 0 };
        Tail { ring: Arc::new(Mutex::new(ring)), capacity_bytes }
    }

    /// Appends, dropping the oldest bytes where there is no room.
    pub fn push(&self, bytes: &[u8]) {
        let mut ring = self.lock();
        let kept = &bytes[bytes.len().saturating_sub(self.capacity_bytes)..];
        let excess = (ring.bytes.len() + kept.len()).saturating_sub(self.capacity_bytes);
        ring.bytes.drain(..excess);
        ring.bytes.extend(kept);
        let lost = (bytes.len() - kept.len() + excess) as u64;
        ring.dropped = ring.dropped.saturating_add(lost);
    }

    /// The bytes that are kept, as text that begins at a character's boundary. Bytes that are not UTF-8 are
    /// replaced.
    pub fn text(&self) -> String {
        let ring = self.lock();
        // A character whose first byte was dropped leaves up to three continuation bytes.
        let torn = |byte: &&u8| ring.dropped > 0 && (**byte & 0xc0) == 0x80;
        let skip = ring.bytes.iter().take(3).take_while(torn).count();
        let bytes: Vec<u8> = ring.bytes.iter().skip(skip).copied().collect();
        drop(ring);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How many bytes have been dropped.
    pub fn dropped_bytes(&self) -> u64 {
        self.lock().dropped
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.lock().bytes.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Tail {
    fn default() -> Tail {
        Tail::new(Tail::DEFAULT_BYTES)
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = self.lock();
        f.debug_struct("Tail").field("bytes", &ring.bytes.len()).field("dropped", &ring.dropped).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_newest_is_kept_and_cut_between_characters() {
        // P-3
        let tail = Tail::new(5);
        tail.push("aé".as_bytes());
        assert_eq!(tail.text(), "aé");
        tail.push("€x".as_bytes());
        assert_eq!(tail.text(), "€x", "half of the é is left and not shown");
        assert_eq!(tail.dropped_bytes(), 2);
        tail.push(b"0123456789");
        assert_eq!((tail.text().as_str(), tail.dropped_bytes()), ("56789", 12));
        tail.push(b"\xff");
        assert_eq!(tail.text(), "6789\u{fffd}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_tail_is_the_end_of_what_was_written(chunks in prop::collection::vec(".{0,12}", 0..12), capacity in 0usize..40) {
            // P-3
            let tail = Tail::new(capacity);
            chunks.iter().for_each(|chunk| tail.push(chunk.as_bytes()));
            let (all, text) = (chunks.concat(), tail.text());
            prop_assert!(all.ends_with(&text) && text.len() <= capacity);
            prop_assert!(text.len() + 3 >= capacity.min(all.len()));
        }
    }
}
