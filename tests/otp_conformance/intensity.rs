//! `supervisor_SUITE`: `multiple_restarts`, `hanging_restart_loop` and its relatives, and the sliding window.

use procession::{
    exit::Exit,
    restart::{BudgetScope, CrashLoop, CrashLoopAction},
    state::{GiveUpReason, Strategy},
    supervision::{RequestError, SupervisorSpec},
};
use tokio::time::Instant;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn multiple_restarts() {
    // OTP: as many restarts as the intensity allows in its period are made, any number of them if it allows
    // that.
    for spec in supervisors() {
        let cast = Cast::new();
        let play = cast.start(cast.all(spec.intensity(1000, SEC), &["a"])).await;
        for n in 1..=1000 {
            play.child("/a").cast(Pull::Die(Death::Abnormal)).unwrap();
            play.child("/a").wait_ready(SEC).await.unwrap();
            if n % 3 == 0 {
                settle().await;
            }
            let a = play.child("/a");
            while a.node().incarnation().0 != n + 1 || a.actor().is_err() {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(play.used(), 1000);
        play.dies("/a", Death::Abnormal).await;
        assert!(matches!(play.gives_up().await, Exit::IntensityExceeded { .. }));
    }
}

/// Crashes at these times (ms), none of which may be fatal but the last.
async fn crashes(spec: SupervisorSpec, times: &[u64], fatal: bool) {
    let cast = Cast::new();
    let play = cast.start(cast.all(spec, &["a"])).await;
    let begin = Instant::now();
    for (n, at) in times.iter().enumerate() {
        tokio::time::sleep_until(begin + std::time::Duration::from_millis(*at)).await;
        assert!(!play.has_ended(), "before crash {n} of {times:?}");
        play.child("/a").cast(Pull::Die(Death::Abnormal)).unwrap();
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    settle().await;
    assert_eq!(play.has_ended(), fatal, "{times:?}");
    if !fatal {
        play.over().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_window_slides() {
    // OTP: restarts are remembered with their times; the intensity is exceeded when the last MaxR + 1 of them
    // are within MaxT of each other. It is not a counter that is reset every period. A restart that is
    // exactly one period old still counts (S-2, as in OTP's comparison).
    let spec = || SupervisorSpec::one_for_one().intensity(2, SEC);
    crashes(spec(), &[0, 400, 800], true).await;
    crashes(spec(), &[0, 400, 1000], true).await;
    crashes(spec(), &[0, 400, 1001], false).await;
    crashes(spec(), &[0, 600, 1200, 1800, 2400, 3000], false).await;
    // Two at the end of one period and one at the beginning of the next: a counter that is reset would not
    // see it.
    crashes(spec(), &[0, 900, 1010, 1100], true).await;
    crashes(spec(), &[0, 900, 1010, 1901], false).await;
    crashes(spec(), &[0, 900, 1010, 1901, 1902], true).await;
}

#[tokio::test(start_paused = true)]
async fn the_window_is_the_supervisors() {
    // OTP: all children share it; simultaneous crashes of a group are one.
    let cast = Cast::new();
    let spec = cast.all(SupervisorSpec::one_for_one().intensity(2, SEC), &["a", "b", "c"]);
    let play = cast.start(spec).await;
    for path in ["/a", "/b", "/c"] {
        play.dies(path, Death::Abnormal).await;
    }
    let exit = play.gives_up().await;
    assert_eq!(exit.culprits().next().map(|id| id.as_str()), Some("c"));
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_restarted_has_a_new_budget() {
    // OTP: the restarts it has made are part of its state, and go with it.
    let cast = Cast::new();
    let low = cast.all(SupervisorSpec::one_for_one().intensity(1, HOUR), &["a"]);
    let low = procession::supervision::ChildSpec::supervisor("low", low);
    let play = cast.start(SupervisorSpec::one_for_one().intensity(1, HOUR).child(low)).await;
    for _ in 0..2 {
        play.dies("/low/a", Death::Abnormal).await;
    }
    let used = || play.root.snapshot().root.children[0].supervisor.clone().unwrap().restarts_used;
    assert_eq!(used(), 0);
    play.dies("/low/a", Death::Abnormal).await;
    assert_eq!(used(), 1);
    assert_eq!(play.root.find("/low/a").unwrap().incarnation().0, 4);
    play.over().await;
}

/// A child whose restart never succeeds, with more restarts allowed than it can make.
async fn hang(strategy: Strategy, dynamic: bool) {
    let cast = Cast::new();
    let script = Script::default();
    let mut spec = SupervisorSpec::new(strategy).intensity(1_000_000, HOUR);
    spec.flags.dynamic = dynamic;
    let spec = cast.all(spec, &["first"]);
    let bad = cast.scripted("bad", &script).restart(after(1));
    let spec = cast.all(spec.child(bad), &["last"]);
    let play = cast.start(spec).await;
    script.always(Birth::Fails);
    play.dies("/bad", Death::Abnormal).await;
    let before = play.used();
    time_passes(1000).await;
    assert!(play.used() > before + 400, "it is in a loop: {}", play.used());
    // OTP: a supervisor in such a loop still answers.
    let begin = Instant::now();
    assert_eq!(play.count().await[0], 3);
    assert!(play.which().await.contains("bad:"), "{}", play.which().await);
    let other = cast.plain("other");
    if strategy == Strategy::OneForOne {
        play.sup.start_child(other).await.unwrap();
        assert_eq!(play.sup.restart_child("first").await, Err(RequestError::Running("first".into())));
    }
    let restarting = play.sup.restart_child("bad").await;
    assert!(
        matches!(restarting, Err(RequestError::Restarting(_) | RequestError::Running(_))),
        "{restarting:?}"
    );
    assert!(begin.elapsed() < 20 * MS, "{:?}", begin.elapsed());
    // OTP: the child can be terminated out of its loop, and deleted; the others are as they should be.
    play.sup.terminate_child("bad").await.unwrap();
    let used = play.used();
    time_passes(1000).await;
    assert_eq!(play.used(), used, "the loop is over");
    play.sup.delete_child("bad").await.unwrap();
    let which = play.which().await;
    assert!(which.split(' ').all(|child| child.contains(":ready#")), "{which}");
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn hanging_restart_loop() {
    // OTP: see `hang`. (Its case is one-for-one.)
    hang(Strategy::OneForOne, false).await;
}

#[tokio::test(start_paused = true)]
async fn hanging_restart_loop_one_for_all() {
    // OTP: as above.
    hang(Strategy::OneForAll, false).await;
}

#[tokio::test(start_paused = true)]
async fn hanging_restart_loop_rest_for_one() {
    // OTP: as above.
    hang(Strategy::RestForOne, false).await;
}

#[tokio::test(start_paused = true)]
async fn hanging_restart_loop_simple() {
    // OTP: as above, under simple-one-for-one; the supervisor can also be terminated (below).
    hang(Strategy::OneForOne, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_in_a_restart_loop_can_be_stopped() {
    // OTP: terminating the supervisor ends the loop.
    for spec in supervisors() {
        for delay in [0, 1, 1000] {
            let cast = Cast::new();
            let script = Script::default();
            let bad = cast.scripted("bad", &script.clone().start_takes(1)).restart(after(delay));
            let play = cast.start(cast.all(spec.clone().intensity(1_000_000, HOUR), &["a"]).child(bad)).await;
            script.always(Birth::Fails);
            play.dies("/bad", Death::Abnormal).await;
            time_passes(100).await;
            play.log();
            let begin = Instant::now();
            play.root.stop(None);
            assert_eq!(play.root.wait().await, Exit::Requested);
            assert!(begin.elapsed() < 5 * MS);
            time_passes(10_000).await;
            assert!(!play.log().contains('?'), "nothing is started any more");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn blocked_starts_block_nobody() {
    // OTP: a restart whose start function hangs blocks its supervisor for good: no call is answered, and it
    // can only be killed. Deviates, deliberately (S-18): every call is answered at once, and the hanging
    // start can be terminated.
    for strategy in STRATEGIES {
        let cast = Cast::new();
        let script = Script::default();
        let spec = cast.all(SupervisorSpec::new(strategy).intensity(9, HOUR), &["a"]);
        let spec = spec.child(cast.scripted("b", &script)).child(cast.plain("c"));
        let play = cast.start(spec).await;
        script.next([Birth::Hangs]);
        play.dies("/b", Death::Abnormal).await;
        let begin = Instant::now();
        assert!(play.which().await.contains("b:starting#2"), "{}", play.which().await);
        assert_eq!(play.count().await[0], 3);
        assert_eq!(play.sup.delete_child("b").await, Err(RequestError::Running("b".into())));
        play.sup.terminate_child("b").await.unwrap();
        assert_eq!(begin.elapsed(), NO_TIME);
        settle().await;
        let which = play.which().await;
        assert!(which.contains("b:stopped#2") && which.matches(":ready").count() == 2, "{which}");
        play.sup.delete_child("b").await.unwrap();
        play.over().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_its_own() {
    // OTP: has none. A child with a budget of its own does not touch the supervisor's, and gives up alone.
    let cast = Cast::new();
    let own = permanent().with_budget(BudgetScope::Own(CrashLoop::new(3, HOUR, CrashLoopAction::GiveUp)));
    let spec = cast.all(SupervisorSpec::one_for_one().intensity(0, HOUR), &["b"]);
    let play = cast.start(spec.child(cast.plain("a").restart(own))).await;
    for _ in 0..3 {
        play.dies("/a", Death::Abnormal).await;
    }
    assert_eq!(play.used(), 0);
    let limit = GiveUpReason::CrashLoop { max_failures: 3, window: HOUR };
    assert_eq!(play.which().await, format!("b:ready#1 a:gave up: {limit}#3"));
    play.over().await;
}
