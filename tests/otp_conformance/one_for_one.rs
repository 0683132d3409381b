//! `supervisor_SUITE`, group `restart_one_for_one`.

use procession::{
    exit::Exit,
    state::GiveUpReason,
    supervision::{ChildSpec, SupervisorSpec},
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn one_for_one() {
    // OTP: the others keep their pids, whichever child it is; one crash more than the intensity ends the
    // supervisor.
    for position in ["/a", "/b", "/c"] {
        let cast = Cast::new();
        let spec = cast.all(SupervisorSpec::one_for_one().intensity(2, HOUR), &["a", "b", "c"]);
        let play = cast.start(spec).await;
        play.log();
        let name = &position[1..];
        for _ in 0..2 {
            play.dies(position, Death::Abnormal).await;
            assert_eq!(play.log(), format!("-{name} ?{name} +{name}"));
        }
        play.dies(position, Death::Abnormal).await;
        let others: Vec<_> = ["-c", "-b", "-a"].into_iter().filter(|end| &end[1..] != name).collect();
        assert_eq!(play.log(), format!("-{name} {}", others.join(" ")));
        let cause = Box::new(Exit::ActorFailed { chain: vec!["abnormal".into()] });
        let limit = GiveUpReason::Intensity { max_restarts: 2, period: HOUR };
        assert_eq!(play.gives_up().await, Exit::IntensityExceeded { child: name.into(), cause, limit });
    }
}

#[tokio::test(start_paused = true)]
async fn one_for_one_of_several_at_once() {
    // OTP: each crash is a restart of its own, and each is counted.
    let cast = Cast::new();
    let play = cast.start(cast.all(SupervisorSpec::one_for_one().intensity(3, HOUR), &["a", "b", "c"])).await;
    play.die_together(&["/c", "/a", "/b"], Death::Abnormal).await;
    assert_eq!(play.which().await, "a:ready#2 b:ready#2 c:ready#2");
    assert_eq!(play.used(), 3);
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn one_for_one_other_child_fails_restart() {
    // OTP: a child that cannot be restarted is tried again and again, each try counted, and nobody else is
    // touched by it; another one that dies meanwhile is restarted meanwhile.
    let cast = Cast::new();
    let script = Script::default();
    let spec = SupervisorSpec::one_for_one()
        .intensity(10, HOUR)
        .child(cast.plain("a"))
        .child(cast.scripted("b", &script).restart(after(100)))
        .child(cast.plain("c"));
    let play = cast.start(spec).await;
    play.log();
    script.next([Birth::Fails, Birth::Panics]);
    play.dies("/b", Death::Abnormal).await;
    play.dies("/c", Death::Abnormal).await;
    play.dies("/a", Death::Abnormal).await;
    assert_eq!(play.log(), "-b -c ?c +c -a ?a +a");
    time_passes(1000).await;
    assert_eq!(play.log(), "?b ?b ?b +b");
    assert_eq!(play.used(), 5);
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn one_for_one_escalation() {
    // OTP: a restart that fails counts too; when that is one too many the supervisor ends, and the others
    // with it.
    let cast = Cast::new();
    let script = Script::default();
    let spec =
        cast.all(SupervisorSpec::one_for_one().intensity(1, HOUR), &["a"]).child(cast.scripted("b", &script));
    let play = cast.start(spec).await;
    play.log();
    script.always(Birth::Exits(Exit::HandshakeFailed { reason: "x".into() }));
    play.dies("/b", Death::Abnormal).await;
    assert_eq!(play.log(), "-b ?b -a");
    let exit = play.gives_up().await;
    assert_eq!(exit.cause(), Some(&Exit::HandshakeFailed { reason: "x".into() }));
}

/// The leaf dies until the whole tree has ended; every level allows as many restarts.
async fn three_levels(top: SupervisorSpec, middle: SupervisorSpec, low: SupervisorSpec) -> (Play, u32) {
    let cast = Cast::new();
    let low = cast.all(low.intensity(1, HOUR), &["x", "leaf", "y"]);
    let middle = cast.all(middle.intensity(1, HOUR), &["m"]).child(ChildSpec::supervisor("low", low));
    let top = cast.all(top.intensity(1, HOUR), &["t"]).child(ChildSpec::supervisor("middle", middle));
    let play = cast.start(top).await;
    let mut crashes = 0;
    while !play.has_ended() {
        play.dies("/middle/low/leaf", Death::Abnormal).await;
        crashes += 1;
        assert!(crashes < 100);
    }
    (play, crashes)
}

#[tokio::test(start_paused = true)]
async fn escalation_through_three_levels() {
    // OTP: a supervisor that gives up ends with `shutdown`, its permanent place in its parent is restarted,
    // with a new budget; that counts in the parent. So 2 x 2 x 2 crashes of the leaf are needed, whatever the
    // strategies. Deviates: its exit names the child, the cause and the limit, at each level.
    for spec in [SupervisorSpec::one_for_one(), SupervisorSpec::one_for_all(), SupervisorSpec::rest_for_one()]
    {
        let (play, crashes) = three_levels(spec.clone(), spec.clone(), spec).await;
        assert_eq!(crashes, 8);
        let exit = play.gives_up().await;
        let culprits: Vec<_> = exit.culprits().map(|id| id.as_str()).collect();
        assert_eq!(culprits, ["middle", "low", "leaf"]);
        assert_eq!(exit.chain().last(), Some(&Exit::ActorFailed { chain: vec!["abnormal".into()] }));
        let log = play.log();
        let starts = |name: &str| log.split(' ').filter(|word| *word == format!("+{name}")).count();
        let ends = |name: &str| log.split(' ').filter(|word| *word == format!("-{name}")).count();
        for name in ["t", "m", "x", "leaf", "y"] {
            assert_eq!(starts(name), ends(name), "nothing is left of {name}");
        }
        assert_eq!(starts("leaf"), 8);
    }
}

#[tokio::test(start_paused = true)]
async fn a_transient_supervisor_that_gives_up_stays_down() {
    // OTP: it ends with `shutdown`, which does not bring a transient child back. As OTP, and it shows (S-17).
    let cast = Cast::new();
    let low = cast.all(SupervisorSpec::one_for_one().intensity(0, HOUR), &["leaf"]);
    let low = ChildSpec::supervisor("low", low).restart(transient());
    let play = cast.start(SupervisorSpec::one_for_one().child(low)).await;
    play.dies("/low/leaf", Death::Abnormal).await;
    assert!(play.which().await.starts_with("low:gave up: "), "{}", play.which().await);
    assert_eq!(play.used(), 0);
    assert_eq!(play.sup.restart_child("low").await.unwrap().0, 2);
    play.over().await;
}
