//! [`ProcessGroup`]: the only code that signals, checks and reaps a launched process.
//!
//! The control, its callers and the reaper thread share it. Every operation takes the same lock, so no
//! signal is ever sent to a leader that has been reaped. It knows no runtime: apart from the few `async`
//! methods, which only wait, every method returns at once.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{self as sys, Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus},
};

#[cfg(target_os = "linux")]
use super::adopted_orphans;
use super::{
    survivor_query::{SurvivorQuery, sweep_session},
    survivor_scan::{self, LeaderReapedAt, ScanTarget},
};
use crate::process::{
    cgroup,
    exit_status::{ExitStatus, ExitStatusKind},
    group_membership,
    held_until_reaped::HeldUntilReaped,
    usage_probe::{self, Usage, UsageSource},
};

/// A process that was launched here as the leader of its own group, and that group.
#[derive(Debug)]
pub(in crate::process) struct ProcessGroup {
    pid: Pid,
    pidfd: Option<Arc<OwnedFd>>,
    cpu_limits_at_launch: Option<CpuLimitsAtLaunch>,
    /// Holds its descendants, whatever groups and sessions they are in.
    cgroup: Option<cgroup::Cgroup>,
    /// The kernel may have given its number to another process.
    pid_is_free: Arc<AtomicBool>,
    state: Mutex<ProcessGroupState>,
}

/// The processor time after which the system ends a process, as set at its launch. Nothing is limited by it
/// here: it tells whether a signal came from that limit.
#[derive(Clone, Copy, Debug)]
pub(in crate::process) struct CpuLimitsAtLaunch {
    /// `SIGXCPU` is sent then.
    pub(in crate::process) soft: Duration,
    /// `SIGKILL` is sent then.
    pub(in crate::process) hard: Duration,
}

#[derive(Debug)]
struct ProcessGroupState {
    exited: Option<ExitStatus>,
    reaped: bool,
    /// The held value was released although the process is still there.
    unkillable: bool,
    /// Reaped, no member of the group is left, and the held value has been released.
    finished: bool,
    /// Since when the process table cannot be read.
    unreadable_since: Option<Instant>,
    /// The question that the survivor scan has not answered yet, or whose reply has not been used.
    query: Option<Arc<SurvivorQuery>>,
    held_until_reaped: Option<HeldUntilReaped>,
}

/// If the process table cannot be read for this long, members that have been killed are taken to be dead.
const UNREADABLE_LIMIT: Duration = Duration::from_secs(1);

impl ProcessGroup {
    /// Takes charge of a process that has just been created and that no other code waits for.
    pub(in crate::process) fn new(
        pid: Pid,
        pidfd: Option<OwnedFd>,
        cpu_limits_at_launch: Option<CpuLimitsAtLaunch>,
        cgroup: Option<cgroup::Cgroup>,
        held_until_reaped: HeldUntilReaped,
    ) -> ProcessGroup {
        let state = ProcessGroupState {
            exited: None,
            reaped: false,
            finished: false,
            unkillable: false,
            unreadable_since: None,
            query: None,
            held_until_reaped: Some(held_until_reaped),
        };
        #[cfg(target_os = "linux")]
        adopted_orphans::leader_launched(pid, cgroup.as_ref().map(cgroup::Cgroup::full_path));
        let (pid_is_free, pidfd) = (Arc::new(AtomicBool::new(false)), pidfd.map(Arc::new));
        ProcessGroup { pid, pidfd, cpu_limits_at_launch, cgroup, pid_is_free, state: Mutex::new(state) }
    }

    pub(in crate::process) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn raw_pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn pidfd(&self) -> Option<&Arc<OwnedFd>> {
        self.pidfd.as_ref()
    }

