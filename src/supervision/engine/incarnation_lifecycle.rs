//! Incarnations of the children: started, told to stop, checked, judged.

use super::{
    Engine,
    cancel::StopLevel,
    children::ChildIndex,
    exit_cause_matcher::ExitCauseMatcher,
    inbox::StartOutcome,
    incarnation_entry::{IncarnationEnd, IncarnationEntry},
    starting::{StartInputs, StartPoll, start_incarnation},
};
use crate::{
    clock::TreeInstant,
    exit::Exit,
    supervision::{
        child_policy::{Shutdown, StartMode},
        incarnation_wait_group::IncarnationWaitGroup,
        machine::{IncarnationKey, Input},
        start::{JudgementDelay, StartContext},
    },
};

impl Engine {
    /// Starts an incarnation. What results at once is queued as an input.
    pub(super) fn start(&mut self, key: IncarnationKey) {
        let Some(index) = self.children.find(&key.child) else { return };
        let Some(entry) = self.children.at_mut(index) else { return };
        let Some(child) = self.machine.child(&key.child) else { return };
        let Some(supervisor) = &self.wait_group else { return };
        let policy = match child.second {
            Some(second) if second.incarnation == key.incarnation => second.policy,
            _ => child.policy,
        };
        let is_second = child.incarnation != key.incarnation;
        if !is_second {
            entry.node.set_kind(policy.kind);
            entry.node.set_judgement_delay(JudgementDelay::of(&policy.restart));
            entry.node.set_on_demand(policy.start == StartMode::OnDemand);
        }
        entry.node.set_last_started(key.incarnation);
        let (wait_group, closed) = IncarnationWaitGroup::new(Some(supervisor.clone()));
        let first_poll = start_incarnation(StartInputs {
            start: entry.definition.start().clone(),
            timeout: policy.start_timeout,
            cx: StartContext {
                node: entry.node.clone(),
                incarnation: key.incarnation,
                supervisor: self.me.clone(),
                wait_group,
                tree: self.tree.clone(),
            },
            closed,
            node: &entry.node,
            tree: &self.tree,
            supervisor,
            inbox: &self.inbox,
            index,
        });
        match first_poll {
            StartPoll::Continues(cancel) => {
                entry.incarnations.push(IncarnationEntry::starting(key.incarnation, cancel));
            }
            StartPoll::Finished(running, closed) => {
                let incarnation = key.incarnation;
                if running.is_ok() {
                    self.pending.push_back(Input::Ready(key));
                }
                entry.incarnations.push(IncarnationEntry::started(incarnation, running, closed));
                self.check_incarnations(index);
            }
        }
    }

    /// From now on messages and calls reach this incarnation, unless it has ended meanwhile.
    pub(super) fn make_live(&mut self, key: &IncarnationKey) {
        let now = self.input_time;
        let Some(index) = self.children.find(&key.child) else { return };
        let Some(entry) = self.children.at_mut(index) else { return };
        entry.node.set_incarnation(key.incarnation);
        if let Some(child) = self.machine.child(&key.child) {
            // Those of a second incarnation come into force now.
            entry.node.set_judgement_delay(JudgementDelay::of(&child.policy.restart));
            entry.node.set_on_demand(child.policy.start == StartMode::OnDemand);
        }
        if let Some(incarnation) = entry.incarnations.get_mut(key.incarnation) {
            incarnation.make_live(&entry.node, now);
        }
    }

    /// A start that went on in a task of its own has finished.
    pub(super) fn start_finished(&mut self, outcome: StartOutcome) {
        let StartOutcome { index, ready, running, cleanup } = outcome;
        let (now, deadline) = (self.now(), self.deadline);
        let Some(entry) = self.children.at_mut(index) else { return cleanup.end(running.ok()) };
        let current = entry.incarnations.get_mut(cleanup.incarnation);
        let Some(current) = current.filter(|current| current.is_starting()) else {
            return cleanup.end(running.ok());
        };
        if ready {
            self.pending.push_back(Input::Ready(IncarnationKey {
                child: entry.id.clone(),
                incarnation: current.incarnation,
            }));
        }
        current.start_finished(running, cleanup.closed, &entry.node, now, deadline);
        if self.draining {
            current.unlink(&self.me);
        }
        if let Some(at) = current.stop_deadline() {
            self.stop_deadlines.insert((at, index, current.incarnation));
            self.wake_at(at);
        }
        self.check_incarnations(index);
    }

    /// Tells an incarnation to stop. May be repeated with a harder mode.
    pub(super) fn stop_incarnation(&mut self, key: &IncarnationKey, mode: Shutdown) {
        let (now, deadline) = (self.input_time, self.deadline);
        let Some(index) = self.children.find(&key.child) else { return };
        let Some(entry) = self.children.at_mut(index) else { return };
        let Some(current) = entry.incarnations.get_mut(key.incarnation) else { return };
        let before = current.stop_deadline();
        current.raise_stop_level(StopLevel::stop(mode), &entry.node, now, deadline);
        let after = current.stop_deadline();
        if before != after {
            if let Some(at) = before {
                self.stop_deadlines.remove(&(at, index, key.incarnation));
            }
            if let Some(at) = after {
                self.stop_deadlines.insert((at, index, key.incarnation));
                self.wake_at(at);
            }
        }
    }

