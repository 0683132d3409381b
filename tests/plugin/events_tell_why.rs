//! The event of a restart says why, a start on demand and a stop by an operator are told as such (G-11).

use procession::{
    plugin::{PluginEventReceiver, PluginHostSpec, PluginSpec},
    process::Command,
    restart::{Backoff, RestartPolicy},
    rpc::Timeout,
};
use serde_json::json;

use crate::support::{Manner, SEC, Stage, drain, launcher, plugin, settle};

/// What the events say, without their times.
fn told(events: &mut PluginEventReceiver) -> Vec<String> {
    let words = |text: String| text.split_once(" plugin ").unwrap().1.replace('`', "");
    drain(events).iter().map(|event| words(event.to_string())).collect()
}

/// A stage with one plugin `a`, which is ready.
async fn running(manner: &Manner, spec: PluginSpec) -> (Stage, PluginEventReceiver) {
    let stage = Stage::new(&launcher([("a", manner)]), PluginHostSpec::new().plugin(spec)).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let events = stage.plugins.events().unwrap();
    (stage, events)
}

async fn die(stage: &Stage, code: i32) {
    let _ = stage.plugins.call_value("a", "die", &code, Timeout::Default).await;
    tokio::time::sleep(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn its_exit() {
    // G-11
    let policy = RestartPolicy::permanent().with_backoff(Backoff::fixed(SEC / 2)).with_jitter(0.0);
    let (stage, mut events) = running(&Manner::default(), plugin("a").restart(policy)).await;
    die(&stage, 7).await;
    assert_eq!(
        told(&mut events),
        [
            "a#1 crashed and will be restarted after 500ms: failed with exit code 7",
            "a#2 is ready",
            "a#2 was restarted after it ended: failed with exit code 7",
        ]
    );
    die(&stage, 0).await;
    let ended = told(&mut events);
    assert_eq!(ended[0], "a#2 ended and will be restarted: exited with code 0");
    assert_eq!(ended.last().unwrap(), "a#3 was restarted after it ended: exited with code 0");
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_failed_before_is_the_reason_too() {
    // G-11: it is started again at once, without a change of its state.
    let manner = Manner::refusing(1);
    let policy = RestartPolicy::permanent().with_backoff(Backoff::None);
    let host = PluginHostSpec::new().plugin(plugin("a").restart(policy).on_demand());
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    let mut events = stage.plugins.events().unwrap();
    let _ = stage.plugins.ensure_ready("a", SEC).await;
    tokio::time::sleep(SEC).await;
    let all = told(&mut events);
    assert_eq!(all[0], "a#1 is started on demand");
    assert!(all[3].starts_with("a#2 was restarted after it ended: handshake failed"), "{all:?}");
    assert_eq!(all.len(), 4);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_who_also_may_stop_it() {
    // G-11
    let (stage, mut events) = running(&Manner::default(), plugin("a")).await;
    stage.plugins.restart_plugin("a", "test").await.unwrap();
    assert_eq!(told(&mut events), ["a#2 is ready", "a#2 was restarted by an operator"]);
    stage.plugins.worker("a").unwrap().stop().await.unwrap();
    assert_eq!(told(&mut events), ["a#2 was stopped by an operator"]);
    stage.plugins.stop_plugin("a").await.unwrap();
    assert_eq!(told(&mut events), Vec::<String>::new(), "it was stopped already");
    stage.plugins.start_plugin(plugin("a")).await.unwrap();
    assert_eq!(told(&mut events), ["a#3 is ready"]);
    stage.plugins.stop_plugin("a").await.unwrap();
    stage.plugins.stop_plugin("a").await.unwrap();
    assert_eq!(told(&mut events), ["a#3 was stopped by an operator"]);
    stage.plugins.start_plugin(plugin("a")).await.unwrap();
    stage.plugins.stop_all().await.unwrap().into_result().unwrap();
    assert_eq!(told(&mut events), ["a#4 is ready", "a#4 was stopped by an operator"]);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_demand_after_it_was_idle_or_had_ended() {
    // G-11, S-28
    let policy = RestartPolicy::transient();
    let spec = plugin("a").restart(policy).idle_timeout(10 * SEC);
    let (stage, mut events) = running(&Manner::default(), spec).await;
    tokio::time::sleep(60 * SEC).await;
    assert_eq!(told(&mut events), ["a#1 is idle: stopped until it is called"]);
    let demanded = |n: u64| {
        let texts = ["is started on demand", "is ready", "was restarted on demand"];
        texts.map(|text| format!("a#{n} {text}")).to_vec()
    };
    stage.call("a", "echo", json!(1)).await;
    assert_eq!(told(&mut events), demanded(2));
    die(&stage, 0).await;
    assert_eq!(told(&mut events), ["a#2 ended: exited with code 0"]);
    stage.call("a", "echo", json!(1)).await;
    assert_eq!(told(&mut events), demanded(3));
    die(&stage, 0).await;
    stage.plugins.stop_plugin("a").await.unwrap();
    stage.plugins.restart_plugin("a", "test").await.unwrap();
    assert_eq!(
        told(&mut events),
        ["a#3 ended: exited with code 0", "a#3 was stopped by an operator", "a#4 is ready"]
    );
    stage.end().await;
    // One that is not on demand has left the table of its host.
    let spec = plugin("a").restart(RestartPolicy::transient());
    let (stage, mut events) = running(&Manner::default(), spec).await;
    die(&stage, 0).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let mut all = vec!["a#1 ended: exited with code 0".to_owned()];
    all.extend(demanded(2));
    assert_eq!(told(&mut events), all);
    // An operator who stops it now stops what has ended.
    die(&stage, 0).await;
    stage.plugins.stop_plugin("a").await.unwrap();
    stage.plugins.restart_plugin("a", "test").await.unwrap();
    assert_eq!(
        told(&mut events),
        ["a#2 ended: exited with code 0", "a#2 was stopped by an operator", "a#3 is ready"]
    );
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_demand_is_no_restart() {
    // G-11, S-28
    let host = PluginHostSpec::new().plugin(plugin("a").on_demand());
    let stage = Stage::new(&launcher([("a", &Manner::default())]), host).await;
    let mut events = stage.plugins.events().unwrap();
    stage.call("a", "echo", json!(1)).await;
    assert_eq!(told(&mut events), ["a#1 is started on demand", "a#1 is ready"]);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_and_its_return() {
    // G-11, G-12, G-13
    let (good, bad) = (Manner::default(), Manner::refusing(u32::MAX));
    let spec = |program: &str| PluginSpec::new("a", Command::new(program));
    let host = PluginHostSpec::new().plugin(spec("good"));
    let stage = Stage::new(&launcher([("good", &good), ("bad", &bad)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let mut events = stage.plugins.events().unwrap();
    stage.plugins.reload("a", spec("good")).await.unwrap();
    let changed = "was restarted with a changed declaration or configuration";
    assert_eq!(told(&mut events), ["a#2 is ready".to_owned(), format!("a#2 {changed}")]);
    stage.plugins.set_config("a", json!(1)).await.unwrap();
    assert_eq!(told(&mut events)[1], format!("a#3 {changed}"));
    stage.plugins.reload("a", spec("bad")).await.unwrap_err();
    settle().await;
    let all = told(&mut events);
    assert!(all[0].starts_with("a#4 crashed and will be restarted after 0s"), "{all:?}");
    assert_eq!(all[1..3], ["a#5 is ready", "a#5 was restarted with its old declaration"]);
    assert!(all[3].starts_with("a#5 was rolled back"), "{all:?}");
    stage.plugins.set_config("a", json!("bad")).await.unwrap_err();
    let all = told(&mut events);
    assert!(all[0].starts_with("a#6 crashed"), "{all:?}");
    assert!(all.contains(&"a#7 was restarted with its old declaration".to_owned()), "{all:?}");
    stage.plugins.restart_plugin("a", "test").await.unwrap();
    assert!(told(&mut events)[1].ends_with("was restarted by an operator"));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_recycling_follows_from() {
    // G-11, W-5
    let spec = plugin("a").worker(|worker| worker.recycle_after_calls(3).recycle_after(1000 * SEC));
    for overlaps in [false, true] {
        let spec = if overlaps { spec.clone().overlap() } else { spec.clone() };
        let (stage, mut events) = running(&Manner::default(), spec).await;
        let came = |n: u64| match overlaps {
            true => format!("a#{} replaces #{}", n, n - 1),
            false => format!("a#{n} is ready"),
        };
        for _ in 0..3 {
            stage.call("a", "echo", json!(1)).await;
        }
        tokio::time::sleep(60 * SEC).await;
        let why = "was restarted to be recycled: it has had enough calls";
        assert_eq!(told(&mut events), [came(2), format!("a#2 {why}")]);
        tokio::time::sleep(1000 * SEC).await;
        let why = "was restarted to be recycled: it is old enough";
        assert_eq!(told(&mut events), [came(3), format!("a#3 {why}")]);
        stage.plugins.worker("a").unwrap().recycle().await.unwrap();
        let why = "was restarted to be recycled: on request";
        assert_eq!(told(&mut events), [came(4), format!("a#4 {why}")]);
        stage.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_spare_that_is_ready_or_is_still_starting() {
    // G-11, W-6
    let slow = Manner::slow(2 * SEC);
    let policy = RestartPolicy::permanent().with_backoff(Backoff::fixed(SEC)).with_jitter(0.0);
    let host = PluginHostSpec::new().plugin(plugin("a").restart(policy).standby());
    let stage = Stage::new(&launcher([("a", &slow)]), host).await;
    stage.plugins.ensure_ready("a", 10 * SEC).await.unwrap();
    let mut events = stage.plugins.events().unwrap();
    die(&stage, 7).await;
    tokio::time::sleep(10 * SEC).await;
    let all = told(&mut events);
    assert!(all[0].starts_with("a#1 crashed"), "{all:?}");
    assert_eq!(all[1..], ["a#2 is ready", "a#2 was restarted after it ended: failed with exit code 7"]);
    die(&stage, 8).await;
    let all = told(&mut events);
    assert!(all[0].starts_with("a#3 replaces #2"), "{all:?}");
    assert_eq!(all[1], "a#3 was restarted by a spare that took its place");
    assert!(all[2].starts_with("a#2 crashed"), "{all:?}");
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_returns_restarts_no_plugin() {
    // G-11, G-16
    let (stage, mut events) = running(&Manner::default(), plugin("a")).await;
    stage.plugins.node().restart().await.unwrap();
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    assert_eq!(told(&mut events), ["a#2 is ready"]);
    stage.end().await;
}
