//! Reaps orphans that this program adopts because it is process 1 or a subreaper and has no guardian.
//!
//! Nothing here waits for "any child": the embedding program may have children of its own, and their
//! statuses are for that program alone. An orphan is reaped if its session or its control group was that of
//! a process launched here. This is checked during walks through the process table, which are made when a
//! process has ended and every few seconds while one lives.

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
    survivor_scan::{self, EntryVisitor, LeaderReapedAt},
};
use crate::process::{cleanup_thread, group_membership};

/// How often orphans are searched for while no process ends.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long the orphans of an ended process are searched for. Killed ones are dead by then.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Which of the orphans that this program adopts are reaped; see
/// [`OsLauncherBuilder::reap_adopted`](crate::process::OsLauncherBuilder::reap_adopted).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdoptedOrphansToReap {
    /// Those that belonged to a process of a launcher.
    #[default]
    OfProcesses,
    /// All, as process 1 should. Choose this only if no other code of the program reaps and all its
    /// processes are started by launchers: code that waits for any other child loses that child's status.
    All,
}

#[derive(Default)]
struct OrphanSearchState {
    /// Those that have not been reaped, with the paths of their control groups.
    unreaped: BTreeMap<i32, Option<OsString>>,
    reaped: Vec<ReapedLeader>,
    /// The periodic search runs.
    searching: bool,
}

/// A leader that has been reaped and may have left orphans.
struct ReapedLeader {
    leader: i32,
    cgroup: Option<OsString>,
    reap_time: LeaderReapedAt,
    since: Instant,
}

static SEARCH: Mutex<OrphanSearchState> =
    Mutex::new(OrphanSearchState { unreaped: BTreeMap::new(), reaped: Vec::new(), searching: false });
/// Launches under way. Their processes may exist before they are registered as leaders.
static LAUNCHES_IN_PROGRESS: AtomicUsize = AtomicUsize::new(0);
static REAP_ALL: AtomicBool = AtomicBool::new(false);

fn lock() -> MutexGuard<'static, OrphanSearchState> {
    SEARCH.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(in crate::process) fn set_policy(which: AdoptedOrphansToReap) {
    REAP_ALL.store(which == AdoptedOrphansToReap::All, Ordering::Relaxed);
}

/// Whether orphans become children of this program.
fn adopts_orphans() -> bool {
    sys::getpid() == Pid::INIT || sys::child_subreaper().is_ok_and(|subreaper| subreaper.is_some())
}

/// A launch, until its process is registered.
pub(in crate::process) struct LaunchInProgress(());

impl LaunchInProgress {
    pub(in crate::process) fn new() -> LaunchInProgress {
        LAUNCHES_IN_PROGRESS.fetch_add(1, Ordering::SeqCst);
        LaunchInProgress(())
    }
}

impl Drop for LaunchInProgress {
    fn drop(&mut self) {
        LAUNCHES_IN_PROGRESS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A process has been launched.
pub(super) fn leader_launched(leader: Pid, cgroup: Option<&OsStr>) {
    let mut search = lock();
    search.unreaped.insert(leader.as_raw_nonzero().get(), cgroup.map(OsStr::to_owned));
    if !search.searching && adopts_orphans() {
        search.searching = true;
        survivor_scan::visit_on_walks(visitor);
        cleanup_thread::add(Box::new(PeriodicOrphanSearch { first: true }));
    }
}

/// A launched process has been reaped.
pub(super) fn leader_reaped(leader: Pid, reap_time: LeaderReapedAt) {
    let leader = leader.as_raw_nonzero().get();
    let mut search = lock();
    let Some(cgroup) = search.unreaped.remove(&leader) else { return };
    if search.searching {
        search.reaped.push(ReapedLeader { leader, cgroup, reap_time, since: Instant::now() });
        drop(search);
        survivor_scan::request_visit();
    }
}

/// Requests a walk from time to time, as long as a process lives or may have left orphans.
#[derive(Debug)]
struct PeriodicOrphanSearch {
    first: bool,
}

impl cleanup_thread::CleanupJob for PeriodicOrphanSearch {
    fn step(&mut self, _: Instant) -> cleanup_thread::JobProgress {
        if !std::mem::take(&mut self.first) {
            let mut search = lock();
            search.reaped.retain(|leader| leader.since.elapsed() < REMEMBERED);
            if search.unreaped.is_empty() && search.reaped.is_empty() || !adopts_orphans() {
                search.searching = false;
                search.reaped.clear();
                return cleanup_thread::JobProgress::Over;
            }
            drop(search);
            survivor_scan::request_visit();
        }
        cleanup_thread::JobProgress::After(INTERVAL)
    }
}

/// For one walk through the process table: reaps the orphans that have ended and are ours. `None` if this
/// program adopts no orphans.
fn visitor() -> Option<EntryVisitor> {
    let search = lock();
    if !search.searching || !adopts_orphans() {
        return None;
    }
    let reaped = search.reaped.iter().map(|leader| &leader.cgroup);
    let cgroups: HashSet<OsString> = search.unreaped.values().chain(reaped).flatten().cloned().collect();
    Some(Box::new(move |entry| reap_if_ours(entry, &cgroups)))
}

/// Reaps a process if it is an orphan that has ended and is ours.
fn reap_if_ours(entry: &ProcessEntry<'_>, cgroups: &HashSet<OsString>) {
    let pid = entry.pid();
    if !is_zombie_child(WaitId::Pid(pid)) {
        return;
    }
    // It is a zombie and a child of ours. What is found from here on is true of the process that the pidfd
    // means, unless other code reaps it meanwhile. Then there is nothing left to reap.
    let Some(pidfd) = process_table::open_pidfd(pid) else { return };
    if is_zombie_child(WaitId::PidFd(pidfd.as_fd())) && is_ours(entry, cgroups) {
        let _ = sys::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// Whether it is a child of this program, and a zombie.
fn is_zombie_child(id: WaitId<'_>) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    sys::waitid(id, options).is_ok_and(|status| status.is_some())
}

fn is_ours(entry: &ProcessEntry<'_>, cgroups: &HashSet<OsString>) -> bool {
    let pid = entry.pid();
    let number = pid.as_raw_nonzero().get();
    // Read before the registry: a launched process is registered before its launch stops being pending.
    let no_launch_is_in_progress = LAUNCHES_IN_PROGRESS.load(Ordering::SeqCst) == 0;
    let session = group_membership::session_of(pid);
    {
        let search = lock();
        if search.unreaped.contains_key(&number) {
            return false;
        }
        if REAP_ALL.load(Ordering::Relaxed) && no_launch_is_in_progress {
            return true;
        }
        if let Some(session) = session.filter(|session| *session != number) {
            if search.unreaped.contains_key(&session) {
                return true;
            }
            let start = entry.read().map(|stat| stat.start);
            let led =
                |reaped: &ReapedLeader| reaped.leader == session && reaped.reap_time.is_own_member(start);
            if search.reaped.iter().any(led) {
                return true;
            }
        }
    }
    if cgroups.is_empty() {
        return false;
    }
    let Ok(text) = std::fs::read(format!("/proc/{number}/cgroup")) else { return false };
    let Some(path) = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::")) else {
        return false;
    };
    // In the group of a leader or in one below it; "(deleted)" may follow the path.
    let ends = (1..path.len()).filter(|end| matches!(path[*end], b'/' | b' ')).chain([path.len()]);
    ends.into_iter().any(|end| cgroups.contains(OsStr::from_bytes(&path[..end])))
}
