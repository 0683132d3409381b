//! [`Leader`]: the one place where a process is signalled, looked at and reaped.
//!
//! Shared by the control, its callers and the reaper thread. All of it goes through one lock, so that no signal is
//! ever sent to a leader that has been reaped. It knows no runtime: every method returns at once.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{self as sys, Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus},
};

use super::{Exited, Hold, Limits, Status, Usage, cgroup, group, membership, reaper, usage};

/// A process that was launched here and leads its own group.
#[derive(Debug)]
pub(super) struct Leader {
    pid: Pid,
    pidfd: Option<Arc<OwnedFd>>,
    /// Processor time after which the system ends it.
    cpu_limit: Option<Duration>,
    /// What holds its descendants, whatever groups and sessions they are in.
    cgroup: Option<cgroup::Group>,
    state: Mutex<State>,
}

/// Whether the members of a group are looked at, by a walk through the process table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look {
    /// No.
    No,
    /// Now, on this thread.
    Here,
    /// That has been done, after everything was killed: whether one is alive, if it could be told.
    Made(Option<bool>),
}

#[derive(Debug)]
struct State {
    exited: Option<Exited>,
    reaped: bool,
    /// The hold was released before the process was gone.
    unkillable: bool,
    /// Reaped, no member of the group is left, and the hold is released.
    gone: bool,
    /// How often the process table could not be read.
    blind_looks: u32,
    hold: Option<Hold>,
}

/// After so many, the members that have been killed are taken to be gone.
const BLIND_LOOKS: u32 = 20;

