//! A supervisor that gives up is logged at error level, whether or not it is started again (S-17).

use procession::{
    process::Command,
    restart::RestartPolicy,
    supervision::{ChildSpec, SupervisorSpec},
    testing::{ScriptedLauncher, ScriptedProcess},
    tree::Tree,
    worker::WorkerSpec,
};

use crate::support::*;

/// The errors that are logged when a nested supervisor with this policy gives up once.
async fn errors_of(policy: RestartPolicy) -> Vec<String> {
    listen();
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |me: ScriptedProcess| async move {
        if me.launch() > 1 {
            me.hang().await;
        }
        9
    });
    let worker = WorkerSpec::new(Command::new("worker")).launcher(std::sync::Arc::new(launcher));
    let low = SupervisorSpec::one_for_one().intensity(0, SEC).child(worker.child("w").background());
    let tree =
        Tree::builder().child(ChildSpec::supervisor("low", low).restart(policy)).start().await.unwrap();
    tokio::time::sleep(SEC).await;
    let errors = heard().into_iter().filter(|line| line.trim_start().starts_with("ERROR")).collect();
    let _ = tree.shutdown(SEC).await;
    errors
}

fn check(errors: &[String]) {
    let [worker, supervisor] = errors else { panic!("{errors:#?}") };
    assert!(worker.contains("path=\"/low/w\" incarnation=1"), "{worker}");
    assert!(supervisor.contains("path=\"/low\" incarnation=1"), "{supervisor}");
}

#[tokio::test(start_paused = true)]
async fn a_permanent_one() {
    check(&errors_of(RestartPolicy::actor()).await);
}

#[tokio::test(start_paused = true)]
async fn a_transient_one() {
    check(&errors_of(RestartPolicy::transient()).await);
}
