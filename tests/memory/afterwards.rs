//! C-15: nothing that the channel of a process held is left after its end, even if the tree and handles are
//! kept.

use std::{sync::Arc, time::Duration};

use procession::{
    process::Command,
    protocol::Plugin,
    restart::RestartPolicy,
    rpc::{CallOptions, Timeout},
    testing::{ScriptedLauncher, ScriptedProcess},
    tree::Tree,
    worker::WorkerSpec,
};

use crate::{
    Tried,
    channel::{config, router},
    counting,
    shapes::{FRAME, fill},
};

const KIB: usize = 1024;

/// Everything that a channel can hold is held, and then the process dies.
pub(crate) fn try_all(wanted: &dyn Fn(&str) -> bool, check: &mut dyn FnMut(Tried)) {
    let name = "afterwards: a dead process behind a handle to its channel".to_owned();
    if !wanted(&name) {
        return;
    }
    let methods: Vec<String> = (0..100).map(|n| format!("\"method number {n}\"")).collect();
    let shaken =
        Arc::new(format!(r#"{{"id":1,"result":{{"ok":true,"supportedMethods":[{}]}}}}"#, methods.join(",")));
    let hang = Arc::new(fill(r#"{"id":1,"method":"hang","params":""#, "x", "\"}"));
    let small = Arc::new(r#"[{"id":1,"method":"hang"},{"id":2,"method":"echo","params":"x"}]"#.to_owned());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let left = runtime.block_on(async {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", move |mut me: ScriptedProcess| {
            let (shaken, hang, small) = (shaken.clone(), hang.clone(), small.clone());
            async move {
                let _ = me.read_line().await;
                for text in [&shaken, &hang, &hang] {
                    let _ = me.write_line(text).await;
                }
                for _ in 0..10 {
                    let _ = me.write_line(&small).await;
                }
                // It reads nothing, so that calls and replies wait.
                me.sleep(Duration::from_secs(10)).await;
                let _ = me.flood(b'x', FRAME / 2).await;
                me.sleep(Duration::from_secs(1)).await;
                1
            }
        });
        let spec = WorkerSpec::new(Command::new("worker"))
            .protocol(Plugin::default())
            .launcher(Arc::new(launcher))
            .channel(config())
            .handler(router())
            .restart(RestartPolicy::temporary());
        let before = counting::live();
        let tree = Tree::builder()
            .child(
                spec.child("w").background().restart(
                    RestartPolicy::permanent()
                        .with_backoff(procession::restart::Backoff::fixed(Duration::from_secs(3600))),
                ),
            )
            .start()
            .await
            .unwrap();
        let worker = tree.worker("/w").unwrap();
        worker.wait_ready(Duration::from_secs(5)).await.unwrap();
        let (_, peer) = worker.peer().unwrap();
        for _ in 0..8 {
            let peer = peer.clone();
            tokio::spawn(async move {
                let params = "x".repeat(50 * KIB);
                let options = CallOptions::unannounced(Timeout::Never);
                drop(peer.call_value("m", &params, options).await);
            });
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        let held = counting::live() - before;
        assert!(held > 400 * KIB as isize, "{held}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(peer.close_reason().is_some());
        let left = counting::live() - before;
        drop((worker, peer));
        let _ = tree.kill().await;
        left
    });
    check(Tried { name, peak: left, bound: 200 * KIB });
}
