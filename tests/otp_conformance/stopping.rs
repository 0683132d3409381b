//! `supervisor_SUITE`, group `sup_stop`, and `order_of_children`, `simple_one_for_one_shutdown`,
//! `scale_start_stop_many_children`.

use procession::{
    event::ExitConsequence,
    exit::Exit,
    supervision::{ChildSpec, Shutdown, SupervisorSpec},
};
use tokio::time::Instant;

use crate::support::*;

const DEATHS: [Death; 6] =
    [Death::Normal, Death::Shutdown, Death::ShutdownTerm, Death::Abnormal, Death::Panic, Death::Killed];

#[tokio::test(start_paused = true)]
async fn sup_stop_infinity() {
    // OTP (S-3): allowed for supervisors and for workers; however long they take, they are awaited and not
    // killed.
    let cast = Cast::new();
    let slow = Script::default().stop_takes(1_000_000);
    let low = SupervisorSpec::one_for_one().child(cast.scripted("a", &slow).shutdown(Shutdown::Infinity));
    let spec = SupervisorSpec::one_for_one()
        .child(ChildSpec::supervisor("low", low).shutdown(Shutdown::Infinity))
        .child(cast.scripted("b", &slow).shutdown(Shutdown::Infinity));
    let play = cast.start(spec).await;
    play.log();
    let begin = Instant::now();
    play.root.stop(None);
    assert_eq!(play.root.wait().await, Exit::Requested);
    assert_eq!(begin.elapsed().as_secs(), 2000, "one after the other");
    assert_eq!(play.log(), "-b -a");
    assert_eq!(play.exits("/b"), [(Exit::Requested, ExitConsequence::Nothing)]);
}

#[tokio::test(start_paused = true)]
async fn sup_stop_timeout() {
    // OTP: a child that has not ended when its time is over is killed (`killed`), the other ends by
    // `shutdown`.
    let cast = Cast::new();
    let time = Shutdown::Timeout(SEC);
    let spec = SupervisorSpec::one_for_one()
        .child(cast.plain("one").shutdown(time))
        .child(cast.plain("two").shutdown(time));
    let play = cast.start(spec).await;
    // It is busy, and does not even hear that it is asked.
    play.child("/two").cast(Pull::Sleep(200 * SEC)).unwrap();
    settle().await;
    play.log();
    let begin = Instant::now();
    play.root.stop(None);
    assert_eq!(play.root.wait().await, Exit::Requested);
    assert_eq!(begin.elapsed().as_millis(), 1000);
    assert_eq!(play.log(), "-two -one");
    let mut events = play.events().into_iter().filter_map(|e| match &e.kind {
        procession::event::EventKind::Exited { exit, .. } => Some((e.path.to_string(), exit.clone())),
        _ => None,
    });
    assert_eq!(events.next(), Some(("/two".into(), Exit::ActorKilled)));
    assert_eq!(events.next(), Some(("/one".into(), Exit::Requested)));
}

