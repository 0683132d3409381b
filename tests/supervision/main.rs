//! Supervision of in-memory actors: one file per guarantee.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod support;

mod a_crash_of_one_child_touches_nobody_else;
mod a_group_restart_is_ordered;
mod a_killed_supervisor_leaves_nothing;
mod a_success_before_ready_is_a_failed_start;
mod an_incarnation_is_gone_when_nothing_of_it_is_left;
mod escalation_reaches_the_root;
mod exits_are_judged_once_on_many_threads;
mod operators_are_answered;
mod starts_are_ordered_and_awaited;
mod starts_may_panic;
mod stops_are_ordered_and_awaited;
mod the_board_tells_the_truth;
mod the_engine_does_what_its_machine_says;
mod the_same_seed_gives_the_same_log;
mod typed_messages_survive_restarts;
