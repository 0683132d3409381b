//! In random histories the machine does after every step what the naive model says, and is in the
//! same states.

use std::{collections::BTreeSet, sync::Arc};

use proptest::{prelude::*, test_runner::Config};

use procession::internals::machine::{
    DefinitionChange, IncarnationKey, Input, OperatorRequestId, ReloadWhen, Request, Timer,
};
use procession::{
    clock::TreeInstant,
    event::{RecycleReason, StartReason},
    exit::Exit,
    id::{ChildId, Incarnation},
    state::ChildState,
};

use crate::{
    history::{Ask, History, How, Policy, Step, history, replacements},
    model::Model,
    rig::{Live, Rig, ms},
};

/// Ids for children; the first few are there from the beginning.
const IDS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn config() -> Config {
    let mut config = Config { max_shrink_iters: 200_000, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 2500;
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn histories(history in history()) {
        Both::new(&history).live(history.starts_well, &history.steps);
    }

    /// As above, where children live long and have second incarnations.
    #[test]
    fn histories_of_replacements(history in replacements()) {
        Both::new(&history).live(history.starts_well, &history.steps);
    }
}

/// The machine, in its rig, and the model.
struct Both {
    rig: Rig,
    model: Model,
}

impl Both {
    fn new(history: &History) -> Both {
        let policies = history.children.iter().map(|p| p.fit(&history.flags));
        let children: Vec<_> = IDS.into_iter().zip(policies).collect();
        let rig = Rig::new(history.flags.clone(), &children);
        let new = children.iter().map(|(id, policy)| rig.new_child(id, policy)).collect();
        Both { model: Model::new(history.flags.clone(), new), rig }
    }

    fn live(mut self, starts_well: bool, steps: &[Step]) {
        self.rig.input(Input::Boot);
        self.model.step(self.rig.now, Model::boot);
        self.compare();
        if starts_well {
            self.settle();
        }
        for step in steps {
            self.step(step);
        }
        self.settle();
        if self.rig.exit.is_none() {
            assert!(self.rig.is_idle());
        }
        self.rig.input(Input::Shutdown);
        self.model.step(self.rig.now, |m| m.shutdown(false));
        self.compare();
        self.settle();
        assert!(self.rig.exit.is_some(), "a shutdown comes to an end");
    }

    /// From here on all goes well: every start succeeds, every stop does, every timer fires. What is
    /// known to have ended is reported.
    fn settle(&mut self) {
        for _ in 0..400 {
            if let Some(key) = self.alive(|_, live| live.failing && !live.asked).first().cloned() {
                self.end(key, How::Crash);
            } else if let Some(key) = self.starting().first().cloned() {
                self.ready(key);
            } else if let Some(key) = self.alive(|_, live| live.asked).first().cloned() {
                self.end(key, How::Requested);
            } else if !self.rig.timers.is_empty() {
                self.step(&Step::Fire);
            } else {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Ready(n) => {
                let mut keys = self.starting();
                if keys.is_empty() {
                    keys = self.alive(|_, _| true);
                }
                if let Some(key) = pick(&keys, *n) {
                    self.ready(key);
                }
            }
            Step::Failing(n) => {
                let keys: Vec<_> = self
                    .rig
                    .machine
                    .children()
                    .filter_map(|child| {
                        let key = IncarnationKey { child: child.id.clone(), incarnation: child.incarnation };
                        let fresh = self.rig.live(&key).is_some_and(|live| !live.failing);
                        (*child.state == ChildState::Ready && fresh).then_some(key)
                    })
                    .collect();
                if let Some(key) = pick(&keys, *n) {
                    self.rig.failing(key.child.as_str());
                    self.model.step(self.rig.now, |m| m.failing(&key));
                    self.compare();
                }
            }
            Step::End(n, how) => {
                if let Some(key) = pick(&self.alive(|_, _| true), *n) {
                    self.end(key, *how);
                }
            }
            Step::Gone(n) => {
                if let Some(key) = pick(&self.alive(|_, live| live.asked), *n) {
                    self.end(key, How::Requested);
                }
            }
            Step::Stale(n, what) => self.stale(*n, *what),
            Step::Wait(millis) => self.rig.now = self.rig.now.after(ms(u64::from(*millis))),
            Step::Fire => self.fire(),
            Step::Ask(ask, n, policy) => self.ask(*ask, *n, policy),
            Step::SetPolicy(n, policy) => {
                let ids: Vec<ChildId> = self.rig.machine.children().map(|c| c.id.clone()).collect();
                if let Some(id) = pick(&ids, *n) {
                    let standby = self.model.knows_standby(&id);
                    let policy = if standby { policy.not_temporary() } else { policy.clone() };
                    let policy = Arc::new(policy.fit(&self.model.flags));
                    self.rig.policies_changed = true;
                    self.rig.machine.set_policy(&id, policy.clone()).unwrap();
                    self.model.set_policy(&id, &policy);
                }
            }
            Step::Shutdown => {
                self.rig.input(Input::Shutdown);
                self.model.step(self.rig.now, |m| m.shutdown(false));
                self.compare();
            }
            Step::Kill => {
                self.rig.input(Input::Kill);
                self.model.step(self.rig.now, |m| m.shutdown(true));
                self.compare();
            }
        }
    }

    fn ready(&mut self, key: IncarnationKey) {
        self.rig.ready_key(key.clone());
        self.model.step(self.rig.now, |m| m.ready(&key));
        self.compare();
    }

    fn end(&mut self, key: IncarnationKey, how: How) {
        // Only a start can be answered with "nothing to run".
        let how = match how {
            How::Ignored if self.rig.live(&key).unwrap().ready => How::Clean,
            how => how,
        };
        self.rig.end_key(key.clone(), how.exit());
        self.model.step(self.rig.now, |m| m.ended(&key, how));
        self.compare();
    }

    fn fire(&mut self) {
        let Some((_, timer)) = self.rig.timers.iter().min_by_key(|(due, _)| *due).cloned() else { return };
        self.rig.fire();
        self.model.step(self.rig.now, |m| match &timer {
            Timer::Child(key) => m.child_timer(key),
            Timer::Spare(key) => m.spare_timer(key),
            Timer::Pass(_) => m.group_timer(),
        });
        self.compare();
    }

    /// S-16, R-0 (1): nothing that belongs to an old incarnation does anything.
    fn stale(&mut self, n: u8, what: u8) {
        let places = self.rig.places.iter();
        let all = places.flat_map(|(id, last)| (1..=last.0).map(|n| (id.clone(), Incarnation(n))));
        let dead = all.map(|(child, incarnation)| IncarnationKey { child, incarnation });
        let dead = dead.filter(|key| self.rig.live(key).is_none());
        // One that is named by the table may have a timer.
        let named = |key: &IncarnationKey| {
            let child = self.rig.machine.child(&key.child);
            let second = |second: procession::internals::machine::SecondView<'_>| second.incarnation;
            child.is_some_and(|c| {
                c.incarnation == key.incarnation || c.second.map(second) == Some(key.incarnation)
            })
        };
        let timer = matches!(what % 6, 2 | 3);
        let keys: Vec<IncarnationKey> = dead.filter(|key| !timer || !named(key)).collect();
        // Mostly the newest.
        let Some(key) = pick(&keys, keys.len().saturating_sub(1 + usize::from(n % 8)) as u8) else { return };
        let mut actions = Vec::new();
        let input = match what % 6 {
            0 => Input::Ready(key),
            1 => Input::Ended(key, Exit::Failed { code: 1 }),
            2 => Input::Fired(Timer::Child(key)),
            3 => Input::Fired(Timer::Spare(key)),
            4 => Input::Failing(key),
            _ => Input::Fired(Timer::Pass(u64::from(n) + 1_000_000)),
        };
        self.rig.machine.handle(self.rig.now, input.clone(), &mut actions);
        assert_eq!(actions, [], "{input:?}");
    }

    fn ask(&mut self, ask: Ask, n: u8, policy: &Policy) {
        let id = IDS[usize::from(n) % IDS.len()];
        let known: Vec<ChildId> = self.rig.machine.children().map(|c| c.id.clone()).collect();
        let policy = policy.fit(&self.model.flags);
        // Mostly children that are there.
        let child = if n % 8 == 7 { id.into() } else { pick(&known, n).unwrap_or_else(|| id.into()) };
        let request = match ask {
            Ask::Start => Request::StartChild(self.rig.new_child(id, &policy)),
            Ask::Terminate => Request::TerminateChild(child),
            Ask::RestartChild => Request::RestartChild(child),
            Ask::Delete => Request::DeleteChild(child),
            Ask::Remove => Request::RemoveChild(child),
            Ask::Restart => Request::Restart(child),
            Ask::Demand => Request::Demand(child),
            Ask::Reload | Ask::ReloadNext => {
                self.rig.policies_changed = true;
                let change = DefinitionChange::ReplacePolicy(Arc::new(policy));
                let next = matches!(ask, Ask::ReloadNext);
                Request::Reload(child, change, if next { ReloadWhen::NextStart } else { ReloadWhen::Now })
            }
            Ask::KeepNext => Request::Reload(child, DefinitionChange::KeepPolicy, ReloadWhen::NextStart),
            Ask::Recycle => Request::Reload(
                child,
                DefinitionChange::None(StartReason::Recycle(RecycleReason::Requested)),
                ReloadWhen::Now,
            ),
            Ask::StopIdle => {
                let incarnation = self.rig.machine.child(&child).map_or(1, |c| c.incarnation.0);
                // Sometimes an old one.
                Request::StopIdle(child, Incarnation(incarnation.saturating_sub(u64::from(n >= 192))))
            }
        };
        let id = OperatorRequestId(self.rig.asked + 1);
        self.rig.ask(request.clone());
        self.model.step(self.rig.now, |m| m.ask(id, request));
        self.compare();
    }

    /// Of all incarnations, primary and second.
    fn alive(&self, which: impl Fn(&IncarnationKey, &Live) -> bool) -> Vec<IncarnationKey> {
        let all = self.rig.alive.iter();
        let keys = all.map(|((child, incarnation), live)| {
            (IncarnationKey { child: child.clone(), incarnation: *incarnation }, live)
        });
        keys.filter(|(key, live)| which(key, live)).map(|(key, _)| key).collect()
    }

    fn starting(&self) -> Vec<IncarnationKey> {
        self.alive(|_, live| !live.ready && !live.asked)
    }

    fn compare(&mut self) {
        let Both { rig, model } = self;
        assert_eq!(rig.did, model.did, "done (left: machine)");
        assert_eq!(rig.step_reasons, model.reasons, "reasons of starts (left: machine)");
        rig.step_replies.sort_by_key(|(id, _)| *id);
        model.replies.sort_by_key(|(id, _)| *id);
        assert_eq!(rig.step_replies, model.replies, "replies (left: machine)");
        let rows: Vec<_> = rig.machine.children().map(|c| (c.id, c.incarnation.0, c.state)).collect();
        let model_rows: Vec<_> = model.rows.iter().map(|r| (&r.id, r.incarnation, &r.state)).collect();
        assert_eq!(rows, model_rows, "states (left: machine)");
        let seconds: Vec<_> = rig
            .machine
            .children()
            .filter_map(|c| c.second.map(|s| (c.id, s.incarnation.0, s.role, s.state)))
            .collect();
        let model_seconds: Vec<_> = model
            .rows
            .iter()
            .filter_map(|r| r.second.as_ref().map(|s| (&r.id, s.incarnation, s.role, &s.state)))
            .collect();
        assert_eq!(seconds, model_seconds, "second incarnations (left: machine)");
        let timers: BTreeSet<TreeInstant> = rig.timers.iter().map(|(due, _)| *due).collect();
        assert_eq!(timers, model.timers(), "timers (left: machine)");
        assert_eq!(rig.machine.restarts_used(rig.now), model.used(), "restarts (left: machine)");
        assert_eq!(rig.machine.is_stopping(), model.is_stopping());
        // S-2: in no window more than are allowed.
        let intensity = model.flags.effective_intensity();
        for from in &model.counted {
            let within = |at: &&TreeInstant| **at >= *from && at.since(*from) <= intensity.period;
            assert!(model.counted.iter().filter(within).count() <= intensity.max_restarts as usize);
        }
    }
}

fn pick<T: Clone>(from: &[T], n: u8) -> Option<T> {
    if from.is_empty() { None } else { Some(from[usize::from(n) % from.len()].clone()) }
}
