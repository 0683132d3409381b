//! What an operator reads: whatever a process writes, the log stays readable, and what needs attention
//! is a warning.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod a_flood_becomes_a_handful_of_lines;
mod a_killed_worker_is_worth_a_warning;
mod a_spare_is_logged_when_it_is_ready;
mod a_supervisor_that_gives_up_is_an_error;
mod every_event_says_which_worker;
mod nobody_forges_a_line;
mod secrets_are_not_shown;
mod support;
mod what_cannot_be_read_is_a_warning;
mod what_has_no_effect_is_logged;