    /// Sends a signal to the group, never after the reap (P-7).
    pub(in crate::process) fn signal(&self, signal: Signal) -> io::Result<()> {
        let mut state = self.lock();
        self.check_exit(&mut state);
        if state.reaped {
            return Err(Errno::SRCH.into());
        }
        self.signal_group(signal)?;
        if signal == Signal::TERM {
            self.signal_group(Signal::CONT)?;
            self.signal_outside_group(&[Signal::TERM, Signal::CONT]);
        } else {
            self.signal_outside_group(&[signal]);
        }
        Ok(())
    }

    /// Signals the descendants that have left the group: all of them if a control group holds them, else
    /// those in the session.
    fn signal_outside_group(&self, signals: &[Signal]) {
        match &self.cgroup {
            Some(cgroup) if signals == [Signal::KILL] => cgroup.kill(),
            Some(cgroup) => cgroup.signal_others(self.pid, signals),
            // The reap, which follows a kill, takes care of them.
            None if signals == [Signal::KILL] => {}
            None => survivor_scan::request(self.pid, self.group_and_session(), signals, |_| {}),
        }
    }

    fn group_and_session(&self) -> ScanTarget {
        ScanTarget::GroupAndSession(Arc::clone(&self.pid_is_free))
    }

    /// Signals the group, and the leader by its own number if it has moved to another group, which takes it
    /// one system call. Must not be called after the reap.
    fn signal_group(&self, signal: Signal) -> io::Result<()> {
        let sent = sys::kill_process_group(self.pid, signal);
        if group_membership::leads_group(self.pid) {
            Ok(sent?)
        } else {
            Ok(sys::kill_process(self.pid, signal)?)
        }
    }

    /// How the process ended, if it has. Does not reap.
    pub(in crate::process) fn exited(&self) -> Option<ExitStatus> {
        let mut state = self.lock();
        if state.exited.is_none() {
            self.check_exit(&mut state);
        }
        state.exited
    }

    /// Checks whether the leader has ended, or has even been reaped by other code in this program.
    fn check_exit(&self, state: &mut ProcessGroupState) {
        if !state.reaped {
            self.wait(state, WaitIdOptions::NOWAIT);
        }
    }

    /// One step of the reap: kills what is left of the group and the session, or of the control group,
    /// reaps the leader if it is dead, and checks whether the others are gone. Returns how the process
    /// ended once nothing is left; the held value is released before that and not earlier.
    ///
    /// Without a control group this needs a survivor scan, which takes a moment: see
    /// [`ProcessGroup::wait_for_progress`]. The zombie stays, and pins the numbers, until the scan
    /// has found no living process.
    pub(in crate::process) fn kill_and_reap(&self) -> Option<ExitStatus> {
        let mut state = self.lock();
        if state.finished {
            return state.exited;
        }
        self.check_exit(&mut state);
        let empty = match &self.cgroup {
            Some(cgroup) => {
                self.kill_group_and_reap_leader(&mut state);
                // The next step checks whether the kill left anything.
                let empty = state.reaped && self.is_cgroup_empty(&mut state, cgroup);
                if !empty {
                    cgroup.kill();
                }
                empty
            }
            None if state.reaped => {
                self.kill_if_reaped_elsewhere(&state);
                self.has_no_survivors(&mut state, false)
            }
            None => {
                let _ = self.signal_group(Signal::KILL);
                if state.exited.is_some() && self.has_no_survivors(&mut state, true) {
                    self.reap_leader(&mut state);
                }
                state.reaped
            }
        };
        if empty { self.finish(state) } else { None }
    }

    /// As [`ProcessGroup::kill_and_reap`], for a process that gets a successor at once. Processes
    /// that have left the group but are still in the session are swept in the background, and
    /// `held_until_swept` is kept until that is done.
    pub(in crate::process) fn reap_after_exit(
        &self,
        held_until_swept: &mut Option<HeldUntilReaped>,
    ) -> Option<ExitStatus> {
        if self.cgroup.is_some() {
            return self.kill_and_reap();
        }
        let mut state = self.lock();
        if state.finished {
            return state.exited;
        }
        self.check_exit(&mut state);
        let was_unreaped = !state.reaped;
        let reap_time = LeaderReapedAt::now();
        self.kill_group_and_reap_leader(&mut state);
        if was_unreaped && state.reaped {
            sweep_session(self.pid, reap_time, held_until_swept.take());
        }
        if state.reaped && self.has_no_survivors(&mut state, false) { self.finish(state) } else { None }
    }

