//! Pools of scripted processes: one file per guarantee. `real_processes_are_leased` uses the operating
//! system's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod support;

mod a_broken_key_disturbs_nobody;
mod a_busy_worker_is_evicted_only_where_allowed;
mod a_due_worker_is_swapped;
mod a_lease_is_of_one_incarnation;
mod a_vanished_caller_leaks_nothing;
mod anonymous_workers_are_alike;
mod callers_join_a_start;
mod crashed_workers_come_back_at_once;
mod idle_workers_go;
mod keys_and_sessions;
mod many_threads_see_the_same_pool;
mod mistakes_are_reported_together;
mod no_lease_is_of_a_dead_worker;
mod pools_end_as_supervisors_do;
mod real_processes_are_leased;
mod status_does_not_count_as_use;
mod the_actor_takes_messages;
mod the_cap_holds;
mod the_queue_is_bounded_and_fair;
mod warm_leases_are_cheap;
mod workers_that_grow_are_replaced;
