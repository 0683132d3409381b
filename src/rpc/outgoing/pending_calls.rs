//! The calls that wait for an answer: [`PendingCalls`].
//!
//! Pure bookkeeping. A caller makes an entry, the entry is answered at most once (C-4), and the
//! caller takes the answer out of it: no call allocates a channel of its own. Wakers are handed
//! out, never woken or dropped in here, since both may run code of the task, which may drop a call
//! that then needs the table. Calls time out and are closed in the order of their ids, never in the
//! order of a table.

use std::{collections::BTreeSet, task::Waker, time::Duration};

use tokio::time::Instant;

use crate::rpc::{error::RpcError, outgoing::sequential_id_map::SequentialIdMap};

/// How many ids of abandoned calls are remembered.
const REMEMBERED: usize = 4096;

/// What a caller gets: the text of the result, not yet known to be JSON.
pub(crate) type RawAnswer = Result<String, Box<CallFailure>>;

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum CallFailure {
    Remote(RpcError),
    /// An error without an id, which can only be about this call.
    Complaint(RpcError),
    /// The response cannot be read.
    Malformed(String),
    Timeout,
    /// The answer does not fit beside those that have not been collected yet.
    TooLarge {
        bytes: usize,
    },
    /// The channel is closed; it knows the reason.
    Closed,
}

/// The size that an answer counts as until its caller has collected it.
fn bytes(answer: &RawAnswer) -> usize {
    match answer {
        Ok(text) => text.len(),
        Err(failure) => match &**failure {
            CallFailure::Remote(RpcError { message, data, .. })
            | CallFailure::Complaint(RpcError { message, data, .. }) => {
                message.len() + data.as_ref().map_or(0, |data| data.get().len())
            }
            CallFailure::Malformed(reason) => reason.len(),
            CallFailure::TooLarge { .. } | CallFailure::Timeout | CallFailure::Closed => 0,
        },
    }
}

/// How progress changes the deadline of a call.
#[derive(Clone, Debug)]
pub(crate) struct CallExtension {
    pub(crate) began: Instant,
    /// What each report gives it, from that moment.
    pub(crate) by: Duration,
    /// The latest deadline; `None` if it is beyond what the clock can express.
    pub(crate) until: Option<Instant>,
}

/// One call, from its entry until its caller has collected the answer.
#[derive(Debug)]
pub(crate) enum PendingCall {
    Waiting {
        caller: Waker,
        deadline: Option<Instant>,
        /// Boxed, since few calls have one.
        extension: Option<Box<CallExtension>>,
    },
    Answered(RawAnswer),
}

/// Which call the id of a response belongs to.
#[derive(Debug)]
pub(crate) enum ResponseMatch {
    /// A call that waits; its caller has to be woken.
    Waiting(Waker),
    /// A call that was given up.
    Late,
    /// None: the call was never sent, or has been answered before.
    Unknown,
}