impl Leader {
    /// Takes charge of a process that has just been created and that nobody else waits for.
    pub(super) fn new(
        pid: Pid,
        pidfd: Option<OwnedFd>,
        cpu_limit: Option<Duration>,
        cgroup: Option<cgroup::Group>,
        hold: Hold,
    ) -> Leader {
        let state = State {
            exited: None,
            reaped: false,
            gone: false,
            unkillable: false,
            blind_looks: 0,
            hold: Some(hold),
        };
        Leader { pid, pidfd: pidfd.map(Arc::new), cpu_limit, cgroup, state: Mutex::new(state) }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn raw_pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn pidfd(&self) -> Option<&Arc<OwnedFd>> {
        self.pidfd.as_ref()
    }

    /// Sends a signal to the group, never after the reap (P-7).
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
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

    /// To the descendants that have left the group, if a control group holds them.
    fn send_beyond(&self, signals: &[Signal]) {
        match &self.cgroup {
            Some(cgroup) if signals == [Signal::KILL] => cgroup.kill(),
            Some(cgroup) => cgroup.signal_others(self.pid, signals),
            None => {}
        }
    }

    /// To the group, and to the leader by its own number if it has moved to another group: one system call is all it
    /// takes to do that. Only before the reap.
    fn send(&self, signal: Signal) -> io::Result<()> {
        let group = sys::kill_process_group(self.pid, signal);
        if membership::leads_group(self.pid) { Ok(group?) } else { Ok(sys::kill_process(self.pid, signal)?) }
    }

    /// How the process ended, if it has. Does not reap.
    pub(super) fn exited(&self) -> Option<Exited> {
        let mut state = self.lock();
        if state.exited.is_none() {
            self.look(&mut state);
        }
        state.exited
    }

    /// Looks whether the leader has ended, or has even been reaped by somebody else in this program.
    fn look(&self, state: &mut State) {
        if !state.reaped {
            self.wait(state, WaitIdOptions::NOWAIT);
        }
    }

    /// What it uses, unless it has been reaped: its number may belong to a stranger then.
    pub(super) fn usage(&self) -> Option<Usage> {
        let mut state = self.lock();
        self.look(&mut state);
        if state.reaped { None } else { usage::of(self.pid) }
    }

    /// One step towards the end: kills what is left of the group, reaps the leader if it is dead, and looks whether
    /// the killed members are gone. Returns how the process ended once nothing of the group is left; only then the
    /// hold is released.
    ///
    /// `look` says whether members that seem to be left are looked at one by one; it costs a walk through the
    /// process table, and is needed where nobody reaps orphans.
    pub(super) fn finish(&self, look: Look) -> Option<Exited> {
        let mut state = self.lock();
        if state.gone {
            return state.exited;
        }
        self.look(&mut state);
        if state.exited == Some(Exited { status: Status::Lost }) {
            self.kill_by_pidfd();
        } else if !state.reaped {
            // One kill reaches every member at once, and no fork escapes it. It must come before the reap.
            let _ = self.send(Signal::KILL);
            self.wait(&mut state, WaitIdOptions::empty());
        }
        if !state.reaped || !self.is_empty(&mut state, look) {
            self.send_beyond(&[Signal::KILL]);
            return None;
        }
        // Whoever takes the hold releases it, and only then it is over for anybody: a caller that is told so must not
        // find the hold still there. The token's destructor is the caller's code and does not run under the lock.
        let hold = match state.hold.take() {
            None if !state.unkillable => return None,
            hold => hold,
        };
        let exited = state.exited;
        drop(state);
        let _over = Over(self);
        drop(hold);
        exited
    }

    /// Whether nothing of the group is left, now that all of it has been killed and the leader reaped. Without
    /// descriptors the process table cannot be read: then what was killed counts as alive for some looks more, but
    /// not for ever, since nothing survives a kill for long.
    fn is_empty(&self, state: &mut State, look: Look) -> bool {
        let living = match &self.cgroup {
            Some(cgroup) => Some(cgroup.vacated().map(|vacated| !vacated)),
            // Asking with no signal is harmless even if the id has a new owner.
            None if sys::test_kill_process_group(self.pid) == Err(Errno::SRCH) => return true,
            None => match look {
                Look::No => None,
                Look::Here => Some(group::has_living_member(self.pid)),
                Look::Made(living) => Some(living),
            },
        };
        match living {
            None => false,
            Some(Some(living)) => !living,
            Some(None) => {
                state.blind_looks += 1;
                state.blind_looks > BLIND_LOOKS
            }
        }
    }

    /// Whether the group has a living member, asked of the process table off the runtime's threads. Nothing needs to
    /// be looked at where a control group knows.
    pub(super) async fn looked(&self) -> Look {
        match self.cgroup {
            Some(_) => Look::No,
            None => Look::Made(group::look(self.pid).await),
        }
    }

    /// Waits until nothing but the leader is alive in its control group or, without one, in its process group.
    pub(super) async fn emptied(&self) {
        let Some(cgroup) = &self.cgroup else { return group::emptied(self.pid).await };
        // Its events are a small file that is read in microseconds.
        let mut pause = Duration::from_millis(1);
        while cgroup.is_populated() != Some(false) {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Releases the hold of a process that could not be reaped in time: it is reported as unkillable, and the tree goes
    /// on without it.
    pub(super) fn release(&self) {
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
    fn wait(&self, state: &mut State, options: WaitIdOptions) {
        let id = match &self.pidfd {
            #[cfg(target_os = "linux")]
            Some(pidfd) => WaitId::PidFd(pidfd.as_fd()),
            _ => WaitId::Pid(self.pid),
        };
        let reaps = !options.contains(WaitIdOptions::NOWAIT);
        let answer = loop {
            match sys::waitid(id.clone(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | options) {
                Err(Errno::INTR) => {}
                answer => break answer,
            }
        };
        match answer {
            Ok(None) => {}
            Ok(Some(status)) => {
                // The zombie's figures can be read until it is reaped.
                state.exited.get_or_insert_with(|| self.judge(exited(&status)));
                state.reaped |= reaps;
            }
            // Not our child any more: somebody else has reaped it.
            Err(_) => {
                state.exited.get_or_insert(Exited { status: Status::Lost });
                state.reaped = true;
            }
        }
    }

    /// A signal that the system sends when a limit is reached may also come from anybody else: the figures decide.
    fn judge(&self, exited: Exited) -> Exited {
        let (Status::Signal { signal, .. }, Some(limit)) = (exited.status, self.cpu_limit) else {
            return exited;
        };
        let bound = match signal {
            _ if signal == Signal::XCPU.as_raw() => limit,
            _ if signal == Signal::KILL.as_raw() => limit + Limits::CPU_GRACE,
            _ => return exited,
        };
        // The kernel compares the limit with the ticks that hit the process, and reports the time that it has had.
        // With other processes on the processor the two differ by some percent.
        if usage::of(self.pid).is_some_and(|usage| usage.cpu_time * 4 >= bound * 3) {
            return Exited { status: Status::Limit { which: "cpu_seconds", signal } };
        }
        exited
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock, and the state is valid at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that it is over when dropped, also if a token's destructor panics.
struct Over<'a>(&'a Leader);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.lock().gone = true;
    }
}

fn exited(status: &WaitIdStatus) -> Exited {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exited::code(code),
        (None, Some(signal)) => Exited::signal(signal, status.dumped()),
        (None, None) => Exited { status: Status::Lost },
    }
}

/// The owner of a leader: dropping it kills the group and hands the leader to the reaper (P-10).
#[derive(Debug)]
pub(super) struct Owner(Arc<Leader>);

impl Owner {
    pub(super) fn new(leader: Leader) -> Owner {
        Owner(Arc::new(leader))
    }

    pub(super) fn leader(&self) -> &Arc<Leader> {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.0.finish(Look::No).is_none() {
            reaper::keep(Arc::clone(&self.0));
        }
    }
}
