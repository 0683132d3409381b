//! OTP's supervisor, case by case: what `supervisor_SUITE` and Elixir's `DynamicSupervisor` tests ask for,
//! asked of the real engine with ractor actors under paused time.
//!
//! `TABLE.md` beside this file lists every case, our test for it, and where and why we deviate. The ideas of
//! the cases are translated; none of their text is copied.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

mod child_adm;
mod dynamic;
mod intensity;
mod misc;
mod one_for_all;
mod one_for_one;
mod rest_for_one;
mod significant;
mod starting;
mod stopping;
mod termination;
