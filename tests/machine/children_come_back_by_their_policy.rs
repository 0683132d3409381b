//! What an exit means for a child under one-for-one: restart, back-off, cool-off, giving up,
//! escalation (R-0, S-2, S-5, S-10, S-16, S-17).

use procession::internals::machine::{Input, Request, Timer};
use procession::{
    exit::{Exit, LaunchStage},
    restart::{
        BudgetScope, CrashLoop, CrashLoopAction,
        RestartType::{OnSuccess, Permanent, Temporary, Transient},
    },
    state::{ChildState, DownReason, GiveUpReason, Strategy::OneForOne},
    supervision::{ChildPolicy, RequestError},
};

use crate::rig::{Rig, at, background, clean, crash, flags, ms, patient, policy};

fn one(policy: ChildPolicy) -> Rig {
    Rig::running(flags(OneForOne, 3), &[("a", policy)])
}

fn looping(then: CrashLoopAction) -> ChildPolicy {
    let mut policy = policy(Permanent);
    policy.restart = policy.restart.with_crash_loop(CrashLoop::new(2, ms(1000), then));
    policy
}

#[test]
fn restart_types_choose_exits() {
    // S-5
    for (restart, after_crash, after_clean) in
        [(Permanent, "+a", "+a"), (Transient, "+a", ""), (OnSuccess, "", "+a"), (Temporary, "", "")]
    {
        assert_eq!(one(policy(restart)).crash("a").did(), after_crash, "{restart}");
        assert_eq!(one(policy(restart)).end("a", clean()).did(), after_clean, "{restart}");
    }
    let mut rig = one(policy(Temporary));
    rig.crash("a");
    assert!(!rig.has("a"), "its spec is deleted");
    assert_eq!(rig.used(), 0, "S-10");
}

#[test]
fn a_success_before_ready_is_a_failed_start() {
    // R-1: whatever the restart type, and told as what it is.
    let early = |how: Exit| Exit::EndedBeforeReady { how: Box::new(how), printed: None };
    let stopped = Exit::ActorStopped { reason: None };
    for exit in [clean(), stopped] {
        for (restart, state) in [
            (Permanent, ChildState::Starting),
            (Transient, ChildState::Starting),
            (OnSuccess, ChildState::down(DownReason::Ended)),
        ] {
            let mut rig = one(policy(restart));
            // The second incarnation ends before it is ready.
            let again = rig.ask(Request::Restart("a".into()));
            rig.gone("a").end("a", exit.clone());
            assert_eq!(rig.state("a"), state, "{restart}, {exit}");
            assert_eq!(rig.machine.child(&"a".into()).unwrap().tracker.total_failures(), 1, "{restart}");
            let Some(Err(RequestError::StartFailed { exit: told, .. })) = rig.reply(again) else { panic!() };
            assert_eq!(*told, early(exit.clone()));
        }
        let mut rig = Rig::new(flags(OneForOne, 3), &[("a", policy(Temporary))]);
        rig.boot().end("a", exit.clone());
        let Some(Exit::StartFailed { cause, .. }) = &rig.exit else { panic!("{:?}", rig.exit) };
        assert_eq!(**cause, early(exit));
    }
}

#[test]
fn what_is_ready_and_gone_at_once_was_ready() {
    // R-1: so is a start that is declared to complete: its success is its readiness.
    let mut rig = Rig::new(flags(OneForOne, 3), &[("a", policy(Transient))]);
    rig.boot().ready("a").end("a", clean());
    assert_eq!((rig.state("a"), rig.exit.is_some()), (ChildState::down(DownReason::Ended), false));
    // Nothing to run, and an end that is declared beforehand, are no failed starts.
    for (exit, state) in [
        (Exit::Ignored, DownReason::Ignored),
        (Exit::AutoShutdown { child: "leaf".into() }, DownReason::Ended),
    ] {
        let mut rig = Rig::new(flags(OneForOne, 3), &[("a", background(policy(Transient)))]);
        rig.boot().end("a", exit);
        assert_eq!(rig.state("a"), ChildState::down(state));
    }
}

#[test]
fn siblings_are_not_touched() {
    // S-11, S-1
    let p = policy(Permanent);
    let mut rig = Rig::running(flags(OneForOne, 3), &[("a", p.clone()), ("b", p)]);
    assert_eq!(rig.crash("a").did(), "+a");
    assert_eq!((rig.incarnation("a"), rig.incarnation("b")), (2, 1));
}

#[test]
fn one_restart_too_many_and_the_supervisor_gives_up() {
    // S-2, S-17
    let p = policy(Permanent);
    let mut rig = Rig::running(flags(OneForOne, 3), &[("a", p.clone()), ("b", p.clone()), ("c", p)]);
    for _ in 0..3 {
        rig.crash("b").ready("b");
    }
    assert_eq!(rig.crash("b").did(), "-c");
    assert_eq!(rig.gone("c").did(), "-a");
    assert_eq!(rig.gone("a").did(), "exit");
    let limit = GiveUpReason::Intensity { max_restarts: 3, period: ms(1000) };
    let exit = Exit::IntensityExceeded { child: "b".into(), cause: crash().into(), limit };
    assert_eq!(rig.exit, Some(exit));
}

#[test]
fn old_restarts_do_not_count() {
    // S-2: of age ≤ period they do.
    let mut rig = one(policy(Permanent));
    for _ in 0..3 {
        rig.crash("a").ready("a");
    }
    rig.wait(1001);
    assert_eq!((rig.used(), rig.crash("a").did()), (0, "+a".into()));
}

#[test]
fn no_restarts_allowed_means_none() {
    // S-2
    let mut rig = Rig::running(flags(OneForOne, 0), &[("a", policy(Permanent))]);
    assert_eq!(rig.crash("a").did(), "exit");
}

