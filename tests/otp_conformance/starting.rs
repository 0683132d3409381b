//! `supervisor_SUITE`, groups `sup_start` and `sup_start_map`.

use procession::{
    exit::Exit,
    restart::{CrashLoop, CrashLoopAction, RestartPolicy},
    state::ChildKind,
    supervision::{
        ChildPolicy, ChildSpec, RequestError, Shutdown, SpecErrors, Start, StartContext, Started,
        SupervisorSpec, TreeStartError,
    },
};

use crate::support::*;

/// A start that answers before there is an actor.
#[derive(Debug)]
struct Answers(Exit);

#[async_trait::async_trait]
impl Start for Answers {
    async fn start(&self, _: StartContext) -> Result<Started, Exit> {
        Err(self.0.clone())
    }
}

fn fields(errors: &SpecErrors) -> Vec<String> {
    errors.iter().map(|e| e.field.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn sup_start_normal() {
    // OTP: a supervisor without children starts, and ends with `shutdown` when it is told to.
    for spec in supervisors() {
        let play = Cast::new().start(spec).await;
        assert!(play.root.is_ready());
        assert_eq!(play.count().await, [0, 0, 0, 0]);
        play.over().await;
    }
}

#[tokio::test(start_paused = true)]
async fn sup_start_ignore_init() {
    // OTP: a supervisor whose `init` answers `ignore` is a child without a process. A declaration is data
    // here and cannot answer; a start of one's own can, for a child that is a supervisor too.
    let cast = Cast::new();
    let ignored = ChildSpec::new("ignored", ChildPolicy::supervisor(), Answers(Exit::Ignored));
    let spec = SupervisorSpec::one_for_one().child(ignored).child(cast.plain("a"));
    let play = cast.start(spec).await;
    assert_eq!(play.which().await, "ignored:ignored#1 a:ready#1");
    assert_eq!(play.count().await, [2, 1, 1, 1]);
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn sup_start_ignore_child() {
    // OTP (S-8): `{ok, undefined}`; the specification is kept, nothing is alive, and it can be started later.
    let cast = Cast::new();
    let one = cast.scripted("one", &Script::births([Birth::Ignored]));
    let two = cast.plain("two");
    let play = cast.start(SupervisorSpec::one_for_one().intensity(2, HOUR)).await;
    assert_eq!(play.sup.start_child(one).await.unwrap().0, 0, "ignored: no incarnation");
    assert_eq!(play.sup.start_child(two).await.unwrap().0, 1);
    // Deviates: `which_children` is in start order, OTP's newest first.
    assert_eq!(play.which().await, "one:ignored#1 two:ready#1");
    assert_eq!(play.count().await, [2, 1, 0, 2]);
    assert_eq!(play.sup.restart_child("one").await.unwrap().0, 2);
    assert_eq!(play.used(), 0);
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn sup_start_ignore_temporary_child() {
    // OTP (S-8): the specification of a temporary child that is ignored goes at once; the others start as
    // if it were not there.
    for strategy in STRATEGIES {
        let cast = Cast::new();
        let ignored = cast.scripted("one", &Script::births([Birth::Ignored])).restart(temporary());
        let spec = SupervisorSpec::new(strategy).child(ignored).child(cast.plain("two").restart(temporary()));
        let play = cast.start(spec).await;
        assert_eq!(play.which().await, "two:ready#1");
        assert_eq!(play.count().await, [1, 1, 0, 1]);
        assert!(play.root.find("/one").is_err());
        play.over().await;
    }
}

#[tokio::test(start_paused = true)]
async fn sup_start_ignore_temporary_child_start_child() {
    // OTP: the same by `start_child`. And `..._simple`: the same under simple-one-for-one.
    for spec in supervisors() {
        let cast = Cast::new();
        let one = cast.scripted("one", &Script::births([Birth::Ignored])).restart(temporary());
        let two = cast.plain("two").restart(temporary());
        let play = cast.start(spec).await;
        assert_eq!(play.sup.start_child(one.clone()).await.unwrap().0, 0);
        play.sup.start_child(two).await.unwrap();
        // The incarnations of a new child count on from those of all children that have left: none
        // is used twice.
        assert_eq!(play.which().await, "two:ready#2");
        assert!(play.sup.start_child(one).await.unwrap().0 > 1);
        play.over().await;
    }
}

#[tokio::test(start_paused = true)]
async fn sup_start_ignore_permanent_child_start_child_simple() {
    // OTP: simple-one-for-one keeps no specification of an ignored child, permanent or not, and ends without
    // error.
    let cast = Cast::new();
    let one = cast.scripted("one", &Script::births([Birth::Ignored]));
    let play = cast.start(SupervisorSpec::dynamic()).await;
    assert_eq!(play.sup.start_child(one).await.unwrap().0, 0);
    assert_eq!(play.count().await, [0, 0, 0, 0]);
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn sup_start_error_return() {
    // OTP: an `init` that returns nonsense is an error of the start, and nothing has started.
    let cast = Cast::new();
    let record = cast.record.clone();
    let spec =
        SupervisorSpec::one_for_one().child(cast.plain("a")).child(cast.plain("b").start_timeout(NO_TIME));
    let Err(TreeStartError::Invalid(errors)) = cast.try_start(spec).await else { panic!() };
    assert_eq!(fields(&errors), ["children[b].start_timeout"]);
    assert_eq!(record.take(), "");
}

#[tokio::test(start_paused = true)]
async fn sup_start_fail() {
    // OTP: a start that fails in whatever way fails the supervisor's start; those that had started are
    // terminated in reverse order; nothing is retried, and the intensity is not asked.
    let exit = Exit::HandshakeFailed { reason: "wrong version".into() };
    let failed = |text: &str| Exit::ActorFailed { chain: vec![text.into()] };
    let births = [
        (Birth::Fails, failed("stillborn")),
        (Birth::Panics, failed("part of the play")),
        (Birth::Exits(exit.clone()), exit),
        (Birth::Hangs, Exit::StartTimeout { after: 30 * SEC }),
    ];
    for spec in supervisors() {
        for (birth, expected) in &births {
            let cast = Cast::new();
            let record = cast.record.clone();
            let script = Script::default();
            script.always(birth.clone());
            let spec = cast.all(spec.clone().intensity(100, HOUR), &["a", "b"]);
            let spec = spec.child(cast.scripted("c", &script)).child(cast.plain("d"));
            let Err(TreeStartError::Failed { exit, .. }) = cast.try_start(spec.clone()).await else {
                panic!()
            };
            let cause = Box::new(expected.clone());
            assert_eq!(exit, Exit::StartFailed { child: "c".into(), cause });
            let ends = if spec.flags.dynamic { "-a -b" } else { "-b -a" };
            assert_eq!(record.take(), format!("?a +a ?b +b ?c {ends}"));
            time_passes(100_000).await;
            assert_eq!(record.take(), "", "nothing comes up later");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sup_start_fail_of_a_transient_and_a_temporary_child() {
    // OTP: the restart type does not matter for the supervisor's own start. As OTP, for required children;
    // one that is declared `background` is not awaited (S-7), a temporary one is simply forgotten.
    for policy in [transient(), temporary()] {
        let cast = Cast::new();
        let spec = SupervisorSpec::one_for_one()
            .child(cast.scripted("a", &Script::births([Birth::Fails])).restart(policy));
        assert!(matches!(
            cast.try_start(spec).await,
            Err(TreeStartError::Failed { exit: Exit::StartFailed { .. }, .. })
        ));
    }
    let cast = Cast::new();
    let a = cast.scripted("a", &Script::births([Birth::Fails])).restart(temporary()).background();
    let play = cast.start(SupervisorSpec::one_for_one().child(a)).await;
    settle().await;
    assert_eq!(play.which().await, "");
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn sup_start_fail_of_a_nested_supervisor() {
    // OTP: the failure of a start goes up as failures of starts, whose reasons nest.
    let cast = Cast::new();
    let record = cast.record.clone();
    let low = cast.all(SupervisorSpec::one_for_one(), &["a"]);
    let low = low.child(cast.scripted("b", &Script::births([Birth::Fails])));
    let spec = cast.all(SupervisorSpec::rest_for_one(), &["first"]).child(ChildSpec::supervisor("low", low));
    let Err(TreeStartError::Failed { exit, .. }) = cast.try_start(spec).await else { panic!() };
    assert_eq!(exit.culprits().map(|id| id.as_str().to_owned()).collect::<Vec<_>>(), ["low", "b"]);
    assert_eq!(exit.chain().last(), Some(&Exit::ActorFailed { chain: vec!["stillborn".into()] }));
    assert_eq!(record.take(), "?first +first ?a +a ?b -a -first");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_can_be_cancelled() {
    // OTP: a supervisor that is starting cannot be told anything. Ours can: dropping the start takes it all
    // down.
    let cast = Cast::new();
    let record = cast.record.clone();
    let spec = cast
        .all(SupervisorSpec::one_for_one(), &["a"])
        .child(cast.scripted("b", &Script::births([Birth::Hangs])));
    let begin = tokio::time::Instant::now();
    assert!(tokio::time::timeout(2 * SEC, cast.try_start(spec)).await.is_err());
    settle().await;
    assert_eq!(record.take(), "?a +a ?b -a");
    assert!(begin.elapsed() < 3 * SEC, "nobody waits for the start timeout");
}

#[tokio::test(start_paused = true)]
async fn sup_start_map() {
    // OTP: `get_childspec` shows what was left out of a specification: permanent; 5 s for a worker, infinity
    // for a supervisor.
    let cast = Cast::new();
    let spec = SupervisorSpec::one_for_one()
        .child(cast.plain("one"))
        .child(cast.plain("two").shutdown(Shutdown::BrutalKill))
        .child(ChildSpec::supervisor("three", SupervisorSpec::dynamic()));
    let play = cast.start(spec).await;
    let one = play.sup.child_spec("one").await.unwrap();
    assert_eq!(one.id.as_str(), "one");
    assert_eq!(one.policy.restart, RestartPolicy::actor(), "permanent, at once");
    assert_eq!((one.policy.shutdown, one.policy.kind), (Shutdown::Timeout(5 * SEC), ChildKind::Worker));
    assert!(!one.policy.significant);
    let two = play.sup.child_spec("two").await.unwrap();
    assert_eq!((two.policy.shutdown, two.policy.kind), (Shutdown::BrutalKill, ChildKind::Worker));
    let three = play.sup.child_spec("three").await.unwrap();
    assert_eq!((three.policy.shutdown, three.policy.kind), (Shutdown::Infinity, ChildKind::Supervisor));
    let missing = play.sup.child_spec("four").await.map(drop);
    assert_eq!(missing, Err(RequestError::NotFound("four".into())));
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn sup_start_map_faulty_specs() {
    // OTP: a faulty child specification is an error that names what is wrong with it, at the supervisor's
    // start and by `start_child`. Ours also names it in supervisors that are children.
    let faulty = || SupervisorSpec::one_for_one().intensity(1, NO_TIME);
    let loops =
        RestartPolicy::actor().with_crash_loop(CrashLoop::new(2, SEC, CrashLoopAction::cool_off(SEC)));
    let cast = Cast::new();
    let specs: Vec<(ChildSpec, &str)> = vec![
        (cast.plain(""), "children[].id"),
        (cast.plain("a").start_timeout(NO_TIME), "children[a].start_timeout"),
        (cast.plain("a").significant(), "children[a].significant"),
        (cast.plain("a").restart(transient().with_jitter(-1.0)), "children[a].restart"),
        (cast.plain("a").restart(loops), "children[a].restart"),
        (ChildSpec::supervisor("a", faulty()), "children[a].intensity.period"),
        (
            ChildSpec::supervisor(
                "a",
                SupervisorSpec::one_for_all().child(ChildSpec::supervisor("b", faulty())),
            ),
            "children[a].children[b].intensity.period",
        ),
    ];
    let play = cast.start(SupervisorSpec::one_for_all()).await;
    for (spec, field) in specs {
        let whole = SupervisorSpec::one_for_all().child(spec.clone());
        let Err(TreeStartError::Invalid(errors)) = Cast::new().try_start(whole).await else {
            panic!("{field}")
        };
        assert_eq!(fields(&errors)[0], field);
        let Err(RequestError::Invalid(errors)) = play.sup.start_child(spec.clone()).await else {
            panic!("{field} by start_child")
        };
        assert_eq!(fields(&errors)[0], field);
        let Err(RequestError::Invalid(errors)) = play.sup.reload_child(spec).await else {
            panic!("{field} by reload_child")
        };
        assert_eq!(fields(&errors)[0], field);
    }
    assert_eq!(play.count().await, [0, 0, 0, 0]);
    assert_eq!(play.log(), "");
    play.over().await;
}

#[tokio::test(start_paused = true)]
async fn duplicate_ids() {
    // OTP (S-3): `duplicate_child_name`, also for a child that would be ignored.
    let cast = Cast::new();
    let record = cast.record.clone();
    let spec = cast.all(SupervisorSpec::one_for_one(), &["a", "b", "a"]);
    let Err(TreeStartError::Invalid(errors)) = cast.try_start(spec.clone()).await else { panic!() };
    assert_eq!(fields(&errors), ["children[a].id"]);
    let nested = SupervisorSpec::one_for_one().child(ChildSpec::supervisor("low", spec));
    let Err(TreeStartError::Invalid(errors)) = Cast::new().try_start(nested).await else { panic!() };
    assert_eq!(fields(&errors), ["children[low].children[a].id"]);
    assert_eq!(record.take(), "");
}

#[tokio::test(start_paused = true)]
async fn start_child_that_fails() {
    // OTP: `start_child` answers with the error, and no specification is kept, whatever the restart type. (As
    // `already_started_outside_supervisor`: whatever error a start answers with, it is the answer.)
    for spec in supervisors() {
        for policy in [permanent(), transient(), temporary()] {
            for birth in [Birth::Fails, Birth::Panics, Birth::Exits(Exit::ActorKilled), Birth::Hangs] {
                let cast = Cast::new();
                let bad = cast.scripted("bad", &Script::births([birth])).restart(policy.clone());
                let play = cast.start(spec.clone().intensity(0, SEC)).await;
                let answer = play.sup.start_child(bad.clone()).await;
                assert!(matches!(answer, Err(RequestError::StartFailed { .. })), "{answer:?}");
                assert_eq!(play.which().await, "");
                assert_eq!(play.used(), 0);
                assert!(play.sup.start_child(bad).await.is_ok(), "nothing is in the way of a second try");
                play.over().await;
            }
        }
    }
}
