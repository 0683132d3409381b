//! Plugin hosts with scripted processes under paused time: one file per guarantee.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

mod a_broken_plugin_disturbs_nobody;
mod a_failing_reload_restores_the_old_plugin;
mod a_reload_may_be_a_swap;
mod a_spare_takes_over;
mod a_start_has_one_outcome;
mod calls_reach_only_ready_plugins;
mod changes_that_wait_are_made_together;
mod configurations_change_while_plugins_run;
mod crashes_count_where_they_should;
mod declarations_are_checked_as_a_whole;
mod events_tell_what_happened;
mod events_tell_why;
mod host_methods_know_who_asks;
mod logs_are_kept;
mod messages_do_the_same;
mod plugins_return_with_their_host;
mod plugins_start_on_demand;
mod real_processes_are_plugins_too;
mod starts_are_bounded;
mod stops_are_joined_and_final;
mod streams_are_found_by_their_channel;
mod two_hundred_calls_are_in_flight;
mod what_was_known_of_a_plugin_stays_known;
mod workers_in_any_language_are_plugins;