    /// Kills the incarnations whose time to stop is over.
    pub(super) fn enforce_stop_deadline(&mut self, now: TreeInstant) {
        while let Some(&(at, index, number)) = self.stop_deadlines.first()
            && at <= now
        {
            self.stop_deadlines.pop_first();
            let entry = self.children.at_mut(index);
            if let Some(incarnation) = entry.and_then(|entry| entry.incarnations.get_mut(number)) {
                incarnation.enforce_stop_deadline();
            }
        }
    }

    /// A child waker has fired: checks which incarnations of this child are closed.
    pub(super) fn check_incarnations(&mut self, index: ChildIndex) {
        while self.check_incarnation(index) {}
    }

    /// Returns whether one was closed.
    fn check_incarnation(&mut self, index: ChildIndex) -> bool {
        let draining = self.draining;
        let Some(entry) = self.children.at_mut(index) else { return false };
        // The engine of a killed supervisor is dropped with the event of its end. During
        // `post_stop` that event is unread in our own mailbox, which is dropped when this actor
        // ends; and our wait group stays open until all that it leads to has ended.
        let (node, waker) = (&entry.node, &entry.waker);
        let closed = entry.incarnations.take_if(|incarnation| {
            incarnation.is_closed(node, waker)
                || (draining && incarnation.is_joined() && node.engine().is_some())
        });
        let Some(current) = closed else { return false };
        if let Some(at) = current.stop_deadline() {
            self.stop_deadlines.remove(&(at, index, current.incarnation));
        }
        let key = IncarnationKey { child: entry.id.clone(), incarnation: current.incarnation };
        self.ended(key, current.end());
        true
    }

    /// The process of an incarnation has ended, and its exit is judged later (rule R-1). The node
    /// status already shows the state that is going to follow.
    pub(super) fn process_ended(&mut self, key: &IncarnationKey, at: TreeInstant, exit: Exit) {
        let foreseen = self.machine.process_ended(key, at, &exit);
        let Some(entry) = self.children.get(&key.child) else { return };
        if let Some(state) = foreseen {
            entry.node.set_exit(exit);
            entry.node.set_state(state, at);
        }
    }

    /// An incarnation is closed. If it was asked to stop, its exit is known; otherwise its cause
    /// must arrive before it is judged.
    fn ended(&mut self, key: IncarnationKey, end: IncarnationEnd) {
        let judged = match end {
            IncarnationEnd::Exit(exit) => Some((key, exit)),
            // During `post_stop` no events arrive, and everything is being stopped anyway.
            IncarnationEnd::Actor(_, expected) if self.draining => {
                Some((key, expected.unwrap_or(Exit::Requested)))
            }
            IncarnationEnd::Actor(actor, expected) => {
                let now = self.now();
                let judged = self.matcher.end(now, actor, key, expected);
                if judged.is_none() {
                    self.wake_at(now.after(ExitCauseMatcher::OVERDUE));
                }
                judged
            }
        };
        if let Some((key, exit)) = judged {
            self.pending.push_back(Input::Ended(key, exit));
        }
    }

    /// Judges ends whose cause has not arrived in time.
    pub(super) fn judge_overdue(&mut self) {
        let overdue_after = if self.draining { std::time::Duration::ZERO } else { ExitCauseMatcher::OVERDUE };
        let Some(since) = self.now().since_epoch().checked_sub(overdue_after) else { return };
        while let Some((key, expected)) = self.matcher.overdue(TreeInstant::new(since)) {
            let exit = expected.unwrap_or_else(|| match self.draining {
                true => Exit::Requested,
                false => Exit::ActorFailed {
                    chain: vec!["the actor ended without telling its supervisor why".into()],
                },
            });
            self.input(Input::Ended(key, exit));
        }
    }

    pub(super) fn wake_at(&mut self, at: TreeInstant) {
        self.timer_task.set(at, self.tree.clock(), &self.inbox);
    }

    /// Sets the timer task for whatever is due first.
    pub(super) fn rearm(&mut self) {
        self.timer_task.cancel();
        let overdue = self.matcher.oldest().map(|at| at.after(ExitCauseMatcher::OVERDUE));
        let stop_deadline = self.stop_deadlines.first().map(|(at, ..)| *at);
        let first = [self.timers.first(), overdue, stop_deadline, self.deadline].into_iter().flatten().min();
        if let Some(first) = first {
            self.wake_at(first);
        }
    }

    pub(super) fn now(&self) -> TreeInstant {
        self.tree.clock().now()
    }
}
