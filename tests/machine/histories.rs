//! In random histories the machine does after every step what the naive model says, and is in the
//! same states.

use std::{collections::BTreeSet, sync::Arc};

use proptest::{prelude::*, test_runner::Config};

use procession::internals::machine::{IncarnationKey, Input, OperatorRequestId, Request, Timer};
use procession::{
    clock::TreeInstant,
    exit::Exit,
    id::{ChildId, Incarnation},
    state::ChildState,
};

use crate::{
    history::{Ask, History, How, Policy, Step, history},
    model::Model,
    rig::{Rig, ms},
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

    /// From here on all goes well: every start succeeds, every stop does, every timer fires.
    fn settle(&mut self) {
        for _ in 0..200 {
            if let Some(key) = self.alive(|s| *s == ChildState::Starting).first().cloned() {
                self.ready(key);
            } else if let Some(key) = self.alive(|s| *s == ChildState::Stopping).first().cloned() {
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
                let mut keys = self.alive(|s| *s == ChildState::Starting);
                if keys.is_empty() {
                    keys = self.alive(|_| true);
                }
                if let Some(key) = pick(&keys, *n) {
                    self.ready(key);
                }
            }
            Step::End(n, how) => {
                if let Some(key) = pick(&self.alive(|_| true), *n) {
                    self.end(key, *how);
                }
            }
            Step::Gone(n) => {
                if let Some(key) = pick(&self.alive(|s| *s == ChildState::Stopping), *n) {
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
                    let policy = Arc::new(policy.fit(&self.model.flags));
                    self.rig.policies_changed = true;
                    self.rig.machine.set_policy(&id, policy.clone()).unwrap();
                    self.model.rows.iter_mut().find(|r| r.id == id).unwrap().policy = policy;
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
        self.rig.input(Input::Ready(key.clone()));
        self.model.step(self.rig.now, |m| m.ready(&key));
        self.compare();
    }

    fn end(&mut self, key: IncarnationKey, how: How) {
        let child = self.rig.machine.child(&key.child).unwrap();
        // Only a start can be answered with "nothing to run".
        let how = match how {
            How::Ignored if *child.state == ChildState::Ready => How::Clean,
            how => how,
        };
        let verdict = how.verdict(child.policy.restart.restart);
        self.rig.end(key.child.as_str(), how.exit());
        self.model.step(self.rig.now, |m| m.ended(&key, how.exit(), verdict));
        self.compare();
    }

    fn fire(&mut self) {
        let Some((_, timer)) = self.rig.timers.iter().min_by_key(|(due, _)| *due).cloned() else { return };
        self.rig.fire();
        self.model.step(self.rig.now, |m| match &timer {
            Timer::Child(key) => m.child_timer(key),
            Timer::Pass(_) => m.group_timer(),
        });
        self.compare();
    }

    /// S-16, R-0 (1): nothing that belongs to an old incarnation does anything.
    fn stale(&mut self, n: u8, what: u8) {
        let old = |(id, last): (&ChildId, &Incarnation)| {
            let current = self.rig.machine.child(id).map_or(0, |c| c.incarnation.0.max(last.0));
            let old = if self.rig.machine.child(id).is_some() { current.checked_sub(1)? } else { last.0 };
            (old > 0).then(|| IncarnationKey { child: id.clone(), incarnation: Incarnation(old) })
        };
        let keys: Vec<IncarnationKey> = self.rig.places.iter().filter_map(old).collect();
        let Some(key) = pick(&keys, n) else { return };
        let mut actions = Vec::new();
        let input = match what % 4 {
            0 => Input::Ready(key),
            1 => Input::Ended(key, Exit::Failed { code: 1 }),
            2 => Input::Fired(Timer::Child(key)),
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
            Ask::Reload => {
                self.rig.policies_changed = true;
                Request::Reload(child, Arc::new(policy))
            }
        };
        let id = OperatorRequestId(self.rig.asked + 1);
        self.rig.ask(request.clone());
        self.model.step(self.rig.now, |m| m.ask(id, request));
        self.compare();
    }

    fn alive(&self, state: impl Fn(&ChildState) -> bool) -> Vec<IncarnationKey> {
        let keys = self.rig.machine.children().filter(|c| c.state.is_alive() && state(c.state));
        keys.map(|c| IncarnationKey { child: c.id.clone(), incarnation: c.incarnation }).collect()
    }

    fn compare(&mut self) {
        let Both { rig, model } = self;
        assert_eq!(rig.did, model.did, "done (left: machine)");
        rig.step_replies.sort_by_key(|(id, _)| *id);
        model.replies.sort_by_key(|(id, _)| *id);
        assert_eq!(rig.step_replies, model.replies, "replies (left: machine)");
        let rows: Vec<_> = rig.machine.children().map(|c| (c.id, c.incarnation.0, c.state)).collect();
        let model_rows: Vec<_> = model.rows.iter().map(|r| (&r.id, r.incarnation, &r.state)).collect();
        assert_eq!(rows, model_rows, "states (left: machine)");
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
