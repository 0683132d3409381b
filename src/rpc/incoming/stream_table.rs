//! The streams that the other side has opened: [`StreamTable`].
//!
//! Pure bookkeeping: which streams are open, the items that their consumers have not taken yet, and the
//! bounds on both (C-10). It sends nothing and wakes nothing. Wakers are handed out, since they may run
//! code of a task, which may drop a stream that then needs the table. Consumers know a stream by a number
//! of this side; the ids that the other side chooses are only looked up.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    task::Waker,
};

use serde_json::value::RawValue;

use crate::rpc::{stream_end::StreamEnd, wire::request_id::RequestId};

/// How many ids of streams that have ended are remembered.
const REMEMBERED: usize = 4096;
/// What an item counts as, in addition to the bytes of its text.
const PER_ITEM_BYTES: usize = 64;
/// A larger queue is given back to the system when it is nearly empty.
const KEPT_ITEMS: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct StreamTable {
    /// Those that are open. Only looked up by id, so its order decides nothing.
    open: HashMap<RequestId, u64>,
    /// Those that are open, and those whose consumer has not seen the end yet.
    streams: BTreeMap<u64, StreamBuffer>,
    next: u64,
    ended: EndedIds,
    /// What the items of all streams count as together.
    bytes: usize,
    max_streams: usize,
    max_bytes: usize,
    /// The channel is closed: how every stream that was open has ended.
    closed: Option<StreamEnd>,
}

#[derive(Debug)]
struct StreamBuffer {
    items: VecDeque<Box<RawValue>>,
    max_items: usize,
    /// The items that were taken and for which the other side has not got credit again, if it wants credit.
    owed_credit: Option<usize>,
    consumer: Option<Waker>,
    end: Option<StreamEnd>,
}

/// Why a stream cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamOpenRefusal {
    /// A stream has this id, or had it.
    IdUsed,
    TooMany,
    /// The channel is closed.
    Closed,
}

/// What becomes of the next item of a stream.
#[derive(Debug)]
pub(crate) enum ItemRoom {
    /// There is room for it in this stream.
    Free(u64),
    /// There is none, and so the stream has ended; its consumer is to be woken.
    Overflow(Option<Waker>),
    /// No such stream is open: it has ended, or there never was one.
    NotOpen { has_ended: bool },
}

/// What a consumer finds.
#[derive(Debug)]
pub(crate) enum TakenItem {
    Item {
        item: Box<RawValue>,
        /// The other side may send so many items more.
        credit: Option<usize>,
    },
    /// The end, of which the table knows nothing from now on.
    End(StreamEnd),
    /// Nothing yet; `stale` is the waker that was registered before.
    Nothing { stale: Option<Waker> },
}

/// A stream that its consumer has given up.
#[derive(Debug)]
pub(crate) struct StreamCancelOutcome {
    pub(crate) was_open: bool,
    /// Dropped outside of the lock.
    _items: VecDeque<Box<RawValue>>,
}

impl StreamTable {
    /// A table with these bounds on the number of streams and on the bytes of their items.
    pub(crate) fn new(max_streams: usize, max_bytes: usize) -> StreamTable {
        StreamTable { max_streams, max_bytes, ..StreamTable::default() }
    }

    /// Whether a stream with this id may be opened.
    pub(crate) fn check(&self, id: &RequestId) -> Result<(), StreamOpenRefusal> {
        if self.closed.is_some() {
            Err(StreamOpenRefusal::Closed)
        } else if self.open.contains_key(id) || self.ended.contains(id) {
            Err(StreamOpenRefusal::IdUsed)
        } else if self.streams.len() >= self.max_streams {
            Err(StreamOpenRefusal::TooMany)
        } else {
            Ok(())
        }
    }

    /// Opens a stream that keeps at most `max_items` items for its consumer; returns its number.
    pub(crate) fn open(
        &mut self,
        id: RequestId,
        max_items: usize,
        gives_credit: bool,
    ) -> Result<u64, StreamOpenRefusal> {
        self.check(&id)?;
        self.next += 1;
        let stream = StreamBuffer {
            items: VecDeque::new(),
            max_items: max_items.max(1),
            owed_credit: gives_credit.then_some(0),
            consumer: None,
            end: None,
        };
        self.streams.insert(self.next, stream);
        self.open.insert(id, self.next);
        Ok(self.next)
    }

