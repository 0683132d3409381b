//! An actor that stops itself before it is ready has failed to start (R-1, S-7).

use std::sync::Arc;

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    restart::{BudgetScope, CrashLoop, CrashLoopAction, RestartPolicy},
    state::{ChildState, DownReason},
    supervision::{ChildSpec, RequestError, Start, StartContext, Started, SupervisorSpec, TreeStartError},
};

use crate::support::*;

/// Starts an actor that stops itself, and is ready when that is over, or never.
#[derive(Debug)]
struct StopsItself {
    start: Arc<dyn Start>,
    ready: bool,
}

#[async_trait::async_trait]
impl Start for StopsItself {
    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        let mut started = self.start.start(cx).await?;
        started.cell.stop(Some("all done".into()));
        tokio::time::sleep(MS).await;
        let ready = self.ready;
        started.ready = Some(Box::pin(async move {
            match ready {
                true => Ok(()),
                false => std::future::pending().await,
            }
        }));
        Ok(started)
    }
}

fn stops_itself(ready: bool, restart: RestartPolicy, record: &Record) -> ChildSpec {
    let mut spec = plain("a", record).restart(restart);
    spec.start = Arc::new(StopsItself { start: spec.start, ready });
    spec
}

fn early() -> Exit {
    Exit::EndedBeforeReady {
        how: Box::new(Exit::ActorStopped { reason: Some("all done".into()) }),
        printed: None,
    }
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_stops_before_it_is_ready_is_retried_as_any_failed_start() {
    let record = Record::default();
    let own = BudgetScope::Own(CrashLoop::new(3, 60 * SEC, CrashLoopAction::GiveUp));
    let policy = RestartPolicy::transient().with_budget(own);
    let spec = SupervisorSpec::one_for_one().child(stops_itself(false, policy, &record).background());
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    tokio::time::sleep(60 * SEC).await;
    assert_eq!(record.take().iter().filter(|what| *what == "+a").count(), 3);
    let node = root.find("/a").unwrap();
    assert!(matches!(node.state(), ChildState::Down { why: DownReason::GaveUp { .. } }), "{}", node.state());
    assert_eq!(node.last_exit(), Some(early()));
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn it_fails_the_start_that_needs_it() {
    let record = Record::default();
    let spec = || stops_itself(false, RestartPolicy::temporary(), &record);
    let start = Root::start(SupervisorSpec::one_for_one().child(spec()), RootOptions::default()).await;
    let Err(TreeStartError::Failed { exit, .. }) = start else { panic!() };
    assert_eq!(exit.cause(), Some(&early()));
    let root = Root::start(SupervisorSpec::one_for_one(), RootOptions::default()).await.unwrap();
    let error = root.supervisor().start_child(spec()).await.unwrap_err();
    assert!(matches!(&error, RequestError::StartFailed { exit, .. } if *exit == early()), "{error}");
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_ready_and_gone_at_the_same_moment_was_ready() {
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one().child(stops_itself(true, RestartPolicy::transient(), &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    settle().await;
    let node = root.find("/a").unwrap();
    assert_eq!((node.state(), node.incarnation().0), (ChildState::down(DownReason::Ended), 1));
    assert_eq!(node.last_exit(), Some(Exit::ActorStopped { reason: Some("all done".into()) }));
    let _ = root.shutdown(SEC).await;
}