    /// Kills the group and reaps the leader if it is dead. One kill reaches every member at once, and no
    /// fork escapes it. The kill must come before the reap.
    fn kill_group_and_reap_leader(&self, state: &mut ProcessGroupState) {
        if state.reaped {
            return self.kill_if_reaped_elsewhere(state);
        }
        let _ = self.signal_group(Signal::KILL);
        self.reap_leader(state);
    }

    /// Reaps the leader if it is dead. How it ended is asked first, without reaping: what the zombie has
    /// used cannot be read after the reap, and the leader may have ended since the last check.
    fn reap_leader(&self, state: &mut ProcessGroupState) {
        if state.exited.is_none() {
            self.check_exit(state);
        }
        if state.exited.is_some() && !state.reaped {
            self.wait(state, WaitIdOptions::empty());
        }
    }

    fn kill_if_reaped_elsewhere(&self, state: &ProcessGroupState) {
        if state.exited == Some(ExitStatus { status: ExitStatusKind::Lost }) {
            self.kill_group_by_pidfd();
        }
    }

    /// Releases the held value and reports the end. Only the thread that takes the held value
    /// reports it, after the release: a caller that has been told of the end must not find the held
    /// value still held. The held value's destructor is the caller's code and does not run under the lock.
    fn finish(&self, mut state: MutexGuard<'_, ProcessGroupState>) -> Option<ExitStatus> {
        let held_until_reaped = match state.held_until_reaped.take() {
            None if !state.unkillable => return None,
            held_until_reaped => held_until_reaped,
        };
        let exited = state.exited;
        drop(state);
        let _finished = MarkFinishedOnDrop(self);
        drop(held_until_reaped);
        exited
    }

    fn is_cgroup_empty(&self, state: &mut ProcessGroupState, cgroup: &cgroup::Cgroup) -> bool {
        match cgroup.remove_if_empty() {
            Some(empty) => empty,
            None => state.is_unreadable_for_long(),
        }
    }

    /// Whether no member of the group is alive, or of group and session if `includes_session`, after all of
    /// them have been killed. A reply serves one call. Without a reply, or if it says that a process is
    /// alive, the next scan is requested.
    fn has_no_survivors(&self, state: &mut ProcessGroupState, includes_session: bool) -> bool {
        // Signal 0 is harmless even if the number has a new owner.
        if !includes_session && sys::test_kill_process_group(self.pid) == Err(Errno::SRCH) {
            return true;
        }
        if let Some(query) = state.query.take_if(|query| query.includes_session == includes_session) {
            match query.reply() {
                None => {
                    state.query = Some(query);
                    return false;
                }
                Some(Some(false)) => return true,
                Some(Some(true)) => state.unreadable_since = None,
                Some(None) if state.is_unreadable_for_long() => return true,
                Some(None) => {}
            }
        }
        state.query = Some(match includes_session {
            true => SurvivorQuery::ask(self.pid, self.group_and_session(), &[Signal::KILL]),
            false => SurvivorQuery::ask(self.pid, ScanTarget::Group, &[]),
        });
        false
    }

    /// Waits until another step may achieve something: for the reply of the survivor scan if one is on its
    /// way, else for `pause`.
    pub(in crate::process) async fn wait_for_progress(&self, pause: Duration) {
        let query = self.lock().query.clone();
        match query {
            Some(query) => query.wait().await,
            None => tokio::time::sleep(pause).await,
        }
    }

