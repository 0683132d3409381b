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

/// The warnings about the supervisor itself, and the errors, that are logged when a nested supervisor with
/// this policy gives up once.
async fn lines_of(policy: RestartPolicy) -> (Vec<String>, Vec<String>) {
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
    let heard = heard();
    let of =
        |level: &'static str| heard.iter().filter(move |line| line.trim_start().starts_with(level)).cloned();
    let warnings = of("WARN").filter(|line| line.contains("transient")).collect();
    let errors = of("ERROR").collect();
    let _ = tree.shutdown(SEC).await;
    (warnings, errors)
}

fn check(errors: &[String]) {
    let [worker, supervisor] = errors else { panic!("{errors:#?}") };
    assert!(worker.contains("path=\"/low/w\" incarnation=1"), "{worker}");
    assert!(supervisor.contains("path=\"/low\" incarnation=1"), "{supervisor}");
}

#[tokio::test(start_paused = true)]
async fn a_permanent_one() {
    let (warnings, errors) = lines_of(RestartPolicy::actor()).await;
    check(&errors);
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[tokio::test(start_paused = true)]
async fn a_transient_one() {
    let (warnings, errors) = lines_of(RestartPolicy::transient()).await;
    check(&errors);
    assert!(warnings.len() == 1 && warnings[0].contains("path=\"/low\""), "{warnings:?}");
}
