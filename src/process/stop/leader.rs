//! [`Leader`]: the one place where a process is signalled, looked at and reaped.
//!
//! Shared by the control, its callers and the reaper thread. All of it goes through one lock, so that no signal is
//! ever sent to a leader that has been reaped. It knows no runtime: every method returns at once.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{self as sys, Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus},
};

use tokio::sync::Notify;

#[cfg(target_os = "linux")]
use super::orphans;
use super::survivor_scan::{self, Reaped, ScanTarget};
use crate::process::{
    cgroup,
    control::KILL_WAIT,
    exit_status::{ExitStatus, Status},
    group_membership,
    reap_token::ReapToken,
    usage::{self, Usage, UsageSource},
};

/// A process that was launched here and leads its own group.
#[derive(Debug)]
pub(in crate::process) struct Leader {
    pid: Pid,
    pidfd: Option<Arc<OwnedFd>>,
    cpu_limit: Option<CpuLimit>,
    /// What holds its descendants, whatever groups and sessions they are in.
    cgroup: Option<cgroup::Cgroup>,
    /// Its number may belong to somebody else.
    free: Arc<AtomicBool>,
    state: Mutex<LeaderState>,
}

/// Processor time after which the system ends a process.
#[derive(Clone, Copy, Debug)]
pub(in crate::process) struct CpuLimit {
    /// `SIGXCPU` is sent then.
    pub(in crate::process) soft: Duration,
    /// `SIGKILL` is sent then.
    pub(in crate::process) hard: Duration,
}

#[derive(Debug)]
struct LeaderState {
    exited: Option<ExitStatus>,
    reaped: bool,
    /// The hold was released before the process was gone.
    unkillable: bool,
    /// Reaped, no member of the group is left, and the hold is released.
    gone: bool,
    /// Since when the process table cannot be read.
    blind: Option<Instant>,
    /// What the process table has been asked.
    inquiry: Option<Arc<TableQuery>>,
    hold: Option<ReapToken>,
}

/// After that time without a look, the members that have been killed are taken to be gone.
const BLIND: Duration = Duration::from_secs(1);

/// A question to the process table.
#[derive(Debug)]
struct TableQuery {
    /// LogTopic all that the leader leads, and not just the group.
    whole: bool,
    answer: OnceLock<Option<bool>>,
    answered: Notify,
}

impl Leader {
    /// Takes charge of a process that has just been created and that nobody else waits for.
    pub(in crate::process) fn new(
        pid: Pid,
        pidfd: Option<OwnedFd>,
        cpu_limit: Option<CpuLimit>,
        cgroup: Option<cgroup::Cgroup>,
        hold: ReapToken,
    ) -> Leader {
        let state = LeaderState {
            exited: None,
            reaped: false,
            gone: false,
            unkillable: false,
            blind: None,
            inquiry: None,
            hold: Some(hold),
        };
        #[cfg(target_os = "linux")]
        orphans::arrived(pid, cgroup.as_ref().map(cgroup::Cgroup::full_path));
        let (free, pidfd) = (Arc::new(AtomicBool::new(false)), pidfd.map(Arc::new));
        Leader { pid, pidfd, cpu_limit, cgroup, free, state: Mutex::new(state) }
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
        self.look(&mut state);
        if state.reaped {
            return Err(Errno::SRCH.into());
        }
        self.send(signal)?;
        if signal == Signal::TERM {
            self.send(Signal::CONT)?;
            self.send_beyond(&[Signal::TERM, Signal::CONT]);
        } else {
            self.send_beyond(&[signal]);
        }
        Ok(())
    }

    /// To the descendants that have left the group: all, if a control group holds them, else those in the session.
    fn send_beyond(&self, signals: &[Signal]) {
        match &self.cgroup {
            Some(cgroup) if signals == [Signal::KILL] => cgroup.kill(),
            Some(cgroup) => cgroup.signal_others(self.pid, signals),
            // The end of the leader, which follows, takes care of them.
            None if signals == [Signal::KILL] => {}
            None => survivor_scan::ask(self.pid, self.led(), signals, |_| {}),
        }
    }

