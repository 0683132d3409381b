//! Random histories against a model of the world, which believes nothing that the ledger says about
//! itself.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A child as the world sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kid {
    Starting,
    Ready,
    Failing,
    Waiting,
    Cooling,
    Stopping { ours: bool },
}

/// A second process of a key.
#[derive(Clone, Copy, Debug)]
struct Second {
    /// The number of the successor.
    number: u64,
    /// The successor is the worker now, and this is the one before it.
    leaving: bool,
    /// It has ended, and the ledger has not been told.
    gone: bool,
}

struct World {
    ledger: Ledger,
    rules: LedgerConfig,
    now: TreeInstant,
    kids: BTreeMap<ChildId, (Kid, u64)>,
    seconds: BTreeMap<ChildId, Second>,
    /// Keys whose swap has failed, and until when the next try waits.
    no_swap_before: BTreeMap<ChildId, TreeInstant>,
    numbers: BTreeMap<ChildId, u64>,
    /// The keys whose last incarnation was leased: its callers need not wait for its restart.
    was_leased: BTreeSet<ChildId>,
    waiting: BTreeMap<Ticket, Option<ChildId>>,
    leases: BTreeMap<LeaseId, ChildId>,
    recycling: BTreeSet<ChildId>,
    answered: BTreeSet<Ticket>,
    next_ticket: u64,
    overtaken: Option<(Ticket, u32)>,
    timer: Option<TreeInstant>,
    /// What was given up, and until when; in an anonymous pool one entry for all.
    given_up: BTreeMap<Option<ChildId>, TreeInstant>,
    draining: bool,
    drained: u32,
}

impl World {
    fn new(rules: LedgerConfig) -> World {
        let mut world = World {
            ledger: Ledger::new(rules.clone()).unwrap(),
            rules,
            now: TreeInstant::EPOCH,
            kids: BTreeMap::new(),
            seconds: BTreeMap::new(),
            no_swap_before: BTreeMap::new(),
            numbers: BTreeMap::new(),
            was_leased: BTreeSet::new(),
            waiting: BTreeMap::new(),
            leases: BTreeMap::new(),
            recycling: BTreeSet::new(),
            answered: BTreeSet::new(),
            next_ticket: 0,
            overtaken: None,
            timer: None,
            given_up: BTreeMap::new(),
            draining: false,
            drained: 0,
        };
        world.feed(LedgerInput::Tick);
        world
    }

    fn leases_on(&self, key: &ChildId) -> usize {
        self.leases.values().filter(|&k| k == key).count()
    }

    fn cap(&self) -> usize {
        self.rules.per_worker.map_or(usize::MAX, |n| n as usize)
    }

    fn live(&self) -> usize {
        let stops = |key: &ChildId| matches!(self.kids[key].0, Kid::Stopping { .. });
        let stopping = self.kids.keys().filter(|key| stops(key)).count();
        let leaving = self.seconds.iter().filter(|(key, second)| second.leaving || stops(key)).count();
        self.ledger.status().used - stopping - leaving
    }

    /// Starts under way, those of successors included.
    fn under_way(&self) -> usize {
        let swaps = |(key, second): &(&ChildId, &Second)| {
            !second.leaving && matches!(self.kids[*key].0, Kid::Ready | Kid::Failing)
        };
        let starting = self.kids.values().filter(|(kid, _)| *kid == Kid::Starting).count();
        starting + self.seconds.iter().filter(swaps).count()
    }

    /// Whether a successor of this key is starting beside its worker.
    fn awaits_successor(&self, key: &ChildId) -> bool {
        self.seconds.get(key).is_some_and(|second| !second.leaving) && self.kids[key].0 == Kid::Ready
    }

    /// Keys with callers and without a worker that is alive or on its way; each with its oldest caller.
    fn demands(&self) -> BTreeMap<Ticket, ChildId> {
        let slots: BTreeSet<_> = self.ledger.status().workers.into_iter().map(|w| w.key).collect();
        let mut seen = BTreeSet::new();
        let mut demands = BTreeMap::new();
        for (&ticket, key) in &self.waiting {
            let Some(key) = key else { continue };
            let stopping = matches!(self.kids.get(key), Some((Kid::Stopping { .. }, _)));
            if (stopping || !slots.contains(key)) && seen.insert(key.clone()) {
                demands.insert(ticket, key.clone());
            }
        }
        demands
    }

