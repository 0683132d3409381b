//! The guarantees about one process that only the kernel can prove: signals, groups, streams, exits. The
//! tests launch real processes. Every test waits for conditions and leaves nothing behind.
#![cfg(target_os = "linux")]
// The configuration knows tests, not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

mod a_child_may_nest_groups_as_it_likes;
mod a_dropped_process_dies;
mod a_killed_host_takes_its_children_along;
mod a_process_sends_no_descriptors;
mod a_socket_makes_no_shell_remote;
mod a_stop_climbs_the_ladder;
mod both_techniques_do_the_same;
mod control_groups_hold_who_leaves;
mod failed_launches_say_what_is_wrong;
mod limits_bind_the_process;
mod many_launches_leak_nothing;
mod only_stdio_reaches_the_process;
mod orphans_are_reaped_if_they_were_ours;
mod runtimes_do_not_hold_up_processes;
mod stderr_is_drained;
mod streams_end_as_streams_do;
mod the_environment_is_the_callers;
mod the_exit_is_what_the_kernel_says;
mod the_group_is_swept;
mod the_host_is_not_disturbed;
mod the_session_is_swept;
mod who_cannot_be_reaped_is_given_up;
