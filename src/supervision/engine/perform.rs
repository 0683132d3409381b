//! What the engine does for its machine: one action after the other, each at once.

use super::Engine;
use crate::{
    event::EventKind,
    snapshot::SupervisorNode,
    supervision::{
        errors::RequestError,
        incarnation::{Life, Orders},
        machine::{Action, Key},
        remains::Remains,
        start::StartContext,
    },
    time::At,
    vocabulary::State,
};

impl Engine {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Start(key) => self.start(key),
            Action::Stop(key, mode) => {
                let orders = self.entries.get(&key.child).and_then(|entry| entry.life.as_ref());
                if let Some((_, orders)) = orders.filter(|(incarnation, _)| *incarnation == key.incarnation) {
                    orders.stop(mode);
                }
            }
            Action::Arm(timer, at) => self.timers.arm(timer, at, self.scope.clock(), &self.posts),
            Action::Disarm(timer) => self.timers.disarm(&timer),
            Action::Reply(id, mut answer) => {
                if let Err(RequestError::StartFailed { child, exit, stderr_tail }) = &mut answer
                    && let Some(entry) = self.entries.get(child)
                {
                    *stderr_tail = entry.place.stderr_behind(exit);
                }
                if let Some(reply) = self.replies.remove(&id) {
                    // Nobody listens any more: that is the asker's right.
                    let _ = reply.send(answer);
                }
            }
            Action::Hold(id, held) => {
                if let Some(entry) = self.entries.get(&id) {
                    entry.place.set_held(held);
                }
            }
            Action::Publish(key, kind) => self.publish(key, kind),
            Action::Forget(id) => {
                self.entries.remove(&id);
                self.place.release(&id);
            }
            Action::Started => {
                self.own_state(State::Ready);
                if let Some(ready) = self.ready.take() {
                    // The parent has given up waiting and will stop this supervisor.
                    let _ = ready.send(());
                }
            }
            Action::Exit(exit) => {
                self.ready = None;
                if let Some(report) = self.report.take() {
                    let _ = report.send(exit.clone());
                }
                self.exit = Some(exit);
            }
        }
    }

    fn start(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key.child) else { return };
        let Some(child) = self.machine.child(&key.child) else { return };
        let timeout = child.policy.start_timeout;
        entry.place.set_kind(child.policy.kind);
        entry.place.set_incarnation(key.incarnation);
        let (remains, gone) = Remains::new(Some(self.remains.clone()));
        let cx = StartContext {
            place: entry.place.clone(),
            incarnation: key.incarnation,
            supervisor: self.me.clone(),
            remains,
            scope: self.scope.clone(),
        };
        let incarnation = key.incarnation;
        let life = Life {
            key,
            start: entry.start.clone(),
            timeout,
            cx,
            gone,
            supervisor: self.remains.clone(),
            posts: self.posts.clone(),
        };
        entry.life = Some((incarnation, Orders::begin(life)));
    }

    /// The root has no supervisor that would write its state.
    pub(super) fn own_state(&self, to: State) {
        if self.place.path().is_root() {
            self.place.record(&self.scope, self.place.incarnation(), to);
        }
    }

    /// Writes the board and the event stream.
    fn publish(&mut self, key: Option<Key>, kind: EventKind) {
        let now = self.scope.clock().now();
        let Some(key) = key else {
            if matches!(kind, EventKind::Stopping { .. }) {
                // Whoever waits for this supervisor from now on waits for its next incarnation.
                self.place.close(self.place.incarnation());
                self.own_state(State::Stopping);
            }
            let incarnation = self.place.incarnation();
            return self.scope.bus().publish(&self.place.path().clone(), incarnation, kind);
        };
        // A child that has left the machine's table still has its entry until `Forget`.
        let Some(place) = self.entries.get(&key.child).map(|entry| entry.place.clone()) else { return };
        match &kind {
            EventKind::State { to, .. } => place.set_state(to.clone(), now),
            EventKind::Exited { exit, .. } => {
                place.set_exit(exit.clone());
                if let Some(child) = self.machine.child(&key.child) {
                    let tracker = child.tracker;
                    place.set_counters(
                        tracker.failures(),
                        tracker.total_failures(),
                        tracker.total_restarts(),
                    );
                }
                self.refresh_budget();
            }
            _ => {}
        }
        if let Some(observer) = &mut self.observer {
            observer(&key, &kind);
        }
        self.scope.bus().publish(place.path(), key.incarnation, kind);
    }

    pub(super) fn refresh_budget(&mut self) {
        let used = self.machine.restarts_used(self.scope.clock().now());
        let flags = self.machine.flags();
        self.place.set_budget(SupervisorNode {
            strategy: flags.strategy,
            max_restarts: flags.intensity.max_restarts,
            period: flags.intensity.period,
            restarts_used: used,
            restarts_left: flags.intensity.max_restarts.saturating_sub(used),
        });
    }

    pub(super) fn set_deadline(&mut self, at: At) {
        if self.deadline.is_some_and(|deadline| deadline <= at) {
            return;
        }
        self.deadline = Some(at);
        self.alarm_at(at);
    }
}
