//! Ordered work (S-7, S-11 to S-16) as a list of commands that are carried out one after the other.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use procession::{
    clock::TreeInstant,
    event::StartReason,
    restart::RestartType,
    state::{ChildState, DownReason, Strategy},
    supervision::StartMode,
};

use super::{Model, Next, Uid, Why};
use crate::rig::Did;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    /// Stop it and wait until nothing of it is left.
    End(Uid),
    /// Wait.
    Until(TreeInstant),
    /// Start it, if it is to run.
    Launch(Uid),
    /// Wait until its start is over.
    Await(Uid),
}

#[derive(Debug)]
pub(super) struct Script {
    orders: VecDeque<Order>,
    /// The children that are restarted.
    group: Vec<Uid>,
    until: TreeInstant,
    waits: bool,
    /// The children that it no longer has to start.
    pub(super) excused: BTreeSet<Uid>,
}

impl Script {
    pub(super) fn of_starts(uids: &[Uid], now: TreeInstant) -> Script {
        Script {
            orders: uids.iter().map(|uid| Order::Launch(*uid)).collect(),
            group: Vec::new(),
            until: now,
            waits: false,
            excused: BTreeSet::new(),
        }
    }

    /// It is tearing the group down, and this one is of it.
    pub(super) fn tears_down(&self, uid: Uid) -> bool {
        matches!(self.orders.front(), Some(Order::End(_))) && self.group.contains(&uid)
    }

    /// It will stop this one, or has stopped it, before it starts it.
    pub(super) fn restarts(&self, uid: Uid) -> bool {
        self.is_pending() && self.group.contains(&uid)
    }

    /// It has not begun to start anybody.
    fn is_pending(&self) -> bool {
        self.orders.iter().any(|o| matches!(o, Order::End(_) | Order::Until(_)))
    }

    pub(super) fn waits_until(&self) -> Option<TreeInstant> {
        self.waits.then_some(self.until)
    }

    pub(super) fn time_is_up(&mut self) {
        if std::mem::replace(&mut self.waits, false) {
            self.orders.pop_front();
        }
    }
}

impl Model {
    pub(super) fn go_on_with_script(&mut self) {
        while let Some(script) = &self.script {
            let Some(&order) = script.orders.front() else {
                self.script = None;
                if std::mem::replace(&mut self.booting, false) {
                    self.did.push(Did::Started);
                }
                return;
            };
            let state = match order {
                Order::End(uid) | Order::Launch(uid) | Order::Await(uid) => {
                    self.rows.iter().find(|r| r.uid == uid).map(|r| r.state.clone())
                }
                Order::Until(_) => None,
            };
            match (order, state) {
                (Order::End(_), Some(ChildState::Stopping)) => return,
                (Order::End(uid), Some(ChildState::Starting | ChildState::Ready)) => {
                    return self.stop(uid, Next::Script);
                }
                (Order::End(uid), Some(state)) => {
                    // 16: one that rests is left alone.
                    let never = [DownReason::NeverStarted, DownReason::Idle].map(ChildState::down);
                    if self.row(uid).lives() {
                        return self.stop(uid, Next::Script);
                    }
                    if self.is_temporary(uid) && !never.contains(&state) {
                        self.remove(uid, None);
                    }
                    self.pop();
                }
                (Order::Until(until), _) => {
                    // Its timer ends it, however late, and nothing else.
                    let script = self.script.as_mut().unwrap();
                    script.waits |= self.now < until;
                    if script.waits {
                        return;
                    }
                    self.pop();
                }
                (Order::Launch(uid), Some(_)) => {
                    self.pop();
                    self.launch(uid);
                }
                (Order::Await(_), Some(ChildState::Starting | ChildState::Stopping)) => return,
                _ => self.pop(),
            }
        }
    }

    fn pop(&mut self) {
        self.script.as_mut().unwrap().orders.pop_front();
    }

    fn launch(&mut self, uid: Uid) {
        let row = self.row(uid);
        let why = if row.waiting.is_empty() { Why::Supervisor } else { row.why };
        if self.is_startable(uid) {
            self.start_when_free(uid, why, true);
        } else if self.flags.strategy == Strategy::OneForOne {
            return;
        } else if row.state == ChildState::Stopping
            && row.next == Next::Script
            && !self.is_temporary(uid)
            && self.script_may_start(uid)
        {
            // An earlier script is still ending it.
            self.row_mut(uid).next = Next::Start(why);
        }
        // S-11: members come up one after the other.
        let row = self.row(uid);
        let busy = matches!(row.state, ChildState::Starting | ChildState::Stopping);
        if busy && row.policy.start == StartMode::Required {
            self.script.as_mut().unwrap().orders.push_front(Order::Await(uid));
        }
    }