/// What a caller finds when it polls.
#[derive(Debug)]
pub(crate) enum CallPoll {
    Answer(RawAnswer),
    /// No answer yet; `stale` is the waker that was registered before.
    Nothing {
        stale: Option<Waker>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct PendingCalls {
    calls: SequentialIdMap<PendingCall>,
    waiting: usize,
    abandoned: BTreeSet<u64>,
    next_deadline: Option<Instant>,
    closed: bool,
    /// Bytes of answers that their callers have not collected, and their bound. A single larger one
    /// is let in alone.
    uncollected: usize,
    max_uncollected: usize,
}

/// The table is closed.
#[derive(Debug)]
pub(crate) struct PendingCallsClosed;

impl PendingCalls {
    /// An empty table whose uncollected answers are bounded by so many bytes.
    pub(crate) fn new(max_uncollected: usize) -> PendingCalls {
        PendingCalls { max_uncollected, ..PendingCalls::default() }
    }

    /// Enters a call. `true` when its deadline comes before all others.
    pub(crate) fn insert(
        &mut self,
        id: u64,
        caller: Waker,
        deadline: Option<Instant>,
        extension: Option<Box<CallExtension>>,
    ) -> Result<bool, PendingCallsClosed> {
        if self.closed {
            return Err(PendingCallsClosed);
        }
        self.calls.insert(id, PendingCall::Waiting { caller, deadline, extension });
        self.waiting += 1;
        let sooner = deadline.is_some_and(|d| self.next_deadline.is_none_or(|next| d < next));
        if sooner {
            self.next_deadline = deadline;
        }
        Ok(sooner)
    }

    /// The other side has reported progress of a call: its deadline moves, if it may. The timer of the
    /// earlier deadline finds the new one.
    pub(crate) fn extend(&mut self, id: u64, now: Instant) {
        let Some(PendingCall::Waiting { deadline: Some(deadline), extension: Some(extension), .. }) =
            self.calls.get_mut(id)
        else {
            return;
        };
        let later = [now.checked_add(extension.by), extension.until].into_iter().flatten().min();
        if let Some(later) = later {
            *deadline = later.max(*deadline);
        }
    }

    /// Answers a call, if it waits for an answer.
    pub(crate) fn answer(&mut self, id: u64, mut answer: RawAnswer) -> ResponseMatch {
        if let Some(call @ PendingCall::Waiting { .. }) = self.calls.get_mut(id) {
            self.waiting -= 1;
            let bytes = bytes(&answer);
            if self.uncollected > 0 && self.uncollected.saturating_add(bytes) > self.max_uncollected {
                answer = Err(Box::new(CallFailure::TooLarge { bytes }));
            } else {
                self.uncollected += bytes;
            }
            return ResponseMatch::Waiting(call.answer(answer));
        }
        if self.abandoned.remove(&id) { ResponseMatch::Late } else { ResponseMatch::Unknown }
    }

    /// Answers the only call that waits, if it has this id. If its own answer comes after all, it
    /// counts as late.
    pub(crate) fn answer_only_call(&mut self, id: u64, answer: RawAnswer) -> Option<Waker> {
        if self.waiting == 1 { self.answer_instead(id, answer) } else { None }
    }

    /// Answers a call that waits, without a response to it. If its own answer comes after all, it counts as
    /// late.
    pub(crate) fn answer_instead(&mut self, id: u64, answer: RawAnswer) -> Option<Waker> {
        let ResponseMatch::Waiting(caller) = self.answer(id, answer) else { return None };
        self.remember(id);
        Some(caller)
    }

    /// For the caller: takes out the answered call, or registers `caller` to be woken.
    pub(crate) fn collect(&mut self, id: u64, caller: &Waker) -> CallPoll {
        match self.calls.get_mut(id) {
            Some(PendingCall::Waiting { caller: known, .. }) => {
                let stale = (!known.will_wake(caller)).then(|| std::mem::replace(known, caller.clone()));
                CallPoll::Nothing { stale }
            }
            _ => match self.calls.remove(id) {
                Some(PendingCall::Answered(answer)) => {
                    self.uncollected -= bytes(&answer);
                    CallPoll::Answer(answer)
                }
                _ => CallPoll::Answer(Err(Box::new(CallFailure::Closed))),
            },
        }
    }

    /// Takes out a call whose future was dropped. If it was waiting, its answer will be late.
    pub(crate) fn abandon(&mut self, id: u64) -> Option<PendingCall> {
        let call = self.withdraw(id)?;
        if matches!(call, PendingCall::Waiting { .. }) {
            self.remember(id);
        }
        Some(call)
    }

    /// Takes out a call that was never sent.
    pub(crate) fn withdraw(&mut self, id: u64) -> Option<PendingCall> {
        let call = self.calls.remove(id)?;
        match &call {
            PendingCall::Waiting { .. } => self.waiting -= 1,
            PendingCall::Answered(answer) => self.uncollected -= bytes(answer),
        }
        Some(call)
    }

    /// Times out the calls whose deadline has passed, and finds the next deadline. Returns the
    /// callers to wake, oldest id first.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<(u64, Waker)> {
        self.next_deadline = None;
        let mut expired = Vec::new();
        for (id, call) in self.calls.iter_mut() {
            match call {
                PendingCall::Waiting { deadline: Some(deadline), .. } if *deadline <= now => {
                    expired.push((id, call.answer(Err(Box::new(CallFailure::Timeout)))));
                }
                PendingCall::Waiting { deadline: Some(deadline), .. } => {
                    self.next_deadline =
                        Some(self.next_deadline.map_or(*deadline, |next| next.min(*deadline)));
                }
                _ => {}
            }
        }
        self.waiting -= expired.len();
        expired.sort_unstable_by_key(|(id, _)| *id);
        for (id, _) in &expired {
            self.remember(*id);
        }
        expired
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline
    }

    /// Whether a call with a smaller id waits for an answer.
    pub(crate) fn waits_before(&self, id: u64) -> bool {
        self.waiting > 0
            && self
                .calls
                .iter()
                .any(|(waiting, call)| waiting < id && matches!(call, PendingCall::Waiting { .. }))
    }

    /// How many calls wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Answers all calls with the end of the channel and accepts no further ones. Returns the
    /// callers to wake, oldest first.
    pub(crate) fn close(&mut self) -> Vec<Waker> {
        self.closed = true;
        let mut closed = Vec::with_capacity(self.waiting);
        for (id, call) in self.calls.iter_mut() {
            if matches!(call, PendingCall::Waiting { .. }) {
                closed.push((id, call.answer(Err(Box::new(CallFailure::Closed)))));
            }
        }
        self.waiting = 0;
        closed.sort_unstable_by_key(|(id, _)| *id);
        closed.into_iter().map(|(_, caller)| caller).collect()
    }

    fn remember(&mut self, id: u64) {
        self.abandoned.insert(id);
        if self.abandoned.len() > REMEMBERED {
            self.abandoned.pop_first();
        }
    }
}

impl PendingCall {
    /// Answers a call that waits; returns the caller to wake.
    fn answer(&mut self, answer: RawAnswer) -> Waker {
        match std::mem::replace(self, PendingCall::Answered(answer)) {
            PendingCall::Waiting { caller, .. } => caller,
            // Callers of this have checked that it waits. If not, the first answer stays.
            answered @ PendingCall::Answered(_) => {
                *self = answered;
                Waker::noop().clone()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
        time::Duration,
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn caller() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (woken.clone(), woken.into())
    }

    fn result(text: &str) -> RawAnswer {
        Ok(text.to_owned())
    }

    #[test]
    fn a_call_is_answered_once_and_by_the_first() {
        // C-4
        let (woken, waker) = caller();
        let mut pending = PendingCalls::new(usize::MAX);
        assert!(!pending.insert(1, waker.clone(), None, None).unwrap());
        let ResponseMatch::Waiting(caller) = pending.answer(1, result("first")) else { panic!() };
        caller.wake();
        assert_eq!((woken.0.load(Ordering::Relaxed), pending.waiting()), (1, 0));
        let second = pending.answer(1, result("second"));
        assert!(matches!(second, ResponseMatch::Unknown));
        assert!(pending.close().is_empty());
        let CallPoll::Answer(Ok(text)) = pending.collect(1, &waker) else { panic!() };
        assert_eq!(text, "first");
        assert!(pending.abandon(1).is_none());
    }

    #[test]
    fn answers_that_are_not_collected_are_bounded() {
        // C-15
        let mut pending = PendingCalls::new(10);
        let settle = |pending: &mut PendingCalls, id, bytes: usize| {
            pending.insert(id, caller().1, None, None).unwrap();
            assert!(matches!(pending.answer(id, Ok("x".repeat(bytes))), ResponseMatch::Waiting(_)));
        };
        let collect = |pending: &mut PendingCalls, id| match pending.collect(id, Waker::noop()) {
            CallPoll::Answer(Ok(text)) => Ok(text.len()),
            CallPoll::Answer(Err(failure)) => match *failure {
                CallFailure::TooLarge { bytes } => Err(bytes),
                other => panic!("{other:?}"),
            },
            CallPoll::Nothing { .. } => panic!("it is answered"),
        };
        // A single one is let in, however large.
        settle(&mut pending, 1, 50);
        settle(&mut pending, 2, 1);
        assert_eq!((collect(&mut pending, 2), collect(&mut pending, 1)), (Err(1), Ok(50)));
        settle(&mut pending, 3, 6);
        settle(&mut pending, 4, 4);
        settle(&mut pending, 5, 1);
        assert_eq!(collect(&mut pending, 5), Err(1));
        // Given up, it makes room as well.
        assert!(pending.abandon(3).is_some());
        settle(&mut pending, 6, 6);
        assert_eq!((collect(&mut pending, 4), collect(&mut pending, 6)), (Ok(4), Ok(6)));
        assert_eq!(pending.uncollected, 0);
    }

    #[test]
    fn a_caller_that_moved_is_woken_where_it_is() {
        let ((before, first), (after, second)) = (caller(), caller());
        let mut pending = PendingCalls::new(usize::MAX);
        pending.insert(1, first.clone(), None, None).unwrap();
        assert!(matches!(pending.collect(1, &first), CallPoll::Nothing { stale: None }));
        assert!(matches!(pending.collect(1, &second), CallPoll::Nothing { stale: Some(_) }));
        let ResponseMatch::Waiting(caller) = pending.answer(1, result("1")) else { panic!() };
        caller.wake();
        assert_eq!((before.0.load(Ordering::Relaxed), after.0.load(Ordering::Relaxed)), (0, 1));
    }

    #[test]
    fn what_is_given_up_is_late_once() {
        // C-13
        let mut pending = PendingCalls::new(usize::MAX);
        let now = Instant::now();
        let second = Duration::from_secs(1);
        assert!(pending.insert(1, caller().1, Some(now + second), None).unwrap());
        assert!(pending.insert(2, caller().1, Some(now), None).unwrap());
        assert!(!pending.insert(3, caller().1, None, None).unwrap());
        let expired: Vec<u64> = pending.expire(now).into_iter().map(|(id, _)| id).collect();
        assert_eq!((expired, pending.next_deadline(), pending.waiting()), (vec![2], Some(now + second), 2));
        assert!(matches!(pending.answer(2, result("late")), ResponseMatch::Late));
        assert!(matches!(pending.answer(2, result("late")), ResponseMatch::Unknown));
        let CallPoll::Answer(Err(failure)) = pending.collect(2, Waker::noop()) else { panic!() };
        assert!(matches!(*failure, CallFailure::Timeout));
        assert!(matches!(pending.abandon(3), Some(PendingCall::Waiting { .. })));
        assert!(matches!(pending.answer(3, result("late")), ResponseMatch::Late));
        assert_eq!(pending.close().len(), 1);
        assert!(pending.insert(4, caller().1, None, None).is_err());
        let CallPoll::Answer(Err(failure)) = pending.collect(1, Waker::noop()) else { panic!() };
        assert!(matches!(*failure, CallFailure::Closed));
        assert_eq!(pending.waiting(), 0);
    }

    #[test]
    fn progress_moves_a_deadline_and_never_back() {
        // C-14
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        for (by, longest, at, expected) in
            [(10, 100, 8, 18), (10, 100, 0, 10), (10, 15, 8, 15), (10, 1, 8, 10), (2, 100, 1, 10)]
        {
            let mut pending = PendingCalls::new(usize::MAX);
            let until = Some(began + longest * second);
            let extension = Some(Box::new(CallExtension { began, by: by * second, until }));
            pending.insert(1, caller().1, Some(began + 10 * second), extension).unwrap();
            pending.insert(2, caller().1, Some(began + 10 * second), None).unwrap();
            for call in [1, 2, 3] {
                pending.extend(call, began + at * second);
            }
            let mut deadline = |id| match pending.calls.get_mut(id) {
                Some(PendingCall::Waiting { deadline: Some(deadline), .. }) => *deadline - began,
                other => panic!("{other:?}"),
            };
            assert_eq!((deadline(1), deadline(2)), (expected * second, 10 * second));
        }
    }

    #[test]
    fn the_last_of_those_that_were_given_up_are_remembered() {
        // C-5, C-13
        let mut pending = PendingCalls::new(usize::MAX);
        let given_up = REMEMBERED as u64 + 10;
        for id in 1..=given_up {
            pending.insert(id, caller().1, None, None).unwrap();
            assert!(pending.abandon(id).is_some());
        }
        assert_eq!(pending.abandoned.len(), REMEMBERED);
        assert!(matches!(pending.answer(10, result("late")), ResponseMatch::Unknown));
        assert!(matches!(pending.answer(11, result("late")), ResponseMatch::Late));
        assert!(matches!(pending.answer(given_up, result("late")), ResponseMatch::Late));
    }
}
