//! The members of process groups, for processes that have no control group: one walk of the process table
//! answers all that ask within a few seconds.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::Pid;

use super::process_table::for_each_process;

/// How long the findings of a walk are good for. Less than the time between two questions about one group
/// (`CHECK_EVERY` of the recycling of workers), so that no answer is older than that.
const FRESH_FOR: Duration = Duration::from_secs(4);
/// A group that has not been asked about for so long is no longer looked for.
const WANTED_FOR: Duration = Duration::from_secs(60);

static LAST_WALK: Mutex<Option<Walk>> = Mutex::new(None);

#[derive(Default)]
struct Walk {
    at: Option<Instant>,
    groups: HashMap<i32, WantedGroup>,
}

struct WantedGroup {
    asked: Instant,
    members: Vec<Pid>,
}

/// At most `max` members of the group with this number, its leader among them. The answer may be some seconds
/// old. The first question about a group may be answered with none: it is looked for from the next walk on.
pub(super) fn members_of(group: Pid, max: usize) -> Vec<Pid> {
    let now = Instant::now();
    // A walk that has panicked leaves a table that is good, if incomplete.
    let mut last = LAST_WALK.lock().unwrap_or_else(PoisonError::into_inner);
    let walk = last.get_or_insert_default();
    let wanted = WantedGroup { asked: now, members: Vec::new() };
    walk.groups.entry(group.as_raw_nonzero().get()).or_insert(wanted).asked = now;
    if walk.at.is_none_or(|at| now.duration_since(at) >= FRESH_FOR) {
        walk.at = Some(now);
        walk.groups.retain(|_, wanted| {
            wanted.members.clear();
            now.duration_since(wanted.asked) < WANTED_FOR
        });
        for_each_process(|process| {
            let group = process.group().and_then(|group| walk.groups.get_mut(&group));
            if let Some(group) = group {
                group.members.push(process.pid());
            }
        });
    }
    let members = walk.groups.get(&group.as_raw_nonzero().get());
    members.map(|group| group.members.iter().take(max).copied().collect()).unwrap_or_default()
}
