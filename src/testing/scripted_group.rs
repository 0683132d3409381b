//! [`ScriptedGroup`]: the bookkeeping of one scripted process and its grandchildren. It knows no
//! scripts and no streams.
//!
//! A member ends in two steps, as a real process does: first a deadly signal is sent or its script
//! returns (the *pending exit*), then its task has dropped the script and its streams (*ended*).
//! Waiters see the second step only, so that a waiter that sees an exit sees the streams closed too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use rustix::{io::Errno, process::Pid};
use tokio::sync::{Notify, mpsc};

use crate::process::{
    ExitStatus, HeldUntilReaped, KILL_WAIT, ProcessControl, Signal, Unkillable, Usage, UsageProbe,
    UsageSource,
};

/// The leader's number among the members.
pub(super) const LEADER: u32 = 0;

pub(super) struct ScriptedGroup {
    pub(super) pid: u32,
    state: Mutex<ScriptedGroupState>,
    changed: Notify,
    releasing: Mutex<()>,
    on_reaped: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for ScriptedGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedGroup")
            .field("pid", &self.pid)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct ScriptedGroupState {
    members: BTreeMap<u32, GroupMember>,
    next_member: u32,
    exited: Option<ExitStatus>,
    reaped: bool,
    abandoned: bool,
    uninterruptible: bool,
    rss_bytes: Option<u64>,
    held_until_reaped: Option<HeldUntilReaped>,
}

#[derive(Debug, Default)]
struct GroupMember {
    /// Set when it must end and its task has not noticed yet.
    pending_exit: Option<ExitStatus>,
    ignored: BTreeSet<i32>,
    handlers: BTreeMap<i32, mpsc::UnboundedSender<()>>,
}

impl ScriptedGroup {
    pub(super) fn new(
        pid: u32,
        held_until_reaped: HeldUntilReaped,
        on_reaped: Box<dyn Fn() + Send + Sync>,
    ) -> ScriptedGroup {
        let state = ScriptedGroupState {
            members: BTreeMap::from([(LEADER, GroupMember::default())]),
            next_member: LEADER + 1,
            exited: None,
            reaped: false,
            abandoned: false,
            uninterruptible: false,
            rss_bytes: None,
            held_until_reaped: Some(held_until_reaped),
        };
        ScriptedGroup {
            pid,
            state: Mutex::new(state),
            changed: Notify::new(),
            releasing: Mutex::new(()),
            on_reaped,
        }
    }