    fn pauses(&self, key: Option<&ChildId>) -> bool {
        let key = if self.rules.kind == PoolKind::Keyed { key.cloned() } else { None };
        self.given_up.get(&key).is_some_and(|&until| until > self.now)
    }

    fn unserved(&self) -> Option<Ticket> {
        let head = *self.demands().first_key_value()?.0;
        (self.live() >= self.rules.max).then_some(head)
    }

    fn feed(&mut self, input: LedgerInput) {
        let used_before = self.ledger.status().used;
        let head_before = self.unserved();
        let mut out = Vec::new();
        self.ledger.handle(self.now, input, &mut out);
        self.ledger.audit();
        let (mut passed, mut swaps) = (Vec::new(), false);
        for action in out {
            match action {
                LedgerAction::Start { key } => {
                    assert!(!self.draining);
                    // An anonymous pool may have reserved the slot before the pause began.
                    let keyed = self.rules.kind == PoolKind::Keyed;
                    assert!(!(keyed && self.pauses(Some(&key))), "{key} rests");
                    assert!(
                        self.kids.len() + self.seconds.len() < self.rules.max,
                        "L-3: {key} started at the cap"
                    );
                    assert!(self.under_way() < self.rules.start_concurrency, "L-5");
                    let number = self.numbers.entry(key.clone()).or_default();
                    *number += 1;
                    assert!(self.kids.insert(key, (Kid::Starting, *number)).is_none(), "started twice");
                }
                LedgerAction::Swap { key, incarnation, .. } => {
                    assert!(self.rules.overlap && !self.draining);
                    assert!(self.kids.len() + self.seconds.len() < self.rules.max, "L-3: a swap at the cap");
                    assert_eq!(self.kids[&key], (Kid::Ready, incarnation.0));
                    assert!(self.leases_on(&key) == 0 && self.recycling.contains(&key));
                    let number = self.numbers.get_mut(&key).unwrap();
                    *number += 1;
                    let second = Second { number: *number, leaving: false, gone: false };
                    assert!(self.seconds.insert(key, second).is_none(), "three processes of one key");
                    swaps = true;
                }
                LedgerAction::Stop { key, reason } => {
                    assert_eq!(self.leases_on(&key), 0, "the holders are told first");
                    assert!(reason != StopReason::EvictedBusy || self.rules.evict_busy);
                    let kid = self.kids.get_mut(&key).unwrap();
                    assert_ne!(kid.0, Kid::Stopping { ours: true }, "stopped twice");
                    kid.0 = Kid::Stopping { ours: true };
                }
                LedgerAction::Grant { ticket, granted } => {
                    let key = self.waiting.remove(&ticket).unwrap();
                    assert!(self.answered.insert(ticket));
                    assert!(key.is_none() || key.as_ref() == Some(&granted.key));
                    let older = self.waiting.iter().find(|(t, k)| **t < ticket && **k == key);
                    assert_eq!(older, None, "first come, first served");
                    assert_eq!(self.kids[&granted.key], (Kid::Ready, granted.incarnation.0), "L-7");
                    assert!(!self.recycling.contains(&granted.key));
                    assert!(self.leases_on(&granted.key) < self.cap());
                    self.was_leased.insert(granted.key.clone());
                    assert!(self.leases.insert(granted.lease, granted.key).is_none());
                    passed.push(ticket);
                }
                LedgerAction::Refuse { ticket, refusal } => {
                    let key = self.waiting.remove(&ticket).unwrap();
                    let joins = key.is_some_and(|key| self.awaits_successor(&key));
                    assert!(refusal != Refusal::Exhausted || !joins, "W-5: it joins a start");
                    assert!(self.answered.insert(ticket));
                    assert_eq!(refusal == Refusal::Draining, self.draining);
                    if let Refusal::Failed { until: Some(until), .. } = refusal {
                        assert!(until > self.now && self.given_up.values().any(|&end| end == until));
                    }
                }
                LedgerAction::Revoke { lease, .. } => assert!(self.leases.remove(&lease).is_some()),
                LedgerAction::Timer { at } => {
                    assert!(at.is_none_or(|at| at > self.now), "a timer in the past spins");
                    self.timer = at;
                }
                LedgerAction::Drained => {
                    assert!(self.draining && self.kids.is_empty() && self.leases.is_empty());
                    self.drained += 1;
                }
            }
        }
        self.check_fairness(head_before, &passed);
        let status = self.ledger.status();
        assert!(status.used <= self.rules.max || status.used <= used_before, "L-3");
        assert_eq!(status.waiting, self.waiting.len());
        assert_eq!(status.leases, self.leases.len());
        assert!(status.used >= self.kids.len() + self.seconds.len());
        assert!(
            !swaps || self.live() + self.demands().len() <= self.rules.max,
            "W-5: a caller needs the slot"
        );
        if self.draining {
            let left = self.kids.iter().find(|(key, (kid, _))| {
                !matches!(kid, Kid::Stopping { .. }) && (*kid != Kid::Ready || self.leases_on(key) == 0)
            });
            assert_eq!(left, None, "L-5");
        } else {
            assert!(status.idle == 0 || self.live() <= self.rules.max, "L-5: idle beyond the cap");
            let idle = self.recycling.iter().find(|key| {
                self.kids.get(*key).is_some_and(|kid| kid.0 == Kid::Ready)
                    && self.leases_on(key) == 0
                    && !self.seconds.contains_key(*key)
            });
            assert_eq!(idle, None, "W-5");
            self.check_no_stand_still(&status);
        }
    }