    /// Whether there is room for an item of so many bytes. If there is none, the stream ends.
    pub(crate) fn room(&mut self, id: &RequestId, item_bytes: usize) -> ItemRoom {
        let Some(&number) = self.open.get(id) else {
            return ItemRoom::NotOpen { has_ended: self.ended.contains(id) };
        };
        let bytes = self.bytes.saturating_add(item_bytes.saturating_add(PER_ITEM_BYTES));
        let has_room = self.streams.get(&number).is_some_and(|stream| stream.items.len() < stream.max_items);
        if has_room && bytes <= self.max_bytes {
            return ItemRoom::Free(number);
        }
        ItemRoom::Overflow(self.end(id, StreamEnd::Overflow).flatten())
    }

    /// Adds an item that has room. Returns it if the stream was given up meanwhile, and otherwise the
    /// consumer to wake.
    pub(crate) fn push(&mut self, number: u64, item: Box<RawValue>) -> Result<Option<Waker>, Box<RawValue>> {
        match self.streams.get_mut(&number) {
            Some(stream) if stream.end.is_none() => {
                self.bytes += counted(&item);
                stream.items.push_back(item);
                Ok(stream.consumer.take())
            }
            _ => Err(item),
        }
    }

    /// Ends an open stream; `None` if no such stream is open, and otherwise the consumer to wake, if it
    /// waits.
    pub(crate) fn end(&mut self, id: &RequestId, end: StreamEnd) -> Option<Option<Waker>> {
        let (id, number) = self.open.remove_entry(id)?;
        self.ended.remember(&id);
        let stream = self.streams.get_mut(&number)?;
        stream.end = Some(end);
        Some(stream.consumer.take())
    }

    /// Whether a stream had this id and has ended, as far as that is remembered.
    pub(crate) fn has_ended(&self, id: &RequestId) -> bool {
        self.ended.contains(id)
    }

    /// For the consumer: takes the next item, the end after the last one, or registers `consumer` to be
    /// woken.
    pub(crate) fn take(&mut self, number: u64, consumer: &Waker) -> TakenItem {
        let Some(stream) = self.streams.get_mut(&number) else {
            // Never entered: the channel was closed at that moment.
            return TakenItem::End(self.closed.clone().unwrap_or(StreamEnd::Cancelled));
        };
        if let Some(item) = stream.items.pop_front() {
            self.bytes -= counted(&item);
            if stream.items.capacity() > KEPT_ITEMS && stream.items.len() < stream.items.capacity() / 4 {
                stream.items.shrink_to(stream.items.capacity() / 2);
            }
            let credit = stream.owed_credit.as_mut().filter(|_| stream.end.is_none()).and_then(|owed| {
                *owed += 1;
                (*owed >= stream.max_items.div_ceil(2)).then(|| std::mem::take(owed))
            });
            return TakenItem::Item { item, credit };
        }
        if let Some(end) = stream.end.take() {
            self.streams.remove(&number);
            return TakenItem::End(end);
        }
        let stale = match &mut stream.consumer {
            Some(known) if known.will_wake(consumer) => None,
            known => known.replace(consumer.clone()),
        };
        TakenItem::Nothing { stale }
    }

    /// For the consumer: gives the stream up, with the items that were not taken.
    pub(crate) fn cancel(&mut self, number: u64, id: &RequestId) -> Option<StreamCancelOutcome> {
        let stream = self.streams.remove(&number)?;
        self.bytes -= stream.items.iter().map(|item| counted(item)).sum::<usize>();
        let was_open = stream.end.is_none();
        if was_open {
            self.open.remove(id);
            self.ended.remember(id);
        }
        Some(StreamCancelOutcome { was_open, _items: stream.items })
    }

    /// Ends all open streams, and accepts no further ones. Returns the consumers to wake, in the order in
    /// which the streams were opened.
    pub(crate) fn close(&mut self, end: &StreamEnd) -> Vec<Waker> {
        self.closed.get_or_insert_with(|| end.clone());
        self.open = HashMap::new();
        self.ended = EndedIds::default();
        let open = self.streams.values_mut().filter(|stream| stream.end.is_none());
        open.filter_map(|stream| {
            stream.end = Some(end.clone());
            stream.consumer.take()
        })
        .collect()
    }

    /// How many streams are open.
    pub(crate) fn open_streams(&self) -> usize {
        self.open.len()
    }

