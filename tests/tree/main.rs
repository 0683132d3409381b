//! Whole trees: root, pool, plugins and actors over scripted processes, under paused time and on several
//! threads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod a_runtime_without_time_is_refused;
mod a_signal_to_everybody_is_no_crash;
mod a_tree_is_declared_and_found;
mod errors_say_what_can_be_done;
mod escalation_is_chosen;
mod health_names_what_is_wrong;
mod signals_end_a_service;
mod support;
mod the_cascade;
mod the_end_is_explained;
mod what_was_answered_is_visible;