    /// The first in the queue is overtaken at most `max_overtakes` times while no slot is on its way to
    /// it.
    fn check_fairness(&mut self, before: Option<Ticket>, passed: &[Ticket]) {
        let Some(head) = before.filter(|_| before == self.unserved()) else {
            self.overtaken = None;
            return;
        };
        let younger = u32::try_from(passed.iter().filter(|&&t| t > head).count()).unwrap();
        let count = match self.overtaken {
            Some((t, n)) if t == head => n + younger,
            _ => younger,
        };
        self.overtaken = Some((head, count));
        assert!(self.rules.max_overtakes.is_none_or(|max| count <= max), "overtaken {count} times");
    }

    /// Each caller that waits has a reason to wait.
    fn check_no_stand_still(&self, status: &PoolStatus) {
        let has_room = |key: &ChildId| {
            self.kids.get(key).is_some_and(|kid| kid.0 == Kid::Ready)
                && self.leases_on(key) < self.cap()
                && !self.recycling.contains(key)
        };
        let under_way = self.under_way();
        let reserved = status.used - self.kids.len() - self.seconds.len();
        assert!(reserved == 0 || under_way >= self.rules.start_concurrency, "a start is held up for nothing");
        if self.rules.kind == PoolKind::Anonymous {
            if self.waiting.is_empty() {
                return;
            }
            assert!(!self.kids.keys().any(has_room), "L-2");
            if status.used < self.rules.max && self.pauses(None) {
                assert!(self.live() > 0, "no worker is alive that could serve the callers");
            } else if status.used < self.rules.max {
                let sitting_out = |(key, (kid, _)): &(&ChildId, &(Kid, u64))| {
                    *kid == Kid::Failing || (*kid == Kid::Waiting && !self.was_leased.contains(*key))
                };
                let coming = under_way + reserved + self.kids.iter().filter(sitting_out).count();
                assert!(self.waiting.len() <= coming.saturating_mul(self.cap()), "a slot is free");
            }
            return;
        }
        let unserved = self.unserved();
        for (ticket, key) in &self.waiting {
            let Some(key) = key else { panic!("no key") };
            if has_room(key) {
                assert!(unserved.is_some_and(|head| head < *ticket), "{ticket:?} waits for a warm {key}");
            }
        }
        let demands = self.demands().len();
        if demands > 0 {
            let wanted: BTreeSet<_> = self.waiting.values().flatten().collect();
            assert!(status.used >= self.rules.max || status.wanted.is_empty(), "a slot is free");
            if self.live() + demands > self.rules.max {
                assert_eq!(status.idle, 0, "L-4: an idle worker could make room");
                let unwanted = self.kids.iter().find(|(key, (kid, _))| {
                    matches!(kid, Kid::Waiting | Kid::Cooling) && !wanted.contains(key)
                });
                assert_eq!(unwanted, None, "L-7");
            }
        }
    }

