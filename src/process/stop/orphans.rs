//! Orphans that this program adopts, because it is process 1 or a subreaper and has no guardian: somebody has to reap
//! them.
//!
//! Nothing here waits for "any child": the embedding program has children of its own, whose statuses are for it alone. An
//! orphan is reaped if its session or its control group was that of a process which was launched here. That is seen in
//! walks through the process table, which are made when a process has ended and every few seconds while one lives.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::{OsStr, OsString},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{self as sys, Pid, WaitId, WaitIdOptions};

use super::{
    process_table::{self, ProcessEntry},
    survivor_scan::{self, EntryVisitor, Reaped},
};
use crate::process::{group_membership, sweeper};

/// How often orphans are looked for while nothing ends.
const ROUND: Duration = Duration::from_secs(5);
/// For so long the orphans of a process that has ended are looked for: killed ones are dead by then.
const MEMORY: Duration = Duration::from_secs(60);

/// Which of the orphans that this program adopts are reaped; see
/// [`OsLauncherBuilder::reap_adopted`](crate::process::OsLauncherBuilder::reap_adopted).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReapAdopted {
    /// Those that belonged to a process of a launcher.
    #[default]
    OfProcesses,
    /// All, as process 1 should, if nothing else in the program does and it starts processes by launchers only: the
    /// statuses of others are lost to it.
    All,
}

#[derive(Default)]
struct OrphanRegistry {
    /// Those that have not been reaped, with the paths of their control groups.
    leaders: BTreeMap<i32, Option<OsString>>,
    left: Vec<ReapedOrphan>,
    rounds: bool,
}

/// One that has been reaped.
struct ReapedOrphan {
    leader: i32,
    group: Option<OsString>,
    reaped: Reaped,
    since: Instant,
}

static REGISTRY: Mutex<OrphanRegistry> =
    Mutex::new(OrphanRegistry { leaders: BTreeMap::new(), left: Vec::new(), rounds: false });
/// Launches under way: their processes may exist and be no leaders yet.
static BIRTHS: AtomicUsize = AtomicUsize::new(0);
static ALL: AtomicBool = AtomicBool::new(false);

fn lock() -> MutexGuard<'static, OrphanRegistry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(in crate::process) fn reap(which: ReapAdopted) {
    ALL.store(which == ReapAdopted::All, Ordering::Relaxed);
}

fn adopts() -> bool {
    sys::getpid() == Pid::INIT || sys::child_subreaper().is_ok_and(|subreaper| subreaper.is_some())
}

/// A launch, until its process is registered.
pub(in crate::process) struct PendingLaunch(());

impl PendingLaunch {
    pub(in crate::process) fn new() -> PendingLaunch {
        BIRTHS.fetch_add(1, Ordering::SeqCst);
        PendingLaunch(())
    }
}

impl Drop for PendingLaunch {
    fn drop(&mut self) {
        BIRTHS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A process has been launched.
pub(super) fn arrived(leader: Pid, group: Option<&OsStr>) {
    let mut registry = lock();
    registry.leaders.insert(leader.as_raw_nonzero().get(), group.map(OsStr::to_owned));
    if !registry.rounds && adopts() {
        registry.rounds = true;
        survivor_scan::visit_on_walks(visitor);
        sweeper::add(Box::new(OrphanRounds { first: true }));
    }
}

/// It has been reaped.
pub(super) fn left(leader: Pid, reaped: Reaped) {
    let leader = leader.as_raw_nonzero().get();
    let mut registry = lock();
    let Some(group) = registry.leaders.remove(&leader) else { return };
    if registry.rounds {
        registry.left.push(ReapedOrphan { leader, group, reaped, since: Instant::now() });
        drop(registry);
        survivor_scan::have_one();
    }
}

/// Walks from time to time, for as long as there is anybody.
#[derive(Debug)]
struct OrphanRounds {
    first: bool,
}

impl sweeper::SweepJob for OrphanRounds {
    fn step(&mut self, _: Instant) -> sweeper::JobProgress {
        if !std::mem::take(&mut self.first) {
            let mut registry = lock();
            registry.left.retain(|left| left.since.elapsed() < MEMORY);
            if registry.leaders.is_empty() && registry.left.is_empty() || !adopts() {
                registry.rounds = false;
                registry.left.clear();
                return sweeper::JobProgress::Over;
            }
            drop(registry);
            survivor_scan::have_one();
        }
        sweeper::JobProgress::After(ROUND)
    }
}

/// For a walk through the process table: reaps the orphans that have ended and are ours. `None` if nothing is adopted
/// here.
fn visitor() -> Option<EntryVisitor> {
    let registry = lock();
    if !registry.rounds || !adopts() {
        return None;
    }
    let left = registry.left.iter().map(|left| &left.group);
    let groups: HashSet<OsString> = registry.leaders.values().chain(left).flatten().cloned().collect();
    Some(Box::new(move |entry| reap_if_ours(entry, &groups)))
}

/// Reaps a process if it is an orphan that has ended and is for us.
fn reap_if_ours(entry: &ProcessEntry<'_>, groups: &HashSet<OsString>) {
    let pid = entry.pid();
    if !has_ended(WaitId::Pid(pid)) {
        return;
    }
    // It is a zombie and a child of ours. Whatever is found now is found of the one that the pidfd means, unless
    // somebody else reaps it meanwhile; then there is nothing left to reap.
    let Some(pidfd) = process_table::hold(pid) else { return };
    if has_ended(WaitId::PidFd(pidfd.as_fd())) && is_for_us(entry, groups) {
        let _ = sys::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// Whether it is a child of this program, and a zombie.
fn has_ended(id: WaitId<'_>) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    sys::waitid(id, options).is_ok_and(|status| status.is_some())
}

fn is_for_us(entry: &ProcessEntry<'_>, groups: &HashSet<OsString>) -> bool {
    let pid = entry.pid();
    let number = pid.as_raw_nonzero().get();
    // In this order: what is born is registered before its launch is over.
    let nobody_is_born = BIRTHS.load(Ordering::SeqCst) == 0;
    let session = group_membership::session_of(pid);
    {
        let registry = lock();
        if registry.leaders.contains_key(&number) {
            return false;
        }
        if ALL.load(Ordering::Relaxed) && nobody_is_born {
            return true;
        }
        if let Some(session) = session.filter(|session| *session != number) {
            if registry.leaders.contains_key(&session) {
                return true;
            }
            let start = entry.read().map(|seen| seen.start);
            let was = |left: &ReapedOrphan| left.leader == session && left.reaped.owns(start);
            if registry.left.iter().any(was) {
                return true;
            }
        }
    }
    if groups.is_empty() {
        return false;
    }
    let Ok(text) = std::fs::read(format!("/proc/{number}/cgroup")) else { return false };
    let Some(path) = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::")) else {
        return false;
    };
    // In the group of a leader or in one below it; "(deleted)" may follow.
    let ends = (1..path.len()).filter(|end| matches!(path[*end], b'/' | b' ')).chain([path.len()]);
    ends.into_iter().any(|end| groups.contains(OsStr::from_bytes(&path[..end])))
}
