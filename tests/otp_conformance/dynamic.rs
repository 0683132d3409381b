//! Elixir's `DynamicSupervisor` tests, and `supervisor_SUITE`, group `restart_simple_one_for_one`.

use procession::{
    exit::Exit,
    state::Strategy,
    supervision::{ChildSpec, RequestError, Shutdown, SupervisorSpec},
};
use tokio::time::Instant;

use crate::support::*;

fn dynamic() -> SupervisorSpec {
    SupervisorSpec::dynamic().intensity(100_000, HOUR)
}

#[tokio::test(start_paused = true)]
async fn can_be_supervised_directly() {
    // Elixir: as a child of a supervisor; several of them beside each other; a second one by the same id is
    // `already_started`.
    let cast = Cast::new();
    let low = |id: &str| ChildSpec::supervisor(id, SupervisorSpec::dynamic());
    let play = cast.start(SupervisorSpec::one_for_one().child(low("one")).child(low("two"))).await;
    assert_eq!(which(&play.root.supervisor_at("/one").unwrap()).await, "");
    assert_eq!(play.sup.start_child(low("two")).await, Err(RequestError::AlreadyStarted("two".into())));
    play.root.supervisor_at("/two").unwrap().start_child(cast.plain("a")).await.unwrap();
    assert_eq!(which(&play.root.supervisor_at("/two").unwrap()).await, "a:ready#1");
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn children_of_a_restarted_dynamic_supervisor() {
    // Elixir, OTP: children that were started at run time are not started again when their supervisor is
    // restarted.
    let cast = Cast::new();
    let low =
        ChildSpec::supervisor("low", cast.all(SupervisorSpec::dynamic().intensity(0, HOUR), &["declared"]));
    let play = cast.start(SupervisorSpec::one_for_one().child(low.restart(after(1000)))).await;
    let sup = play.root.supervisor_at("/low").unwrap();
    sup.start_child(cast.plain("a")).await.unwrap();
    let a = play.child("/low/a");
    play.dies("/low/a", Death::Abnormal).await;
    // Until the supervisor is back it is not known whether it declares this child.
    let waiting = a.clone();
    let waiting = tokio::spawn(async move { waiting.wait_ready(HOUR).await });
    time_passes(1000).await;
    let begin = Instant::now();
    assert!(waiting.await.unwrap().is_err());
    assert_eq!(begin.elapsed(), NO_TIME, "they are told when it has left");
    // The address of the supervisor is good for its successor.
    assert_eq!(which(&sup).await, "declared:ready#2");
    assert!(play.root.find("/low/a").is_err());
    assert!(a.wait_ready(HOUR).await.is_err(), "nobody waits for a child that has left");
    // A new child by the old id is another incarnation than any before.
    assert_eq!(sup.start_child(cast.plain("a")).await.unwrap().0, 2);
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn set_default_options() {
    // Elixir: 3 restarts in 5 seconds, no bound on the number of children.
    let flags = SupervisorSpec::dynamic().flags;
    assert_eq!((flags.effective_intensity().max_restarts, flags.effective_intensity().period), (3, 5 * SEC));
    assert_eq!((flags.strategy, flags.max_children), (Strategy::OneForOne, None));
}

#[tokio::test(start_paused = true)]
async fn with_different_returns() {
    // Elixir: `{:ok, pid}`, `:ignore` and errors are handed to the caller. Deviates: an ignored child that is
    // not temporary is kept.
    let cast = Cast::new();
    let play = cast.start(dynamic()).await;
    let start = |name: &str, birth: Birth| {
        let child = cast.scripted(name, &Script::births([birth])).restart(temporary());
        let sup = play.sup.clone();
        async move { sup.start_child(child).await }
    };
    assert_eq!(start("ok", Birth::Well).await.unwrap().0, 1);
    assert_eq!(start("ignore", Birth::Ignored).await.unwrap().0, 0);
    for birth in [Birth::Fails, Birth::Panics, Birth::Exits(Exit::ActorKilled)] {
        assert!(matches!(start("error", birth).await, Err(RequestError::StartFailed { .. })));
    }
    assert_eq!(play.which().await, "ok:ready#1");
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn with_max_children() {
    // Elixir: `{:error, :max_children}`; zero is valid. Removed children make room.
    let cast = Cast::new();
    let play = cast.start(dynamic().max_children(0)).await;
    assert_eq!(play.sup.start_child(cast.plain("a")).await, Err(RequestError::MaxChildren(0)));
    play.over().await;
    let play = cast.start(dynamic().max_children(2)).await;
    for name in ["a", "b"] {
        play.sup.start_child(cast.plain(name).restart(temporary())).await.unwrap();
    }
    assert_eq!(play.sup.start_child(cast.plain("c")).await, Err(RequestError::MaxChildren(2)));
    assert_eq!(play.sup.start_child(cast.plain("a")).await, Err(RequestError::AlreadyStarted("a".into())));
    play.dies("/a", Death::Abnormal).await;
    play.sup.start_child(cast.plain("c")).await.unwrap();
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn children_that_start_and_stop_count_in_max_children() {
    // Elixir (S-23): its supervisor is blocked meanwhile. Ours is not, and the cap holds however many ask
    // at once.
    let cast = Cast::new();
    let play = cast.start(dynamic().max_children(2)).await;
    let slow = Script::default().start_takes(100).stop_takes(100);
    let starts: Vec<_> = (0..5)
        .map(|n| {
            let (sup, child) = (play.sup.clone(), cast.scripted(&format!("c{n}"), &slow));
            tokio::spawn(async move { sup.start_child(child).await })
        })
        .collect();
    let mut refused = 0;
    for start in starts {
        refused += usize::from(start.await.unwrap() == Err(RequestError::MaxChildren(2)));
    }
    assert_eq!(refused, 3);
    let sup = play.sup.clone();
    let stop = tokio::spawn(async move { sup.remove_child("c0").await });
    settle().await;
    assert_eq!(play.sup.start_child(cast.plain("x")).await, Err(RequestError::MaxChildren(2)));
    stop.await.unwrap().unwrap();
    play.sup.start_child(cast.plain("x")).await.unwrap();
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn temporary_child_is_not_restarted_regardless_of_reason() {
    // Elixir: and it leaves the table.
    let cast = Cast::new();
    let play = cast.start(dynamic()).await;
    for death in
        [Death::Normal, Death::Shutdown, Death::ShutdownTerm, Death::Abnormal, Death::Panic, Death::Killed]
    {
        play.sup.start_child(cast.plain("a").restart(temporary())).await.unwrap();
        play.dies("/a", death).await;
        assert_eq!(play.count().await, [0, 0, 0, 0]);
    }
    assert_eq!(play.used(), 0);
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn transient_child_is_restarted_unless_normal_or_shutdown() {
    // Elixir (S-23): as said; one that ends well leaves the table, and its seat.
    let cast = Cast::new();
    let play = cast.start(dynamic().max_children(1)).await;
    for (name, death) in [("a", Death::Normal), ("b", Death::Shutdown), ("c", Death::ShutdownTerm)] {
        play.sup.start_child(cast.plain(name).restart(transient())).await.unwrap();
        play.dies(&format!("/{name}"), death).await;
        assert_eq!(play.count().await, [0, 0, 0, 0]);
    }
    let first = play.sup.start_child(cast.plain("d").restart(transient())).await.unwrap();
    assert_eq!(first.0, 4, "no incarnation is used twice");
    for (n, death) in CRASHES.into_iter().enumerate() {
        play.dies("/d", death).await;
        assert_eq!(play.root.find("/d").unwrap().incarnation().0, n as u64 + 5);
        assert_eq!(play.count().await, [1, 1, 0, 1]);
    }
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn permanent_child_is_restarted_regardless_of_reason() {
    // Elixir: as said.
    let cast = Cast::new();
    let play = cast.start(dynamic()).await;
    play.sup.start_child(cast.plain("a")).await.unwrap();
    let deaths =
        [Death::Normal, Death::Shutdown, Death::ShutdownTerm, Death::Abnormal, Death::Panic, Death::Killed];
    for death in deaths {
        play.dies("/a", death).await;
        assert_eq!(play.count().await, [1, 1, 0, 1]);
    }
    assert_eq!(play.used(), 6);
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn child_is_restarted_with_different_values() {
    // Elixir: the restart may answer something else than the first start did: ignored children leave the
    // table, failed ones are `restarting`.
    let cast = Cast::new();
    let script = |births: &[Birth]| {
        let script = Script::births([Birth::Well]);
        script.next(births.iter().cloned());
        script
    };
    let play = cast.start(dynamic()).await;
    for (name, births) in [("ok", vec![]), ("ignore", vec![Birth::Ignored]), ("error", vec![Birth::Fails; 1])]
    {
        let child = cast.scripted(name, &script(&births)).restart(after(10));
        play.sup.start_child(child).await.unwrap();
        play.dies(&format!("/{name}"), Death::Shutdown).await;
    }
    assert_eq!(play.count().await, [3, 0, 0, 3]);
    time_passes(12).await;
    assert_eq!(play.which().await, "ok:ready#2 error:restarting#2");
    assert_eq!(play.count().await, [2, 1, 0, 2]);
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn restarting_on_init_children_counted_in_max_children() {
    // Elixir: a child whose restart fails is restarting, and takes a seat.
    let cast = Cast::new();
    let script = Script::default();
    let play = cast.start(dynamic().max_children(1)).await;
    play.sup.start_child(cast.scripted("a", &script).restart(after(10))).await.unwrap();
    script.always(Birth::Fails);
    play.dies("/a", Death::Shutdown).await;
    assert_eq!(play.count().await, [1, 0, 0, 1]);
    assert_eq!(play.sup.start_child(cast.plain("b")).await, Err(RequestError::MaxChildren(1)));
    time_passes(100).await;
    assert_eq!(play.sup.start_child(cast.plain("b")).await, Err(RequestError::MaxChildren(1)));
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn restarting_on_exit_children_counted_in_max_children() {
    // Elixir (S-23): and so does one that is restarted at once.
    let cast = Cast::new();
    let play = cast.start(dynamic().max_children(1)).await;
    play.sup.start_child(cast.plain("a")).await.unwrap();
    play.dies("/a", Death::Shutdown).await;
    assert_eq!(play.count().await, [1, 1, 0, 1]);
    assert_eq!(play.sup.start_child(cast.plain("b")).await, Err(RequestError::MaxChildren(1)));
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn child_is_restarted_when_trying_again() {
    // Elixir: a restart that fails once and then works.
    let cast = Cast::new();
    let script = Script::default();
    let play = cast.start(SupervisorSpec::dynamic().intensity(2, HOUR)).await;
    play.sup.start_child(cast.scripted("a", &script)).await.unwrap();
    script.next([Birth::Fails]);
    play.dies("/a", Death::Shutdown).await;
    assert_eq!(play.which().await, "a:ready#3");
    assert_eq!(play.used(), 2);
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn child_triggers_maximum_restarts() {
    // Elixir: the supervisor ends when restarts fail more often than it may restart. And "... maximum
    // intensity when trying again".
    for max in [1, 10] {
        let cast = Cast::new();
        let script = Script::default();
        let play = cast.start(SupervisorSpec::dynamic().intensity(max, HOUR)).await;
        play.sup.start_child(cast.scripted("a", &script)).await.unwrap();
        play.log();
        script.always(Birth::Fails);
        play.dies("/a", Death::Shutdown).await;
        assert!(matches!(play.gives_up().await, Exit::IntensityExceeded { .. }));
        assert_eq!(play.log().matches("?a").count() as u32, max);
    }
}

#[tokio::test(start_paused = true)]
async fn terminates_children_with_expired_integer_shutdown() {
    // Elixir: those that do not make it in time are killed, each after its own time. "terminates children
    // with brutal kill", "... infinity shutdown", "... mixed children": see `stopping`.
    let cast = Cast::new();
    let deaf = Script::default().stop_takes(1_000_000);
    let spec = dynamic()
        .child(cast.plain("a").shutdown(Shutdown::Timeout(MS)))
        .child(cast.scripted("deaf", &deaf).shutdown(Shutdown::Timeout(MS)))
        .child(cast.plain("c").shutdown(Shutdown::Timeout(MS)));
    let play = cast.start(spec).await;
    let begin = Instant::now();
    play.root.stop(None);
    let _ = play.root.wait().await;
    assert!(begin.elapsed() <= 2 * MS);
    assert_eq!(play.exits("/deaf")[0].0, Exit::ActorKilled);
}

#[tokio::test(start_paused = true)]
async fn terminate_child() {
    // Elixir: a terminated child leaves the table, whatever its restart type and its shutdown. Deviates: only
    // a temporary one does; of others the declaration is kept (they can be restarted by their id), and
    // `remove_child` does both.
    for shutdown in [Shutdown::BrutalKill, Shutdown::Timeout(SEC), Shutdown::Infinity] {
        let cast = Cast::new();
        let play = cast.start(dynamic()).await;
        play.sup.start_child(cast.plain("a").restart(temporary()).shutdown(shutdown)).await.unwrap();
        play.sup.start_child(cast.plain("b").shutdown(shutdown)).await.unwrap();
        play.sup.terminate_child("a").await.unwrap();
        assert_eq!(play.sup.terminate_child("a").await, Err(RequestError::NotFound("a".into())));
        play.sup.terminate_child("b").await.unwrap();
        assert_eq!(play.which().await, "b:stopped#1");
        play.sup.remove_child("b").await.unwrap();
        assert_eq!(play.sup.remove_child("b").await, Err(RequestError::NotFound("b".into())));
        assert_eq!(play.count().await, [0, 0, 0, 0]);
        play.over().await;
    }
}

#[tokio::test(start_paused = true)]
async fn terminates_restarting_child() {
    // Elixir: it can be terminated while it is restarting.
    let cast = Cast::new();
    let script = Script::default();
    let play = cast.start(dynamic()).await;
    play.sup.start_child(cast.scripted("a", &script).restart(after(10))).await.unwrap();
    script.always(Birth::Fails);
    play.dies("/a", Death::Shutdown).await;
    time_passes(55).await;
    play.sup.remove_child("a").await.unwrap();
    assert_eq!(play.count().await, [0, 0, 0, 0]);
    play.log();
    time_passes(1000).await;
    assert_eq!(play.log(), "");
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn simple_one_for_one() {
    // OTP: children of one supervisor die and are restarted independently; one too many ends it.
    let cast = Cast::new();
    let play = cast.start(SupervisorSpec::dynamic().intensity(3, HOUR)).await;
    for name in ["a", "b", "c"] {
        play.sup.start_child(cast.plain(name)).await.unwrap();
    }
    play.die_together(&["/b", "/a"], Death::Abnormal).await;
    assert_eq!(play.which().await, "a:ready#2 b:ready#2 c:ready#1");
    play.dies("/b", Death::Killed).await;
    play.log();
    play.dies("/c", Death::Abnormal).await;
    assert!(matches!(play.gives_up().await, Exit::IntensityExceeded { .. }));
    assert_eq!(play.log(), "-c -a -b");
}

#[tokio::test(start_paused = true)]
async fn simple_one_for_one_extra() {
    // OTP: each child is started with its own arguments added to the common ones, and is restarted with them.
    // Here each child brings its own declaration. (Elixir: "restarting a child with extra_arguments
    // successfully restarts child".)
    let cast = Cast::new();
    let play = cast.start(dynamic()).await;
    for n in 0..3 {
        play.sup.start_child(cast.plain(&format!("c{n}"))).await.unwrap();
    }
    play.log();
    play.dies("/c1", Death::Abnormal).await;
    assert_eq!(play.log(), "-c1 ?c1 +c1");
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn simple_one_for_one_escalation() {
    // OTP: a restart that fails counts, and the others are terminated when it is one too many.
    let cast = Cast::new();
    let script = Script::default();
    let play = cast.start(SupervisorSpec::dynamic().intensity(2, HOUR)).await;
    play.sup.start_child(cast.plain("other")).await.unwrap();
    play.sup.start_child(cast.scripted("bad", &script)).await.unwrap();
    play.log();
    script.always(Birth::Fails);
    play.dies("/bad", Death::Abnormal).await;
    assert_eq!(play.log(), "-bad ?bad ?bad -other");
    assert!(matches!(play.gives_up().await, Exit::IntensityExceeded { .. }));
}

#[tokio::test(start_paused = true)]
async fn simple_one_for_one_restart_ignore() {
    // OTP (S-23): a permanent child whose restart answers `ignore` is not tried again, and leaves the table.
    let cast = Cast::new();
    let script = Script::default();
    let play = cast.start(dynamic()).await;
    play.sup.start_child(cast.scripted("a", &script)).await.unwrap();
    script.next([Birth::Ignored]);
    play.dies("/a", Death::Abnormal).await;
    time_passes(1000).await;
    assert_eq!(play.which().await, "");
    assert_eq!(play.used(), 1);
    play.over().await;
}