    fn report(&mut self, key: &ChildId, incarnation: u64, state: ChildState) {
        self.feed(LedgerInput::Child { key: key.clone(), incarnation: Incarnation(incarnation), state });
    }

    fn becomes(&mut self, key: &ChildId, kid: Kid) {
        let (was, number) = self.kids[key];
        let mut number = number;
        let mut takes_over = false;
        if !matches!(kid, Kid::Failing | Kid::Stopping { .. })
            && let Some(second) = self.seconds.get_mut(key)
            && !std::mem::replace(&mut second.leaving, true)
        {
            // A start after a death is the successor's.
            takes_over = !second.gone && matches!(kid, Kid::Starting | Kid::Ready);
            second.gone |= kid == Kid::Starting;
            number = second.number;
        }
        if takes_over {
            self.was_leased.remove(key);
        } else if kid == Kid::Starting || (kid == Kid::Ready && was != Kid::Starting) {
            number = self.numbers[key] + 1;
            self.numbers.insert(key.clone(), number);
            self.was_leased.remove(key);
        }
        self.recycling.remove(key);
        self.kids.insert(key.clone(), (kid, number));
        let state = match kid {
            Kid::Starting => ChildState::Starting,
            Kid::Ready => ChildState::Ready,
            Kid::Failing => {
                let incarnation = Incarnation(number);
                return self.feed(LedgerInput::Failing { key: key.clone(), incarnation });
            }
            Kid::Waiting => ChildState::BackingOff { until: TreeInstant::NEVER, attempt: 1 },
            Kid::Cooling => ChildState::CoolingOff { until: TreeInstant::NEVER },
            Kid::Stopping { .. } => ChildState::Stopping,
        };
        self.report(key, number, state);
    }

    fn ends(&mut self, key: &ChildId, gave_up: bool) {
        let (was, number) = self.kids.remove(key).unwrap();
        self.seconds.remove(key);
        self.no_swap_before.remove(key);
        self.was_leased.remove(key);
        self.recycling.remove(key);
        let why =
            if gave_up { DownReason::GaveUp { why: GiveUpReason::NeverStarts } } else { DownReason::Ended };
        if gave_up && was != (Kid::Stopping { ours: true }) && !self.rules.failed_pause.is_zero() {
            let key = (self.rules.kind == PoolKind::Keyed).then(|| key.clone());
            self.given_up.insert(key, self.now.after(self.rules.failed_pause));
        }
        self.report(key, number, ChildState::down(why));
    }

