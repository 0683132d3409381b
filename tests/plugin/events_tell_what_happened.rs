//! The events of plugins report crashes, restarts, readiness and ends, and nothing else (G-11, E-3).

use procession::{
    exit::Exit,
    plugin::{PluginEventKind, PluginEventReceiver, PluginHostSpec, RestartReason},
    restart::{Backoff, CrashLoop, CrashLoopAction, RestartPolicy},
    rpc::Timeout,
};
use serde_json::json;

use crate::support::{MS, Manner, SEC, Stage, drain, launcher, plugin};

fn told(events: &mut PluginEventReceiver) -> Vec<String> {
    let name = |kind: &PluginEventKind| serde_json::to_value(kind).unwrap()["event"].clone();
    drain(events)
        .iter()
        .map(|event| format!("{}{} {}", event.plugin, event.incarnation, name(&event.kind).as_str().unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_crash_its_restart_and_its_end_are_told_and_nothing_else() {
    // G-11, E-3
    let manner = Manner::default();
    let policy = RestartPolicy::permanent()
        .with_backoff(Backoff::Fixed { delay: 250 * MS })
        .with_jitter(0.0)
        .with_crash_loop(CrashLoop::new(2, 60 * SEC, CrashLoopAction::GiveUp));
    let stage = Stage::new(&launcher([("a", &manner)]), PluginHostSpec::new()).await;
    let mut events = stage.plugins.events().unwrap();
    stage.plugins.start_plugin(plugin("a").restart(policy)).await.unwrap();
    assert_eq!(told(&mut events), ["a#1 ready"]);

    let die = async || {
        stage.plugins.call_value("a", "die", &7, Timeout::Default).await.unwrap_err();
        tokio::time::sleep(2 * SEC).await;
    };
    die().await;
    let crash = drain(&mut events);
    assert_eq!(
        crash[0].kind,
        PluginEventKind::Crashed {
            code: Some(7),
            signal: None,
            exit: Exit::Failed { code: 7 },
            will_restart: true,
            delay: Some(250 * MS),
        }
    );
    assert_eq!(crash[1].kind, PluginEventKind::Ready);
    let why = RestartReason::Exit(Exit::Failed { code: 7 });
    assert_eq!(crash[2].kind, PluginEventKind::Restarted { why });
    assert_eq!((crash.len(), crash[2].incarnation.0), (3, 2));

    // An operator's restart is no crash.
    stage.plugins.restart_plugin("a", "test").await.unwrap();
    assert_eq!(told(&mut events), ["a#3 ready", "a#3 restarted"]);

    die().await;
    let crash = drain(&mut events);
    assert!(matches!(crash[0].kind, PluginEventKind::Crashed { will_restart: false, delay: None, .. }));
    assert!(matches!(crash[1].kind, PluginEventKind::GaveUp { .. }));
    assert_eq!(crash.len(), 2);

    stage.plugins.stop_plugin("a").await.unwrap();
    stage.plugins.start_plugin(plugin("a")).await.unwrap();
    assert_eq!(told(&mut events), ["a#3 stopped", "a#4 ready"], "a start after a stop is no restart");
    stage.plugins.set_config("a", json!(1)).await.unwrap();
    assert_eq!(told(&mut events), ["a#5 ready", "a#5 restarted", "a#5 config_changed"]);
    stage.end().await;
    assert_eq!(told(&mut events), Vec::<String>::new(), "a stop is no crash");
}

#[tokio::test(start_paused = true)]
async fn a_signal_is_told_as_one() {
    // G-11
    let manner = Manner::default();
    let stage = Stage::new(&launcher([("a", &manner)]), PluginHostSpec::new().plugin(plugin("a"))).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let mut events = stage.plugins.events().unwrap();
    let pid = stage.plugins.worker("a").unwrap().pid().unwrap();
    stage.launcher.kill(pid, procession::process::Signal::SEGV).unwrap();
    stage.plugins.node().wait_state(|_| true).await;
    tokio::time::sleep(SEC).await;
    let first = drain(&mut events).remove(0);
    assert!(
        matches!(
            first.kind,
            PluginEventKind::Crashed { code: None, signal: Some(11), will_restart: true, .. }
        ),
        "{first:?}"
    );
    // Plain data, both ways.
    let text = serde_json::to_string(&*first).unwrap();
    assert_eq!(serde_json::from_str::<procession::plugin::PluginEvent>(&text).unwrap(), *first);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_by_an_operator_is_a_restart_unless_one_has_stopped_it() {
    // G-11, E-3
    let (a, b) = (Manner::refusing(1), Manner::default());
    let slow = RestartPolicy::permanent().with_backoff(Backoff::Fixed { delay: 10 * SEC });
    let brittle = RestartPolicy::permanent().with_crash_loop(CrashLoop::new(1, SEC, CrashLoopAction::GiveUp));
    let host = PluginHostSpec::new()
        .plugin(plugin("a").on_demand())
        .plugin(plugin("b").on_demand().restart(slow))
        .plugin(plugin("c").on_demand().restart(brittle));
    let stage = Stage::new(&launcher([("a", &a), ("b", &b), ("c", &b)]), host).await;
    let mut events = stage.plugins.events().unwrap();
    // After a first start that failed.
    stage.plugins.restart_plugin("a", "test").await.unwrap_err();
    stage.plugins.restart_plugin("a", "test").await.unwrap();
    assert_eq!(told(&mut events), ["a#1 crashed", "a#2 ready", "a#2 restarted"]);
    // After a stop during the back-off, and after it has given up.
    for (id, end) in [("b", "stopped"), ("c", "gave_up")] {
        stage.plugins.ensure_ready(id, SEC).await.unwrap();
        stage.plugins.call_value(id, "die", &1, Timeout::Default).await.unwrap_err();
        tokio::time::sleep(SEC).await;
        if id == "b" {
            stage.plugins.worker(id).unwrap().stop().await.unwrap();
        }
        assert!(told(&mut events).pop().unwrap().ends_with(end));
        stage.plugins.restart_plugin(id, "test").await.unwrap();
        let again = told(&mut events);
        let restarted: &[&str] = if id == "b" { &["b#2 ready"] } else { &["c#2 ready", "c#2 restarted"] };
        assert_eq!(again, restarted);
    }
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_takes_the_place_of_another_and_what_is_idle_is_told() {
    // G-11, G-14, W-6, S-28
    let (good, bad) = (Manner::default(), Manner::refusing(u32::MAX));
    let spec = |program: &str| {
        procession::plugin::PluginSpec::new("a", procession::process::Command::new(program))
            .standby()
            .idle_timeout(60 * SEC)
    };
    let host = PluginHostSpec::new().plugin(spec("good"));
    let stage = Stage::new(&launcher([("good", &good), ("bad", &bad)]), host).await;
    let mut events = stage.plugins.events().unwrap();
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    tokio::time::sleep(SEC).await;
    assert_eq!(told(&mut events), ["a#1 started_on_demand", "a#1 ready"], "its spare is not told");
    stage.plugins.reload("a", spec("good")).await.unwrap();
    assert_eq!(told(&mut events), ["a#3 replaced", "a#3 restarted"]);
    tokio::time::sleep(SEC).await;
    stage.plugins.call_value("a", "die", &7, Timeout::Default).await.unwrap_err();
    tokio::time::sleep(SEC).await;
    let spare = drain(&mut events);
    let told_first = spare[0].to_string();
    assert!(told_first.ends_with("plugin `a`#4 replaces #3, which is failing"), "{told_first}");
    assert_eq!(spare[1].kind, PluginEventKind::Restarted { why: RestartReason::Standby });
    assert!(matches!(&spare[2].kind, PluginEventKind::Crashed { code: Some(7), will_restart: true, .. }));
    assert_eq!((spare.len(), spare[2].incarnation.0), (3, 3));
    // A successor that does not become ready is no crash of the plugin.
    stage.plugins.reload("a", spec("bad")).await.unwrap_err();
    assert_eq!(told(&mut events), ["a#4 rolled_back"]);
    let last_crash = stage.plugins.diagnostics("a").unwrap().last_crash;
    tokio::time::sleep(200 * SEC).await;
    assert_eq!(told(&mut events), ["a#4 idle"]);
    assert_eq!(stage.plugins.diagnostics("a").unwrap().last_crash, last_crash);
    stage.plugins.call_value("a", "echo", &1, Timeout::Default).await.unwrap();
    let again: Vec<String> =
        told(&mut events).iter().map(|event| event.split(' ').next_back().unwrap().to_owned()).collect();
    assert_eq!(again, ["started_on_demand", "ready", "restarted"]);
    stage.end().await;
    assert_eq!(told(&mut events), Vec::<String>::new());
}
