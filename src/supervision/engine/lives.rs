//! The engine and the lives of its children: begun, told to end, looked after, judged.

use super::Engine;
use crate::{
    exit::Exit,
    supervision::{
        incarnation::{Begun, Birth, Delivery, End, Life, Order, begin, bell::Slot},
        machine::{Input, Key},
        meeting::Meeting,
        policy::Shutdown,
        remains::Remains,
        start::{ExitGrace, StartContext},
    },
    time::At,
};

impl Engine {
    /// Starts an incarnation. What comes of it at once is an input that waits its turn.
    pub(super) fn start(&mut self, key: Key) {
        let Some(slot) = self.roster.find(&key.child) else { return };
        let Some(entry) = self.roster.at_mut(slot) else { return };
        let Some(child) = self.machine.child(&key.child) else { return };
        let Some(supervisor) = &self.remains else { return };
        entry.place.set_kind(child.policy.kind);
        entry.place.set_incarnation(key.incarnation);
        let grace = ExitGrace::of(&child.policy.restart);
        let (remains, gone) = Remains::new(Some(supervisor.clone()));
        let begun = begin(Birth {
            start: entry.start.clone(),
            timeout: child.policy.start_timeout,
            cx: StartContext {
                place: entry.place.clone(),
                incarnation: key.incarnation,
                supervisor: self.me.clone(),
                remains,
                scope: self.scope.clone(),
                grace,
            },
            gone,
            place: &entry.place,
            scope: &self.scope,
            supervisor,
            posts: &self.posts,
            slot,
        });
        match begun {
            Begun::Later(orders) => entry.life = Some(Life::starting(key.incarnation, orders)),
            Begun::Now(born, gone) => {
                let incarnation = key.incarnation;
                if born.is_ok() {
                    self.pending.push_back(Input::Ready(key));
                }
                entry.life = Some(Life::begun(incarnation, born, gone));
                self.look(slot);
            }
        }
    }

    /// From now on messages and calls reach this incarnation, unless it has ended meanwhile.
    pub(super) fn admit(&mut self, key: &Key) {
        let now = self.at;
        let Some(slot) = self.roster.find(&key.child) else { return };
        let Some(entry) = self.roster.at_mut(slot) else { return };
        if let Some(life) = entry.life.as_mut().filter(|life| life.incarnation == key.incarnation) {
            life.admit(&entry.place, now);
        }
    }

    /// A start that had gone on is over.
    pub(super) fn delivered(&mut self, delivery: Delivery) {
        let Delivery { slot, ready, born, estate } = delivery;
        let (now, deadline) = (self.now(), self.deadline);
        let entry = self.roster.at_mut(slot).filter(|entry| {
            let life = entry.life.as_ref();
            life.is_some_and(|life| life.is_starting() && life.incarnation == estate.incarnation)
        });
        let Some(entry) = entry else { return estate.abandon(born.ok()) };
        let Some(life) = &mut entry.life else { return };
        if ready {
            self.pending
                .push_back(Input::Ready(Key { child: entry.id.clone(), incarnation: life.incarnation }));
        }
        life.delivered(born, estate.gone, &entry.place, now, deadline);
        if self.draining {
            life.unlink(&self.me);
        }
        if let Some(at) = life.patience() {
            self.patience.insert((at, slot));
            self.alarm_at(at);
        }
        self.look(slot);
    }

    /// Tells an incarnation to end; may be repeated with a harder mode.
    pub(super) fn stop_life(&mut self, key: &Key, mode: Shutdown) {
        let (now, deadline) = (self.at, self.deadline);
        let Some(slot) = self.roster.find(&key.child) else { return };
        let Some(entry) = self.roster.at_mut(slot) else { return };
        let Some(life) = entry.life.as_mut().filter(|life| life.incarnation == key.incarnation) else {
            return;
        };
        let before = life.patience();
        life.obey(Order::stop(mode), &entry.place, now, deadline);
        let after = life.patience();
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
    pub(super) fn lose_patience(&mut self, now: At) {
        while let Some(&(at, slot)) = self.patience.first()
            && at <= now
        {
            self.patience.pop_first();
            if let Some(life) = self.roster.at_mut(slot).and_then(|entry| entry.life.as_mut()) {
                life.lose_patience();
            }
        }
    }

    /// A bell has rung: whether the incarnation here is gone.
    pub(super) fn look(&mut self, slot: Slot) {
        let Some(entry) = self.roster.at_mut(slot) else { return };
        let Some(life) = &mut entry.life else { return };
        // The engine of a killed supervisor is dropped with the event of its end. In `post_stop` that lies unread in our own
        // mailbox, which goes when this actor ends, and our token stays open until all that it leads to has ended.
        let is_gone = life.is_gone(&entry.place, &entry.bell)
            || (self.draining && life.is_joined() && entry.place.engine().is_some());
        if !is_gone {
            return;
        }
        let Some(life) = entry.life.take() else { return };
        if let Some(at) = life.patience() {
            self.patience.remove(&(at, slot));
        }
        let key = Key { child: entry.id.clone(), incarnation: life.incarnation };
        self.ended(key, life.end());
    }

    /// The process of an incarnation has ended, and its exit is judged later (rule R-1). The board shows what is to come of
    /// it already.
    pub(super) fn died(&mut self, key: &Key, at: At, exit: Exit) {
        let foreseen = self.machine.died(key, at, &exit);
        let Some(entry) = self.roster.get(&key.child) else { return };
        if let Some(state) = foreseen {
            entry.place.set_exit(exit);
            entry.place.set_state(state, at);
        }
    }

    /// An incarnation is gone. What it was asked to do is known; else the cause must be there before it is judged.
    fn ended(&mut self, key: Key, end: End) {
        let judged = match end {
            End::Exit(exit) => Some((key, exit)),
            // In `post_stop`, where no events come any more, everything is being stopped anyway.
            End::Actor(_, asked) if self.draining => Some((key, asked.unwrap_or(Exit::Requested))),
            End::Actor(actor, asked) => {
                let now = self.now();
                let judged = self.meeting.end(now, actor, key, asked);
                if judged.is_none() {
                    self.alarm_at(now.after(Meeting::OVERDUE));
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
        let patience = if self.draining { std::time::Duration::ZERO } else { Meeting::OVERDUE };
        let Some(since) = self.now().since_epoch().checked_sub(patience) else { return };
        while let Some((key, asked)) = self.meeting.overdue(At::new(since)) {
            let exit = asked.unwrap_or_else(|| match self.draining {
                true => Exit::Requested,
                false => Exit::ActorFailed {
                    chain: vec!["the actor ended without telling its supervisor why".into()],
                },
            });
            self.input(Input::Ended(key, exit));
        }
    }

    pub(super) fn alarm_at(&mut self, at: At) {
        self.alarm.by(at, self.scope.clock(), &self.posts);
    }

    /// Sets the alarm for whatever is due first.
    pub(super) fn rearm(&mut self) {
        self.alarm.silence();
        let overdue = self.meeting.oldest().map(|at| at.after(Meeting::OVERDUE));
        let patience = self.patience.first().map(|(at, _)| *at);
        let first = [self.timers.first(), overdue, patience, self.deadline].into_iter().flatten().min();
        if let Some(first) = first {
            self.alarm_at(first);
        }
    }

    pub(super) fn now(&self) -> At {
        self.scope.clock().now()
    }
}