    fn led(&self) -> ScanTarget {
        ScanTarget::Led(Arc::clone(&self.free))
    }

    /// To the group, and to the leader by its own number if it has moved to another group: one system call is all it
    /// takes to do that. Only before the reap.
    fn send(&self, signal: Signal) -> io::Result<()> {
        let group = sys::kill_process_group(self.pid, signal);
        if group_membership::leads_group(self.pid) {
            Ok(group?)
        } else {
            Ok(sys::kill_process(self.pid, signal)?)
        }
    }

    /// How the process ended, if it has. Does not reap.
    pub(in crate::process) fn exited(&self) -> Option<ExitStatus> {
        let mut state = self.lock();
        if state.exited.is_none() {
            self.look(&mut state);
        }
        state.exited
    }

    /// Looks whether the leader has ended, or has even been reaped by somebody else in this program.
    fn look(&self, state: &mut LeaderState) {
        if !state.reaped {
            self.wait(state, WaitIdOptions::NOWAIT);
        }
    }

    /// One step towards the end: kills what is left of the group and the session, or of the control group, reaps the
    /// leader if it is dead, and sees whether the others are gone. Returns how the process ended once nothing is left;
    /// only then the hold is released.
    ///
    /// Without a control group the process table is asked, which takes a moment: see [`Leader::progress`]. Until it has
    /// answered that nothing is alive, the zombie stays, and the numbers with it.
    pub(in crate::process) fn finish(&self) -> Option<ExitStatus> {
        let mut state = self.lock();
        if state.gone {
            return state.exited;
        }
        self.look(&mut state);
        let over = match &self.cgroup {
            Some(cgroup) => {
                self.sweep_group(&mut state);
                // Whether anything is left shows the next look.
                let over = state.reaped && self.is_vacated(&mut state, cgroup);
                if !over {
                    cgroup.kill();
                }
                over
            }
            None if state.reaped => {
                self.kill_lost(&state);
                self.nobody_is_left(&mut state, false)
            }
            None => {
                let _ = self.send(Signal::KILL);
                if state.exited.is_some() && self.nobody_is_left(&mut state, true) {
                    self.wait(&mut state, WaitIdOptions::empty());
                }
                state.reaped
            }
        };
        if over { self.conclude(state) } else { None }
    }

    /// As [`Leader::finish`], for one that is to have a successor at once: what has left the group, and is in the session
    /// still, is swept behind it, and `trail` kept until that is done.
    pub(in crate::process) fn reap_after_exit(&self, trail: &mut Option<ReapToken>) -> Option<ExitStatus> {
        if self.cgroup.is_some() {
            return self.finish();
        }
        let mut state = self.lock();
        if state.gone {
            return state.exited;
        }
        self.look(&mut state);
        let mine = !state.reaped;
        let reaped = Reaped::now();
        self.sweep_group(&mut state);
        if mine && state.reaped {
            LeftBehind { leader: self.pid, reaped, since: Instant::now(), _trail: trail.take() }.sweep();
        }
        if state.reaped && self.nobody_is_left(&mut state, false) { self.conclude(state) } else { None }
    }

    /// Kills the group and reaps the leader, if it is dead. One kill reaches every member at once, and no fork escapes it.
    /// It must come before the reap.
    fn sweep_group(&self, state: &mut LeaderState) {
        if state.reaped {
            return self.kill_lost(state);
        }
        let _ = self.send(Signal::KILL);
        self.wait(state, WaitIdOptions::empty());
    }

    fn kill_lost(&self, state: &LeaderState) {
        if state.exited == Some(ExitStatus { status: Status::Lost }) {
            self.kill_by_pidfd();
        }
    }

    /// Releases the hold and says that it is over. The thread that takes the hold releases it, and only then is it over: a
    /// caller that is told so must not find the hold still there. The token's destructor is the caller's code
    /// and does not run under the lock.
    fn conclude(&self, mut state: MutexGuard<'_, LeaderState>) -> Option<ExitStatus> {
        let hold = match state.hold.take() {
            None if !state.unkillable => return None,
            hold => hold,
        };
        let exited = state.exited;
        drop(state);
        let _over = NotifyOnDrop(self);
        drop(hold);
        exited
    }

