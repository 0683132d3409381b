//! Required children start in order, each when the one before it is ready; a failed one ends the
//! start and leaves nothing (S-7, S-8, S-9).

use std::{
    future::Future,
    task::{Context, Waker},
};

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    restart::{Backoff, BudgetScope, CrashLoop, Intensity, RestartPolicy},
    state::ChildState,
    supervision::{ChildSpec, RequestError, SpecErrors, SupervisorSpec, TreeStartError},
};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn each_required_start_is_awaited_before_the_next() {
    // S-1, S-7
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one()
        .child(puppet("a", Script::slow_start(20), &record))
        .child(plain("b", &record))
        .child(puppet("c", Script::slow_start(10), &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    assert_eq!(record.take(), ["?a", "+a", "?b", "+b", "?c", "+c"]);
    assert!(root.is_ready());
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_required_start_stops_the_others_in_reverse_and_fails_the_supervisor() {
    // S-7, S-9
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one()
        .child(plain("a", &record))
        .child(plain("b", &record))
        .child(puppet("c", Script::failing(1), &record))
        .child(plain("d", &record));
    let Err(TreeStartError::Failed { exit, .. }) = Root::start(spec, RootOptions::default()).await else {
        panic!()
    };
    assert_eq!(record.take(), ["?a", "+a", "?b", "+b", "?c", "-b", "-a"]);
    let cause = Box::new(Exit::ActorFailed { chain: vec!["no luck".into()] });
    assert_eq!(exit, Exit::StartFailed { child: "c".into(), cause });
}

#[tokio::test(start_paused = true)]
async fn a_background_start_is_not_awaited_and_its_failure_is_a_crash() {
    // S-7
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one()
        .child(puppet("slow", Script::slow_start(10_000), &record).background())
        .child(puppet("bad", Script::failing(2), &record).background())
        .child(plain("b", &record));
    let begin = tokio::time::Instant::now();
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    assert!(begin.elapsed() < SEC);
    let bad = root.child::<Pull>("/bad").unwrap();
    assert_eq!(bad.wait_ready(SEC).await.unwrap().0, 3, "two failed starts, the third works");
    assert_eq!(root.snapshot().root.find(bad.path()).unwrap().total_failures, 2);
    assert_eq!(root.child::<Pull>("/slow").unwrap().state(), ChildState::Starting);
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_takes_too_long_is_torn_down() {
    // S-7
    let record = Record::default();
    let slow = puppet("slow", Script::slow_start(60_000), &record).start_timeout(2 * SEC);
    let spec = SupervisorSpec::one_for_one().child(slow);
    let Err(TreeStartError::Failed { exit, .. }) = Root::start(spec, RootOptions::default()).await else {
        panic!()
    };
    assert_eq!(exit.cause(), Some(&Exit::StartTimeout { after: 2 * SEC }));
    tokio::time::sleep(100 * SEC).await;
    assert_eq!(record.take(), ["?slow"], "it does not come up later");
}

#[tokio::test(start_paused = true)]
async fn all_mistakes_of_a_declaration_are_reported_at_once() {
    // S-4, S-6, S-2
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one()
        .intensity(3, std::time::Duration::ZERO)
        .child(plain("a", &record).significant())
        .child(plain("a", &record).restart(RestartPolicy::transient().with_jitter(7.0)))
        .child(plain("", &record).start_timeout(std::time::Duration::ZERO));
    let Err(TreeStartError::Invalid(errors)) = Root::start(spec, RootOptions::default()).await else {
        panic!()
    };
    let fields = |errors: &SpecErrors| errors.iter().map(|e| e.field.clone()).collect::<Vec<_>>();
    assert_eq!(
        fields(&errors),
        [
            "intensity.period",
            "children[a].significant",
            "children[a].significant",
            "children[a].restart",
            "children[a].id",
            "children[].id",
            "children[].start_timeout"
        ]
    );
    assert!(record.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn restarts_without_delay_need_a_bound() {
    // in a declaration, and in a child that is added.
    let record = Record::default();
    let bounded = SupervisorSpec::one_for_one().intensity(3, SEC);
    let unbounded = SupervisorSpec::one_for_one().intensity(u32::MAX, SEC);
    assert!(Intensity::new(u32::MAX, SEC).is_unlimited());
    let root = Root::start(unbounded.clone(), RootOptions::default()).await.unwrap();
    for backoff in [Backoff::None, Backoff::fixed(std::time::Duration::ZERO)] {
        let policy = RestartPolicy::actor().with_backoff(backoff);
        let shared = plain("a", &record).restart(policy.clone());
        let own = plain("a", &record).restart(policy.with_budget(BudgetScope::Own(CrashLoop::default())));
        assert_eq!(bounded.clone().child(shared.clone()).validate(), Ok(()));
        assert_eq!(unbounded.clone().child(own).validate(), Ok(()));
        let errors = unbounded.clone().child(shared.clone()).validate().unwrap_err();
        assert_eq!(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), ["children[a].restart"]);
        assert_eq!(root.supervisor().start_child(shared).await.unwrap_err(), RequestError::Invalid(errors));
    }
    assert!(record.take().is_empty());
    let _ = root.shutdown(SEC).await;
}

/// Up at once.
struct Quick;

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Quick {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn starts_that_wait_for_nothing_leave_room_for_other_messages() {
    // S-18: all on one thread.
    let spec = (0..5_000).fold(SupervisorSpec::one_for_one(), |spec, i| {
        spec.child(ChildSpec::actor(format!("c{i}"), || (Quick, ())))
    });
    let many = ChildSpec::supervisor("many", spec).background();
    let root = Root::start(SupervisorSpec::one_for_one().child(many), RootOptions::default()).await.unwrap();
    let node = root.find("/many").unwrap();
    let mut answers = 0;
    while node.state() != ChildState::Ready {
        if let Ok(many) = root.supervisor_at("/many")
            && let Ok(count) = many.count_children().await
            && count.active < 5_000
        {
            answers += 1;
        }
        tokio::task::yield_now().await;
    }
    assert!(answers > 1, "{answers}");
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_into_one_turn_goes_on_in_the_next() {
    // S-18: and nothing else happens meanwhile.
    const MANY: usize = 100;
    let spec = (0..MANY).fold(SupervisorSpec::one_for_all(), |spec, i| {
        spec.child(ChildSpec::actor(format!("c{i}"), || (Quick, ())))
    });
    let root = tokio::time::timeout(SEC, Root::start(spec, RootOptions::default())).await.unwrap().unwrap();
    root.find("/c7").unwrap().live().as_ref().unwrap().cell.kill();
    tokio::time::sleep(SEC).await;
    let children = root.supervisor().which_children().await.unwrap();
    assert!(children.iter().all(|c| c.state == ChildState::Ready && c.incarnation.0 == 2), "{children:?}");
    // More requests than one turn takes, with one announcement.
    let node = root.find("/c7").unwrap();
    let mut stops: Vec<_> = (0..MANY).map(|_| Box::pin(node.stop())).collect();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(stops.iter_mut().all(|stop| stop.as_mut().poll(&mut cx).is_pending()));
    for stop in stops {
        tokio::time::timeout(SEC, stop).await.unwrap().unwrap();
    }
    let _ = root.shutdown(SEC).await;
}
