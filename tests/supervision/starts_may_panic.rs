//! No panic of a start, of what it returns, or of code that the supervisor calls on it, makes a
//! child or its supervisor hang (S-18).

use std::sync::Arc;

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    restart::RestartPolicy,
    state::{ChildState, DownReason},
    supervision::{
        BoxFuture, ChildPolicy, ChildSpec, Node, RequestError, SpecErrors, Start, StartContext, StartPermit,
        Started, StopHandle, SupervisorSpec,
    },
};

use crate::support::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    Admission,
    Start,
    Readiness,
    Stop,
    /// What is left of a start that is given up.
    DropOfStart,
    DropOfReadiness,
    /// What belongs to an incarnation, when that is over.
    DropOfStop,
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("pulled too hard");
    }
}

#[derive(Debug)]
struct Panics(Where, Arc<dyn Start>);

#[async_trait::async_trait]
impl Start for Panics {
    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        assert!(self.0 != Where::Start, "pulled too hard");
        if self.0 == Where::DropOfStart {
            let _held = PanicsWhenDropped;
            std::future::pending::<()>().await;
        }
        let mut started = self.1.start(cx).await?;
        match self.0 {
            Where::Readiness => {
                started.ready = Some(Box::pin(async {
                    tokio::task::yield_now().await;
                    panic!("pulled too hard")
                }));
            }
            Where::Stop => started.stop = StopHandle::Request(Arc::new(|_| panic!("pulled too hard"))),
            Where::DropOfReadiness => {
                started.ready = Some(Box::pin(async {
                    let _held = PanicsWhenDropped;
                    std::future::pending().await
                }));
            }
            Where::DropOfStop => {
                let (stopped_by_operator, cell) = (PanicsWhenDropped, started.cell.clone());
                started.stop = StopHandle::Request(Arc::new(move |_| {
                    let _ = &stopped_by_operator;
                    cell.stop(None);
                }));
            }
            _ => {}
        }
        Ok(started)
    }

    fn start_permit(&self) -> Option<BoxFuture<'_, StartPermit>> {
        assert!(self.0 != Where::Admission, "pulled too hard");
        None
    }
}

fn child(node: Where, record: &Record) -> ChildSpec {
    let policy = ChildPolicy { restart: RestartPolicy::temporary(), ..ChildPolicy::actor() };
    ChildSpec::new("a", policy, Panics(node, plain("a", record).start))
}

#[tokio::test(start_paused = true)]
async fn a_start_that_panics_is_a_failed_start() {
    hush();
    for (node, what) in [
        (Where::Admission, "the start panicked"),
        (Where::Start, "the start panicked"),
        (Where::Readiness, "the start's readiness panicked"),
    ] {
        let record = Record::default();
        let root = Root::start(SupervisorSpec::one_for_one(), RootOptions::default()).await.unwrap();
        let refused = root.supervisor().start_child(child(node, &record)).await;
        let exit = Exit::ActorFailed { chain: vec![what.into(), "pulled too hard".into()] };
        assert_eq!(
            refused,
            Err(RequestError::StartFailed { child: "a".into(), exit, stderr_tail: String::new() }),
            "{node:?}"
        );
        assert_eq!(root.supervisor().which_children().await.unwrap(), []);
        let left: Vec<String> = record.take();
        assert!(left.is_empty() || left == ["?a", "+a", "-a"], "{left:?}");
        assert_eq!(root.shutdown(SEC).await, Exit::Requested);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_request_that_panics_kills() {
    hush();
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one().child(child(Where::Stop, &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let node = root.find("/a").unwrap();
    let begin = tokio::time::Instant::now();
    root.supervisor().terminate_child("a").await.unwrap();
    assert!(begin.elapsed() < SEC, "nobody waits for its shutdown time");
    assert_eq!(node.state(), ChildState::down(DownReason::Stopped));
    assert_eq!(record.take(), ["?a", "+a", "-a"]);
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn what_panics_when_it_is_dropped_hangs_nobody_and_takes_nobody_down() {
    hush();
    for node in [Where::DropOfStart, Where::DropOfReadiness, Where::DropOfStop] {
        let record = Record::default();
        let spec =
            SupervisorSpec::one_for_one().child(child(node, &record).background()).child(plain("b", &record));
        let root = Root::start(spec, RootOptions::default()).await.unwrap();
        let stopped = tokio::time::timeout(60 * SEC, root.supervisor().terminate_child("a")).await;
        assert_eq!(stopped, Ok(Ok(())), "{node:?}");
        assert_eq!(root.child::<Pull>("/b").unwrap().wait_ready(SEC).await.unwrap().0, 1, "{node:?}");
        assert_eq!(root.shutdown(SEC).await, Exit::Requested);
    }
}

/// Panics where it is not even started.
#[derive(Debug)]
struct Hasty {
    checks: bool,
}

#[async_trait::async_trait]
impl Start for Hasty {
    async fn start(&self, _: StartContext) -> Result<Started, Exit> {
        Err(Exit::Ignored)
    }
    fn validate(&self) -> Result<(), SpecErrors> {
        if self.checks { panic!("pulled too hard") } else { Ok(()) }
    }
    fn adopted(&self, _: &Node) {
        panic!("pulled too hard")
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_is_a_mistake_of_its_child() {
    // S-6, S-18
    hush();
    let record = Record::default();
    let root = Root::start(SupervisorSpec::one_for_one().child(plain("b", &record)), RootOptions::default());
    let root = root.await.unwrap();
    let child = |checks| ChildSpec::new("a", ChildPolicy::actor(), Hasty { checks });
    let refused = root.supervisor().start_child(child(true)).await.unwrap_err();
    let RequestError::Invalid(errors) = &refused else { panic!("{refused}") };
    assert_eq!(errors.iter().next().unwrap().field, "children[a].start");
    assert!(refused.to_string().contains("`Start::validate` panicked: pulled too hard"), "{refused}");
    root.supervisor().start_child(child(false)).await.unwrap();
    assert_eq!(root.find("/b").unwrap().incarnation().0, 1);
    assert_eq!(root.shutdown(SEC).await, Exit::Requested);
}
