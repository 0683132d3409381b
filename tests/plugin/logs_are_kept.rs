//! The newest log entries of each plugin are kept, in bounded size (G-4).

use procession::{id::Incarnation, plugin::PluginHostSpec, protocol::LogLevel};
use serde_json::json;

use crate::support::{Manner, SEC, Stage, launcher, plugin};

#[tokio::test(start_paused = true)]
async fn the_newest_entries_are_kept_with_their_fields() {
    // G-4
    let manner = Manner { announces: vec!["say"], ..Manner::default() };
    let host = PluginHostSpec::new().plugin(plugin("a")).recent_logs(3);
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    for n in 0..5 {
        let entry = json!({ "level": "warning", "message": format!("entry {n}"), "meta": { "n": n } });
        stage.call("a", "say", json!({ "method": "log", "params": entry })).await;
    }
    let logs = stage.plugins.diagnostics("a").unwrap().logs;
    let messages: Vec<&str> = logs.iter().map(|record| record.message.as_str()).collect();
    assert_eq!(messages, ["entry 2", "entry 3", "entry 4"]);
    let last = &logs[2];
    assert_eq!((last.level, last.incarnation, last.truncated), (LogLevel::Warn, Incarnation(1), false));
    assert_eq!(last.meta.as_ref().unwrap().get(), r#"{"n":4}"#);

    // They survive a restart, which is when they are needed.
    stage.plugins.restart_plugin("a", "test").await.unwrap();
    let hello = json!({ "level": "info", "message": "é".repeat(10_000), "meta": "m".repeat(10_000) });
    stage.call("a", "say", json!({ "method": "log", "params": hello })).await;
    let logs = stage.plugins.diagnostics("a").unwrap().logs;
    assert_eq!(logs.iter().map(|record| record.incarnation.0).collect::<Vec<_>>(), [1, 1, 2]);
    // A bounded number of entries is no bound without a bound on their size.
    assert!(logs[2].truncated && logs[2].message.len() <= 8192 && logs[2].meta.is_none());
    stage.end().await;
}