    fn is_vacated(&self, state: &mut LeaderState, cgroup: &cgroup::Cgroup) -> bool {
        match cgroup.vacated() {
            Some(vacated) => vacated,
            None => state.is_blind_for_long(),
        }
    }

    /// Whether no process is left, now that all have been killed: in the group, and in the session if the whole is asked for.
    /// An answer is for one question; without one, or with one that is no, the next is asked.
    fn nobody_is_left(&self, state: &mut LeaderState, whole: bool) -> bool {
        // Asking with no signal is harmless even if the id has a new owner.
        if !whole && sys::test_kill_process_group(self.pid) == Err(Errno::SRCH) {
            return true;
        }
        if let Some(inquiry) = state.inquiry.take_if(|inquiry| inquiry.whole == whole) {
            match inquiry.answer.get() {
                None => {
                    state.inquiry = Some(inquiry);
                    return false;
                }
                Some(Some(false)) => return true,
                Some(Some(true)) => state.blind = None,
                Some(None) if state.is_blind_for_long() => return true,
                Some(None) => {}
            }
        }
        let inquiry = Arc::new(TableQuery { whole, answer: OnceLock::new(), answered: Notify::new() });
        state.inquiry = Some(Arc::clone(&inquiry));
        let answer = move |living| {
            let _ = inquiry.answer.set(living);
            inquiry.answered.notify_waiters();
        };
        match whole {
            true => survivor_scan::ask(self.pid, self.led(), &[Signal::KILL], answer),
            false => survivor_scan::ask(self.pid, ScanTarget::Grouped, &[], answer),
        }
        false
    }

    /// Waits until there is something new, as far as that is announced, at most for `pause` where nothing is.
    pub(in crate::process) async fn progress(&self, pause: Duration) {
        let inquiry = self.lock().inquiry.clone();
        let Some(inquiry) = inquiry else { return tokio::time::sleep(pause).await };
        let mut answered = std::pin::pin!(inquiry.answered.notified());
        answered.as_mut().enable();
        if inquiry.answer.get().is_none() {
            // Others may be asked about too.
            let _ = tokio::time::timeout(Duration::from_millis(50), answered).await;
        }
    }

