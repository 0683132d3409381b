//! `supervisor_SUITE`, groups `normal_termination`, `shutdown_termination` and `abnormal_termination`, and
//! `temporary_bystander`; each for all three strategies and the dynamic supervisor. Elixir: "temporary child
//! is not restarted regardless of reason", "transient child is restarted unless normal/shutdown/{shutdown,
//! _}", "permanent child is restarted regardless of reason".

use procession::{
    event::ExitConsequence, exit::Exit, restart::RestartPolicy, state::Strategy, supervision::SupervisorSpec,
};

use crate::support::*;

/// `b`, of this type, between two permanent children, dies in each of these ways; what is there then.
async fn expect(policy: RestartPolicy, deaths: &[Death], after: &str, used: u32) {
    for spec in supervisors() {
        for death in deaths {
            let cast = Cast::new();
            let b = cast.plain("b").restart(policy.clone());
            let spec = cast.all(spec.clone().intensity(5, HOUR), &["a"]).child(b).child(cast.plain("c"));
            let (strategy, dynamic) = (spec.flags.strategy, spec.flags.dynamic);
            let play = cast.start(spec).await;
            play.dies("/b", *death).await;
            let which = play.which().await;
            let expected = match (after, strategy) {
                ("back", Strategy::OneForOne) => "a:ready#1 b:ready#2 c:ready#1",
                ("back", Strategy::OneForAll) => "a:ready#2 b:ready#2 c:ready#2",
                ("back", Strategy::RestForOne) => "a:ready#1 b:ready#2 c:ready#2",
                // A child that is not restarted takes no other with it.
                ("down", _) if !dynamic => "a:ready#1 b:ended#1 c:ready#1",
                _ => "a:ready#1 c:ready#1",
            };
            assert_eq!(which, expected, "{strategy} {death:?}");
            assert_eq!(play.used(), used, "{strategy} {death:?}");
            play.over().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn permanent_normal() {
    // OTP: restarted.
    expect(permanent(), &[Death::Normal], "back", 1).await;
}

#[tokio::test(start_paused = true)]
async fn transient_normal() {
    // OTP: not restarted, kept in the table; under simple-one-for-one it leaves the table.
    expect(transient(), &[Death::Normal], "down", 0).await;
}

#[tokio::test(start_paused = true)]
async fn temporary_normal() {
    // OTP: not restarted, its specification goes.
    expect(temporary(), &[Death::Normal], "gone", 0).await;
}

#[tokio::test(start_paused = true)]
async fn permanent_shutdown() {
    // OTP: restarted, after `shutdown` and `{shutdown, Term}` alike.
    expect(permanent(), &SHUTDOWNS, "back", 1).await;
}

#[tokio::test(start_paused = true)]
async fn transient_shutdown() {
    // OTP: as `normal`.
    expect(transient(), &SHUTDOWNS, "down", 0).await;
}

#[tokio::test(start_paused = true)]
async fn temporary_shutdown() {
    // OTP: as `normal`.
    expect(temporary(), &SHUTDOWNS, "gone", 0).await;
}

#[tokio::test(start_paused = true)]
async fn permanent_abnormal() {
    // OTP: restarted.
    expect(permanent(), &CRASHES, "back", 1).await;
}

#[tokio::test(start_paused = true)]
async fn transient_abnormal() {
    // OTP: restarted.
    expect(transient(), &CRASHES, "back", 1).await;
}

#[tokio::test(start_paused = true)]
async fn temporary_abnormal() {
    // OTP: not restarted, its specification goes.
    expect(temporary(), &CRASHES, "gone", 0).await;
}

#[tokio::test(start_paused = true)]
async fn every_cause_is_told() {
    // OTP: the report of a supervisor names the reason of the exit.
    let failed = |text: &str| Exit::ActorFailed { chain: vec![text.into()] };
    for (death, expected) in [
        (Death::Normal, Exit::ActorStopped { reason: None }),
        (Death::Shutdown, Exit::Requested),
        (Death::ShutdownTerm, Exit::ActorStopped { reason: Some("shutdown for a reason".into()) }),
        (Death::Abnormal, failed("abnormal")),
        (Death::Panic, failed("part of the play")),
        (Death::Killed, Exit::ActorKilled),
    ] {
        let cast = Cast::new();
        let play = cast.start(cast_one()).await;
        play.dies("/a", death).await;
        let [(exit, ExitConsequence::Restart { .. })] = &play.exits("/a")[..] else { panic!() };
        assert_eq!(*exit, expected);
        play.over().await;
    }
    fn cast_one() -> SupervisorSpec {
        Cast::new().all(SupervisorSpec::one_for_one(), &["a"])
    }
}

#[tokio::test(start_paused = true)]
async fn temporary_bystander() {
    // OTP: a temporary child that is terminated because a sibling restarts its group goes for good; the group
    // restart does not bring it back. Under rest-for-one only if it comes after the sibling.
    for (strategy, expected) in [
        (Strategy::OneForAll, "b:ready#2"),
        (Strategy::RestForOne, "a:ready#1 b:ready#2"),
        (Strategy::OneForOne, "a:ready#1 b:ready#2 c:ready#1"),
    ] {
        for slow in [0, 100] {
            let cast = Cast::new();
            let script = Script::default().stop_takes(slow);
            let spec = SupervisorSpec::new(strategy)
                .child(cast.scripted("a", &script).restart(temporary()))
                .child(cast.plain("b"))
                .child(cast.scripted("c", &script).restart(temporary()));
            let play = cast.start(spec).await;
            play.dies("/b", Death::Abnormal).await;
            time_passes(1000).await;
            assert_eq!(play.which().await, expected);
            assert_eq!(play.used(), 1);
            play.over().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_transient_bystander_comes_back() {
    // OTP: a group restart starts every specification in its range, also that of a transient child that had
    // ended normally, was ignored or was terminated by hand.
    let cast = Cast::new();
    let ignored = Script::births([Birth::Ignored]);
    let spec = SupervisorSpec::one_for_all()
        .child(cast.plain("ended").restart(transient()))
        .child(cast.scripted("ignored", &ignored))
        .child(cast.plain("stopped"))
        .child(cast.plain("b"));
    let play = cast.start(spec).await;
    play.dies("/ended", Death::Normal).await;
    play.sup.terminate_child("stopped").await.unwrap();
    assert_eq!(play.which().await, "ended:ended#1 ignored:ignored#1 stopped:stopped#1 b:ready#1");
    play.dies("/b", Death::Abnormal).await;
    assert_eq!(play.which().await, "ended:ready#2 ignored:ready#2 stopped:ready#2 b:ready#2");
    play.over().await;
}
