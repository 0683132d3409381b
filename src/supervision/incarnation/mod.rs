//! One life of a child, from its start until nothing of it is left.
//!
//! [`begin`] starts it. Most actors are up at once, and their life is handed to the engine there and then. A start that
//! waits for something goes on in a task of its own, which takes [`StartCancel`] and delivers a life, or none, when the
//! incarnation is ready or is not going to be.
//!
//! From then on no task belongs to it: its engine keeps it as a [`SupervisedIncarnation`], and what it waits for (the end of its actor,
//! then that of its remains) rings its [`waker`]. A task per incarnation would cost half a kilobyte for each idle child,
//! and a second switch of tasks for each end, to tell the engine what the engine can see.
//!
//! A killed supervisor has no engine any more: what is left of its incarnations is an [`AbandonedIncarnation`], which makes an end of
//! each and holds the supervisor's token until then (rule S-21).

mod abandoned;
mod cancel;
pub(crate) mod slot_waker;
mod starting;
mod supervised_incarnation;

pub(crate) use abandoned::AbandonedIncarnation;
pub(crate) use cancel::{StartCancel, StopLevel};
pub(crate) use starting::{StartInputs, StartOutcome, StartProgress, begin};
pub(crate) use supervised_incarnation::{IncarnationEnd, RunningActor, SupervisedIncarnation};
