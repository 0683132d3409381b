//! When a child that has ended is restarted, and after how long: pure arithmetic on times that the
//! caller supplies.
//!
//! A supervisor keeps one tracker per child and one window for itself, and asks them at every exit.
//! This folder must not know actors, processes, the runtime or clocks. It sees the class of an exit
//! rather than the exit, and a time as [`TreeInstant`](crate::clock::TreeInstant); its only randomness
//! (jitter) comes from the seed of the tracker.
//!
//! ```text
//!  exit ─► ExitClass ─► RestartType ─no─► Leave
//!                        │ yes
//!                        ▼
//!                     RestartTracker + RestartPolicy ──► GiveUp | Escalate | CoolOff
//!                        │ Restart { delay }
//!                        ▼
//!                     BudgetScope ── Shared ──► Window + Intensity ─spent─► the supervisor gives up
//!                        │ Own
//!                        ▼
//!                     wait `delay`, start the next incarnation
//! ```
//!
//! Two independent limits catch a child that keeps failing: the [`Intensity`] of the supervisor,
//! shared by all its children, and the child's own limits in its [`RestartPolicy`]. Which of them
//! counts is the [`BudgetScope`] of the child. Where it is unset, process workers of a one-for-one
//! supervisor that was given no intensity have their own, so that none of them ends the others
//! unless that is asked for.
//!
//! # Intensity and period
//!
//! As in OTP, a supervisor allows `max_restarts` restarts in a sliding `period`, *whichever of its children*
//! they are for. A restart is counted when it is decided, and one of age ≤ `period` counts. With 3 in 5 s:
//!
//! | crash at | restarts in the last 5 s | decision |
//! |---|---|---|
//! | 0.0 s | none | restart, 1 used |
//! | 1.0 s | 0.0 | restart, 2 used |
//! | 4.0 s | 0.0, 1.0 | restart, 3 used |
//! | 5.5 s | 1.0, 4.0 (0.0 is too old) | restart, 3 used |
//! | 6.0 s | 1.0 (just 5 s old), 4.0, 5.5 | give up: stop all children, exit, let the parent decide |
//!
//! `max_restarts` is the burst that is tolerated, `max_restarts / period` the rate that can go on for ever.
//! In a tree they multiply: with 3 in 5 s on two levels one broken leaf is started up to 16 times before the
//! tree ends.
//!
//! # Choosing them
//!
//! If the budget is shared, it has to grow with the number of children. Two questions:
//!
//! * *What may end together?* If one cause (a database, a full disk, a signal to the group) ends
//!   all children at once and they could all be restarted, `max_restarts` must be at least their
//!   number. Ten workers need 10, not 3.
//! * *What is the background rate?* Children that each crash once an hour make 0.014 restarts in 5
//!   s if there are ten: 3 in 5 s will hold for years. A thousand make 1.4, and then one window in
//!   twenty holds four or more: the supervisor gives up within minutes although nothing is wrong.
//!   Allow ten times the mean (15 in 5 s), or, better, put them under several supervisors, or give
//!   each its own crash loop ([`BudgetScope::Own`]).
//!
//! For ten children, `max_restarts` = 10 and `period` = 10 s is a good start. A single broken child
//! that backs off does not exhaust that (see below), so give each a crash loop, too. For a
//! thousand, use [`BudgetScope::Own`] for each, and leave the intensity to those children whose failure
//! really is the failure of the supervisor.
//!
//! # What back-off does to it
//!
//! Delays spread the crashes of *one* child, and so decide whether it can exhaust the intensity
//! alone. A child that dies at once with a doubling back-off crashes at 0, `d`, `3d`, `7d`, … after
//! its first crash, where `d` is the initial delay. With 3 in 5 s the fourth crash is inside the
//! window if `7d` ≤ 5 s:
//!
//! * `d` ≤ 0.71 s: one broken child takes its supervisor down, after `7d`. (With 100 ms: after 0.7 s.)
//! * `d` > 0.71 s: the intensity never trips, for however long the child goes on failing. (As long as the
//!   back-off may grow to `4d`. What counts is whether the first three delays together are longer than the
//!   period.)
//!
//! In general, with `max_restarts` = N, one child trips it if `d · (2^N − 1)` ≤ `period`; near the
//! border jitter decides. Neither outcome is wrong, but it should be chosen: escalate on the first
//! broken child, or keep the others running and let that one back off.
//!
//! # What the intensity cannot see
//!
//! A child whose *start* is slow and fails never trips it. If an attempt takes longer than `period
//! / max_restarts`, there are never enough of them in one window (a handshake that times out after
//! 15 s fails four times a minute, for ever). The same holds for long delays. Use a second limit:
//!
//! * [`RestartPolicy::max_total_restarts`]: after that many restarts in all, the child is given up.
//! * [`RestartPolicy::crash_loop`], with a window that fits the slow start: at least `max_failures
//!   × (start_timeout + longest delay)`. It says what happens then: cool off and try once more,
//!   give up on this child, or escalate.
//!
//! Use a crash loop instead of the intensity ([`BudgetScope::Own`]) when children are independent of
//! each other and some are not yours: plugins, servers that users configure. For process workers
//! that is the default; an intensity, if given, escalates. A program whose only work is one worker
//! needs an intensity: its tree does not end by itself otherwise.

mod backoff;
mod budget_scope;
mod crash_loop;
pub(crate) mod decision;
mod intensity;
mod jitter;
mod policy;
mod policy_error;
pub(crate) mod restart_tracker;
pub(crate) mod restart_type;
pub(crate) mod window;

pub use backoff::Backoff;
pub use budget_scope::BudgetScope;
pub use crash_loop::{CrashLoop, CrashLoopAction};
pub(crate) use decision::Decision;
pub use intensity::Intensity;
pub use policy::RestartPolicy;
pub use policy_error::PolicyError;
pub(crate) use restart_tracker::RestartTracker;
pub(crate) use restart_type::ExitClass;
pub use restart_type::RestartType;
pub(crate) use window::Window;
