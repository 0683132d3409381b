//! The RPC channel and the protocols on it: one module per guarantee, in memory, under paused time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations
)]

mod support;

mod a_flood_holds_up_nobody_else;
mod a_legible_id_is_enough;
mod a_notification_may_have_a_null_id;
mod answered_exactly_once;
mod calls_are_bounded;
mod cancellation;
mod ending;
mod frames_out_are_bounded;
mod fuzzed;
mod handlers;
mod hostile_streams;
mod language_servers;
mod messages;
mod noise_is_bounded;
mod noise_may_look_like_headers;
mod progress_gives_calls_time;
mod protocols;
mod requests_in_hand_are_bounded;
mod serving;
mod streams_are_bounded;
mod streams_end_once;
mod what_is_no_request_is_never_answered;
