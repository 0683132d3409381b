//! After a restart of the host its plugins return, including those added at run time; stopped ones stay
//! down (G-16, S-21).

use procession::{
    id::Incarnation,
    plugin::{PluginError, PluginHostSpec},
    supervision::Node,
};

use crate::support::{Manner, SEC, Stage, answer_initialize, launcher, plugin, settle};

async fn kill_host(place: &Node) {
    let cell = place.live().as_ref().unwrap().cell.clone();
    let first = place.incarnation();
    cell.kill();
    place.wait_state(|_| place.incarnation() != first).await;
    place.wait_ready().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn plugins_that_were_added_return_and_stopped_ones_do_not() {
    // G-16, S-21
    let manner = Manner::default();
    let ids = ["declared", "gone", "held", "added", "added-gone", "added-held"];
    let host = PluginHostSpec::new().plugins(["declared", "gone", "held"].map(plugin));
    let stage = Stage::new(&launcher(ids.map(|id| (id, &manner))), host).await;
    for id in ["added", "added-gone", "added-held"] {
        stage.plugins.start_plugin(plugin(id)).await.unwrap();
    }
    let mut events = stage.plugins.events().unwrap();
    let worker = stage.plugins.worker("added").unwrap();
    for id in ["gone", "added-gone"] {
        stage.plugins.stop_plugin(id).await.unwrap();
    }
    for id in ["held", "added-held"] {
        stage.plugins.worker(id).unwrap().stop().await.unwrap();
    }
    assert_eq!(stage.launcher.alive().len(), 2);

    kill_host(stage.plugins.node()).await;
    for id in ["declared", "added"] {
        assert_eq!(stage.plugins.ensure_ready(id, SEC).await.unwrap(), Incarnation(2));
    }
    tokio::time::sleep(60 * SEC).await;
    assert_eq!(stage.launcher.alive().len(), 2);
    assert_eq!(worker.wait_ready(SEC).await.unwrap(), Incarnation(2), "addresses survive");
    let listed: Vec<String> =
        stage.plugins.list().unwrap().iter().map(|status| status.id.to_string()).collect();
    assert_eq!(listed, ["declared", "gone", "held", "added", "added-held"]);
    let unknown = stage.plugins.ensure_ready("added-gone", SEC).await.unwrap_err();
    assert!(matches!(unknown, PluginError::NotFound(_)), "{unknown}");
    // An earlier subscription continues.
    assert!(!crate::support::drain(&mut events).is_empty());
    // G-10: an operator can start a stopped plugin again.
    for id in ["gone", "held", "added-held"] {
        let stopped = stage.plugins.ensure_ready(id, SEC).await.unwrap_err();
        assert!(matches!(stopped, PluginError::StaysDown(_)), "{stopped}");
        stage.plugins.restart_plugin(id, "wanted again").await.unwrap();
        stage.plugins.ensure_ready(id, SEC).await.unwrap();
    }
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_was_under_way_does_not_return() {
    // G-1, G-16: its caller is told that it failed, so nothing may be left behind.
    let slow = Manner::slow(SEC);
    let stage = Stage::new(&launcher([("a", &slow)]), PluginHostSpec::new()).await;
    let plugins = stage.plugins.clone();
    let start = tokio::spawn(async move { plugins.start_plugin(plugin("a")).await });
    settle().await;
    kill_host(stage.plugins.node()).await;
    let lost = start.await.unwrap().unwrap_err();
    assert!(matches!(lost, PluginError::HostUnavailable(_)) && lost.is_retryable(), "{lost}");
    tokio::time::sleep(60 * SEC).await;
    assert!(stage.plugins.list().unwrap().is_empty() && stage.launcher.alive().is_empty());
    stage.plugins.start_plugin(plugin("a")).await.unwrap();
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_was_under_way_is_done() {
    // G-16, S-19: a plugin whose stop has begun does not return, and the stop does not return before
    // the process is gone.
    let stage = Stage::new(&launcher([]), PluginHostSpec::new()).await;
    stage.launcher.program("a", |mut me| async move {
        // A process in uninterruptible sleep cannot be killed meanwhile.
        me.set_uninterruptible(true);
        answer_initialize(&mut me).await;
        me.sleep(3 * SEC).await;
        me.set_uninterruptible(false);
        me.hang().await
    });
    stage.plugins.start_plugin(plugin("a")).await.unwrap();
    let (plugins, launcher) = (stage.plugins.clone(), stage.launcher.clone());
    let stop = tokio::spawn(async move {
        plugins.stop_plugin("a").await.unwrap();
        assert!(launcher.alive().is_empty(), "the stop returns before the process is gone");
    });
    settle().await;
    kill_host(stage.plugins.node()).await;
    stop.await.unwrap();
    tokio::time::sleep(60 * SEC).await;
    assert!(stage.plugins.list().unwrap().is_empty() && stage.launcher.alive().is_empty());
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_was_under_way_leaves_the_old_plugin() {
    // G-13, G-16
    let (old, new) = (Manner::default(), Manner::slow(5 * SEC));
    let host = PluginHostSpec::new().plugin(plugin("a"));
    let stage = Stage::new(&launcher([("a", &old), ("new", &new)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let plugins = stage.plugins.clone();
    let reload = tokio::spawn(async move {
        let new = procession::plugin::PluginSpec::new("a", procession::process::Command::new("new"));
        plugins.reload("a", new).await
    });
    tokio::time::sleep(SEC).await;
    assert_eq!(stage.launches("new"), 1);
    kill_host(stage.plugins.node()).await;
    assert!(matches!(reload.await.unwrap(), Err(PluginError::HostUnavailable(_))));
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    assert_eq!((stage.launches("a"), stage.launches("new")), (2, 1));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stopped_all_stays_empty() {
    // G-7, G-16
    let manner = Manner::default();
    let stage = Stage::new(&launcher([("a", &manner)]), PluginHostSpec::new().plugin(plugin("a"))).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    stage.plugins.stop_all().await.unwrap().into_result().unwrap();
    kill_host(stage.plugins.node()).await;
    tokio::time::sleep(60 * SEC).await;
    assert!(stage.launcher.alive().is_empty());
    let closed = stage.plugins.start_plugin(plugin("b")).await.unwrap_err();
    assert!(matches!(closed, PluginError::Closed(_)), "{closed}");
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn while_the_host_is_away_nothing_hangs() {
    let manner = Manner::default();
    let stage = Stage::new(&launcher([("a", &manner)]), PluginHostSpec::new().plugin(plugin("a"))).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    stage.plugins.node().stop().await.unwrap();
    let plugins = &stage.plugins;
    for error in [
        plugins.start_plugin(plugin("b")).await.unwrap_err(),
        plugins.stop_plugin("a").await.unwrap_err(),
        plugins.ensure_ready("a", SEC).await.unwrap_err(),
        plugins.list().unwrap_err(),
    ] {
        assert!(matches!(error, PluginError::HostUnavailable(_)) && error.is_retryable(), "{error}");
    }
    let call = plugins.call::<crate::support::Echo>("a", &1.into()).await.unwrap_err();
    assert!(call.call().is_some_and(procession::rpc::CallError::is_retryable), "{call}");
    plugins.node().restart().await.unwrap();
    plugins.ensure_ready("a", SEC).await.unwrap();
    stage.end().await;
}
