//! The bound on calls in flight: [`CallLimit`].
//!
//! A plain semaphore would be correct, but every release goes through its lock. Here acquire and
//! release take one atomic step each while no call waits, and waiting calls are served by a
//! semaphore in order of arrival. One word holds two figures, so that they change together and no
//! order between two changes has to be argued:
//!
//! * `free` permits, which any call may take while none waits;
//! * `owed` permits: the number of waiting calls that have not been handed one yet. A permit that
//!   is released while any is owed goes to the semaphore.
//!
//! So the number of waiting calls equals the owed permits plus the permits in the semaphore. A call
//! that comes later never takes an owed permit, and one that gives up keeps the sum right (see the
//! drop of [`PermitWait`]).

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, Semaphore};

/// One owed permit; the bits below count the free ones.
const OWED: u64 = 1 << 32;
const FREE: u64 = OWED - 1;
/// Every acquire has to ask the semaphore, which is closed.
const CLOSED: u64 = 1 << 63;

#[derive(Debug)]
pub(crate) struct CallLimit {
    permits: u32,
    state: AtomicU64,
    handed: Semaphore,
    /// Notified when the last permit of a closed limit is released.
    empty: Notify,
}

/// The right of one call to be in flight; released when dropped.
#[derive(Debug)]
pub(crate) struct CallPermit<'a>(&'a CallLimit);

/// The limit is closed.
#[derive(Debug)]
pub(crate) struct CallLimitClosed;

impl CallLimit {
    /// A limit of this many calls, at least one.
    pub(crate) fn new(permits: usize) -> CallLimit {
        let permits = u32::try_from(permits).unwrap_or(u32::MAX).max(1);
        CallLimit {
            permits,
            state: AtomicU64::new(u64::from(permits)),
            handed: Semaphore::new(0),
            empty: Notify::new(),
        }
    }

    /// A permit, if one is free and no call waits.
    pub(crate) fn try_acquire(&self) -> Option<CallPermit<'_>> {
        self.change(|state| (state & !FREE == 0 && state > 0).then(|| state - 1)).map(|_| CallPermit(self))
    }

    /// Waits for a permit, in order of arrival.
    pub(crate) async fn acquire(&self) -> Result<CallPermit<'_>, CallLimitClosed> {
        let mut free = false;
        let taken_or_owed = |state: u64| {
            free = state & !FREE == 0 && state > 0;
            Some(if free { state - 1 } else { state + OWED })
        };
        self.change(taken_or_owed);
        if free {
            return Ok(CallPermit(self));
        }
        let wait = PermitWait(self);
        // If this future is dropped, the semaphore first takes back the permit it handed out; only
        // then `PermitWait` accounts for it.
        let permit = self.handed.acquire().await.map_err(|_| CallLimitClosed)?;
        permit.forget();
        std::mem::forget(wait);
        Ok(CallPermit(self))
    }

    /// Gives no more permits; waiting calls fail.
    pub(crate) fn close(&self) {
        self.state.fetch_or(CLOSED, Ordering::AcqRel);
        self.handed.close();
    }

    /// Waits until no permit of a closed limit is taken: every call that got one before the limit was
    /// closed has come to its end.
    pub(crate) async fn emptied(&self) {
        loop {
            let mut empty = std::pin::pin!(self.empty.notified());
            empty.as_mut().enable();
            if self.taken() == 0 {
                return;
            }
            empty.await;
        }
    }

    /// How many permits are taken, or about to be.
    pub(crate) fn taken(&self) -> u32 {
        // The mask leaves 32 bits.
        let free = (self.state.load(Ordering::Relaxed) & FREE) as u32;
        self.permits.saturating_sub(free)
    }

    fn release(&self) {
        let before = self.change(|state| Some(if owes(state) { state - OWED } else { state + 1 }));
        let Some(before) = before else { return };
        if owes(before) {
            self.handed.add_permits(1);
        } else if before & CLOSED != 0 {
            self.empty.notify_waiters();
        }
    }

    /// Changes the state, if there is a change; returns what it was.
    fn change(&self, change: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        // Release and acquire: the work done with a permit is visible to the next call that gets it.
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).ok()
    }
}

fn owes(state: u64) -> bool {
    state & !CLOSED >= OWED
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// A waiting call. Its drop ends the wait.
struct PermitWait<'a>(&'a CallLimit);

