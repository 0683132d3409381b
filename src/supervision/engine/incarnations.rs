//! The engine and the lives of its children: begun, told to end, looked after, judged.

use super::{
    Engine,
    cancel::StopLevel,
    children::Slot,
    exit_correlator::ExitCorrelator,
    inbox::StartOutcome,
    starting::{StartInputs, StartProgress, begin},
    supervised_incarnation::{IncarnationEnd, SupervisedIncarnation},
};
use crate::{
    exit::Exit,
    supervision::{
        incarnation_token::IncarnationToken,
        machine::{IncarnationKey, Input},
        policy::Shutdown,
        start::{ExitGrace, StartContext},
    },
    time::Timestamp,
};

impl Engine {
    /// Starts an incarnation. What comes of it at once is an input that waits its turn.
    pub(super) fn start(&mut self, key: IncarnationKey) {
        let Some(slot) = self.children.find(&key.child) else { return };
        let Some(entry) = self.children.at_mut(slot) else { return };
        let Some(child) = self.machine.child(&key.child) else { return };
        let Some(supervisor) = &self.token else { return };
        entry.node.set_kind(child.policy.kind);
        entry.node.set_incarnation(key.incarnation);
        entry.node.set_exit_grace(ExitGrace::of(&child.policy.restart));
        let (token, gone) = IncarnationToken::new(Some(supervisor.clone()));
        let begun = begin(StartInputs {
            start: entry.start.clone(),
            timeout: child.policy.start_timeout,
            cx: StartContext {
                node: entry.node.clone(),
                incarnation: key.incarnation,
                supervisor: self.me.clone(),
                token,
                scope: self.scope.clone(),
            },
            gone,
            node: &entry.node,
            scope: &self.scope,
            supervisor,
            inbox: &self.inbox,
            slot,
        });
        match begun {
            StartProgress::Later(orders) => {
                entry.current = Some(SupervisedIncarnation::starting(key.incarnation, orders))
            }
            StartProgress::Now(running, gone) => {
                let incarnation = key.incarnation;
                if running.is_ok() {
                    self.pending.push_back(Input::Ready(key));
                }
                entry.current = Some(SupervisedIncarnation::begun(incarnation, running, gone));
                self.look(slot);
            }
        }
    }

    /// From now on messages and calls reach this incarnation, unless it has ended meanwhile.
    pub(super) fn admit(&mut self, key: &IncarnationKey) {
        let now = self.at;
        let Some(slot) = self.children.find(&key.child) else { return };
        let Some(entry) = self.children.at_mut(slot) else { return };
        if let Some(current) = entry.current.as_mut().filter(|current| current.incarnation == key.incarnation)
        {
            current.admit(&entry.node, now);
        }
    }

    /// A start that had gone on is over.
    pub(super) fn delivered(&mut self, delivery: StartOutcome) {
        let StartOutcome { slot, ready, running, abandoned } = delivery;
        let (now, deadline) = (self.now(), self.deadline);
        let entry = self.children.at_mut(slot).filter(|entry| {
            let current = entry.current.as_ref();
            current
                .is_some_and(|current| current.is_starting() && current.incarnation == abandoned.incarnation)
        });
        let Some(entry) = entry else { return abandoned.abandon(running.ok()) };
        let Some(current) = &mut entry.current else { return };
        if ready {
            self.pending.push_back(Input::Ready(IncarnationKey {
                child: entry.id.clone(),
                incarnation: current.incarnation,
            }));
        }
        current.delivered(running, abandoned.gone, &entry.node, now, deadline);
        if self.draining {
            current.unlink(&self.me);
        }
        if let Some(at) = current.patience() {
            self.patience.insert((at, slot));
            self.alarm_at(at);
        }
        self.look(slot);
    }

    /// Tells an incarnation to end; may be repeated with a harder mode.
    pub(super) fn stop_life(&mut self, key: &IncarnationKey, mode: Shutdown) {
        let (now, deadline) = (self.at, self.deadline);
        let Some(slot) = self.children.find(&key.child) else { return };
        let Some(entry) = self.children.at_mut(slot) else { return };
        let Some(current) = entry.current.as_mut().filter(|current| current.incarnation == key.incarnation)
        else {
            return;
        };
        let before = current.patience();
        current.obey(StopLevel::stop(mode), &entry.node, now, deadline);
        let after = current.patience();
        if before != after {
            if let Some(at) = before {
                self.patience.remove(&(at, slot));
            }
            if let Some(at) = after {
                self.patience.insert((at, slot));
                self.alarm_at(at);
            }
        }
    }

