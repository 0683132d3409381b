//! W-6: a spare takes the place of an incarnation that is failing at once; the exit is judged when it
//! comes.

use procession::internals::machine::Request;
use procession::{
    restart::{
        Backoff, CrashLoop, CrashLoopAction,
        RestartType::{Permanent, Temporary, Transient},
    },
    state::Strategy::{OneForAll, OneForOne},
    supervision::{ChildPolicy, SupervisorFlags},
};

use crate::rig::{Rig, clean, crash, flags, ms, policy};

fn with_spare() -> ChildPolicy {
    let mut policy = ChildPolicy { overlap: true, standby: true, ..policy(Permanent) };
    policy.restart = policy.restart.with_backoff(Backoff::fixed(ms(20))).with_jitter(0.0);
    policy
}

/// A child and its spare, both ready.
fn running(policy: ChildPolicy, max_restarts: u32) -> Rig {
    let mut rig = Rig::running(flags(OneForOne, max_restarts), &[("a", policy)]);
    rig.ready_second("a");
    rig
}

#[test]
fn at_once_and_the_restart_is_counted_when_the_exit_is_judged() {
    let mut rig = running(with_spare(), 9);
    rig.failing("a");
    assert_eq!((rig.did_all().as_str(), rig.states().as_str(), rig.used()), ("*a", "r", 0));
    assert_eq!((rig.incarnation("a"), rig.second("a").as_deref()), (2, Some("failing stopping")));
    rig.end_second("a", crash());
    assert_eq!((rig.used(), rig.second("a").as_deref()), (1, Some("spare waiting")));
    assert_eq!(rig.fire().did(), "+a'", "the next one, after the delay of the restart");
}

#[test]
fn also_if_nothing_has_announced_the_end() {
    let mut rig = running(with_spare(), 9);
    rig.crash("a");
    assert_eq!((rig.did_all().as_str(), rig.states().as_str(), rig.used()), ("*a", "r", 1));
}

#[test]
fn a_spare_that_is_still_starting_is_the_restart() {
    let mut rig = Rig::running(flags(OneForOne, 9), &[("a", with_spare())]);
    rig.crash("a");
    assert_eq!((rig.did().as_str(), rig.states().as_str(), rig.used()), ("", "s", 1));
}

#[test]
fn one_too_many_is_too_many() {
    let mut rig = running(with_spare(), 0);
    rig.failing("a");
    rig.end_second("a", crash());
    assert_eq!(rig.did(), "-a", "the supervisor gives up, and stops what was promoted");
    rig.gone("a");
    assert!(rig.exit.is_some());
}

#[test]
fn what_is_not_restarted_is_stopped_again() {
    let mut transient = with_spare();
    transient.restart = transient.restart.with_restart(Transient);
    let mut rig = running(transient, 9);
    rig.failing("a");
    rig.end_second("a", clean());
    assert_eq!(rig.did(), "-a");
    rig.gone("a");
    assert_eq!((rig.states().as_str(), rig.used()), ("-", 0));
}

#[test]
fn a_crash_loop_takes_the_promoted_one_along() {
    let mut looping = with_spare();
    let crash_loop = CrashLoop::new(1, ms(60), CrashLoopAction::cool_off(ms(40)));
    looping.restart = looping.restart.with_crash_loop(Some(crash_loop));
    let mut rig = running(looping, 9);
    rig.failing("a");
    rig.end_second("a", crash());
    assert_eq!((rig.did().as_str(), rig.states().as_str()), ("-a", "t"));
    assert_eq!(rig.gone("a").states(), "c");
}

#[test]
fn a_spare_that_ends_counts_nothing_and_is_retried_later_each_time() {
    let mut patient = with_spare();
    patient.restart = patient.restart.with_backoff(Backoff::exponential(ms(10), ms(1000)));
    let mut rig = Rig::running(flags(OneForOne, 0), &[("a", patient)]);
    for wait in [10, 20, 40] {
        rig.end_second("a", crash());
        assert_eq!((rig.used(), rig.second("a").as_deref()), (0, Some("spare waiting")));
        let before = rig.now;
        assert_eq!(rig.fire().did(), "+a'");
        assert_eq!(rig.now.since(before), ms(wait));
    }
}

#[test]
fn operators_stop_both_and_reloads_replace_both() {
    let mut rig = running(with_spare(), 9);
    rig.reload("a", &with_spare());
    assert_eq!(rig.did(), "-a'", "the spare is of the old definition");
    assert_eq!(rig.gone_second("a").did_all(), "=a +a'");
    rig.ready_second("a");
    assert_eq!(rig.gone_second("a").did(), "+a'", "the next spare");
    rig.ask(Request::TerminateChild("a".into()));
    assert_eq!(rig.did(), "-a' -a");
}

#[test]
fn a_stop_reaches_one_that_is_failing() {
    // R-1: its end may belong to the stop of everything, and waits for it.
    let mut rig = running(with_spare(), 9);
    rig.failing("a");
    rig.ask(Request::TerminateChild("a".into()));
    assert_eq!(rig.did(), "-a' -a");
    rig.gone("a");
    assert_eq!(rig.gone_second("a").states(), "-");
}

#[test]
fn it_is_refused_where_it_would_mean_nothing() {
    let refused = |flags: &SupervisorFlags, policy: &ChildPolicy| {
        let errors = flags.validate([("a", policy)]).unwrap_err();
        assert!(errors.to_string().contains("standby"), "{errors}");
    };
    let alone = ChildPolicy { overlap: false, ..with_spare() };
    let mut temporary = with_spare();
    temporary.restart = temporary.restart.with_restart(Temporary);
    refused(&flags(OneForOne, 9), &alone);
    refused(&flags(OneForOne, 9), &temporary);
    refused(&flags(OneForAll, 9), &with_spare());
    assert!(flags(OneForOne, 9).validate([("a", &with_spare())]).is_ok());
}