    /// What the items that wait for their consumers count as.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What an item counts as until its consumer has taken it.
fn counted(item: &RawValue) -> usize {
    item.get().len() + PER_ITEM_BYTES
}

/// The ids of the streams that ended last. As hashes: an id may have 1 KiB. An id is only mistaken for
/// another one with a probability of 2⁻⁵² or so, and then a stream is refused.
#[derive(Debug, Default)]
struct EndedIds {
    hasher: RandomState,
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl EndedIds {
    fn contains(&self, id: &RequestId) -> bool {
        !self.known.is_empty() && self.known.contains(&self.hasher.hash_one(id))
    }

    fn remember(&mut self, id: &RequestId) {
        let id = self.hasher.hash_one(id);
        if !self.known.insert(id) {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn put(table: &mut StreamTable, id: i64, text: &str) -> bool {
        match table.room(&id.into(), text.len()) {
            ItemRoom::Free(number) => table.push(number, item(text)).is_ok(),
            _ => false,
        }
    }

    fn take(table: &mut StreamTable, number: u64) -> Result<String, String> {
        match table.take(number, Waker::noop()) {
            TakenItem::Item { item, .. } => Ok(item.get().to_owned()),
            TakenItem::End(end) => Err(end.to_string()),
            TakenItem::Nothing { .. } => Err("nothing".to_owned()),
        }
    }

    #[test]
    fn a_stream_ends_once_and_after_its_items() {
        // C-10
        let mut table = StreamTable::new(10, 10_000);
        let number = table.open(1.into(), 4, false).unwrap();
        assert!(put(&mut table, 1, "1") && put(&mut table, 1, "2"));
        assert!(table.end(&1.into(), StreamEnd::Closed).is_some());
        assert!(table.end(&1.into(), StreamEnd::Overflow).is_none(), "once");
        assert!(!put(&mut table, 1, "3"));
        table.close(&StreamEnd::Cancelled);
        assert_eq!((take(&mut table, number), take(&mut table, number)), (Ok("1".into()), Ok("2".into())));
        assert_eq!(take(&mut table, number), Err(StreamEnd::Closed.to_string()));
        assert_eq!((table.bytes(), table.open_streams(), table.streams.len()), (0, 0, 0));
    }

    #[test]
    fn an_id_is_used_once_and_ids_are_forgotten_in_order() {
        // C-10
        let mut table = StreamTable::new(10, 10_000);
        for id in 0..=REMEMBERED as i64 {
            let number = table.open(id.into(), 1, false).unwrap();
            assert_eq!(table.check(&id.into()), Err(StreamOpenRefusal::IdUsed));
            assert!(table.cancel(number, &id.into()).unwrap().was_open);
        }
        assert_eq!(table.check(&1.into()), Err(StreamOpenRefusal::IdUsed));
        assert_eq!((table.check(&0.into()), table.ended.order.len()), (Ok(()), REMEMBERED));
        assert_eq!(table.ended.known.len(), REMEMBERED);
    }

    #[test]
    fn streams_items_and_bytes_are_bounded() {
        // C-10, C-15
        let mut table = StreamTable::new(2, 2 * (PER_ITEM_BYTES + 10));
        let first = table.open(1.into(), 2, false).unwrap();
        let second = table.open(2.into(), 2, false).unwrap();
        assert_eq!(table.open(3.into(), 2, false), Err(StreamOpenRefusal::TooMany));
        assert!(put(&mut table, 1, "\"12345678\"") && put(&mut table, 2, "\"12345678\""));
        assert!(!put(&mut table, 2, "1"), "the bytes of all streams count");
        // Its end has not been seen, so that it still counts.
        assert_eq!(table.open(3.into(), 2, false), Err(StreamOpenRefusal::TooMany));
        assert_eq!((take(&mut table, second).is_ok(), table.bytes()), (true, PER_ITEM_BYTES + 10));
        assert_eq!(take(&mut table, second), Err(StreamEnd::Overflow.to_string()));
        assert!(table.open(3.into(), 2, false).is_ok());
        assert!(put(&mut table, 1, "1") && !put(&mut table, 1, "1"), "two items");
        drop(table.cancel(first, &1.into()));
        assert_eq!(table.bytes(), 0);
    }

    #[test]
    fn credit_follows_what_was_taken() {
        // C-10
        let mut table = StreamTable::new(2, 10_000);
        let number = table.open(1.into(), 4, true).unwrap();
        assert!((0..4).all(|_| put(&mut table, 1, "1")));
        let credit = |table: &mut StreamTable| match table.take(number, Waker::noop()) {
            TakenItem::Item { credit, .. } => credit,
            other => panic!("{other:?}"),
        };
        assert_eq!([(); 3].map(|()| credit(&mut table)), [None, Some(2), None]);
        table.end(&1.into(), StreamEnd::Closed);
        assert_eq!(credit(&mut table), None, "it needs none any longer");
    }

    #[test]
    fn a_queue_that_was_long_is_given_back() {
        // C-15
        let mut table = StreamTable::new(1, 1_000_000);
        let number = table.open(1.into(), 1000, false).unwrap();
        assert!((0..1000).all(|_| put(&mut table, 1, "1")));
        (0..1000).for_each(|_| assert!(take(&mut table, number).is_ok()));
        assert!(table.streams[&number].items.capacity() <= KEPT_ITEMS);
    }
}