    fn step(&mut self, op: u8, pick: usize, time: u64) {
        self.now = self.now.after(Duration::from_millis(time));
        if self.timer.is_some_and(|at| at <= self.now) {
            self.timer = None;
            self.feed(LedgerInput::Tick);
        }
        let kid = self.kids.iter().nth(pick % self.kids.len().max(1)).map(|(k, v)| (k.clone(), *v));
        match (op, kid) {
            (0..30, _) => {
                let key =
                    (self.rules.kind == PoolKind::Keyed).then(|| ChildId::from(format!("k{}", pick % 6)));
                self.next_ticket += 1;
                let ticket = Ticket(self.next_ticket);
                self.waiting.insert(ticket, key.clone());
                self.feed(LedgerInput::Acquire { ticket, key });
            }
            (30..38, _) if !self.waiting.is_empty() => {
                let ticket = *self.waiting.keys().nth(pick % self.waiting.len()).unwrap();
                self.waiting.remove(&ticket);
                self.feed(LedgerInput::Cancel { ticket });
            }
            (38..60, _) if !self.leases.is_empty() => {
                let lease = *self.leases.keys().nth(pick % self.leases.len()).unwrap();
                self.leases.remove(&lease);
                self.feed(LedgerInput::Release { lease });
                self.feed(LedgerInput::Release { lease }); // the second one means nothing
            }
            (60..78, Some((key, (Kid::Starting, _)))) => self.becomes(&key, Kid::Ready),
            (60..78, Some((key, (Kid::Waiting | Kid::Cooling, _)))) => self.becomes(&key, Kid::Starting),
            (60..78, Some((key, (Kid::Failing, _)))) => match pick % 3 {
                0 => self.becomes(&key, Kid::Waiting),
                1 => self.becomes(&key, Kid::Starting),
                _ => self.ends(&key, pick.is_multiple_of(2)),
            },
            (60..78, Some((key, (Kid::Stopping { ours: true }, _)))) => self.ends(&key, false),
            (60..78, Some((key, (Kid::Stopping { ours: false }, _)))) => {
                if pick.is_multiple_of(2) {
                    self.ends(&key, false)
                } else {
                    self.becomes(&key, Kid::Starting)
                }
            }
            (78..86, Some((key, (was, _)))) if !matches!(was, Kid::Stopping { .. }) => match pick % 7 {
                0 => self.becomes(&key, Kid::Starting),
                1 => self.becomes(&key, Kid::Cooling),
                4 | 5 if was == Kid::Ready => self.becomes(&key, Kid::Failing),
                2 => self.becomes(&key, Kid::Stopping { ours: false }),
                3 if was == Kid::Ready => self.becomes(&key, Kid::Ready),
                _ => self.becomes(&key, Kid::Waiting),
            },
            (86..90, Some((key, (was, _)))) if was != (Kid::Stopping { ours: true }) => {
                self.ends(&key, pick.is_multiple_of(2))
            }
            (90..93, Some((key, (Kid::Ready | Kid::Waiting | Kid::Cooling, number)))) if number > 1 => {
                for state in [
                    ChildState::Ready,
                    ChildState::Starting,
                    ChildState::Stopping,
                    ChildState::down(DownReason::Ended),
                ] {
                    self.report(&key, number - 1, state); // what an old life says
                }
                self.feed(LedgerInput::Failing { key, incarnation: Incarnation(number - 1) });
            }
            (93..95, Some((key, (Kid::Ready, number)))) => {
                let why = if pick.is_multiple_of(3) { RecycleReason::Requested } else { RecycleReason::Age };
                let pauses = self.no_swap_before.get(&key).is_some_and(|&until| until > self.now);
                if !pauses || why == RecycleReason::Requested {
                    self.recycling.insert(key.clone());
                }
                self.feed(LedgerInput::Recycle { key, incarnation: Incarnation(number), why });
            }
            (95, _) if pick.is_multiple_of(4) => {
                self.given_up.clear();
                self.feed(LedgerInput::ResetFailed);
            }
            (95..97, _) => {
                self.rules.max = pick % 5;
                self.feed(LedgerInput::Resize { max: self.rules.max });
            }
            (97..100, _) if !self.seconds.is_empty() => {
                let key = self.seconds.keys().nth(pick % self.seconds.len()).unwrap().clone();
                self.second_moves(&key, pick);
            }
            _ => self.feed(LedgerInput::Tick),
        }
    }

