//! Callers of one stop join it, at most one process of a plugin exists, and after `stop_all` none is
//! started (G-7, P-9).

use procession::{
    exit::Exit,
    id::Incarnation,
    plugin::{PluginError, PluginHostSpec, PluginStopOutcome},
    process::Ladder,
    restart::{Backoff, CrashLoop, CrashLoopAction, RestartPolicy},
    state::{ChildState, DownReason},
};

use crate::support::{MS, Manner, SEC, Stage, answer_initialize, launcher, plugin, settle};

#[tokio::test(start_paused = true)]
async fn callers_of_one_stop_join_it() {
    // P-9
    let slow = Manner { drain: 2 * SEC, ..Manner::default() };
    let stage = Stage::new(&launcher([("a", &slow)]), PluginHostSpec::new()).await;
    stage.plugins.start_plugin(plugin("a")).await.unwrap();
    let before = tokio::time::Instant::now();
    let mut stops = Vec::new();
    for _ in 0..5 {
        let (plugins, launcher) = (stage.plugins.clone(), stage.launcher.clone());
        stops.push(tokio::spawn(async move {
            plugins.stop_plugin("a").await.unwrap();
            assert!(before.elapsed() >= 2 * SEC && launcher.alive().is_empty());
        }));
        tokio::time::sleep(10 * MS).await;
    }
    for stop in stops {
        stop.await.unwrap();
    }
    let again = stage.plugins.stop_plugin("a").await.unwrap_err();
    assert!(matches!(again, PluginError::NotFound(_)), "{again}");
    assert_eq!(slow.heard_by(1), ["initialize", "shutdown"]);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_during_a_stop_waits_for_it() {
    // There are never two processes of one plugin.
    let slow = Manner { drain: 2 * SEC, ..Manner::default() };
    let stage = Stage::new(&launcher([("a", &slow)]), PluginHostSpec::new()).await;
    stage.plugins.start_plugin(plugin("a")).await.unwrap();
    let plugins = stage.plugins.clone();
    let stop = tokio::spawn(async move { plugins.stop_plugin("a").await });
    settle().await;
    let before = tokio::time::Instant::now();
    assert_eq!(stage.plugins.start_plugin(plugin("a")).await.unwrap(), Incarnation(2));
    assert!(before.elapsed() > SEC);
    assert_eq!(stage.launcher.alive().len(), 1);
    stop.await.unwrap().unwrap();
    assert_eq!(stage.plugins.worker("a").unwrap().state(), ChildState::Ready);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_up_the_start_that_is_under_way() {
    // G-1, P-9: it does not wait for the start's timeout.
    let slow = Manner::slow(10 * SEC);
    let stage = Stage::new(&launcher([("a", &slow)]), PluginHostSpec::new()).await;
    let plugins = stage.plugins.clone();
    let start = tokio::spawn(async move { plugins.start_plugin(plugin("a")).await });
    tokio::time::sleep(SEC).await;
    let before = tokio::time::Instant::now();
    stage.plugins.stop_plugin("a").await.unwrap();
    assert!(before.elapsed() < 6 * SEC);
    assert!(matches!(start.await.unwrap(), Err(PluginError::Stopped(_))));
    assert!(stage.plugins.list().unwrap().is_empty() && stage.launcher.alive().is_empty());
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn starts_and_stops_in_any_order_leave_at_most_one_process() {
    // P-9
    for seed in 0..200u64 {
        let manner = Manner { init: 30 * MS, drain: 20 * MS, ..Manner::default() };
        let stage = Stage::new(&launcher([("a", &manner)]), PluginHostSpec::new()).await;
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut tasks = Vec::new();
        for _ in 0..12 {
            let plugins = stage.plugins.clone();
            let what = next(4);
            tasks.push(tokio::spawn(async move {
                match what {
                    0 | 1 => drop(plugins.start_plugin(plugin("a")).await),
                    2 => drop(plugins.stop_plugin("a").await),
                    _ => drop(plugins.reload("a", plugin("a")).await),
                }
            }));
            tokio::time::sleep(MS * u32::try_from(next(25)).unwrap()).await;
            assert!(stage.launcher.alive().len() <= 1, "two processes with seed {seed}");
        }
        for task in tasks {
            tokio::time::timeout(60 * SEC, task).await.expect("an operation hangs").unwrap();
        }
        // The host's list matches the live processes.
        let listed = stage.plugins.list().unwrap();
        assert_eq!(listed.len(), stage.launcher.alive().len(), "seed {seed}: {listed:?}");
        assert!(listed.iter().all(|status| status.state == ChildState::Ready));
        stage.plugins.stop_all().await.unwrap().into_result().unwrap();
        stage.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_are_stopped_together_and_none_is_started_after() {
    // G-7
    let slow = Manner { drain: 2 * SEC, ..Manner::default() };
    let ids = ["a", "b", "c", "d", "e", "f"];
    let host = PluginHostSpec::new().plugins(ids.map(plugin)).plugin(plugin("asleep").on_demand());
    let stage = Stage::new(&launcher(ids.map(|id| (id, &slow))), host).await;
    for id in ids {
        stage.plugins.ensure_ready(id, SEC).await.unwrap();
    }
    let before = tokio::time::Instant::now();
    stage.plugins.stop_all().await.unwrap().into_result().unwrap();
    assert!(before.elapsed() < 3 * SEC, "one after the other");
    assert!(stage.launcher.alive().is_empty());
    for refused in [
        stage.plugins.start_plugin(plugin("a")).await,
        stage.plugins.start_plugin(plugin("new")).await,
        stage.plugins.ensure_ready("asleep", SEC).await,
        stage.plugins.restart_plugin("a", "test").await,
        stage.plugins.reload("a", plugin("a")).await,
    ] {
        assert!(matches!(refused, Err(PluginError::Closed(_))), "{refused:?}");
    }
    stage.plugins.stop_all().await.unwrap().into_result().unwrap();
    assert_eq!(stage.launcher.launched().len(), 6);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_all_takes_the_starts_under_way_with_it() {
    // G-7
    let slow = Manner::slow(5 * SEC);
    let ids: Vec<String> = (0..10).map(|n| format!("p{n}")).collect();
    let stage = Stage::new(&launcher(ids.iter().map(|id| (id.as_str(), &slow))), PluginHostSpec::new()).await;
    let starts: Vec<_> = ids
        .iter()
        .map(|id| {
            let (plugins, spec) = (stage.plugins.clone(), plugin(id));
            tokio::spawn(async move { plugins.start_plugin(spec).await })
        })
        .collect();
    tokio::time::sleep(6 * SEC).await;
    stage.plugins.stop_all().await.unwrap().into_result().unwrap();
    assert!(stage.launcher.alive().is_empty());
    let launched = stage.launcher.launched().len();
    let mut ready = 0;
    for start in starts {
        match start.await.unwrap() {
            Ok(_) => ready += 1,
            Err(error) => assert!(matches!(error, PluginError::Stopped(_)), "{error}"),
        }
    }
    assert_eq!((ready, launched), (4, 8));
    tokio::time::sleep(60 * SEC).await;
    assert_eq!(stage.launcher.launched().len(), launched);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_became_of_each_is_reported() {
    // G-7: one of each kind.
    let (fine, slow, broken) = (Manner::default(), Manner::slow(60 * SEC), Manner::refusing(u32::MAX));
    let once = RestartPolicy::permanent().with_crash_loop(CrashLoop::new(1, SEC, CrashLoopAction::GiveUp));
    let waits = RestartPolicy::permanent().with_backoff(Backoff::fixed(600 * SEC));
    let host = PluginHostSpec::new()
        .plugins(["runs", "stopped", "stopping"].map(plugin))
        .plugin(plugin("starts").ladder(Ladder { drain: SEC, term_grace: SEC, kill_wait: SEC }))
        .plugin(plugin("never_started").on_demand())
        .plugin(plugin("idle").idle_timeout(SEC))
        .plugin(plugin("ended").on_demand().restart(RestartPolicy::transient()))
        .plugin(plugin("gave_up").restart(once))
        .plugin(plugin("waits").restart(waits));
    let last = Manner { drain: SEC, ..Manner::default() };
    let programs = [
        ("runs", &fine),
        ("stopped", &fine),
        ("stopping", &last),
        ("starts", &slow),
        ("idle", &fine),
        ("ended", &fine),
        ("gave_up", &broken),
        ("waits", &broken),
    ];
    let stage = Stage::new(&launcher(programs), host).await;
    for id in ["runs", "stopped", "stopping", "idle", "ended"] {
        stage.plugins.ensure_ready(id, SEC).await.unwrap();
    }
    stage.plugins.stop_plugin("stopped").await.unwrap();
    let _ = stage.plugins.call_value("ended", "die", &0, procession::rpc::Timeout::Default).await;
    tokio::time::sleep(20 * SEC).await;
    let plugins = stage.plugins.clone();
    let stopping = tokio::spawn(async move { plugins.stop_plugin("stopping").await });
    settle().await;
    let report = stage.plugins.stop_all().await.unwrap();
    let outcomes: Vec<_> =
        report.plugins.iter().map(|(id, outcome)| (id.as_str(), outcome.to_string())).collect();
    assert_eq!(
        outcomes.iter().map(|(id, outcome)| (*id, outcome.as_str())).collect::<Vec<_>>(),
        [
            ("ended", "already down: ended"),
            ("gave_up", "already down: gave up: 1 failure in 1s"),
            ("idle", "already down: idle: stopped until it is called"),
            ("never_started", "already down: never started"),
            ("runs", "stopped: stopped on request"),
            ("starts", "stopped: stopped on request"),
            ("stopped", "already down: stopped"),
            ("stopping", "stopped: stopped on request"),
            ("waits", "stopped while waiting for its next start"),
        ]
    );
    stopping.await.unwrap().unwrap();
    report.into_result().unwrap();
    // Once more: all of them are down.
    let again = stage.plugins.stop_all().await.unwrap();
    assert_eq!(again.plugins.len(), 9);
    let down = PluginStopOutcome::AlreadyDown { why: DownReason::Stopped };
    assert!(again.plugins.values().all(|outcome| outcome.to_string() == down.to_string()), "{again:?}");
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn every_failure_to_stop_is_reported() {
    // G-7: two of four cannot be killed.
    let fine = Manner::default();
    let launcher = launcher([("a", &fine), ("b", &fine)]);
    for name in ["stuck1", "stuck2"] {
        launcher.program(name, |mut me: procession::testing::ScriptedProcess| async move {
            me.set_uninterruptible(true);
            me.ignore(procession::process::Signal::TERM);
            answer_initialize(&mut me).await;
            tokio::time::sleep(600 * SEC).await;
            me.set_uninterruptible(false);
            0
        });
    }
    let stage = Stage::new(&launcher, PluginHostSpec::new()).await;
    let ladder = Ladder { drain: SEC, term_grace: SEC, kill_wait: SEC };
    for id in ["a", "stuck1", "b", "stuck2"] {
        stage.plugins.start_plugin(plugin(id).ladder(ladder)).await.unwrap();
    }
    let report = stage.plugins.stop_all().await.unwrap();
    let stuck = |outcome: &PluginStopOutcome| matches!(outcome, PluginStopOutcome::Failed(_));
    assert_eq!(
        report.plugins.iter().map(|(id, outcome)| (id.as_str(), stuck(outcome))).collect::<Vec<_>>(),
        [("a", false), ("b", false), ("stuck1", true), ("stuck2", true)]
    );
    assert!(report.failures().all(|(_, error)| !error.is_retryable() && !error.is_misuse()));
    let Err(PluginError::StopAll { failures }) = report.into_result() else { panic!("no failure") };
    let failed: Vec<_> = failures
        .iter()
        .map(|(id, error)| (id.as_str(), matches!(error.exit(), Some(Exit::Unkillable { .. }))))
        .collect();
    assert_eq!(failed, [("stuck1", true), ("stuck2", true)]);
    assert!(stage.plugins.list().unwrap().is_empty());
    tokio::time::sleep(700 * SEC).await;
    stage.end().await;
}
