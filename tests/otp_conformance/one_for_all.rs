//! `supervisor_SUITE`, group `restart_one_for_all`.

use procession::{exit::Exit, supervision::SupervisorSpec};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn one_for_all() {
    // OTP: whichever child dies, all others are terminated in reverse order and all are started in
    // order; this counts as one restart.
    for (position, ends) in [("/a", "-a -c -b"), ("/b", "-b -c -a"), ("/c", "-c -b -a")] {
        let cast = Cast::new();
        let spec = cast.all(SupervisorSpec::one_for_all().intensity(2, HOUR), &["a", "b", "c"]);
        let play = cast.start(spec).await;
        play.log();
        for used in 1..=2 {
            play.dies(position, Death::Abnormal).await;
            assert_eq!(play.log(), format!("{ends} ?a +a ?b +b ?c +c"));
            assert_eq!(play.used(), used);
        }
        play.dies(position, Death::Abnormal).await;
        assert_eq!(play.log(), ends);
        assert!(matches!(play.gives_up().await, Exit::IntensityExceeded { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn one_for_all_escalation() {
    // OTP: a child that cannot be restarted ends the supervisor when the intensity is spent, and with it
    // those that had been restarted already.
    let cast = Cast::new();
    let script = Script::default();
    let spec =
        cast.all(SupervisorSpec::one_for_all().intensity(1, HOUR), &["a"]).child(cast.scripted("b", &script));
    let play = cast.start(spec).await;
    play.log();
    script.always(Birth::Fails);
    play.dies("/b", Death::Abnormal).await;
    assert_eq!(play.log(), "-b -a ?a +a ?b -a");
    assert!(matches!(play.gives_up().await, Exit::IntensityExceeded { .. }));
}

#[tokio::test(start_paused = true)]
async fn one_for_all_other_child_fails_restart() {
    // OTP: a dies; another child fails its restart: those that had been started are terminated again, all are
    // started again, and nobody ends up twice.
    for (failing, first) in [("a", "?a"), ("b", "?a +a ?b"), ("c", "?a +a ?b +b ?c")] {
        let cast = Cast::new();
        let script = Script::default();
        let mut spec = SupervisorSpec::one_for_all().intensity(3, HOUR);
        for name in ["a", "b", "c"] {
            let calm = Script::default();
            spec = spec.child(cast.scripted(name, if name == failing { &script } else { &calm }));
        }
        let play = cast.start(spec).await;
        play.log();
        script.next([Birth::Fails]);
        play.dies("/a", Death::Abnormal).await;
        let up: Vec<_> =
            first.split(' ').filter_map(|w| w.strip_prefix('+')).rev().map(|n| format!("-{n} ")).collect();
        assert_eq!(play.log(), format!("-a -c -b {first} {}?a +a ?b +b ?c +c", up.concat()));
        assert_eq!(play.used(), 2, "the crash and the failed start");
        play.over().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_for_all_other_child_fails_restart_multiple_times() {
    // OTP: until it works or the intensity is spent.
    let cast = Cast::new();
    let script = Script::default();
    let spec =
        cast.all(SupervisorSpec::one_for_all().intensity(4, HOUR), &["a"]).child(cast.scripted("b", &script));
    let play = cast.start(spec).await;
    play.log();
    script.next([Birth::Fails, Birth::Panics, Birth::Fails]);
    play.dies("/a", Death::Abnormal).await;
    assert_eq!(play.log(), "-a -b ?a +a ?b -a ?a +a ?b -a ?a +a ?b -a ?a +a ?b +b");
    assert_eq!(play.used(), 4);
    play.dies("/a", Death::Abnormal).await;
    assert!(matches!(play.gives_up().await, Exit::IntensityExceeded { .. }));
}

#[tokio::test(start_paused = true)]
async fn death_during_the_terminations_of_a_group_restart() {
    // OTP: exits of children that the supervisor is terminating are consumed by that, in whatever way they
    // end.
    for death in CRASHES {
        for early in ["/a", "/b"] {
            let cast = Cast::new();
            let slow = Script::default().stop_takes(100);
            let spec = cast.all(SupervisorSpec::one_for_all().intensity(1, HOUR), &["a", "b"]);
            let play_spec = spec.child(cast.scripted("slow", &slow)).child(cast.plain("d"));
            let play = cast.start(play_spec).await;
            play.dies("/d", Death::Abnormal).await;
            play.log();
            // `slow` is being awaited; one that has not been asked yet dies.
            play.dies(early, death).await;
            time_passes(1000).await;
            assert!(play.log().ends_with("?a +a ?b +b ?slow +slow ?d +d"));
            assert_eq!(play.used(), 1);
            assert_eq!(play.which().await, "a:ready#2 b:ready#2 slow:ready#2 d:ready#2");
            play.over().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn death_during_the_starts_of_a_group_restart() {
    // OTP: the supervisor is blocked by the starts and sees the exit afterwards: a second restart of all.
    // Deviates in time (S-13): the start in flight is cancelled, and the second restart begins at once. As
    // OTP, it counts.
    let cast = Cast::new();
    let script = Script::default();
    let spec = cast
        .all(SupervisorSpec::one_for_all().intensity(3, HOUR), &["a", "b"])
        .child(cast.scripted("slow", &script));
    let play = cast.start(spec).await;
    script.next([Birth::Hangs]);
    play.dies("/b", Death::Abnormal).await;
    play.log();
    play.dies("/a", Death::Abnormal).await;
    assert_eq!(play.log(), "-a -b ?a +a ?b +b ?slow +slow");
    assert_eq!(play.used(), 2);
    assert_eq!(play.which().await, "a:ready#3 b:ready#3 slow:ready#3");
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn all_at_once_under_one_for_all() {
    // OTP (S-15): exits that are in the mailbox when the terminations begin are consumed by them: one
    // restart.
    for order in [["/a", "/b", "/c"], ["/c", "/b", "/a"], ["/b", "/a", "/c"]] {
        let cast = Cast::new();
        let spec = cast.all(SupervisorSpec::one_for_all().intensity(1, HOUR), &["a", "b", "c"]);
        let play = cast.start(spec).await;
        play.die_together(&order, Death::Abnormal).await;
        assert_eq!(play.which().await, "a:ready#2 b:ready#2 c:ready#2");
        assert_eq!(play.used(), 1, "{order:?}");
        play.over().await;
    }
}
