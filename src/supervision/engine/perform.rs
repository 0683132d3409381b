//! What the engine does for its machine: one action after the other, each at once.

use super::Engine;
use crate::{
    event::EventKind,
    id::ChildId,
    supervision::{
        errors::RequestError,
        machine::{Action, Key},
        place::Place,
    },
    time::At,
    vocabulary::State,
};

impl Engine {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Start(key) => self.start(key),
            Action::Admit(key) => self.admit(&key),
            Action::Stop(key, mode) => self.stop_life(&key, mode),
            Action::Arm(timer, at) => {
                self.timers.arm(timer, at);
                self.alarm_at(at);
            }
            Action::Disarm(timer) => self.timers.disarm(&timer),
            Action::Reply(id, mut answer) => {
                if let Err(RequestError::StartFailed { child, exit, stderr_tail }) = &mut answer
                    && let Some(entry) = self.roster.get(child)
                {
                    *stderr_tail = entry.place.stderr_behind(exit);
                }
                if let Some((reply, place)) = self.replies.remove(&id) {
                    self.answers.push((reply, place, answer));
                }
            }
            Action::Hold(id, held) => {
                if let Some(entry) = self.roster.get_mut(&id) {
                    entry.place.set_held(held);
                }
            }
            Action::Publish(key, kind) => self.publish(key, kind),
            Action::Forget(id) => {
                if let Some(entry) = self.roster.remove(&id)
                    && let Some(life) = entry.life
                    && let Some(remains) = &self.remains
                {
                    // Not so by the machine's rules; but nobody would ever look after it.
                    life.abandon(&entry.place, &self.scope, remains);
                }
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
                self.leave();
            }
        }
    }

    /// Nothing of the supervisor is left but its actor. The engine in that may outlive it: ractor sends the last state of an
    /// actor that was stopped to its supervisor, which may be past reading it.
    fn leave(&mut self) {
        self.alarm.silence();
        self.place.set_engine(None);
        self.close();
        self.remains = None;
    }

    /// The root has no supervisor that would write its state.
    pub(super) fn own_state(&self, to: State) {
        if self.place.path().is_root() {
            self.place.record(&self.scope, self.place.incarnation(), to);
        }
    }

    /// Writes the board and the event stream.
    fn publish(&mut self, key: Option<Key>, kind: EventKind) {
        let now = self.at;
        let Some(key) = key else {
            if matches!(kind, EventKind::Stopping { .. }) {
                if self.place.path().is_root() {
                    self.scope.stop_notice().begin();
                }
                // Whoever waits for this supervisor from now on waits for its next incarnation.
                self.place.close(self.place.incarnation());
                self.own_state(State::Stopping);
            }
            let incarnation = self.place.incarnation();
            return self.scope.bus().publish(&self.place.path().clone(), incarnation, kind);
        };
        // A child that has left the machine's table still has its entry until `Forget`.
        let Some(place) = self.roster.get_mut(&key.child).map(|entry| entry.place.clone()) else { return };
        match &kind {
            EventKind::State { to, .. } => {
                if matches!(to, State::Starting | State::Ready) {
                    self.count_of(&key.child, &place);
                }
                place.set_state(to.clone(), now);
            }
            EventKind::Exited { exit, .. } => {
                place.set_exit(exit.clone());
                self.count_of(&key.child, &place);
            }
            _ => {}
        }
        if let Some(observer) = &mut self.observer {
            observer(&key, &kind);
        }
        let changed = matches!(kind, EventKind::State { .. });
        self.scope.bus().publish(place.path(), key.incarnation, kind);
        if changed {
            place.tell();
        }
    }

    /// Writes the figures of a child.
    pub(super) fn count_of(&self, child: &ChildId, place: &Place) {
        if let Some(child) = self.machine.child(child) {
            place.set_counters(self.at, child.tracker, &child.policy.restart);
        }
    }

    pub(super) fn set_deadline(&mut self, at: At) {
        if self.deadline.is_some_and(|deadline| deadline <= at) {
            return;
        }
        self.deadline = Some(at);
        self.alarm_at(at);
        // Children that are told to stop from here on hear of it then.
        for entry in self.roster.iter_mut() {
            if let Some(life) = &mut entry.life {
                life.hasten(at);
            }
        }
    }
}
