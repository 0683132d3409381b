//! The survivor scan: a walk through the process table for what is left of a process in its group or
//! session (P-4).
//!
//! Without a control group there is no other way to find out. Signal 0 cannot tell a living member of a
//! group from the zombie leader, and no call lists the members of a session. A walk costs a system call or
//! two for each process of the system, so one walk serves all requests that were made before it began. It
//! is a job of the clean-up thread, and the next walk starts no earlier than four times its
//! duration after its end.
//!
//! # Whose number it is
//!
//! A process in the session is signalled only if the session is certainly ours. While the leader has not
//! been reaped, its zombie pins the number. After the reap the rest of the session pins it: no *process*
//! gets that number then, and a member that is as old as the reap proves that the session is ours.

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
use crate::process::{cleanup_thread, group_membership};

/// The pause after a walk, in multiples of its duration. Requests that arrive meanwhile share the next
/// walk. Without the pause, a walk of a millisecond would be made again and again while a thousand
/// processes end.
const PAUSE_FACTOR: u32 = 4;

/// How long a walk is put off if no caller waits for it, because it only sweeps behind processes that have
/// a successor already. An immediate walk would take a processor from the successor's launch, and one walk
/// serves all that end meanwhile.
const BACKGROUND_DELAY: Duration = Duration::from_millis(10);

/// The pause after a walk that could not be made.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The system gives no number away twice in this time: it gives each of the others away before.
const NO_PID_REUSE: Duration = Duration::from_millis(250);

/// Which processes a scan looks for.
#[derive(Clone, Debug)]
pub(super) enum ScanTarget {
    /// All in the group and in the session of a leader that has not been reaped. The flag is set when it is.
    GroupAndSession(Arc<AtomicBool>),
    /// All in the group. They are not signalled.
    Group,
    /// All in the session of a leader that has been reaped.
    SessionAfterReap(LeaderReapedAt),
}

impl ScanTarget {
    /// No caller waits for the reply.
    fn is_background(&self) -> bool {
        matches!(self, ScanTarget::SessionAfterReap(_))
    }
}

/// When a leader was reaped.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaderReapedAt {
    at: Instant,
    /// In the unit in which the system reports when a process was started.
    ticks: Option<u64>,
}

impl LeaderReapedAt {
    /// Must be called right before the reap.
    pub(super) fn now() -> LeaderReapedAt {
        LeaderReapedAt { at: Instant::now(), ticks: process_table::now_in_ticks() }
    }

    /// Whether a process in a session of the leader's number is in the leader's session. It is if it was
    /// started before the reap. One that was started later is if the number cannot have been given away
    /// since.
    pub(super) fn is_own_member(&self, start: Option<u64>) -> bool {
        let is_older = self.ticks.zip(start).is_some_and(|(reaped, start)| start <= reaped);
        is_older || self.at.elapsed() < NO_PID_REUSE
    }
}

