//! [`BudgetScope`]: who pays for a restart.

use serde::{Deserialize, Serialize};

use super::CrashLoop;

/// Who pays for a child's restarts: its supervisor's intensity, or the child alone.
///
/// This decides whether one broken child can take its siblings down:
///
/// * [`Shared`](Self::Shared): each restart uses one of the supervisor's `max_restarts` in
///   `period`. Right for children that are parts of one thing: if one of them cannot run, the whole
///   is broken, and a supervisor higher up should rebuild it. With 3 in 5 s and the default
///   back-off, a child that dies at each start takes its supervisor down with its fourth crash,
///   after 0.7 s; with an initial delay above 0.71 s it never does (see the [module](super)).
/// * [`Own`](Self::Own): its restarts cost the supervisor nothing; only its own crash loop counts.
///   Right for children that are independent of each other: a broken third-party plugin never takes
///   the others down. A *clean* end before [`healthy_after`](super::RestartPolicy::healthy_after)
///   counts in the crash loop as a failure does: nothing else would bound a child that ends
///   successfully, and at once, each time. A child that works for longer and then ends successfully
///   may do so for ever.
///
/// In either case a crash loop that gives up or cools off uses none of the intensity.
///
/// # Unset
///
/// Escalation is chosen, not assumed. Where a policy sets no budget, the supervisor decides when
/// the child is declared to it (also by `start_child`, `reload_child` and `set_policy`).
///
/// | | supervisor was given an intensity | was given none |
/// |---|---|---|
/// | process worker, one-for-one or dynamic | `Shared` | `Own`: the policy's `crash_loop`, or 5 failures in 60 s, then a pause of 60 s |
/// | actor or nested supervisor, one-for-one or dynamic | `Shared` | `Shared`, with 3 in 5 s |
/// | one-for-all, rest-for-one | `Shared` | `Shared`, with 3 in 5 s |
/// | plugin of a plugin host | `Shared` | `Own`, as a process worker |
/// | worker of a pool | `Shared` | `Own`: the policy's `crash_loop`, or 5 failures in 60 s, then given up |
///
/// So, by default, one broken process never ends its healthy neighbours. A program whose *only*
/// work is one worker needs an intensity: without one, its tree does not end when that worker is
/// broken, and the program is not restarted.
///
/// In a configuration: `"shared"`, `{ own = { max_failures = 5, window = "60s", then = "give_up" } }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetScope {
    /// The supervisor's intensity counts every restart. (A policy's `crash_loop` applies before it.)
    #[default]
    Shared,
    /// Only this crash loop counts. The policy's `crash_loop` must be unset then.
    Own(CrashLoop),
}

impl BudgetScope {
    /// Whether restarts are counted by the supervisor's intensity.
    pub fn is_shared(&self) -> bool {
        matches!(self, BudgetScope::Shared)
    }
}
