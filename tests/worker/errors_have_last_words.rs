//! An error about a process that ended includes the end of its stderr, so that no caller has to read
//! the logs (W-1, C-4).

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    pool::PoolSpec,
    process::{Command, OsLauncher},
    protocol::{Mcp, McpEra},
    restart::RestartPolicy,
    supervision::{ChildSpec, SupervisorSpec, TreeStartError},
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::WorkerSpec,
};

use crate::support::*;

const LAST: &str = "failed with exit code 3; its stderr ends with `cannot read `a.toml`\\n\\u{1b}[31mbye`";

/// Ends during its handshake.
async fn quits(mut me: ScriptedProcess) -> i32 {
    read(&mut me).await;
    me.write_error_line("cannot read `a.toml`\n\u{1b}[31mbye").await.unwrap();
    3
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_does_not_start_says_what_its_process_said() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", quits);
    let error = tree(plugin(&launcher)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("the tree did not start: could not start `w`: {LAST}"));
    // At any depth of the tree.
    let inner = SupervisorSpec::one_for_one().child(plugin(&launcher).child("w"));
    let spec = SupervisorSpec::one_for_one().child(ChildSpec::supervisor("inner", inner));
    let error = Root::start(spec, RootOptions::default()).await.unwrap_err();
    let why = format!("could not start `inner`: could not start `w`: {LAST}");
    assert_eq!(error.to_string(), format!("the tree did not start: {why}"));
    let TreeStartError::Failed { exit, stderr_tail } = error else { panic!("{error}") };
    assert_eq!(exit.chain().last(), Some(&Exit::Failed { code: 3 }));
    assert_eq!(stderr_tail, "cannot read `a.toml`\n\u{1b}[31mbye\n", "as it was written");
}

#[tokio::test(start_paused = true)]
async fn an_operator_and_a_caller_who_waits_read_it_too() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |me| async move {
        if me.launch() == 1 { serve(me).await } else { quits(me).await }
    });
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    let lost = worker.call::<Die>(&3).await.unwrap_err();
    let last = "failed with exit code 3; its stderr ends with `I am dying`";
    assert_eq!(lost.to_string(), format!("`die` was lost because its worker ended: {last}"));
    let early = worker.wait_ready(MS).await.unwrap_err();
    let text = early.to_string();
    assert!(
        text.starts_with("`/w` is not available: backing off")
            && text.ends_with(&format!("; its last incarnation: {last}")),
        "{text}"
    );
    let refused = worker.restart("to see").await.unwrap_err();
    assert_eq!(refused.to_string(), format!("child `w` did not start: {LAST}"));
    let late = worker.wait_ready(SEC).await.unwrap_err();
    assert!(late.to_string().ends_with(&format!("; its last incarnation: {LAST}")), "{late}");
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_incarnation_is_not_given_the_words_of_an_earlier_one() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |me| async move {
        match me.launch() {
            1 => serve(me).await,
            2 => quits(me).await,
            _ => 4,
        }
    });
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    worker.restart("to see").await.unwrap_err();
    let silent = worker.restart("to see more").await.unwrap_err();
    assert_eq!(silent.to_string(), "child `w` did not start: failed with exit code 4");
    // A process that was not launched has no last words either.
    launcher.program("worker", quits);
    worker.restart("once more").await.unwrap_err();
    launcher.fail_next("worker", Exit::LimitExceeded { which: "processes".into() });
    let silent = worker.restart("and again").await.unwrap_err();
    assert_eq!(silent.to_string(), "child `w` did not start: limit exceeded: processes");
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_of_a_pool_reads_it_too() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", quits);
    let pool = PoolSpec::keyed(1, plugin(&launcher)).restart(RestartPolicy::temporary());
    let root = Root::start(SupervisorSpec::one_for_one().child(pool.child("p")), RootOptions::default());
    let root = root.await.unwrap();
    let pool = procession::pool::Pool::new(root.find("/p").unwrap());
    let error = pool.acquire("k").await.unwrap_err().to_string();
    assert!(error.contains("`k`") && error.ends_with(&format!("({LAST})")), "{error}");
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_asks_a_question_on_stdout_instead_of_answering_has_asked_it() {
    // W-1: as installers do that start a server.
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        let _ = me.write(b"server 1.0 is not installed\nProceed? (y) ").await;
        me.hang().await;
        0
    });
    let error = tree(plugin(&launcher)).await.unwrap_err().to_string();
    let asked =
        "handshake not finished after 15s: its stdout ends with `server 1.0 is not installed\\nProceed? (y)`";
    assert_eq!(error, format!("the tree did not start: could not start `w`: {asked}"));
}

#[tokio::test]
async fn a_real_process_too() {
    // D-2
    let command = Command::new("sh").arg("-c").arg("echo no license >&2; exit 3");
    let spec = WorkerSpec::new(command).protocol(Mcp::default().with_era(McpEra::Initialize));
    let error = tree(spec.launcher(std::sync::Arc::new(OsLauncher::default()))).await.unwrap_err();
    let why = "could not start `w`: failed with exit code 3; its stderr ends with `no license`";
    assert_eq!(error.to_string(), format!("the tree did not start: {why}"));
}