#[test]
fn a_delayed_restart_is_counted_when_it_is_decided() {
    // S-2, S-16
    let mut rig = one(patient(Permanent, 50));
    rig.crash("a");
    assert_eq!((rig.used(), rig.did()), (1, String::new()));
    assert_eq!(rig.state("a"), ChildState::BackingOff { until: at(50), attempt: 1 });
    assert_eq!((rig.fire().did(), rig.used()), ("+a".into(), 1));
}

#[test]
fn every_failed_restart_counts_again() {
    // S-10
    let mut rig = one(policy(Permanent));
    rig.crash("a").crash("a").crash("a");
    assert_eq!(rig.used(), 3);
    assert_eq!(rig.crash("a").did(), "exit");
}

#[test]
fn a_timer_of_an_old_incarnation_does_nothing() {
    // S-16
    let mut rig = one(patient(Permanent, 50));
    rig.crash("a");
    let (_, old) = rig.timers[0].clone();
    rig.fire().ready("a");
    rig.input(Input::Fired(old.clone()));
    assert_eq!(rig.did(), "");
    rig.crash("a");
    rig.input(Input::Fired(old));
    assert_eq!(rig.did(), "", "nor while its successor waits");
    rig.input(Input::Fired(Timer::Pass(1)));
    assert_eq!((rig.did(), rig.states()), (String::new(), "b".into()));
}

#[test]
fn a_late_exit_of_an_old_incarnation_is_ignored() {
    // R-0 (1)
    let mut rig = one(policy(Permanent));
    let old = rig.key("a");
    rig.crash("a").ready("a");
    rig.input(Input::Ended(old.clone(), crash()));
    rig.input(Input::Ready(old));
    assert_eq!((rig.did(), rig.states(), rig.used()), (String::new(), "r".into(), 1));
}

#[test]
fn a_cool_off_counts_nothing_and_is_followed_by_a_trial() {
    // R-0 (3), R-4
    let mut rig = one(looping(CrashLoopAction::cool_off(ms(500))));
    rig.crash("a").ready("a").crash("a");
    assert_eq!(rig.state("a"), ChildState::CoolingOff { until: at(500) });
    assert_eq!(rig.used(), 1);
    assert_eq!(rig.fire().did(), "+a");
    rig.ready("a").crash("a");
    assert_eq!(rig.states(), "c", "the trial failed");
}

#[test]
fn a_child_that_gave_up_stays_down_and_the_rest_goes_on() {
    // R-0 (3)
    let mut rig = one(looping(CrashLoopAction::GiveUp));
    rig.crash("a").crash("a");
    assert!(matches!(rig.state("a"), ChildState::Down { why: DownReason::GaveUp { .. } }));
    assert_eq!((rig.used(), rig.exit.is_none()), (1, true));
}

#[test]
fn a_crash_loop_may_escalate() {
    // R-0 (4)
    let mut rig = one(looping(CrashLoopAction::Escalate));
    assert_eq!(rig.crash("a").crash("a").did(), "exit");
    assert!(matches!(rig.exit, Some(Exit::IntensityExceeded { limit: GiveUpReason::CrashLoop { .. }, .. })));
}

#[test]
fn an_own_budget_does_not_touch_the_supervisors() {
    // R-0 (5)
    let mut own = policy(Permanent);
    own.restart.budget = Some(BudgetScope::Own(CrashLoop::new(9, ms(1000), CrashLoopAction::GiveUp)));
    let mut rig = one(own);
    for _ in 0..8 {
        assert_eq!(rig.crash("a").did(), "+a");
    }
    assert_eq!(rig.used(), 0);
}

#[test]
fn a_missing_program_is_not_retried() {
    // R-6
    let missing = || Exit::NeverStarted { errno: Some(2), stage: LaunchStage::Exec, reason: "x".into() };
    let mut rig = Rig::new(flags(OneForOne, 3), &[("a", background(policy(Permanent)))]);
    rig.boot().end("a", missing());
    assert_eq!(rig.state("a"), ChildState::down(DownReason::GaveUp { why: GiveUpReason::NeverStarts }));
    // It has been ready: its program is being replaced, and no limit counts that.
    let mut rig = one(policy(Permanent));
    assert_eq!(rig.end("a", missing()).did(), "");
    assert_eq!(rig.state("a"), ChildState::BackingOff { until: at(100), attempt: 0 });
    assert_eq!(rig.fire().did(), "+a");
    assert_eq!((rig.used(), rig.machine.child(&"a".into()).unwrap().tracker.total_failures()), (0, 0));
}

#[test]
fn a_transient_supervisor_that_gave_up_stays_down_and_shows_it() {
    // S-17
    let limit = GiveUpReason::TotalRestarts { max: 1 };
    let gave_up = Exit::IntensityExceeded { child: "x".into(), cause: crash().into(), limit: limit.clone() };
    let mut rig = one(policy(Transient));
    rig.end("a", gave_up.clone());
    assert_eq!(rig.state("a"), ChildState::down(DownReason::GaveUp { why: limit }));
    assert_eq!(one(policy(Permanent)).end("a", gave_up).did(), "+a");
}

#[test]
fn a_changed_policy_holds_from_the_next_decision() {
    // R-7
    let mut rig = one(patient(Permanent, 50));
    rig.crash("a");
    rig.machine.set_policy(&"a".into(), policy(Transient).into()).unwrap();
    assert_eq!(rig.fire().did(), "+a", "decided already");
    assert_eq!(rig.ready("a").end("a", clean()).states(), "-");
    assert!(rig.machine.set_policy(&"x".into(), policy(Transient).into()).is_err());
}