    /// Kills those whose time to end is over.
    pub(super) fn enforce_stop_deadline(&mut self, now: Timestamp) {
        while let Some(&(at, slot)) = self.patience.first()
            && at <= now
        {
            self.patience.pop_first();
            if let Some(current) = self.children.at_mut(slot).and_then(|entry| entry.current.as_mut()) {
                current.enforce_stop_deadline();
            }
        }
    }

    /// A bell has rung: whether the incarnation here is gone.
    pub(super) fn look(&mut self, slot: Slot) {
        let Some(entry) = self.children.at_mut(slot) else { return };
        let Some(current) = &mut entry.current else { return };
        // The engine of a killed supervisor is dropped with the event of its end. In `post_stop` that lies unread in our own
        // mailbox, which goes when this actor ends, and our token stays open until all that it leads to has ended.
        let is_gone = current.is_gone(&entry.node, &entry.waker)
            || (self.draining && current.is_joined() && entry.node.engine().is_some());
        if !is_gone {
            return;
        }
        let Some(current) = entry.current.take() else { return };
        if let Some(at) = current.patience() {
            self.patience.remove(&(at, slot));
        }
        let key = IncarnationKey { child: entry.id.clone(), incarnation: current.incarnation };
        self.ended(key, current.end());
    }

    /// The process of an incarnation has ended, and its exit is judged later (rule R-1). The board shows what is to come of
    /// it already.
    pub(super) fn died(&mut self, key: &IncarnationKey, at: Timestamp, exit: Exit) {
        let foreseen = self.machine.died(key, at, &exit);
        let Some(entry) = self.children.get(&key.child) else { return };
        if let Some(state) = foreseen {
            entry.node.set_exit(exit);
            entry.node.set_state(state, at);
        }
    }

    /// An incarnation is gone. What it was asked to do is known; else the cause must be there before it is judged.
    fn ended(&mut self, key: IncarnationKey, end: IncarnationEnd) {
        let judged = match end {
            IncarnationEnd::Exit(exit) => Some((key, exit)),
            // In `post_stop`, where no events come any more, everything is being stopped anyway.
            IncarnationEnd::Actor(_, asked) if self.draining => Some((key, asked.unwrap_or(Exit::Requested))),
            IncarnationEnd::Actor(actor, asked) => {
                let now = self.now();
                let judged = self.correlator.end(now, actor, key, asked);
                if judged.is_none() {
                    self.alarm_at(now.after(ExitCorrelator::OVERDUE));
                }
                judged
            }
        };
        if let Some((key, exit)) = judged {
            self.pending.push_back(Input::Ended(key, exit));
        }
    }

    /// Judges ends whose cause has not come in time.
    pub(super) fn judge_overdue(&mut self) {
        let patience = if self.draining { std::time::Duration::ZERO } else { ExitCorrelator::OVERDUE };
        let Some(since) = self.now().since_epoch().checked_sub(patience) else { return };
        while let Some((key, asked)) = self.correlator.overdue(Timestamp::new(since)) {
            let exit = asked.unwrap_or_else(|| match self.draining {
                true => Exit::Requested,
                false => Exit::ActorFailed {
                    chain: vec!["the actor ended without telling its supervisor why".into()],
                },
            });
            self.input(Input::Ended(key, exit));
        }
    }

    pub(super) fn alarm_at(&mut self, at: Timestamp) {
        self.alarm.by(at, self.scope.clock(), &self.inbox);
    }

    /// Sets the alarm for whatever is due first.
    pub(super) fn rearm(&mut self) {
        self.alarm.silence();
        let overdue = self.correlator.oldest().map(|at| at.after(ExitCorrelator::OVERDUE));
        let patience = self.patience.first().map(|(at, _)| *at);
        let first = [self.timers.first(), overdue, patience, self.deadline].into_iter().flatten().min();
        if let Some(first) = first {
            self.alarm_at(first);
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.scope.clock().now()
    }
}
