//! Only so many plugins start for the first time at once; restarts and reloads do not wait for a turn
//! (G-7, G-13).

use std::sync::atomic::Ordering;

use procession::plugin::PluginHostSpec;

use crate::support::{MS, Manner, SEC, Stage, answer_initialize, launcher, plugin};

#[tokio::test(start_paused = true)]
async fn fifty_plugins_start_a_few_at_a_time() {
    // G-7
    for (bound, concurrency) in [(None, 4), (Some(7), 7)] {
        let slow = Manner::slow(SEC);
        let ids: Vec<String> = (0..50).map(|n| format!("p{n}")).collect();
        let launcher = launcher(ids.iter().map(|id| (id.as_str(), &slow)));
        let mut host = PluginHostSpec::new().plugins(ids.iter().map(|id| plugin(id)));
        if let Some(bound) = bound {
            host = host.start_concurrency(bound);
        }
        let before = tokio::time::Instant::now();
        let stage = Stage::new(&launcher, host).await;
        assert!(before.elapsed() < 10 * MS, "the host waits for its plugins");
        for id in &ids {
            stage.plugins.ensure_ready(id.as_str(), 60 * SEC).await.unwrap();
        }
        assert_eq!(slow.starting.1.load(Ordering::SeqCst), concurrency);
        let rounds = u32::try_from(50usize.div_ceil(concurrency)).unwrap();
        assert!(before.elapsed() >= rounds * SEC && before.elapsed() < rounds * SEC + 100 * MS);
        stage.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_place_is_not_start_time() {
    // G-7, S-7: the last one waits for 40 s, and takes 4 s.
    let slow = Manner::slow(4 * SEC);
    let ids: Vec<String> = (0..10).map(|n| format!("p{n}")).collect();
    let launcher = launcher(ids.iter().map(|id| (id.as_str(), &slow)));
    let spec = |id: &String| plugin(id).start_timeout(5 * SEC);
    let host = PluginHostSpec::new().start_concurrency(1).plugins(ids.iter().map(spec));
    let stage = Stage::new(&launcher, host).await;
    let last = stage.plugins.ensure_ready("p9", 60 * SEC).await.unwrap();
    assert_eq!((last.0, stage.launcher.launched().len()), (1, 10));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn places_come_back_from_starts_that_fail_or_are_given_up() {
    let (refusing, slow, fine) = (Manner::refusing(u32::MAX), Manner::slow(9 * SEC), Manner::default());
    let launcher = launcher([("refusing", &refusing), ("slow", &slow), ("fine", &fine)]);
    let stage = Stage::new(&launcher, PluginHostSpec::new().start_concurrency(1)).await;
    for _ in 0..3 {
        stage.plugins.start_plugin(plugin("refusing")).await.unwrap_err();
    }
    let plugins = stage.plugins.clone();
    let given_up = tokio::spawn(async move { plugins.start_plugin(plugin("slow")).await });
    let plugins = stage.plugins.clone();
    let queued = tokio::spawn(async move { plugins.start_plugin(plugin("queued")).await });
    tokio::time::sleep(SEC).await;
    // Both while it waits for its turn, and while it starts.
    stage.plugins.stop_plugin("queued").await.unwrap();
    stage.plugins.stop_plugin("slow").await.unwrap();
    queued.await.unwrap().unwrap_err();
    given_up.await.unwrap().unwrap_err();
    stage.plugins.start_plugin(plugin("fine")).await.unwrap();
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn restarts_take_no_turn() {
    // G-7: four plugins that hang in the handshake of each restart delay no others, and are not delayed
    // themselves.
    let ids = ["a", "b", "c", "d"];
    let launcher = launcher([("new", &Manner::default())]);
    for id in ids {
        launcher.program(id, |mut me| async move {
            if me.launch() > 1 {
                match me.hang().await {}
            }
            answer_initialize(&mut me).await;
            me.sleep(SEC).await;
            7
        });
    }
    let stage = Stage::new(&launcher, PluginHostSpec::new().plugins(ids.map(plugin))).await;
    for id in ids {
        stage.plugins.ensure_ready(id, SEC / 2).await.unwrap();
    }
    tokio::time::sleep(2 * SEC).await;
    assert_eq!(stage.launcher.launched().len(), 8, "all four are in the handshake of a restart");
    let before = tokio::time::Instant::now();
    stage.plugins.start_plugin(plugin("new")).await.unwrap();
    assert!(before.elapsed() < 10 * MS, "{:?}", before.elapsed());
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fills_the_queue_does_not_hold_up_a_restart_or_a_reload() {
    // G-7, G-13
    let (slow, fine) = (Manner::slow(9 * SEC), Manner::default());
    let stage = Stage::new(
        &launcher([("slow", &slow), ("fine", &fine)]),
        PluginHostSpec::new().start_concurrency(1).plugin(plugin("fine")),
    )
    .await;
    stage.plugins.ensure_ready("fine", SEC).await.unwrap();
    let plugins = stage.plugins.clone();
    let starting = tokio::spawn(async move { plugins.start_plugin(plugin("slow")).await });
    tokio::time::sleep(SEC).await;
    let before = tokio::time::Instant::now();
    stage.plugins.restart_plugin("fine", "test").await.unwrap();
    stage.plugins.reload("fine", plugin("fine")).await.unwrap();
    assert!(before.elapsed() < SEC, "{:?}", before.elapsed());
    starting.await.unwrap().unwrap();
    stage.end().await;
}
