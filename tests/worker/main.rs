//! The worker actor: one file per guarantee. Scripted processes under paused time, except for
//! `real_processes`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod support;

mod a_call_starts_what_is_idle;
mod a_call_too_large_is_kept_from_the_process;
mod a_closed_stdin_is_a_lost_channel;
mod a_dead_process_answers_its_calls;
mod a_first_line_is_found_and_handed_out;
mod a_program_that_is_away_is_waited_for;
mod a_session_is_remembered;
mod a_spare_takes_over;
mod a_stop_climbs_the_ladder;
mod a_stop_lets_calls_be_answered;
mod a_stop_of_everybody_is_no_crash;
mod a_success_before_ready_is_a_failed_start;
mod a_swap_loses_no_call;
mod a_swap_meets_full_pipes;
mod a_worker_is_recycled;
mod calls_are_sent_again_where_that_is_safe;
#[cfg(feature = "watch")]
mod changed_files_replace_a_worker;
mod declarations_are_checked;
mod errors_have_last_words;
mod liveness_is_watched;
mod mcp_lists_are_kept;
mod mcp_probes_meet_bad_servers;
mod mcp_servers_are_of_two_eras;
mod messages_reach_the_actor_too;
mod no_exit_makes_a_hot_loop;
mod nothing_is_without_effect;
mod nothing_outlives_the_actor;
mod processes_without_a_channel;
mod programs_without_a_channel_have_pipes;
mod readiness_is_a_finished_handshake;
mod real_processes;
mod streams_end_with_their_worker;
mod the_same_story_each_time;
mod the_users_handler_goes_first;
mod traces_travel_in_meta;
mod user_code_may_panic;
mod what_is_left_behind_is_swept_before_a_stop_returns;
