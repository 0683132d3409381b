//! A spare is logged when it is ready, so that its end does not come out of nowhere (W-6).

use procession::{
    process::Command, protocol::Plugin, testing::ScriptedLauncher, testing::ScriptedProcess, tree::Tree,
    worker::WorkerSpec,
};

use crate::support::*;

async fn polite(mut me: ScriptedProcess) -> i32 {
    shake_hands(&mut me).await;
    while let Some(message) = read(&mut me).await {
        if message["method"] == "shutdown" {
            break;
        }
    }
    0
}

#[tokio::test(start_paused = true)]
async fn it_becomes_ready_and_ends() {
    listen();
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", polite);
    let spec = WorkerSpec::new(Command::new("worker")).protocol(Plugin::default());
    let child = spec.launcher(std::sync::Arc::new(launcher)).child("w").standby();
    let tree = Tree::builder().child(child).start().await.unwrap();
    tokio::time::sleep(60 * SEC).await;
    let _ = tree.shutdown(60 * SEC).await;
    let heard: Vec<_> =
        heard().into_iter().filter(|line| line.contains("path=\"/w\" incarnation=2")).collect();
    let [ready, ended] = &heard[..] else { panic!("{heard:?}") };
    assert!(ready.contains("beside the live one, spare: ready"), "{ready}");
    assert!(ended.contains("ended: stopped on request"), "{ended}");
}