/// What else a walk does with each process that it passes.
pub(super) type EntryVisitor = Box<dyn Fn(&ProcessEntry<'_>)>;

/// Makes the visitor at the beginning of each walk, if there is anything to do.
static MAKE_VISITOR: OnceLock<fn() -> Option<EntryVisitor>> = OnceLock::new();

/// From now on, each walk is also made with the visitor that `make` returns. Only the first call counts.
pub(super) fn visit_on_walks(make: fn() -> Option<EntryVisitor>) {
    MAKE_VISITOR.get_or_init(|| make);
}

type ScanReply = Box<dyn FnOnce(Option<bool>) + Send>;

struct ScanRequest {
    leader: i32,
    target: ScanTarget,
    signals: Vec<Signal>,
    reply: ScanReply,
}

#[derive(Default)]
struct ScanQueue {
    requests: Vec<ScanRequest>,
    next: Option<ScheduledWalk>,
    /// How many walks have been scheduled.
    walks: u64,
}

/// The walk that has been scheduled.
#[derive(Clone, Copy)]
struct ScheduledWalk {
    number: u64,
    /// It has been put off. A request that a caller waits for schedules an immediate one in its place.
    is_put_off: bool,
}

static QUEUE: Mutex<ScanQueue> = Mutex::new(ScanQueue { requests: Vec::new(), next: None, walks: 0 });

impl ScanQueue {
    /// Schedules a walk without delay, unless one is on its way.
    fn schedule_now(&mut self) {
        if self.next.is_none_or(|next| next.is_put_off) {
            self.walks += 1;
            self.next = Some(ScheduledWalk { number: self.walks, is_put_off: false });
            cleanup_thread::add(Box::new(ScanJob { number: self.walks, made: false, was_put_off: false }));
        }
    }

    /// Schedules a walk unless there is one, even if that has been put off.
    fn schedule(&mut self) {
        if self.next.is_none() {
            self.schedule_now();
        }
    }
}

fn lock() -> MutexGuard<'static, ScanQueue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Signals the surviving processes that are outside of the leader's group, and reports on the
/// clean-up thread's thread whether any was alive, not counting zombies and the leader. Reports
/// `None` if the table cannot be read now because there is no descriptor left.
///
/// A process that is created while the table is read may be missed. This only shortens the time that it has
/// to end by itself, because a kill of the group follows.
pub(super) fn request(
    leader: Pid,
    target: ScanTarget,
    signals: &[Signal],
    reply: impl FnOnce(Option<bool>) + Send + 'static,
) {
    let leader = leader.as_raw_nonzero().get();
    let request = ScanRequest { leader, target, signals: signals.to_vec(), reply: Box::new(reply) };
    let is_background = request.target.is_background();
    let mut queue = lock();
    queue.requests.push(request);
    match is_background {
        true => queue.schedule(),
        false => queue.schedule_now(),
    }
}

/// Schedules a walk for the sake of its visitor only.
pub(super) fn request_visit() {
    lock().schedule();
}

/// As [`request`] without signals, for tasks.
pub(super) async fn any_alive(leader: Pid, target: ScanTarget) -> Option<bool> {
    let (reply, replied) = oneshot::channel();
    request(leader, target, &[], |alive| {
        // The caller may have stopped waiting.
        let _ = reply.send(alive);
    });
    replied.await.ok().flatten()
}

/// Walks through the table, with a pause after each walk, until there are no more requests.
#[derive(Debug)]
struct ScanJob {
    number: u64,
    made: bool,
    was_put_off: bool,
}

impl cleanup_thread::CleanupJob for ScanJob {
    fn step(&mut self, _: Instant) -> cleanup_thread::JobProgress {
        let mut queue = lock();
        if queue.next.is_none_or(|next| next.number != self.number) {
            return cleanup_thread::JobProgress::Over; // another walk has been made in its place
        }
        if self.made && queue.requests.is_empty() {
            queue.next = None;
            return cleanup_thread::JobProgress::Over;
        }
        let can_wait = queue.requests.iter().all(|request| request.target.is_background());
        if can_wait && !std::mem::replace(&mut self.was_put_off, true) {
            queue.next = Some(ScheduledWalk { number: self.number, is_put_off: true });
            return cleanup_thread::JobProgress::After(BACKGROUND_DELAY);
        }
        self.made = true;
        self.was_put_off = false;
        queue.next = Some(ScheduledWalk { number: self.number, is_put_off: false });
        let requests = std::mem::take(&mut queue.requests);
        drop(queue);
        let began = Instant::now();
        let pause = if walk(requests) { began.elapsed() * PAUSE_FACTOR } else { RETRY_PAUSE };
        cleanup_thread::JobProgress::After(pause)
    }
}

/// What a walk has found for one leader.
#[derive(Debug, Default)]
struct WalkFindings {
    /// Some process is alive in the group.
    in_group: bool,
    /// Those in the session, each with the time of its start and whether it is in the group too.
    in_session: Vec<(Pid, u64, bool)>,
    /// A living process has the leader's number.
    has_leader_pid: bool,
}

/// Returns whether the table could be read to its end.
fn walk(requests: Vec<ScanRequest>) -> bool {
    let mut found: BTreeMap<i32, WalkFindings> =
        requests.iter().map(|request| (request.leader, WalkFindings::default())).collect();
    let visit = MAKE_VISITOR.get().and_then(|make| make());
    let complete = process_table::for_each_process(|entry| {
        if let Some(visit) = &visit {
            visit(entry);
        }
        let number = entry.pid().as_raw_nonzero().get();
        if let Some(found) = found.get_mut(&number) {
            found.has_leader_pid = true;
        }
        let (group, session) = (entry.group(), entry.session());
        // `None` means not told, or gone: reading the entry shows which.
        let may_count = |id: Option<i32>| id.is_none_or(|id| id != number && found.contains_key(&id));
        if !may_count(group) && !may_count(session) {
            return;
        }
        let Some(ProcessStat { alive: true, group, session, start }) = entry.read() else { return };
        if let Some(found) = found.get_mut(&group)
            && number != group
        {
            found.in_group = true;
        }
        if let Some(found) = found.get_mut(&session)
            && number != session
        {
            found.in_session.push((entry.pid(), start, group == session));
        }
    });
    for ScanRequest { leader, target, signals, reply } in requests {
        let alive = complete.then(|| {
            found.get(&leader).is_some_and(|found| found.signal_and_report(leader, &target, &signals))
        });
        reply(alive);
    }
    complete
}

impl WalkFindings {
    /// Signals those that the target covers and returns whether there are any.
    fn signal_and_report(&self, leader: i32, target: &ScanTarget, signals: &[Signal]) -> bool {
        let is_our_session = || match target {
            ScanTarget::GroupAndSession(reaped) => !reaped.load(Ordering::Acquire),
            ScanTarget::Group => false,
            ScanTarget::SessionAfterReap(reaped) => {
                !self.has_leader_pid
                    && self.in_session.iter().any(|(_, start, _)| reaped.is_own_member(Some(*start)))
            }
        };
        if !signals.is_empty() {
            let is_kill = signals == [Signal::KILL];
            for (pid, _, _) in self.in_session.iter().filter(|(_, _, in_group)| !in_group || is_kill) {
                process_table::signal_if(*pid, signals, |pid| {
                    group_membership::session_of(pid) == Some(leader) && is_our_session()
                });
            }
        }
        match target {
            ScanTarget::GroupAndSession(_) => self.in_group || !self.in_session.is_empty(),
            ScanTarget::Group => self.in_group,
            ScanTarget::SessionAfterReap(_) => !self.in_session.is_empty() && is_our_session(),
        }
    }
}

impl fmt::Debug for ScanRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanRequest")
            .field("leader", &self.leader)
            .field("target", &self.target)
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
        let found = |has_leader_pid| {
            let in_session = vec![(rustix::process::getpid(), 0, false)];
            WalkFindings { in_group: false, in_session, has_leader_pid }
        };
        let reaped = LeaderReapedAt::now();
        let before_reap = ScanTarget::GroupAndSession(Arc::new(AtomicBool::new(false)));
        for target in [ScanTarget::SessionAfterReap(reaped), before_reap] {
            assert!(found(false).signal_and_report(leader, &target, &[]), "{target:?}");
            assert!(!WalkFindings::default().signal_and_report(leader, &target, &[]), "{target:?}");
        }
        // A process has the leader's number: what is found belongs to the session of that one.
        assert!(!found(true).signal_and_report(leader, &ScanTarget::SessionAfterReap(reaped), &[]));
    }
}