    /// S-12, 14, 16
    fn is_startable(&self, uid: Uid) -> bool {
        let row = self.row(uid);
        let left = match &row.state {
            ChildState::Down { why: DownReason::GaveUp { .. } } => true,
            ChildState::Down { why: DownReason::Idle } => !self.is_demanded(uid),
            ChildState::Down { why: DownReason::NeverStarted } => {
                row.policy.start == StartMode::OnDemand && !self.is_demanded(uid)
            }
            _ => false,
        };
        !row.state.is_alive() && row.timer.is_none() && !left && self.script_may_start(uid)
    }

    fn is_demanded(&self, uid: Uid) -> bool {
        self.row(uid).waiting.iter().any(|(_, wants)| wants.start())
    }

    /// The script comes to it, and it is not to be left alone.
    pub(super) fn script_may_start(&self, uid: Uid) -> bool {
        let row = self.row(uid);
        let stays = row.stopped_by_operator && row.policy.restart.restart == RestartType::UnlessStopped;
        self.script.as_ref().is_some_and(|s| !s.excused.contains(&uid)) && !stays
    }

    pub(super) fn script_comes_to(&self, uid: Uid) -> bool {
        self.script.as_ref().is_some_and(|s| s.orders.contains(&Order::Launch(uid)))
    }

    pub(super) fn script_will_start(&self, uid: Uid) -> bool {
        self.script_comes_to(uid) && self.is_startable(uid)
    }

    /// A new child is added at the end of the current work.
    pub(super) fn enlist(&mut self, uid: Uid) {
        if let Some(script) = &mut self.script {
            if script.is_pending() {
                script.group.push(uid);
            }
            script.orders.push_back(Order::Launch(uid));
        }
    }

    /// Its end has been judged: unless the group is to be restarted with it, the script owes it nothing.
    pub(super) fn no_longer_owed(&mut self, uid: Uid) {
        if let Some(script) = &mut self.script
            && !(script.is_pending() && script.group.contains(&uid))
        {
            script.excused.insert(uid);
        }
    }

    /// No child waits for the delay any longer, or an operator does not want to.
    pub(super) fn hurry(&mut self, force: bool) {
        let Some(script) = &self.script else { return };
        let backs_off = |uid: &Uid| {
            self.rows.iter().any(|r| r.uid == *uid && matches!(r.state, ChildState::BackingOff { .. }))
        };
        if !script.is_pending() || (!force && script.group.iter().any(backs_off)) {
            return;
        }
        let now = self.now;
        let script = self.script.as_mut().unwrap();
        script.until = script.until.min(now);
        script.waits = false;
        if let Some(Order::Until(_)) = script.orders.front() {
            script.orders.retain(|o| !matches!(o, Order::Until(_) | Order::End(_)));
        } else {
            for order in &mut script.orders {
                if let Order::Until(until) = order {
                    *until = now.min(*until);
                }
            }
        }
    }

    pub(super) fn restart_group(&mut self, uid: Uid, delay: Duration, attempt: u32, failed_start: bool) {
        let order: Vec<Uid> = self.rows.iter().map(|r| r.uid).collect();
        let place = |uid: Uid| order.iter().position(|u| *u == uid);
        let mut first = match self.flags.strategy {
            Strategy::OneForAll => 0,
            _ => place(uid).unwrap(),
        };
        let mut until = self.now.after(delay);
        let mut before = Vec::new();
        let mut excused = BTreeSet::new();
        if let Some(old) = self.script.take() {
            if old.is_pending() {
                first = old.group.iter().filter_map(|uid| place(*uid)).fold(first, usize::min);
                until = until.max(old.until);
            }
            let outside = |uid: Uid| place(uid).is_some_and(|place| place < first);
            before.extend(old.orders.into_iter().filter(|o| match o {
                Order::Launch(uid) | Order::Await(uid) => outside(*uid),
                _ => false,
            }));
            excused.extend(old.excused.into_iter().filter(|uid| outside(*uid)));
        }
        let group = order[first..].to_vec();
        for member in &group {
            let row = self.row_mut(*member);
            // Those that were waiting come back by their own policy.
            if *member != uid && !matches!(row.state, ChildState::BackingOff { .. }) {
                row.reason = StartReason::Group;
            }
            if let ChildState::BackingOff { attempt, .. } = row.state {
                row.state = ChildState::BackingOff { until, attempt };
            }
        }
        self.stop_second(uid);
        self.row_mut(uid).state = ChildState::BackingOff { until, attempt };
        let ends = group.iter().rev().map(|uid| Order::End(*uid));
        let mut orders = VecDeque::new();
        if failed_start {
            orders.push_back(Order::Until(until));
            orders.extend(ends);
        } else {
            orders.extend(ends);
            orders.push_back(Order::Until(until));
        }
        orders.extend(before);
        orders.extend(group.iter().map(|uid| Order::Launch(*uid)));
        self.script = Some(Script { orders, group, until, waits: false, excused });
    }
}
