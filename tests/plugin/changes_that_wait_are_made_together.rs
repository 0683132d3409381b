//! Changes of a plugin that come while another one is carried out are carried out as one, and each caller
//! gets the outcome of the start that had its change (G-13).

use procession::{
    id::Incarnation,
    plugin::{PluginError, PluginHostSpec, PluginSpec},
    process::{Command, CommandChange},
    supervision::ReloadWhen,
};
use serde_json::json;

use crate::support::{MS, Manner, SEC, Stage, drain, launcher, settle};

fn running(program: &str) -> PluginSpec {
    PluginSpec::new("a", Command::new(program))
}

/// The arguments of the plugin.
async fn args(stage: &Stage) -> Vec<String> {
    serde_json::from_value(stage.call("a", "args", ().into()).await).unwrap()
}

fn append(arg: &str) -> CommandChange {
    CommandChange::new().append_args([arg])
}

#[tokio::test(start_paused = true)]
async fn those_that_come_during_a_start_are_one_start() {
    // G-13, for a plugin that is stopped first and for one that is swapped.
    for overlap in [false, true] {
        let slow = Manner::slow(SEC);
        let spec = |config: i32| {
            let spec = running("a").config(json!(config));
            if overlap { spec.overlap() } else { spec }
        };
        let stage = Stage::new(&launcher([("a", &slow)]), PluginHostSpec::new().plugin(spec(0))).await;
        stage.plugins.ensure_ready("a", 5 * SEC).await.unwrap();
        let mut reloads = Vec::new();
        for n in 1..=10 {
            let (plugins, spec) = (stage.plugins.clone(), spec(n));
            reloads.push(tokio::spawn(async move {
                match n {
                    10 => plugins.change_command("a", append("more"), ReloadWhen::Now).await,
                    _ => plugins.reload("a", spec).await,
                }
            }));
            settle().await;
        }
        let mut outcomes = Vec::new();
        for reload in reloads {
            outcomes.push(reload.await.unwrap().unwrap().0);
        }
        assert_eq!(outcomes, [[2].as_slice(), &[3; 9]].concat(), "one, and then all that waited");
        assert_eq!(stage.launches("a"), 3);
        assert_eq!(stage.call("a", "config", ().into()).await, json!(9));
        assert_eq!(args(&stage).await, ["more"], "the change of the command is one of the last declaration");
        // That is what returns with the host, and when it is stopped and started.
        stage.plugins.node().restart().await.unwrap();
        stage.plugins.ensure_ready("a", 5 * SEC).await.unwrap();
        assert_eq!(
            (stage.call("a", "config", ().into()).await, args(&stage).await),
            (json!(9), vec!["more".into()])
        );
        stage.plugins.stop_plugin("a").await.unwrap();
        stage.plugins.restart_plugin("a", "test").await.unwrap();
        assert_eq!(
            (stage.call("a", "config", ().into()).await, args(&stage).await),
            (json!(9), vec!["more".into()])
        );
        stage.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_whose_changes_a_failed_start_had_are_told_and_the_event_comes_once() {
    // G-13
    let (old, bad) = (Manner::slow(SEC), Manner { init: SEC, ..Manner::refusing(u32::MAX) });
    let host = PluginHostSpec::new().plugin(running("old"));
    let stage = Stage::new(&launcher([("old", &old), ("bad", &bad)]), host).await;
    stage.plugins.ensure_ready("a", 5 * SEC).await.unwrap();
    let mut events = stage.plugins.events().unwrap();
    let reload = |program: &'static str| {
        let plugins = stage.plugins.clone();
        tokio::spawn(async move { plugins.reload("a", running(program)).await })
    };
    let first = reload("old");
    settle().await;
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(reload("bad"));
        settle().await;
    }
    assert_eq!(first.await.unwrap().unwrap(), Incarnation(2));
    for other in others {
        let failed = other.await.unwrap().unwrap_err();
        assert!(
            matches!(failed, PluginError::ReloadFailed { restored: Some(Incarnation(4)), .. }),
            "{failed}"
        );
    }
    let told: Vec<String> = drain(&mut events).iter().map(|event| event.to_string()).collect();
    assert_eq!(told.iter().filter(|event| event.contains("rolled back")).count(), 1, "{told:?}");
    assert_eq!((stage.launches("old"), stage.launches("bad")), (3, 1));
    // A later one that fails is told again.
    stage.plugins.reload("a", running("bad")).await.unwrap_err();
    let told: Vec<String> = drain(&mut events).iter().map(|event| event.to_string()).collect();
    assert_eq!(told.iter().filter(|event| event.contains("rolled back")).count(), 1, "{told:?}");
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_may_wait_for_the_next_start() {
    // G-13
    let manner = Manner::default();
    let host = PluginHostSpec::new().plugin(running("a").config(json!(1)));
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let later =
        async |arg| stage.plugins.change_command("a", append(arg), ReloadWhen::NextStart).await.unwrap();
    assert_eq!((later("x").await, later("y").await), (Incarnation::NONE, Incarnation::NONE));
    assert_eq!(stage.launches("a"), 1);
    // A crash is a start, too.
    stage.plugins.call_value("a", "die", &1, procession::rpc::Timeout::Default).await.unwrap_err();
    stage.plugins.ensure_ready("a", 5 * SEC).await.unwrap();
    assert_eq!((args(&stage).await, stage.launches("a")), (vec!["x".into(), "y".into()], 2));
    // What waits is not lost with the host, nor with a stop.
    later("z").await;
    stage.plugins.node().restart().await.unwrap();
    stage.plugins.ensure_ready("a", 5 * SEC).await.unwrap();
    assert_eq!(args(&stage).await, ["x", "y", "z"]);
    stage.plugins.reload_later("a", running("a").config(json!(2))).await.unwrap();
    assert_eq!(stage.call("a", "config", ().into()).await, json!(1));
    stage.plugins.stop_plugin("a").await.unwrap();
    stage.plugins.restart_plugin("a", "test").await.unwrap();
    assert_eq!(
        (stage.call("a", "config", ().into()).await, args(&stage).await),
        (json!(2), Vec::<String>::new())
    );
    // It may be changed while it is stopped.
    stage.plugins.stop_plugin("a").await.unwrap();
    assert_eq!(later("w").await, Incarnation::NONE);
    stage.plugins.restart_plugin("a", "test").await.unwrap();
    assert_eq!(args(&stage).await, ["w"]);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_command_keeps_the_configuration_and_is_checked_first() {
    // G-13, G-12, S-6
    let manner = Manner { announces: vec!["configChanged"], ..Manner::default() };
    let made = PluginSpec::with_commands("made", |_| Command::new("a"));
    let host = PluginHostSpec::new().plugin(running("a").config(json!(1))).plugin(made);
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    for id in ["a", "made"] {
        stage.plugins.ensure_ready(id, SEC).await.unwrap();
    }
    stage.plugins.set_config("a", json!(2)).await.unwrap();
    let now = async |id, change| stage.plugins.change_command(id, change, ReloadWhen::Now).await;
    assert_eq!(now("a", append("x")).await.unwrap(), Incarnation(2));
    assert_eq!(
        (stage.call("a", "config", ().into()).await, args(&stage).await),
        (json!(2), vec!["x".into()])
    );
    stage.plugins.set_config("a", json!(3)).await.unwrap();
    assert_eq!(stage.call("a", "config", ().into()).await, json!(3));
    for (id, change, field) in [
        ("a", CommandChange::new().env("A=B", "x"), "plugins[a].command.env[A=B]"),
        ("made", append("x"), "plugins[made].start"),
    ] {
        let refused = now(id, change).await.unwrap_err();
        let PluginError::Invalid(errors) = &refused else { panic!("{refused}") };
        assert!(errors.iter().all(|error| error.field.starts_with(&field[..10])), "{errors} {field}");
    }
    assert_eq!(now("a", append("y")).await.unwrap(), Incarnation(3), "what was refused is forgotten");
    assert_eq!(args(&stage).await, ["x", "y"]);
    let unknown = now("b", append("x")).await.unwrap_err();
    assert!(matches!(unknown, PluginError::NotFound(_)), "{unknown}");
    stage.plugins.stop_plugin("made").await.unwrap();
    let refused = now("made", append("x")).await.unwrap_err();
    assert!(refused.is_misuse(), "{refused}");
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_configuration_waits_for_the_reload_under_way() {
    // G-12, G-13: it is one of the declaration that comes of that.
    for (program, expected) in [("new", 1), ("bad", 0)] {
        let (old, new) = (Manner::default(), Manner::slow(SEC));
        let bad = Manner { init: SEC, ..Manner::refusing(1) };
        let host = PluginHostSpec::new().plugin(running("old").overlap());
        let stage = Stage::new(&launcher([("old", &old), ("new", &new), ("bad", &bad)]), host).await;
        stage.plugins.ensure_ready("a", SEC).await.unwrap();
        let plugins = stage.plugins.clone();
        let reload = tokio::spawn(async move { plugins.reload("a", running(program).overlap()).await });
        settle().await;
        stage.plugins.set_config("a", json!(7)).await.unwrap();
        assert_eq!(reload.await.unwrap().is_ok(), expected == 1);
        assert_eq!(stage.call("a", "config", ().into()).await, json!(7));
        stage.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_takes_back_what_had_not_been_carried_out() {
    // G-13: the plugin is still in its host, and has the declaration that its callers know of.
    let (old, new) = (Manner::default(), Manner::slow(10 * SEC));
    let host = PluginHostSpec::new().plugin(running("old"));
    let stage = Stage::new(&launcher([("old", &old), ("new", &new)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let plugins = stage.plugins.clone();
    let reload = tokio::spawn(async move { plugins.reload("a", running("new")).await });
    settle().await;
    stage.plugins.worker("a").unwrap().stop().await.unwrap();
    let stopped = reload.await.unwrap().unwrap_err();
    assert!(matches!(stopped, PluginError::Stopped(_)), "{stopped}");
    stage.plugins.restart_plugin("a", "wanted again").await.unwrap();
    assert_eq!((stage.launches("old"), stage.launches("new")), (2, 1));
    // What was accepted for the next start is not taken back with it.
    stage.plugins.worker("a").unwrap().stop().await.unwrap();
    assert_eq!(stage.plugins.reload("a", running("new")).await.unwrap(), Incarnation::NONE);
    stage.plugins.restart_plugin("a", "wanted again").await.unwrap();
    assert_eq!((stage.launches("old"), stage.launches("new")), (2, 2));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn operations_in_any_order_leave_one_declaration_in_force() {
    // G-13, G-14, P-9: what runs at the end is what returns after a stop, and nothing hangs.
    for seed in 0..60_u64 {
        let fine = Manner { init: 30 * MS, drain: 20 * MS, ..Manner::default() };
        let bad = Manner { init: 20 * MS, ..Manner::refusing(u32::MAX) };
        let base = |program: &str| match seed % 4 {
            0 => running(program),
            1 => running(program).overlap(),
            2 => running(program).standby(),
            _ => running(program).overlap().idle_timeout(SEC),
        };
        let host = PluginHostSpec::new().plugin(base("a").config(json!(0)));
        let stage = Stage::new(&launcher([("a", &fine), ("bad", &bad)]), host).await;
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut tasks = Vec::new();
        for n in 0..14 {
            let plugins = stage.plugins.clone();
            let what = next(9);
            let (good, bad) = (base("a").config(json!(n)), base("bad"));
            tasks.push(tokio::spawn(async move {
                match what {
                    0 | 1 => drop(plugins.reload("a", good).await),
                    2 => drop(plugins.reload("a", bad).await),
                    3 => drop(plugins.change_command("a", append(&n.to_string()), ReloadWhen::Now).await),
                    4 => drop(plugins.set_config("a", json!(100 + n)).await),
                    5 => drop(plugins.restart_plugin("a", "test").await),
                    6 => drop(plugins.stop_plugin("a").await),
                    7 => drop(plugins.ensure_ready("a", SEC).await),
                    _ => drop(plugins.call_value("a", "die", &1, SEC).await),
                }
            }));
            tokio::time::sleep(MS * u32::try_from(next(25)).unwrap()).await;
            assert!(stage.launcher.alive().len() <= 2, "three processes with seed {seed}");
        }
        for task in tasks {
            tokio::time::timeout(120 * SEC, task).await.expect("an operation hangs").unwrap();
        }
        if stage.plugins.restart_plugin("a", "test").await.is_err() {
            // It was given the bad declaration while it was stopped.
            let _ = stage.plugins.reload("a", base("a").config(json!(99))).await;
            stage.plugins.restart_plugin("a", "test").await.unwrap();
        }
        let shown = async || (stage.call("a", "config", ().into()).await, args(&stage).await);
        let before = shown().await;
        stage.plugins.stop_plugin("a").await.unwrap();
        assert!(stage.launcher.alive().is_empty(), "seed {seed}");
        stage.plugins.restart_plugin("a", "test").await.unwrap();
        assert_eq!(shown().await, before, "seed {seed}");
        stage.plugins.node().restart().await.unwrap();
        stage.plugins.ensure_ready("a", SEC).await.unwrap();
        assert_eq!(shown().await, before, "seed {seed}");
        stage.end().await;
    }
}
