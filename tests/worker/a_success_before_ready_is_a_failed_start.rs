//! A program that ends before it is ready has failed to start, even with exit code 0: wrong flags,
//! usage texts and daemons exit with 0 (R-1, W-1).

use std::sync::Arc;

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    process::{Command, Signal, SuccessExitStatus},
    protocol::ReadyLine,
    restart::{BudgetScope, CrashLoop, CrashLoopAction, RestartPolicy, RestartType},
    state::{ChildState, DownReason, GiveUpReason},
    supervision::{RequestError, SupervisorSpec, TreeStartError},
    testing::ScriptedLauncher,
    worker::{WorkerRef, WorkerSpec},
};

use crate::support::*;

/// Gives up on the third failure within a minute.
fn own(restart: RestartType) -> RestartPolicy {
    let crash_loop = CrashLoop::new(3, 60 * SEC, CrashLoopAction::GiveUp);
    RestartPolicy::permanent().with_restart(restart).with_budget(BudgetScope::Own(crash_loop))
}

fn early(code: i32) -> Exit {
    Exit::EndedBeforeReady { how: Box::new(Exit::Clean { code }), printed: None }
}

/// A background worker, an hour later.
async fn an_hour_of(spec: WorkerSpec) -> (Root, WorkerRef) {
    let spec = SupervisorSpec::one_for_one().child(spec.child("w").background());
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    tokio::time::sleep(3600 * SEC).await;
    let worker = WorkerRef::new(root.find("/w").unwrap());
    (root, worker)
}

#[tokio::test(start_paused = true)]
async fn it_is_counted_backed_off_and_given_up_under_any_restart_type_that_knows_failures() {
    for restart in [RestartType::Permanent, RestartType::Transient, RestartType::UnlessStopped] {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", |mut me| async move {
            let _ = me.write_error_line("usage: worker --stdio").await;
            0
        });
        let (root, worker) = an_hour_of(plugin(&launcher).restart(own(restart))).await;
        assert_eq!(launcher.launched().len(), 3, "{restart}");
        let why = GiveUpReason::CrashLoop { max_failures: 3, window: 60 * SEC };
        assert_eq!(worker.state(), ChildState::down(DownReason::GaveUp { why }), "{restart}");
        let node = worker.diagnostics();
        assert_eq!((node.total_failures, node.last_exit), (3, Some(early(0))));
        assert_eq!(node.worker.unwrap().last_start_error, Some(early(0)));
        let error = worker.wait_ready(SEC).await.unwrap_err().to_string();
        assert!(error.contains("ended before it was ready: exited with code 0"), "{error}");
        assert!(error.contains("usage: worker --stdio"), "{error}");
        let _ = root.shutdown(SEC).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_run_until_it_fails_is_over() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |_| async { 0 });
    let (root, worker) = an_hour_of(plugin(&launcher).restart(own(RestartType::OnSuccess))).await;
    assert_eq!((launcher.launched().len(), worker.state()), (1, ChildState::down(DownReason::Ended)));
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn it_fails_the_start_that_needs_it() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |_| async { 0 });
    let error = tree(plugin(&launcher)).await.unwrap_err();
    let TreeStartError::Failed { exit, .. } = error else { panic!("{error}") };
    assert_eq!(exit.cause(), Some(&early(0)));

    let root = Root::start(SupervisorSpec::dynamic(), RootOptions::default()).await.unwrap();
    for restart in [RestartType::Temporary, RestartType::Transient] {
        let spec = plugin(&launcher).restart(own(restart)).child("w");
        let error = root.supervisor().start_child(spec).await.unwrap_err();
        let RequestError::StartFailed { exit, .. } = error else { panic!("{error}") };
        assert_eq!(exit, early(0), "{restart}");
        assert!(root.find("/w").is_err());
    }
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn codes_and_signals_that_count_as_success_are_no_better() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |me| async move {
        if me.launch() == 1 {
            return 3;
        }
        me.hang().await;
        0
    });
    let success = SuccessExitStatus { codes: vec![3], signals: vec![Signal::TERM.as_raw()] };
    let spec = plugin(&launcher).success(success).restart(own(RestartType::Transient));
    let root = SupervisorSpec::one_for_one().child(spec.child("w").background());
    let root = Root::start(root, RootOptions::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    tokio::time::sleep(SEC).await;
    assert_eq!(worker.diagnostics().last_exit, Some(early(3)));
    launcher.kill(launcher.alive()[0], Signal::TERM).unwrap();
    tokio::time::sleep(SEC).await;
    assert_eq!(worker.diagnostics().last_exit, Some(early(128 + Signal::TERM.as_raw())));
    assert_eq!(worker.diagnostics().total_failures, 2);
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_line_that_does_not_come_is_no_readiness_and_one_that_comes_last_is() {
    // W-7
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        if !me.args().is_empty() {
            let _ = me.write_line("listening").await;
        }
        0
    });
    let spec = |command| {
        let spec = WorkerSpec::new(command).protocol(ReadyLine::new("listening"));
        spec.launcher(Arc::new(launcher.clone())).restart(own(RestartType::Transient))
    };
    let (root, worker) = an_hour_of(spec(Command::new("worker"))).await;
    assert_eq!((launcher.launched().len(), worker.diagnostics().last_exit), (3, Some(early(0))));
    let _ = root.shutdown(SEC).await;
    // Ready, and then its work was done.
    let (root, worker) = an_hour_of(spec(Command::new("worker").arg("and say so"))).await;
    assert_eq!(launcher.launched().len(), 4);
    assert_eq!(worker.state(), ChildState::down(DownReason::Ended));
    assert_eq!(worker.diagnostics().last_exit, Some(Exit::Clean { code: 0 }));
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_bare_process_is_ready_when_launched_and_may_end_at_once() {
    // W-7
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |_| async { 0 });
    let spec = WorkerSpec::new(Command::new("worker")).launcher(Arc::new(launcher.clone()));
    let (root, worker) = tree(spec.restart(RestartPolicy::transient())).await.unwrap();
    tokio::time::sleep(SEC).await;
    assert_eq!(worker.state(), ChildState::down(DownReason::Ended));
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_real_process_wrote_before_its_end_was_before_its_end() {
    // W-1, W-7: regardless of whether its exit or its line is seen first. The starts run one after the
    // other, and each must succeed.
    let echo =
        || WorkerSpec::new(Command::new("echo").arg("listening")).protocol(ReadyLine::new("listening"));
    let workers = (0..60).map(|n| echo().restart(RestartPolicy::transient()).child(format!("w{n}").as_str()));
    let spec = workers.fold(SupervisorSpec::one_for_one(), SupervisorSpec::child);
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    for n in 0..60 {
        let place = root.find(&format!("/w{n}")).unwrap();
        place.wait_state(ChildState::is_down).await;
        assert_eq!((place.incarnation().0, place.last_exit()), (1, Some(Exit::Clean { code: 0 })));
    }
    let _ = root.shutdown(60 * SEC).await;
}
