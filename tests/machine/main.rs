//! The supervision machine without actors or time: what it decides, in which order, for every history.
//!
//! The `histories` test compares it with a naive model, step by step. For a long run:
//!
//! ```sh
//! PROPTEST_CASES=1000000 cargo test --release --test machine histories
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

mod children_come_back_by_their_policy;
mod groups_restart_together;
mod histories;
mod idle_children_wait_for_a_demand;
mod operators_have_the_last_word;
mod reloads_return_if_they_fail;
mod restarts_by_hand_are_no_crashes;
mod spares_take_over;
mod starts_are_in_order;
mod starts_say_why;
mod stops_leave_nothing;
mod swaps_overlap;

mod history;
mod model;