impl Drop for PermitWait<'_> {
    fn drop(&mut self) {
        let call_limit = self.0;
        if call_limit.change(|state| owes(state).then(|| state - OWED)).is_some() {
            return;
        }
        // If nothing is owed, each waiting call has a permit in the semaphore, and this one's is
        // now superfluous. It may not be there yet: the releasing thread may be between its two
        // steps.
        while call_limit.handed.forget_permits(1) == 0 {
            std::thread::yield_now();
        }
        call_limit.release();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use proptest::prelude::*;

    use super::*;

    type Acquiring<'a> = Pin<Box<dyn Future<Output = Result<CallPermit<'a>, CallLimitClosed>> + 'a>>;

    /// Looks once.
    fn look<'a>(acquiring: &mut Acquiring<'a>) -> Poll<Result<CallPermit<'a>, CallLimitClosed>> {
        acquiring.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn no_call_overtakes_those_that_wait() {
        // C-5
        let call_limit = CallLimit::new(1);
        let permit = call_limit.try_acquire().unwrap();
        let (mut first, mut second): (Acquiring<'_>, Acquiring<'_>) =
            (Box::pin(call_limit.acquire()), Box::pin(call_limit.acquire()));
        assert!(look(&mut first).is_pending() && look(&mut second).is_pending());
        drop(permit);
        assert!(call_limit.try_acquire().is_none());
        assert!(look(&mut second).is_pending());
        let Poll::Ready(Ok(permit)) = look(&mut first) else { panic!() };
        assert_eq!(call_limit.taken(), 1);
        drop(permit);
        let Poll::Ready(Ok(permit)) = look(&mut second) else { panic!() };
        drop(permit);
        assert_eq!(call_limit.taken(), 0);
        assert!(call_limit.try_acquire().is_some());
    }

    #[test]
    fn a_call_that_gives_up_leaves_its_permit_to_the_next() {
        let call_limit = CallLimit::new(1);
        let permit = call_limit.try_acquire().unwrap();
        let (mut first, mut second): (Acquiring<'_>, Acquiring<'_>) =
            (Box::pin(call_limit.acquire()), Box::pin(call_limit.acquire()));
        assert!(look(&mut first).is_pending() && look(&mut second).is_pending());
        drop(permit);
        // It was handed the permit already.
        drop(first);
        let Poll::Ready(Ok(permit)) = look(&mut second) else { panic!() };
        let mut third: Acquiring<'_> = Box::pin(call_limit.acquire());
        assert!(look(&mut third).is_pending());
        drop(third);
        drop(permit);
        assert_eq!(call_limit.taken(), 0);
    }

    #[test]
    fn a_closed_limit_gives_no_permits() {
        let call_limit = CallLimit::new(2);
        let permits = (call_limit.try_acquire().unwrap(), call_limit.try_acquire().unwrap());
        let mut waiting: Acquiring<'_> = Box::pin(call_limit.acquire());
        assert!(look(&mut waiting).is_pending());
        call_limit.close();
        assert!(matches!(look(&mut waiting), Poll::Ready(Err(CallLimitClosed))));
        drop(permits);
        assert!(call_limit.try_acquire().is_none());
        assert!(matches!(
            look(&mut (Box::pin(call_limit.acquire()) as Acquiring<'_>)),
            Poll::Ready(Err(CallLimitClosed))
        ));
    }

    #[test]
    fn nothing_is_lost_when_threads_come_and_give_up() {
        const PERMITS: usize = 1;
        let (call_limit, inside) = (CallLimit::new(PERMITS), AtomicU64::new(0));
        std::thread::scope(|threads| {
            for thread in 0..4_u32 {
                let (call_limit, inside) = (&call_limit, &inside);
                threads.spawn(move || {
                    for round in 0..100_000_u32 {
                        let mut acquiring: Acquiring<'_> = Box::pin(call_limit.acquire());
                        // Some give up before they have looked once more, some are patient.
                        for _ in 0..(round.wrapping_mul(2_654_435_761) >> 28) + thread {
                            if let Poll::Ready(permit) = look(&mut acquiring) {
                                assert!(inside.fetch_add(1, Ordering::SeqCst) < PERMITS as u64);
                                (0..round % 64).for_each(|_| std::hint::spin_loop());
                                inside.fetch_sub(1, Ordering::SeqCst);
                                drop(permit.unwrap());
                                break;
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(call_limit.taken(), 0);
        let permits: Vec<_> = std::iter::from_fn(|| call_limit.try_acquire()).collect();
        assert_eq!(permits.len(), PERMITS);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// In any order of acquires, releases and drops: never more permits out than the limit, no call
        /// waits while one is free, and the order is first come, first served.
        #[test]
        fn it_is_a_fair_semaphore(
            permits in 1_usize..4,
            steps in proptest::collection::vec((0..4_u8, any::<proptest::sample::Index>()), 0..200),
        ) {
            let call_limit = CallLimit::new(permits);
            let mut inside = Vec::new();
            let mut waiting: VecDeque<Acquiring<'_>> = VecDeque::new();
            for (step, which) in steps {
                match step {
                    0 => {
                        let mut acquiring: Acquiring<'_> = Box::pin(call_limit.acquire());
                        match look(&mut acquiring) {
                            Poll::Ready(permit) => {
                                prop_assert!(waiting.is_empty());
                                inside.push(permit.unwrap());
                            }
                            Poll::Pending => waiting.push_back(acquiring),
                        }
                    }
                    1 => {
                        let permit = call_limit.try_acquire();
                        prop_assert!(permit.is_none() || waiting.is_empty());
                        inside.extend(permit);
                    }
                    2 if !inside.is_empty() => drop(inside.swap_remove(which.index(inside.len()))),
                    3 if !waiting.is_empty() => drop(waiting.remove(which.index(waiting.len()))),
                    _ => {}
                }
                // The last first: it must not get what belongs to one before it.
                let mut served = Vec::new();
                for (n, acquiring) in waiting.iter_mut().enumerate().rev() {
                    if let Poll::Ready(permit) = look(acquiring) {
                        inside.push(permit.unwrap());
                        served.push(n);
                    }
                }
                prop_assert!(served.iter().rev().copied().eq(0..served.len()), "{:?}", served);
                waiting.drain(..served.len());
                prop_assert_eq!(call_limit.taken() as usize, inside.len());
                prop_assert!(inside.len() == permits || (waiting.is_empty() && inside.len() < permits));
            }
        }
    }
}
