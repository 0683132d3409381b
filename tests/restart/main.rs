//! When a dead child comes back, after how long, and when it no longer does.

mod a_crash_loop_has_consequences;
mod a_failing_child_waits_longer_each_time;
mod a_missing_program_is_not_retried;
mod common;
mod decisions_follow_the_written_rules;
mod jitter_spreads_restarts;
mod only_health_forgets_failures;
mod policies_are_checked;
mod policies_are_configuration;
mod restart_types_choose_exits;
mod the_intensity_bounds_restarts;
mod total_restarts_are_bounded;
mod windows_slide;
