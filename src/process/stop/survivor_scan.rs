//! Looks at the process table for what is left of a process, in its group or in its session (P-4).
//!
//! There is no other way to know where there is no control group. A signal of number 0 cannot tell a living member from the
//! zombie leader, and nothing at all knows the members of a session. A walk through the table costs a system call or two
//! for each process of the system, so one walk serves all that have asked before it began; it is a job of the sweeper, and
//! rests four times as long as it took.
//!
//! # Whose number it is
//!
//! A process in the session is signalled only if the session is certainly ours. While the leader has not been reaped, its
//! zombie pins the number. Once it has, the rest of the session pins it: then no *process* gets that number, and one
//! that is as old as the reap proves that the session is.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use tokio::sync::oneshot;

use super::process_table::{self, ProcessEntry, ProcessStat};
use crate::process::{group_membership, sweeper};

/// After a walk there is none for so many times as long as it took: questions that come meanwhile share the next one. Without a
/// rest, a walk of a millisecond would be made again and again while a thousand processes end.
const REST: u32 = 4;

/// A walk waits for so long if nobody waits for it: what is swept behind a process that has a successor already. It would
/// take a processor from the successor's launch, and one walk serves all that have ended meanwhile.
const PATIENCE: Duration = Duration::from_millis(10);

/// After one that could not be made.
const BLIND_REST: Duration = Duration::from_millis(20);

/// For so long no number is given away a second time: the system gives each of the others before.
const NO_REUSE: Duration = Duration::from_millis(250);

/// Whose processes are looked for.
#[derive(Clone, Debug)]
pub(super) enum ScanTarget {
    /// All in the group and in the session of a leader that has not been reaped; the flag says when that is over.
    Led(Arc<AtomicBool>),
    /// All in the group. They are not signalled.
    Grouped,
    /// All in the session of a leader that has been reaped.
    Left(Reaped),
}

impl ScanTarget {
    fn is_patient(&self) -> bool {
        matches!(self, ScanTarget::Left(_))
    }
}

/// When a leader was reaped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaped {
    at: Instant,
    /// In the unit in which the system says when a process was started.
    ticks: Option<u64>,
}

impl Reaped {
    /// To be called right before the reap.
    pub(super) fn now() -> Reaped {
        Reaped { at: Instant::now(), ticks: process_table::ticks() }
    }

    /// Whether a member of a session of the leader's number is a member of the leader's: one that was started before the
    /// reap is; another one is if the number cannot have been given away since.
    pub(super) fn owns(&self, start: Option<u64>) -> bool {
        let is_older = self.ticks.zip(start).is_some_and(|(reaped, start)| start <= reaped);
        is_older || self.at.elapsed() < NO_REUSE
    }
}

