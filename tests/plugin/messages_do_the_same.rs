//! A plugin host's actor takes the same requests as messages, for code that holds only its `ActorRef`,
//! and answers while plugins start (S-18).

use procession::{
    id::Incarnation,
    plugin::{PluginError, PluginHostSpec, PluginSupervisorMessage},
    rpc::Timeout,
    supervision::ActorChildRef,
};

use crate::support::{Manner, SEC, Stage, launcher, plugin};

#[tokio::test(start_paused = true)]
async fn the_actor_answers_while_plugins_start() {
    // S-18
    let slow = Manner::slow(2 * SEC);
    let stage = Stage::new(&launcher([("a", &slow)]), PluginHostSpec::new()).await;
    let host: ActorChildRef<PluginSupervisorMessage> = stage.root.child("/plugins").unwrap();
    let starting = {
        let host = host.clone();
        tokio::spawn(async move {
            host.call(|reply| PluginSupervisorMessage::StartPlugin(Box::new(plugin("a")), reply), 10 * SEC)
                .await
        })
    };
    tokio::time::sleep(SEC).await;
    let before = tokio::time::Instant::now();
    let listed = host.call(PluginSupervisorMessage::List, SEC).await.unwrap();
    assert_eq!((listed.len(), before.elapsed().as_millis()), (1, 0));
    assert_eq!(starting.await.unwrap().unwrap().unwrap(), Incarnation(1));
    let params = serde_json::value::to_raw_value(&[1]).unwrap();
    let call = |reply| PluginSupervisorMessage::Call {
        plugin: "a".into(),
        method: "echo".into(),
        params,
        timeout: Timeout::Default,
        reply,
    };
    assert_eq!(host.call(call, SEC).await.unwrap().unwrap().get(), "[1]");
    let diagnostics = host
        .call(|reply| PluginSupervisorMessage::Diagnostics("a".into(), reply), SEC)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(diagnostics.node.unwrap().worker.unwrap().protocol, "plugin");
    host.call(|reply| PluginSupervisorMessage::StopPlugin("a".into(), reply), 10 * SEC)
        .await
        .unwrap()
        .unwrap();
    let gone = host.call(|reply| PluginSupervisorMessage::StopPlugin("a".into(), reply), SEC).await.unwrap();
    assert!(matches!(gone, Err(PluginError::NotFound(_))));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn another_place_is_not_a_host() {
    let manner = Manner::default();
    let stage = Stage::new(&launcher([("a", &manner)]), PluginHostSpec::new().plugin(plugin("a"))).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let wrong = procession::plugin::Plugins::new(stage.root.find("/plugins/a").unwrap());
    assert!(matches!(wrong.list(), Err(PluginError::NotAHost(_))));
    assert!(wrong.check().is_err() && stage.plugins.clone().check().is_ok());
    stage.end().await;
}