    /// Waits until nothing but the leader is alive in its control group or, without one, in its process
    /// group and session.
    pub(in crate::process) async fn emptied(&self) {
        const INTERVAL: Duration = Duration::from_millis(50);
        let Some(cgroup) = &self.cgroup else {
            // A scan that could not be made says nothing.
            while survivor_scan::any_alive(self.pid, self.group_and_session()).await != Some(false) {
                tokio::time::sleep(INTERVAL).await;
            }
            return;
        };
        // The group's `cgroup.events` is a small file that is read in microseconds.
        let mut pause = Duration::from_millis(1);
        while cgroup.is_populated() != Some(false) {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Releases the held value of a process that could not be reaped in time. The process is reported as
    /// unkillable, and the tree goes on without it.
    pub(in crate::process) fn give_up(&self) {
        let held_until_reaped = {
            let mut state = self.lock();
            if state.finished {
                return;
            }
            state.unkillable = true;
            state.held_until_reaped.take()
        };
        drop(held_until_reaped);
    }

    /// Kills the group of a leader that other code has reaped. Its number may have a new owner, but the
    /// pidfd still names the original group (Linux 6.9; on older kernels the members are left alone).
    fn kill_group_by_pidfd(&self) {
        #[cfg(target_os = "linux")]
        if let Some(pidfd) = &self.pidfd {
            use std::os::fd::AsRawFd;
            const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 4;
            let no_info = std::ptr::null::<libc::siginfo_t>();
            // SAFETY: the descriptor is open, the other arguments are plain numbers, and no information is
            // passed.
            #[allow(unsafe_code)]
            let _ = unsafe {
                libc::syscall(
                    libc::SYS_pidfd_send_signal,
                    pidfd.as_raw_fd(),
                    libc::SIGKILL,
                    no_info,
                    PIDFD_SIGNAL_PROCESS_GROUP,
                )
            };
        }
    }

    /// Asks the kernel about the leader. Without `NOWAIT` among the options, a dead leader is reaped; only
    /// [`ProcessGroup::reap_leader`] does that.
    fn wait(&self, state: &mut ProcessGroupState, options: WaitIdOptions) {
        let id = match &self.pidfd {
            #[cfg(target_os = "linux")]
            Some(pidfd) => WaitId::PidFd(std::os::fd::AsFd::as_fd(pidfd)),
            _ => WaitId::Pid(self.pid),
        };
        let reaps = !options.contains(WaitIdOptions::NOWAIT);
        // Set before the number becomes free: a thread that is about to use the number checks the flag
        // afterwards.
        self.pid_is_free.store(reaps, Ordering::SeqCst);
        let waited = loop {
            match sys::waitid(id.clone(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | options) {
                Err(Errno::INTR) => {}
                waited => break waited,
            }
        };
        match waited {
            Ok(None) => self.pid_is_free.store(false, Ordering::SeqCst),
            Ok(Some(status)) => {
                // The zombie is still there: a reap comes only after a wait that did not reap.
                state.exited.get_or_insert_with(|| self.attribute_to_limit(exit_status(&status)));
                if reaps {
                    self.mark_reaped(state);
                }
            }
            // It is no longer our child: other code has reaped it.
            Err(_) => {
                state.exited.get_or_insert(ExitStatus { status: ExitStatusKind::Lost });
                self.mark_reaped(state);
            }
        }
    }

    fn mark_reaped(&self, state: &mut ProcessGroupState) {
        self.pid_is_free.store(true, Ordering::SeqCst);
        if !std::mem::replace(&mut state.reaped, true) {
            #[cfg(target_os = "linux")]
            adopted_orphans::leader_reaped(self.pid, LeaderReapedAt::now());
        }
    }

    /// The system sends a signal when a limit is reached, but anyone else can send the same signal: the
    /// processor time that was used decides. Must be called before the reap.
    fn attribute_to_limit(&self, exited: ExitStatus) -> ExitStatus {
        let (ExitStatusKind::Signal { signal, .. }, Some(limit)) = (exited.status, self.cpu_limits_at_launch)
        else {
            return exited;
        };
        let bound = match signal {
            _ if signal == Signal::XCPU.as_raw() => limit.soft,
            _ if signal == Signal::KILL.as_raw() => limit.hard,
            _ => return exited,
        };
        if usage_probe::rlimit_cpu_time(self.pid).is_some_and(|used| used >= bound) {
            return ExitStatus { status: ExitStatusKind::Limit { which: "cpu_seconds", signal } };
        }
        exited
    }

    fn lock(&self) -> MutexGuard<'_, ProcessGroupState> {
        // Nothing panics under the lock, and the state is valid at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UsageSource for ProcessGroup {
    fn usage(&self) -> Option<Usage> {
        let mut state = self.lock();
        self.check_exit(&mut state);
        if state.reaped { None } else { usage_probe::of(self.pid) }
    }

    fn others(&self, max: usize) -> Vec<Pid> {
        let mut members = match &self.cgroup {
            Some(cgroup) => cgroup.members(max),
            #[cfg(target_os = "linux")]
            None => super::group_members::members_of(self.pid, max),
            #[cfg(not(target_os = "linux"))]
            None => Vec::new(),
        };
        members.retain(|pid| *pid != self.pid);
        members
    }
}

impl ProcessGroupState {
    /// Whether nothing could be read for so long that killed processes are taken to be dead: nothing
    /// survives a kill for long.
    fn is_unreadable_for_long(&mut self) -> bool {
        self.unreadable_since.get_or_insert_with(Instant::now).elapsed() > UNREADABLE_LIMIT
    }
}

/// Marks the group as finished when dropped, also if a held value's destructor panics.
struct MarkFinishedOnDrop<'a>(&'a ProcessGroup);

impl Drop for MarkFinishedOnDrop<'_> {
    fn drop(&mut self) {
        self.0.lock().finished = true;
    }
}

fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::code(code),
        (None, Some(signal)) => ExitStatus::signal(signal, status.dumped()),
        (None, None) => ExitStatus { status: ExitStatusKind::Lost },
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    /// A process that has used some processor time and has ended by `signal`. It is a zombie.
    fn ended_by(signal: Signal) -> Pid {
        let script = "ulimit -c 0; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; kill -$0 $$";
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, &signal.as_raw().to_string()]).process_group(0);
        // The leader reaps it.
        #[allow(clippy::zombie_processes)]
        let child = command.spawn().unwrap();
        let pid = Pid::from_child(&child);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(Errno::INTR) = sys::waitid(WaitId::Pid(pid), options) {}
        pid
    }

    #[test]
    fn a_limit_is_recognised_to_the_tick_also_if_no_check_came_before_the_reap() {
        // P-6, R-1
        for signal in [Signal::XCPU, Signal::KILL] {
            for (missing, has_pidfd) in [(0, true), (0, false), (1, true), (1, false)] {
                let pid = ended_by(signal);
                let used = usage_probe::rlimit_cpu_time(pid).unwrap();
                let bound = used + Duration::from_nanos(missing);
                let never = Duration::MAX;
                let limit = match signal {
                    Signal::XCPU => CpuLimitsAtLaunch { soft: bound, hard: never },
                    _ => CpuLimitsAtLaunch { soft: never, hard: bound },
                };
                let pidfd = has_pidfd.then(|| sys::pidfd_open(pid, sys::PidfdFlags::empty()).unwrap());
                let group = ProcessGroup::new(pid, pidfd, Some(limit), None, HeldUntilReaped::none());
                let mut state = group.lock();
                // As if it had ended since the check that comes first otherwise.
                group.kill_group_and_reap_leader(&mut state);
                assert!(state.reaped);
                let signal = signal.as_raw();
                let expected = match missing {
                    0 => ExitStatus { status: ExitStatusKind::Limit { which: "cpu_seconds", signal } },
                    _ => ExitStatus::signal(signal, false),
                };
                assert_eq!(state.exited, Some(expected), "pidfd: {has_pidfd}");
            }
        }
    }
}