    /// Waits until nothing but the leader is alive in its control group or, without one, in its process group and session.
    pub(in crate::process) async fn emptied(&self) {
        const INTERVAL: Duration = Duration::from_millis(50);
        let Some(cgroup) = &self.cgroup else {
            // A look that cannot be made says nothing.
            while survivor_scan::look(self.pid, self.led()).await != Some(false) {
                tokio::time::sleep(INTERVAL).await;
            }
            return;
        };
        // Its events are a small file that is read in microseconds.
        let mut pause = Duration::from_millis(1);
        while cgroup.is_populated() != Some(false) {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Releases the hold of a process that could not be reaped in time: it is reported as unkillable, and the tree goes
    /// on without it.
    pub(in crate::process) fn release(&self) {
        let hold = {
            let mut state = self.lock();
            if state.gone {
                return;
            }
            state.unkillable = true;
            state.hold.take()
        };
        drop(hold);
    }

    /// Kills the group of a leader that somebody else has reaped. Its number may have a new owner, but a pidfd names
    /// the group that was (Linux 6.9; without that, the members are left alone).
    fn kill_by_pidfd(&self) {
        #[cfg(target_os = "linux")]
        if let Some(pidfd) = &self.pidfd {
            use std::os::fd::AsRawFd;
            const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 4;
            let no_info = std::ptr::null::<libc::siginfo_t>();
            // SAFETY: the descriptor is open, the other arguments are plain numbers, and no information is passed.
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

    /// Asks the kernel about the leader. Without `NOWAIT` among the options, a dead leader is reaped.
    fn wait(&self, state: &mut LeaderState, options: WaitIdOptions) {
        let id = match &self.pidfd {
            #[cfg(target_os = "linux")]
            Some(pidfd) => WaitId::PidFd(std::os::fd::AsFd::as_fd(pidfd)),
            _ => WaitId::Pid(self.pid),
        };
        let reaps = !options.contains(WaitIdOptions::NOWAIT);
        // StderrExcerpt before it is so: a thread that is about to use the number looks afterwards.
        self.free.store(reaps, Ordering::SeqCst);
        let answer = loop {
            match sys::waitid(id.clone(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | options) {
                Err(Errno::INTR) => {}
                answer => break answer,
            }
        };
        match answer {
            Ok(None) => self.free.store(false, Ordering::SeqCst),
            Ok(Some(status)) => {
                // The zombie's figures can be read until it is reaped.
                state.exited.get_or_insert_with(|| self.judge(exited(&status)));
                if reaps {
                    self.has_been_reaped(state);
                }
            }
            // Not our child any more: somebody else has reaped it.
            Err(_) => {
                state.exited.get_or_insert(ExitStatus { status: Status::Lost });
                self.has_been_reaped(state);
            }
        }
    }

    fn has_been_reaped(&self, state: &mut LeaderState) {
        self.free.store(true, Ordering::SeqCst);
        if !std::mem::replace(&mut state.reaped, true) {
            #[cfg(target_os = "linux")]
            orphans::left(self.pid, Reaped::now());
        }
    }

    /// A signal that the system sends when a limit is reached may also come from anybody else: the figures decide.
    fn judge(&self, exited: ExitStatus) -> ExitStatus {
        let (Status::Signal { signal, .. }, Some(limit)) = (exited.status, self.cpu_limit) else {
            return exited;
        };
        let bound = match signal {
            _ if signal == Signal::XCPU.as_raw() => limit.soft,
            _ if signal == Signal::KILL.as_raw() => limit.hard,
            _ => return exited,
        };
        // The kernel compares the limit with the ticks that hit the process, and reports the time that it has had.
        // With other processes on the processor the two differ by some percent.
        if usage::of(self.pid).is_some_and(|usage| usage.cpu_time * 4 >= bound * 3) {
            return ExitStatus { status: Status::Limit { which: "cpu_seconds", signal } };
        }
        exited
    }

    fn lock(&self) -> MutexGuard<'_, LeaderState> {
        // Nothing panics under the lock, and the state is valid at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UsageSource for Leader {
    fn usage(&self) -> Option<Usage> {
        let mut state = self.lock();
        self.look(&mut state);
        if state.reaped { None } else { usage::of(self.pid) }
    }
}

impl LeaderState {
    /// Whether nothing could be looked at for so long that what has been killed is taken to be gone: nothing survives a
    /// kill for long.
    fn is_blind_for_long(&mut self) -> bool {
        self.blind.get_or_insert_with(Instant::now).elapsed() > BLIND
    }
}

/// What has left the group of a leader that has been reaped, and not its session.
struct LeftBehind {
    leader: Pid,
    reaped: Reaped,
    since: Instant,
    _trail: Option<ReapToken>,
}

impl LeftBehind {
    /// Kills it, again and again until no process is left or the time is over.
    fn sweep(self) {
        let (leader, whom) = (self.leader, ScanTarget::Left(self.reaped));
        survivor_scan::ask(leader, whom, &[Signal::KILL], move |living| {
            if living != Some(false) && self.since.elapsed() < KILL_WAIT {
                self.sweep();
            }
        });
    }
}

/// Says that it is over when dropped, also if a token's destructor panics.
struct NotifyOnDrop<'a>(&'a Leader);

impl Drop for NotifyOnDrop<'_> {
    fn drop(&mut self) {
        self.0.lock().gone = true;
    }
}

fn exited(status: &WaitIdStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::code(code),
        (None, Some(signal)) => ExitStatus::signal(signal, status.dumped()),
        (None, None) => ExitStatus { status: Status::Lost },
    }
}