#[tokio::test(start_paused = true)]
async fn sup_stop_timeout_zero() {
    // OTP (S-3): a timeout of 0 is allowed: asked and killed at once.
    let cast = Cast::new();
    let slow = Script::default().stop_takes(1000);
    let play = cast
        .start(
            SupervisorSpec::one_for_one()
                .child(cast.scripted("a", &slow).shutdown(Shutdown::Timeout(NO_TIME))),
        )
        .await;
    let begin = Instant::now();
    play.sup.terminate_child("a").await.unwrap();
    assert!(begin.elapsed() < 5 * MS);
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn sup_stop_brutal_kill() {
    // OTP (S-3): it is killed without being asked, the other is asked.
    let cast = Cast::new();
    let slow = Script::default().stop_takes(1000);
    let spec = SupervisorSpec::one_for_one()
        .child(cast.scripted("one", &slow).shutdown(Shutdown::Timeout(2 * SEC)))
        .child(cast.scripted("two", &slow).shutdown(Shutdown::BrutalKill));
    let play = cast.start(spec).await;
    play.log();
    play.root.stop(None);
    settle().await;
    assert_eq!(play.log(), "-two");
    let begin = Instant::now();
    let _ = play.root.wait().await;
    assert_eq!(play.log(), "-one");
    assert_eq!(begin.elapsed().as_millis(), 999);
}

#[tokio::test(start_paused = true)]
async fn brutal_kill_under_simple_one_for_one() {
    // OTP (and Elixir, "terminates children with brutal kill", "... with mixed children"): all at once, each
    // in its own way, and all are awaited.
    let cast = Cast::new();
    let slow = Script::default().stop_takes(1000);
    let spec = SupervisorSpec::dynamic()
        .child(cast.scripted("patient", &slow).shutdown(Shutdown::Infinity))
        .child(cast.scripted("brutal", &slow).shutdown(Shutdown::BrutalKill))
        .child(cast.scripted("timed", &slow).shutdown(Shutdown::Timeout(500 * MS)))
        .child(cast.scripted("brutal2", &slow).shutdown(Shutdown::BrutalKill));
    let play = cast.start(spec).await;
    play.log();
    let begin = Instant::now();
    play.root.stop(None);
    settle().await;
    assert_eq!(play.log(), "-brutal -brutal2");
    let _ = play.root.wait().await;
    assert_eq!(play.log(), "-timed -patient");
    assert_eq!(begin.elapsed().as_millis(), 1000);
}

#[tokio::test(start_paused = true)]
async fn order_of_children() {
    // OTP: children are started in order and terminated in reverse order, those that came later included,
    // after any restarts and in any strategy.
    for strategy in STRATEGIES {
        let cast = Cast::new();
        let spec = cast.all(SupervisorSpec::new(strategy).intensity(9, HOUR), &["a", "b", "c"]);
        let d = cast.plain("d");
        let play = cast.start(spec).await;
        play.sup.start_child(d).await.unwrap();
        for path in ["/a", "/d", "/b"] {
            play.dies(path, Death::Abnormal).await;
        }
        play.sup.restart("a").await.unwrap();
        play.log();
        let record = play.record.clone();
        play.over().await;
        assert_eq!(record.take(), "-d -c -b -a", "{strategy}");
    }
}

#[tokio::test(start_paused = true)]
async fn reverse_termination_with_slow_children() {
    // OTP: each is awaited before the next is asked, so that what depends on it is gone before it.
    let cast = Cast::new();
    let mut spec = SupervisorSpec::one_for_one();
    for (name, ms) in [("a", 10), ("b", 300), ("c", 20), ("d", 100)] {
        spec = spec.child(cast.scripted(name, &Script::default().stop_takes(ms)));
    }
    let play = cast.start(spec).await;
    play.log();
    let begin = Instant::now();
    play.root.stop(None);
    for (path, until) in [("/d", 100), ("/c", 120), ("/b", 420), ("/a", 430)] {
        let place = play.root.find(path);
        let Ok(place) = place else { continue };
        place.wait_state(|s| s.is_down()).await;
        assert_eq!(begin.elapsed().as_millis(), until);
    }
    let _ = play.root.wait().await;
    assert_eq!(play.log(), "-d -c -b -a");
}

#[tokio::test(start_paused = true)]
async fn simple_one_for_one_shutdown() {
    // OTP: all are asked at the same time, so that the whole takes as long as the slowest one.
    let cast = Cast::new();
    let mut spec = SupervisorSpec::dynamic();
    for (name, ms) in [("a", 100), ("b", 50), ("c", 1500)] {
        spec = spec.child(cast.scripted(name, &Script::default().stop_takes(ms)));
    }
    let play = cast.start(spec).await;
    play.log();
    let begin = Instant::now();
    play.root.stop(None);
    let _ = play.root.wait().await;
    assert_eq!(begin.elapsed().as_millis(), 1500);
    assert_eq!(play.log(), "-b -a -c");
}

#[tokio::test(start_paused = true)]
async fn children_that_end_in_their_own_way_while_they_are_terminated() {
    // OTP: a child that answers the exit signal with another reason is reported, but the termination goes on;
    // nothing is restarted. Elixir: "terminates children with infinity shutdown and abnormal reason", "...
    // integer shutdown and abnormal reason", "... permanent restart and normal reason".
    for death in DEATHS {
        for shutdown in [Shutdown::Infinity, Shutdown::Timeout(SEC)] {
            for spec in supervisors() {
                let cast = Cast::new();
                let script = Script::default().stop_takes(5).last_word(death);
                let mut spec = spec;
                for name in ["a", "b", "c"] {
                    spec = spec.child(cast.scripted(name, &script).restart(permanent()).shutdown(shutdown));
                }
                let play = cast.start(spec).await;
                play.log();
                play.sup.terminate_child("b").await.unwrap();
                assert_eq!(play.log(), "-b");
                let record = play.record.clone();
                assert_eq!(play.used(), 0);
                play.over().await;
                assert!(["-c -a", "-a -c"].contains(&record.take().as_str()));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn children_that_die_before_the_termination_comes_to_them() {
    // OTP: one that is dead already when its turn comes is no error and is not awaited.
    for death in DEATHS {
        let cast = Cast::new();
        let slow = Script::default().stop_takes(100);
        let spec = cast
            .all(SupervisorSpec::one_for_one().intensity(0, HOUR), &["a", "b"])
            .child(cast.scripted("c", &slow));
        let play = cast.start(spec).await;
        play.log();
        let (a, b) = (play.child("/a"), play.child("/b"));
        let begin = Instant::now();
        play.root.stop(None);
        settle().await;
        b.cast(Pull::Die(death)).unwrap();
        a.cast(Pull::Die(death)).unwrap();
        assert_eq!(play.root.wait().await, Exit::Requested, "no restart, no escalation: {death:?}");
        assert_eq!(begin.elapsed().as_millis(), 100);
        assert_eq!(play.log(), "-b -a -c");
    }
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_stopped_while_it_starts() {
    // OTP: an exit signal that arrives during `init` waits until all children are up. Deviates: ours hears it
    // at once. The start in flight is cancelled, and those that had started are stopped in reverse order.
    let cast = Cast::new();
    let play = cast.start(SupervisorSpec::one_for_one()).await;
    let low = cast.all(SupervisorSpec::one_for_one(), &["a", "b"]);
    let low = low.child(cast.scripted("c", &Script::births([Birth::Hangs])));
    let sup = play.sup.clone();
    let start = tokio::spawn(async move { sup.start_child(ChildSpec::supervisor("low", low)).await });
    settle().await;
    let begin = Instant::now();
    play.sup.terminate_child("low").await.unwrap();
    assert!(begin.elapsed() < SEC);
    assert!(start.await.unwrap().is_err());
    assert_eq!(play.log(), "?a +a ?b +b ?c -b -a");
    assert_eq!(play.count().await, [1, 0, 1, 0]);
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn scale_start_stop_many_children() {
    // OTP: starting and stopping many children takes time in proportion to their number, in both kinds of
    // supervisors.
    for spec in [SupervisorSpec::one_for_one(), SupervisorSpec::dynamic()] {
        let mut took = Vec::new();
        for n in [150, 2400] {
            let cast = Cast::new();
            let children: Vec<_> = (0..n).map(|i| cast.plain(&format!("c{i}"))).collect();
            let begin = std::time::Instant::now();
            let play = cast.start(spec.clone()).await;
            for child in children {
                play.sup.start_child(child).await.unwrap();
            }
            assert_eq!(play.count().await, [n, n, 0, n]);
            for i in (0..n).step_by(2) {
                play.sup.remove_child(format!("c{i}")).await.unwrap();
            }
            assert_eq!(play.count().await, [n / 2, n / 2, 0, n / 2]);
            play.over().await;
            took.push(begin.elapsed());
        }
        // Sixteen times as many; 256 times as long would be quadratic.
        assert!(took[1] < 100 * took[0] + SEC, "{took:?}");
    }
}