    /// A second process becomes the worker or ends.
    fn second_moves(&mut self, key: &ChildId, pick: usize) {
        let second = self.seconds.get_mut(key).unwrap();
        let is_up = matches!(self.kids[key].0, Kid::Ready | Kid::Failing);
        if second.gone || second.leaving {
            if self.awaits_successor(key) {
                // The swap has failed: the worker goes on.
                self.recycling.remove(key);
                self.no_swap_before.insert(key.clone(), self.now.after(SWAP_PAUSE));
            }
            self.seconds.remove(key);
            self.feed(LedgerInput::SwapOver { key: key.clone() });
            // What is said twice means nothing, unless it has begun the next swap.
            if !self.seconds.contains_key(key) {
                self.feed(LedgerInput::SwapOver { key: key.clone() });
            }
        } else if is_up && !pick.is_multiple_of(4) {
            self.becomes(key, Kid::Ready);
        } else {
            second.gone = true;
        }
    }

    /// The world behaves: starts succeed, stops complete, holders release.
    fn calm(&mut self) {
        self.now = self.now.after(Duration::from_millis(10));
        self.feed(LedgerInput::Tick);
        for key in self.seconds.keys().cloned().collect::<Vec<_>>() {
            self.second_moves(&key, 1);
        }
        for key in self.kids.keys().cloned().collect::<Vec<_>>() {
            match self.kids.get(&key) {
                Some((Kid::Stopping { .. }, _)) => self.ends(&key, false),
                Some((Kid::Starting, _)) => self.becomes(&key, Kid::Ready),
                Some((Kid::Failing | Kid::Waiting | Kid::Cooling, _)) => self.becomes(&key, Kid::Starting),
                Some((Kid::Ready, _)) | None => {}
            }
        }
        for lease in self.leases.keys().copied().collect::<Vec<_>>() {
            if self.leases.remove(&lease).is_some() {
                self.feed(LedgerInput::Release { lease });
            }
        }
    }
}

fn rules() -> impl Strategy<Value = LedgerConfig> {
    let keyed =
        (1..5_usize, prop::option::of(1..3_u32), 0..8_usize, any::<bool>(), any::<bool>(), any::<bool>());
    let more = (1..4_usize, prop::option::of(0..4_u32), 0..3_usize, 0..3_usize, any::<bool>(), 0..60_u64);
    (keyed, more).prop_map(
        |(
            (max, per_worker, max_waiting, ttl, busy, overlap),
            (starts, pass, min, free_slots, any, pause),
        )| {
            let base = if any { LedgerConfig::anonymous(max) } else { LedgerConfig::keyed(max) };
            LedgerConfig {
                per_worker,
                max_waiting,
                idle_ttl: ttl.then_some(Duration::from_millis(50)),
                evict_busy: busy && !any,
                overlap: overlap && !any,
                start_concurrency: starts,
                max_overtakes: pass,
                min: if any { min.min(max) } else { 0 },
                min_idle: if any { free_slots.min(max) } else { 0 },
                failed_pause: Duration::from_millis(pause),
                ..base
            }
        },
    )
}

/// `PROPTEST_CASES=300000 cargo test --release --lib pool::ledger` tries more.
fn config() -> ProptestConfig {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        config
    } else {
        ProptestConfig { cases: 1500, ..config }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_history_breaks_the_rules(
        rules in rules(),
        steps in prop::collection::vec((0..100_u8, 0..64_usize, 0..20_u64), 0..200),
        hurry in any::<bool>(),
    ) {
        let mut world = World::new(rules);
        for (op, pick, time) in steps {
            world.step(op, pick, time);
        }
        if !hurry {
            // No stand-still: in a world that behaves, every caller is served in the end.
            world.rules.max = world.rules.max.max(1);
            world.feed(LedgerInput::Resize { max: world.rules.max });
            for _ in 0..1000 {
                if world.waiting.is_empty() {
                    break;
                }
                world.calm();
            }
            prop_assert_eq!(world.waiting.len(), 0);
        }
        world.draining = true;
        world.feed(LedgerInput::Drain);
        prop_assert_eq!(world.waiting.len(), 0);
        for _ in 0..10 {
            world.calm();
        }
        prop_assert_eq!(world.drained, 1);
        let status = world.ledger.status();
        prop_assert_eq!((status.used, status.leases, status.waiting), (0, 0, 0));
        prop_assert!(world.ledger.by_key.is_empty() && world.ledger.tickets.is_empty());
    }
}