    pub(super) fn set_rss_bytes(&self, bytes: u64) {
        self.lock().rss_bytes = Some(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, ScriptedGroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `probe` returns something.
    async fn wait_for<T>(&self, probe: impl Fn(&ScriptedGroupState) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = probe(&self.lock()) {
                return found;
            }
            changed.await;
        }
    }

    /// Runs a member until its task is over or it must end, then lets it end.
    ///
    /// The task is dropped before the end is visible, also when the runtime drops this future, polled
    /// or not.
    pub(super) fn run(
        self: Arc<Self>,
        number: u32,
        task: impl Future<Output = ExitStatus> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let mut running = EndMemberOnDrop { task: Some(Box::pin(task)), group: self, number };
        async move {
            let group = Arc::clone(&running.group);
            let pending_exit = group.wait_for(|state| match state.members.get(&number) {
                Some(member) => member.pending_exit.filter(|_| !state.uninterruptible),
                None => Some(ExitStatus::signal(Signal::KILL.as_raw(), false)),
            });
            let Some(task) = running.task.as_mut() else { return };
            tokio::select! {
                biased;
                _ = pending_exit => {}
                exited = task => group.end_with(number, exited),
            }
        }
    }

    /// A member ends by itself, unless a signal came first.
    pub(super) fn end_with(&self, number: u32, exited: ExitStatus) {
        if let Some(member) = self.lock().members.get_mut(&number) {
            member.pending_exit.get_or_insert(exited);
        }
        self.changed.notify_waiters();
    }

    fn end(&self, number: u32, otherwise: ExitStatus) {
        let mut state = self.lock();
        let member = state.members.remove(&number);
        if number == LEADER {
            state.exited = member.and_then(|member| member.pending_exit).or(Some(otherwise));
        }
        let abandoned = state.abandoned;
        drop(state);
        self.changed.notify_waiters();
        if abandoned {
            self.finish();
        }
    }

    /// Adds a grandchild.
    pub(super) fn join(&self, ignored: &[Signal]) -> u32 {
        let mut state = self.lock();
        let number = state.next_member;
        state.next_member += 1;
        let ignored = ignored.iter().map(|signal| signal.as_raw()).collect();
        state.members.insert(number, GroupMember { ignored, ..GroupMember::default() });
        number
    }

    pub(super) fn ignore(&self, signal: Signal) {
        if let Some(leader) = self.lock().members.get_mut(&LEADER) {
            leader.handlers.remove(&signal.as_raw());
            leader.ignored.insert(signal.as_raw());
        }
    }

    pub(super) fn handle(&self, signal: Signal) -> mpsc::UnboundedReceiver<()> {
        let (sender, receiver) = mpsc::unbounded_channel();
        if let Some(leader) = self.lock().members.get_mut(&LEADER) {
            leader.handlers.insert(signal.as_raw(), sender);
        }
        receiver
    }

    pub(super) fn set_uninterruptible(&self, yes: bool) {
        self.lock().uninterruptible = yes;
        self.changed.notify_waiters();
    }

    /// Delivers a signal to one member, or to all.
    pub(super) fn deliver(&self, to: Option<u32>, signal: Signal) -> io::Result<()> {
        let mut state = self.lock();
        if state.reaped {
            return Err(Errno::SRCH.into());
        }
        for (number, member) in &mut state.members {
            if to.is_none_or(|to| to == *number) {
                member.receive(signal);
            }
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Releases the held value of a process that could not be reaped in time.
    fn release(&self) {
        let held_until_reaped = self.lock().held_until_reaped.take();
        drop(held_until_reaped);
    }

    /// Reaps the process if all members have ended.
    fn finish(&self) -> Option<ExitStatus> {
        // A second caller waits until the held value is released.
        let _turn = self.releasing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        let exited = state.exited.filter(|_| state.members.is_empty())?;
        state.reaped = true;
        let held_until_reaped = state.held_until_reaped.take();
        drop(state);
        (self.on_reaped)();
        // The caller's destructor runs outside the lock, and last.
        drop(held_until_reaped);
        Some(exited)
    }
}

/// A member and its task.
struct EndMemberOnDrop {
    task: Option<Pin<Box<dyn Future<Output = ExitStatus> + Send>>>,
    group: Arc<ScriptedGroup>,
    number: u32,
}

impl Drop for EndMemberOnDrop {
    fn drop(&mut self) {
        // A script that panics counts as aborted; one whose runtime ends counts as killed.
        let otherwise = if std::thread::panicking() { Signal::ABORT } else { Signal::KILL };
        self.task = None;
        self.group.end(self.number, ExitStatus::signal(otherwise.as_raw(), false));
    }
}

impl GroupMember {
    fn receive(&mut self, signal: Signal) {
        let raw = signal.as_raw();
        if signal != Signal::KILL {
            if self.ignored.contains(&raw) || ignored_by_default(signal) {
                return;
            }
            if let Some(handler) = self.handlers.get(&raw) {
                // The receiver may have been dropped; the signal counts as caught nevertheless.
                let _ = handler.send(());
                return;
            }
        }
        self.pending_exit.get_or_insert(ExitStatus::signal(raw, false));
    }
}

/// Signals whose default action does not end a process.
fn ignored_by_default(signal: Signal) -> bool {
    const HARMLESS: [Signal; 8] = [
        Signal::CHILD,
        Signal::CONT,
        Signal::URG,
        Signal::WINCH,
        Signal::STOP,
        Signal::TSTP,
        Signal::TTIN,
        Signal::TTOU,
    ];
    HARMLESS.contains(&signal)
}

/// The control over a scripted process.
#[derive(Debug)]
pub(super) struct ScriptedProcessControl(pub(super) Arc<ScriptedGroup>);

impl UsageSource for ScriptedGroup {
    fn usage(&self) -> Option<Usage> {
        let state = self.lock();
        let rss_bytes = state.rss_bytes.filter(|_| !state.reaped)?;
        Some(Usage { rss_bytes, cpu_time: Duration::ZERO })
    }

    fn others(&self, _: usize) -> Vec<Pid> {
        Vec::new()
    }
}

#[async_trait]
impl ProcessControl for ScriptedProcessControl {
    fn pid(&self) -> u32 {
        self.0.pid
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.0.deliver(None, signal)
    }

    fn usage_probe(&self) -> Option<UsageProbe> {
        let group: Weak<ScriptedGroup> = Arc::downgrade(&self.0);
        Some(UsageProbe::new(group))
    }

    async fn exited(&self) -> ExitStatus {
        self.0.wait_for(|state| state.exited).await
    }

    async fn emptied(&self) {
        let others = |state: &ScriptedGroupState| state.members.keys().any(|number| *number != LEADER);
        self.0.wait_for(|state| (!others(state)).then_some(())).await;
    }

    async fn reap(&self, wait: Duration) -> Result<ExitStatus, Unkillable> {
        let _ = self.0.deliver(None, Signal::KILL);
        let ended = self.0.wait_for(|state| state.exited.filter(|_| state.members.is_empty()));
        let in_time = tokio::time::timeout(wait, ended).await.is_ok();
        if !in_time {
            // It is reaped when it ends, regardless of waiters; the tree goes on without it.
            self.0.lock().abandoned = true;
            self.0.release();
        }
        self.0.finish().ok_or(Unkillable { pid: self.0.pid })
    }
}

impl Drop for ScriptedProcessControl {
    fn drop(&mut self) {
        self.0.lock().abandoned = true;
        let _ = self.0.deliver(None, Signal::KILL);
        if self.0.finish().is_none()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // As with real processes, the held value is released after a while.
            let group = self.0.clone();
            runtime.spawn(async move {
                tokio::time::sleep(KILL_WAIT).await;
                group.release();
            });
        }
    }
}
