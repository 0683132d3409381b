//! Performs the actions of the machine, one after the other and each at once.

use super::{Engine, changeable_start::ChangeableStart};
use crate::{
    clock::TreeInstant,
    event::EventKind,
    id::ChildId,
    state::ChildState,
    supervision::{
        errors::RequestError,
        machine::{Action, IncarnationKey},
        node::Node,
    },
};

impl Engine {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Start(key) => self.start(key),
            Action::MakeLive(key) => self.make_live(&key),
            Action::Stop(key, mode) | Action::Retire(key, mode) => self.stop_incarnation(&key, mode),
            Action::Define(id) => self.with_definition(&id, ChangeableStart::take_changes),
            Action::Confirm(id) => self.with_definition(&id, ChangeableStart::confirm),
            Action::Restore(id) => self.with_definition(&id, ChangeableStart::restore),
            Action::Arm(timer, at) => {
                self.timers.arm(timer, at);
                self.wake_at(at);
            }
            Action::Disarm(timer) => self.timers.disarm(&timer),
            Action::Reply(id, mut answer) => {
                if let Err(RequestError::StartFailed { child, exit, stderr_tail }) = &mut answer
                    && let Some(entry) = self.children.get(child)
                {
                    *stderr_tail = entry.node.stderr_tail_of(exit);
                }
                if let Some((reply, node)) = self.replies.remove(&id) {
                    self.due_replies.push((reply, node, answer));
                }
            }
            Action::SetStoppedByOperator(id, stopped_by_operator) => {
                if let Some(entry) = self.children.get_mut(&id) {
                    entry.node.set_stopped_by_operator(stopped_by_operator);
                }
            }
            Action::Publish(key, kind) => self.publish(key, kind),
            Action::Forget(id) => {
                if let Some(mut entry) = self.children.remove(&id)
                    && let Some(wait_group) = &self.wait_group
                {
                    for incarnation in entry.incarnations.drain() {
                        // The machine never does this; but otherwise nothing would ever end this
                        // incarnation.
                        incarnation.abandon(&entry.node, &self.tree, wait_group);
                    }
                }
                self.node.release(&id);
            }
            Action::Started => {
                self.write_own_state(ChildState::Ready);
                if let Some(ready) = self.ready.take() {
                    // A failed send means that the parent has stopped waiting and will stop this
                    // supervisor.
                    let _ = ready.send(());
                }
            }
            Action::Exit(exit) => {
                self.ready = None;
                if let Some(report) = self.report.take() {
                    let _ = report.send(exit.clone());
                }
                self.exit = Some(exit);
                self.detach();
            }
        }
    }

    fn with_definition(&mut self, id: &ChildId, change: impl FnOnce(&mut ChangeableStart)) {
        if let Some(entry) = self.children.get_mut(id) {
            change(&mut entry.definition);
        }
    }

    /// Nothing of the supervisor is left but its actor. The engine in it may outlive the actor:
    /// ractor sends the last state of a stopped actor to its supervisor, which may no longer read
    /// its events.
    fn detach(&mut self) {
        self.timer_task.cancel();
        self.node.set_engine(None);
        self.close();
        self.wait_group = None;
    }

    /// The root has no supervisor to write its state.
    pub(super) fn write_own_state(&self, to: ChildState) {
        if self.node.path().is_root() {
            self.node.record(&self.tree, self.node.incarnation(), to);
        }
    }

    /// Writes the node status and the event stream.
    fn publish(&mut self, key: Option<IncarnationKey>, kind: EventKind) {
        let now = self.input_time;
        let Some(key) = key else {
            if matches!(kind, EventKind::Stopping { .. }) {
                if self.node.path().is_root() {
                    self.tree.stop_notice().set_stopping();
                }
                // From now on, callers that wait for this supervisor wait for its next incarnation.
                self.node.mark_closing(self.node.incarnation());
                self.write_own_state(ChildState::Stopping);
            }
            let incarnation = self.node.incarnation();
            return self.tree.bus().publish(&self.node.path().clone(), incarnation, kind);
        };
        // A child that has left the machine's table still has its entry until `Forget`.
        let Some(node) = self.children.get_mut(&key.child).map(|entry| entry.node.clone()) else { return };
        match &kind {
            EventKind::State { to, .. } => {
                node.set_incarnation(key.incarnation);
                if matches!(to, ChildState::Starting | ChildState::Ready) {
                    self.write_counters(&key.child, &node);
                }
                node.set_state(to.clone(), now);
            }
            EventKind::Replaced { .. } => self.write_counters(&key.child, &node),
            EventKind::Second { role, state } => node.set_second(key.incarnation, *role, state),
            // A spare or a successor says nothing of the incarnation that it stands beside.
            EventKind::Exited { exit, .. } if !node.second_ended(key.incarnation, exit) => {
                node.set_exit(exit.clone());
                self.write_counters(&key.child, &node);
            }
            _ => {}
        }
        if let Some(observer) = &mut self.observer {
            observer(&key, &kind);
        }
        let changed = matches!(kind, EventKind::State { .. } | EventKind::Replaced { .. });
        self.tree.bus().publish(node.path(), key.incarnation, kind);
        if changed {
            node.notify_waiters();
        }
    }

    /// Writes the counters of a child.
    pub(super) fn write_counters(&self, child: &ChildId, node: &Node) {
        if let Some(child) = self.machine.child(child) {
            node.set_counters(self.input_time, child.tracker, &child.policy.restart);
        }
    }

    pub(super) fn set_deadline(&mut self, at: TreeInstant) {
        if self.deadline.is_some_and(|deadline| deadline <= at) {
            return;
        }
        self.deadline = Some(at);
        self.wake_at(at);
        // Children that are told to stop after this learn of it then.
        for entry in self.children.iter_mut() {
            entry.incarnations.iter_mut().for_each(|incarnation| incarnation.shorten_stop(at));
        }
    }
}
