//! A plugin that is stopped, has ended or was given up keeps its last exit, its counts, the end of its
//! stderr and the time of its last crash (E-2, W-4).

use procession::{
    exit::Exit,
    plugin::{PluginDiagnostics, PluginHostSpec},
    restart::{Backoff, CrashLoop, CrashLoopAction, RestartPolicy},
    rpc::Timeout,
    state::{ChildState, DownReason},
    testing::ScriptedProcess,
};

use crate::support::{Manner, SEC, Stage, launcher, plugin};

fn figures(seen: &PluginDiagnostics) -> (Option<Exit>, u64, &str) {
    let node = seen.node.as_ref().unwrap();
    (node.last_exit.clone(), node.total_failures, node.worker.as_ref().unwrap().stderr_tail.trim())
}

async fn stage() -> Stage {
    let launcher = launcher([("well", &Manner::default())]);
    // Refuses to initialize, and writes a line to stderr before.
    launcher.program("ill", |mut me: ScriptedProcess| async move {
        let _ = me.read_line().await;
        me.write_error_line("no more paper").await.unwrap();
        5
    });
    let thrice = CrashLoop::new(3, 60 * SEC, CrashLoopAction::GiveUp);
    let policy = RestartPolicy::permanent().with_backoff(Backoff::fixed(SEC)).with_crash_loop(thrice);
    let host = PluginHostSpec::new()
        .plugin(plugin("ill").restart(policy.clone().with_jitter(0.0)))
        .plugin(plugin("well").restart(policy.with_restart(procession::restart::RestartType::Transient)));
    Stage::new(&launcher, host).await
}

#[tokio::test(start_paused = true)]
async fn of_one_that_was_given_up_and_then_stopped() {
    let stage = stage().await;
    let clock = stage.root.clock();
    let began = clock.now();
    tokio::time::sleep(10 * SEC).await;
    let given_up = stage.plugins.diagnostics("ill").unwrap();
    assert!(matches!(given_up.status.state, ChildState::Down { why: DownReason::GaveUp { .. } }));
    let expected = (Some(Exit::Failed { code: 5 }), 3, "no more paper");
    assert_eq!(figures(&given_up), expected);
    assert_eq!(given_up.last_crash.unwrap().since(began).as_secs(), 2, "the third, two seconds later");

    stage.plugins.stop_plugin("ill").await.unwrap();
    let stopped = stage.plugins.diagnostics("ill").unwrap();
    assert_eq!(stopped.status.state, ChildState::down(DownReason::Stopped));
    assert_eq!(stopped.status.incarnation, given_up.status.incarnation);
    assert_eq!((figures(&stopped), stopped.last_crash), (expected, given_up.last_crash));
    let listed =
        stage.plugins.list().unwrap().into_iter().find(|status| status.id.as_str() == "ill").unwrap();
    assert_eq!(listed, stopped.status);
    // Callers get the reason.
    let error = stage.plugins.ensure_ready("ill", SEC).await.unwrap_err().to_string();
    assert!(error.contains("failed with exit code 5") && error.contains("no more paper"), "{error}");
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn of_one_that_crashed_and_then_ended_by_itself() {
    let stage = stage().await;
    stage.plugins.ensure_ready("well", SEC).await.unwrap();
    stage.plugins.call_value("well", "die", &3, Timeout::Default).await.unwrap_err();
    stage.plugins.ensure_ready("well", 5 * SEC).await.unwrap();
    let back = stage.root.clock().now();
    tokio::time::sleep(20 * SEC).await;
    stage.plugins.call_value("well", "die", &0, Timeout::Default).await.unwrap_err();
    tokio::time::sleep(SEC).await;
    let ended = stage.plugins.diagnostics("well").unwrap();
    assert_eq!(ended.status.state, ChildState::down(DownReason::Ended));
    assert_eq!(figures(&ended), (Some(Exit::Clean { code: 0 }), 1, ""));
    assert!(ended.last_crash.is_some_and(|at| at <= back));
    // Its counters begin again from zero, and the crash is not forgotten.
    stage.plugins.ensure_ready("well", SEC).await.unwrap();
    let again = stage.plugins.diagnostics("well").unwrap();
    assert_eq!((figures(&again).1, again.last_crash), (0, ended.last_crash));
    stage.end().await;
}
