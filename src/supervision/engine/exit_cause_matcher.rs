//! Joins the cause of an exit with the end of its actor.
//!
//! The *cause* arrives as a supervision event, the *end* as the join of the actor, in either order:
//! on several threads the end is often seen first. An exit is judged when both are there. Whichever
//! arrives first waits here.
//!
//! Sending oneself a message as a fence is not enough, although ractor's supervision events
//! overtake messages. A sender that was suspended between taking its slot in the event queue and
//! filling it hides the events behind it, and the fence overtakes those.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use foldhash::fast::RandomState;
use ractor::ActorId;

use crate::{clock::TreeInstant, exit::Exit, supervision::machine::IncarnationKey};

/// Owned by the engine.
#[derive(Debug, Default)]
pub(crate) struct ExitCauseMatcher {
    causes: HashMap<ActorId, (u64, Exit), RandomState>,
    ends: HashMap<ActorId, (u64, IncarnationKey, Option<Exit>), RandomState>,
    /// Ends that wait, oldest first.
    waiting: BTreeMap<u64, (TreeInstant, ActorId)>,
    next: u64,
}

impl ExitCauseMatcher {
    /// How long an end waits for its cause. The cause of an actor that was unlinked by someone
    /// else never arrives.
    pub(crate) const OVERDUE: Duration = Duration::from_secs(1);

    /// Users may link actors of their own to the cell of a supervisor, and the causes of their ends
    /// are never asked for. Above this number the older half is dropped; it is far more than can be
    /// in flight.
    const BOUND: usize = 400_000;

    /// A cause has arrived. Returns the end that waited for it.
    pub(crate) fn cause(&mut self, actor: ActorId, exit: Exit) -> Option<(IncarnationKey, Exit)> {
        if let Some((seq, key, expected)) = self.ends.remove(&actor) {
            self.waiting.remove(&seq);
            return Some((key, judge(exit, expected)));
        }
        self.next += 1;
        self.causes.insert(actor, (self.next, exit));
        if self.causes.len() > Self::BOUND {
            let half = self.next - (Self::BOUND / 2) as u64;
            self.causes.retain(|_, (seq, _)| *seq > half);
        }
        None
    }

    /// An end has arrived; `expected` is its exit if the actor was asked to stop. Returns the exit
    /// if the cause is already there; otherwise the end waits.
    pub(crate) fn end(
        &mut self,
        now: TreeInstant,
        actor: ActorId,
        key: IncarnationKey,
        expected: Option<Exit>,
    ) -> Option<(IncarnationKey, Exit)> {
        if let Some((_, exit)) = self.causes.remove(&actor) {
            return Some((key, judge(exit, expected)));
        }
        self.next += 1;
        self.ends.insert(actor, (self.next, key, expected));
        self.waiting.insert(self.next, (now, actor));
        None
    }

    /// The next end that has waited since `since` or longer.
    pub(crate) fn overdue(&mut self, since: TreeInstant) -> Option<(IncarnationKey, Option<Exit>)> {
        let entry = self.waiting.first_entry()?;
        if entry.get().0 > since {
            return None;
        }
        let (_, actor) = entry.remove();
        self.ends.remove(&actor).map(|(_, key, expected)| (key, expected))
    }

    /// Since when the oldest end has been waiting.
    pub(crate) fn oldest(&self) -> Option<TreeInstant> {
        self.waiting.first_key_value().map(|(_, (at, _))| *at)
    }
}

/// An actor that was asked to stop has done so, whatever it reports. The one exception is that it
/// has left a process behind.
fn judge(cause: Exit, expected: Option<Exit>) -> Exit {
    match expected {
        Some(expected) if !matches!(cause, Exit::Unkillable { .. }) => expected,
        _ => cause,
    }
}
