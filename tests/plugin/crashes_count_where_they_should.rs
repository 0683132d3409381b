//! With an intensity the crashes of plugins count for the host and escalate; without one each plugin
//! pays for its own (R-0, S-17, T-3).

use procession::{
    exit::Exit,
    plugin::PluginHostSpec,
    restart::{Backoff, RestartPolicy},
    rpc::Timeout,
    state::{ChildState, GiveUpReason},
    supervision::SupervisorSpec,
};

use crate::support::{MS, Manner, SEC, Stage, launcher, plugin};

#[tokio::test(start_paused = true)]
async fn with_an_intensity_crashes_escalate_to_the_parent() {
    // R-0 (5), S-17
    let (dying, fine) = (Manner::dying(20 * MS), Manner::default());
    let policy = RestartPolicy::permanent().with_backoff(Backoff::Fixed { delay: 10 * MS }).with_jitter(0.0);
    let host = PluginHostSpec::new()
        .intensity(2, 10 * SEC)
        .plugin(plugin("fine"))
        .plugin(plugin("dying").restart(policy));
    let parent = SupervisorSpec::one_for_one().intensity(1, 60 * SEC);
    let stage = Stage::under(&launcher([("fine", &fine), ("dying", &dying)]), host, parent).await;
    let exit = stage.root.wait().await;
    // Root, host, leaf: each with its limit.
    let culprits: Vec<&str> = exit.culprits().map(|id| id.as_str()).collect();
    assert_eq!(culprits, ["plugins", "dying"]);
    assert_eq!(exit.chain().last(), Some(&Exit::Failed { code: 7 }));
    let Some(Exit::IntensityExceeded { limit, .. }) = exit.cause() else { panic!("{exit}") };
    assert_eq!(*limit, GiveUpReason::Intensity { max_restarts: 2, period: 10 * SEC });
    // Two hosts with one start and two restarts each.
    assert_eq!((stage.launches("dying"), stage.launches("fine")), (6, 2));
    assert!(stage.launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_one_a_crashing_plugin_cools_off_alone() {
    // R-0 (5)
    let (dying, fine) = (Manner::dying(20 * MS), Manner::default());
    let host = PluginHostSpec::new().plugin(plugin("fine")).plugin(plugin("dying"));
    let parent = SupervisorSpec::one_for_one().intensity(0, 60 * SEC);
    let stage = Stage::under(&launcher([("fine", &fine), ("dying", &dying)]), host, parent).await;
    tokio::time::sleep(20 * SEC).await;
    assert_eq!(stage.launches("dying"), 5);
    assert!(matches!(stage.plugins.worker("dying").unwrap().state(), ChildState::CoolingOff { .. }));
    let error = stage.plugins.call_value("dying", "echo", &1, Timeout::Default).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("cooling off for another"), "{error}");
    tokio::time::sleep(600 * SEC).await;
    assert_eq!(stage.launches("fine"), 1);
    assert!(stage.root.is_ready());
    stage.end().await;
}
