//! The newest log entries of one plugin (rule G-4): [`RecentLogs`], and one entry as a [`LogRecord`].

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    clock::{Clock, TreeInstant},
    id::Incarnation,
    protocol::{LogEntry, LogLevel},
    rpc::Context,
    worker::LogEntrySink,
};

/// A longer message is cut, and a longer `meta` left out: the number of entries is bounded, so their size
/// must be too.
const ENTRY_BYTES: usize = 8 * 1024;

/// A log entry that a plugin sent.
#[derive(Clone, Debug, Serialize)]
pub struct LogRecord {
    /// When it arrived.
    pub at: TreeInstant,
    /// The incarnation that sent it.
    pub incarnation: Incarnation,
    /// How much it matters.
    pub level: LogLevel,
    /// The text, cut after 8 KiB.
    pub message: String,
    /// Any other data, as it was sent; left out above 8 KiB.
    pub meta: Option<Box<RawValue>>,
    /// Whether any part was cut or left out.
    pub truncated: bool,
}

/// A bounded ring buffer. Cheap to clone: all clones share one buffer.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecentLogs(Arc<Mutex<VecDeque<LogRecord>>>);

impl RecentLogs {
    /// Oldest first.
    pub(crate) fn records(&self) -> Vec<LogRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn push(&self, record: LogRecord, size: usize) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while ring.len() >= size.max(1) {
            ring.pop_front();
        }
        if size > 0 {
            ring.push_back(record);
        }
    }
}

/// Adds a plugin's log entries to its ring buffer, and passes them on to the sink of its declaration.
pub(crate) struct RecordingLogEntrySink {
    pub(crate) recent: RecentLogs,
    pub(crate) size: usize,
    pub(crate) clock: Clock,
    pub(crate) next: Option<Arc<dyn LogEntrySink>>,
}

impl LogEntrySink for RecordingLogEntrySink {
    fn log(&self, cx: &Context, entry: LogEntry) {
        let (message, cut) = cut(&entry.message);
        let meta = entry.meta.as_ref().filter(|meta| meta.get().len() <= ENTRY_BYTES).cloned();
        let record = LogRecord {
            at: self.clock.now(),
            incarnation: cx.incarnation,
            level: entry.level,
            message: message.to_owned(),
            truncated: cut || meta.is_some() != entry.meta.is_some(),
            meta,
        };
        self.recent.push(record, self.size);
        if let Some(next) = &self.next {
            next.log(cx, entry);
        }
    }
}

/// The beginning of a text, cut at a character's boundary.
fn cut(text: &str) -> (&str, bool) {
    if text.len() <= ENTRY_BYTES {
        return (text, false);
    }
    let end = (0..=ENTRY_BYTES).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    (&text[..end], true)
}