/// What else is done with each process that a walk passes. Made at the beginning of the walk.
pub(super) type EntryVisitor = Box<dyn Fn(&ProcessEntry<'_>)>;

/// Makes the visitor of a walk, if there is anything to do.
static MAKE_VISITOR: OnceLock<fn() -> Option<EntryVisitor>> = OnceLock::new();

/// From now on, each walk is also made with the visitor that `make` returns. Only the first caller's counts.
pub(super) fn visit_on_walks(make: fn() -> Option<EntryVisitor>) {
    MAKE_VISITOR.get_or_init(|| make);
}

type ScanReply = Box<dyn FnOnce(Option<bool>) + Send>;

struct ScanRequest {
    leader: i32,
    whom: ScanTarget,
    signals: Vec<Signal>,
    answer: ScanReply,
}

#[derive(Default)]
struct ScanQueue {
    asked: Vec<ScanRequest>,
    /// The walk that is to come.
    coming: Option<Coming>,
    /// How many walks there have been.
    walks: u64,
}

/// A walk that is to come.
#[derive(Clone, Copy)]
struct Coming {
    number: u64,
    /// It waits for the sake of others; a question that is not patient has one made at once.
    is_patient: bool,
}

static QUEUE: Mutex<ScanQueue> = Mutex::new(ScanQueue { asked: Vec::new(), coming: None, walks: 0 });

impl ScanQueue {
    /// Has a walk made, at once unless one is on its way.
    fn have_one(&mut self) {
        if self.coming.is_none_or(|coming| coming.is_patient) {
            self.walks += 1;
            self.coming = Some(Coming { number: self.walks, is_patient: false });
            sweeper::add(Box::new(ScanPass { number: self.walks, made: false, waited: false }));
        }
    }

    /// Has a walk made some time.
    fn have_one_later(&mut self) {
        if self.coming.is_none() {
            self.have_one();
        }
    }
}

fn lock() -> MutexGuard<'static, ScanQueue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Signals the processes that are left, if they are outside of the leader's group, and says on the sweeper's thread whether
/// any was alive, zombies and the leader not counted; `None` if the table cannot be read now, for want of descriptors.
///
/// A process that is born while the table is read may be missed. That shortens its time to end by itself, nothing more,
/// where a kill of the group follows.
pub(super) fn ask(
    leader: Pid,
    whom: ScanTarget,
    signals: &[Signal],
    answer: impl FnOnce(Option<bool>) + Send + 'static,
) {
    let leader = leader.as_raw_nonzero().get();
    let question = ScanRequest { leader, whom, signals: signals.to_vec(), answer: Box::new(answer) };
    let is_patient = question.whom.is_patient();
    let mut queue = lock();
    queue.asked.push(question);
    match is_patient {
        true => queue.have_one_later(),
        false => queue.have_one(),
    }
}

/// Has a walk made, for the sake of orphans only.
pub(super) fn have_one() {
    lock().have_one_later();
}

/// As [`ask`], for tasks.
pub(super) async fn look(leader: Pid, whom: ScanTarget) -> Option<bool> {
    let (answer, answered) = oneshot::channel();
    // The caller may have stopped waiting.
    ask(leader, whom, &[], |living| {
        let _ = answer.send(living);
    });
    answered.await.ok().flatten()
}

/// Walks through the table, and the rest after each, until nobody asks.
#[derive(Debug)]
struct ScanPass {
    number: u64,
    made: bool,
    /// Whether it has waited for others.
    waited: bool,
}

impl sweeper::SweepJob for ScanPass {
    fn step(&mut self, _: Instant) -> sweeper::JobProgress {
        let mut queue = lock();
        if queue.coming.is_none_or(|coming| coming.number != self.number) {
            return sweeper::JobProgress::Over; // another one was made instead
        }
        if self.made && queue.asked.is_empty() {
            queue.coming = None;
            return sweeper::JobProgress::Over;
        }
        let can_wait = queue.asked.iter().all(|question| question.whom.is_patient());
        if can_wait && !std::mem::replace(&mut self.waited, true) {
            queue.coming = Some(Coming { number: self.number, is_patient: true });
            return sweeper::JobProgress::After(PATIENCE);
        }
        self.made = true;
        self.waited = false;
        queue.coming = Some(Coming { number: self.number, is_patient: false });
        let asked = std::mem::take(&mut queue.asked);
        drop(queue);
        let began = Instant::now();
        let rest = if walk(asked) { began.elapsed() * REST } else { BLIND_REST };
        sweeper::JobProgress::After(rest)
    }
}

/// What has been found for one leader.
#[derive(Debug, Default)]
struct Survivors {
    /// In the group.
    grouped: bool,
    /// In the session, with the time of their start and whether they are in the group too.
    members: Vec<(Pid, u64, bool)>,
    /// There is a process of the leader's number that is alive.
    namesake: bool,
}

fn walk(asked: Vec<ScanRequest>) -> bool {
    let mut found: BTreeMap<i32, Survivors> =
        asked.iter().map(|question| (question.leader, Survivors::default())).collect();
    let visit = MAKE_VISITOR.get().and_then(|make| make());
    let whole = process_table::each(|entry| {
        if let Some(visit) = &visit {
            visit(entry);
        }
        let number = entry.pid().as_raw_nonzero().get();
        if let Some(found) = found.get_mut(&number) {
            found.namesake = true;
        }
        let (group, session) = (entry.group(), entry.session());
        // Not told, or gone: what can be read says which.
        let counts = |id: Option<i32>| id.is_none_or(|id| id != number && found.contains_key(&id));
        if !counts(group) && !counts(session) {
            return;
        }
        let Some(ProcessStat { alive: true, group, session, start }) = entry.read() else { return };
        if let Some(found) = found.get_mut(&group)
            && number != group
        {
            found.grouped = true;
        }
        if let Some(found) = found.get_mut(&session)
            && number != session
        {
            found.members.push((entry.pid(), start, group == session));
        }
    });
    for ScanRequest { leader, whom, signals, answer } in asked {
        let living =
            whole.then(|| found.get(&leader).is_some_and(|found| found.judge(leader, &whom, &signals)));
        answer(living);
    }
    whole
}

impl Survivors {
    /// Whether any of those that are meant is alive; signals them.
    fn judge(&self, leader: i32, whom: &ScanTarget, signals: &[Signal]) -> bool {
        let is_ours = || match whom {
            ScanTarget::Led(reaped) => !reaped.load(Ordering::Acquire),
            ScanTarget::Grouped => false,
            ScanTarget::Left(reaped) => {
                !self.namesake && self.members.iter().any(|(_, start, _)| reaped.owns(Some(*start)))
            }
        };
        if !signals.is_empty() {
            for (pid, _, _) in self.members.iter().filter(|(_, _, grouped)| !grouped || is_kill(signals)) {
                process_table::signal_if(*pid, signals, |pid| {
                    group_membership::session_of(pid) == Some(leader) && is_ours()
                });
            }
        }
        match whom {
            ScanTarget::Led(_) => self.grouped || !self.members.is_empty(),
            ScanTarget::Grouped => self.grouped,
            ScanTarget::Left(_) => !self.members.is_empty() && is_ours(),
        }
    }
}

fn is_kill(signals: &[Signal]) -> bool {
    signals == [Signal::KILL]
}

impl fmt::Debug for ScanRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("leader", &self.leader)
            .field("whom", &self.whom)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_counts_as_alive_until_another_walk_has_found_nothing() {
        // P-4: a process that has just been killed may take a while to die.
        let leader = i32::MAX;
        let found = |namesake| {
            let members = vec![(rustix::process::getpid(), 0, false)];
            Survivors { grouped: false, members, namesake }
        };
        let reaped = Reaped::now();
        let led = ScanTarget::Led(Arc::new(AtomicBool::new(false)));
        for whom in [ScanTarget::Left(reaped), led] {
            assert!(found(false).judge(leader, &whom, &[]), "{whom:?}");
            assert!(!Survivors::default().judge(leader, &whom, &[]), "{whom:?}");
        }
        // A process has the leader's number: what is found belongs to the session of that one.
        assert!(!found(true).judge(leader, &ScanTarget::Left(reaped), &[]));
    }
}
