//! A stop that ended in a kill is logged as a warning that says what had no effect (P-9).

use procession::{
    process::{Ladder, Signal},
    restart::RestartPolicy,
    supervision::{ChildSpec, Shutdown},
    testing::ScriptedProcess,
    tree::Tree,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::support::*;

async fn deaf(mut me: ScriptedProcess) -> i32 {
    me.ignore(Signal::TERM);
    shake_hands(&mut me).await;
    match me.hang().await {}
}

async fn polite(mut me: ScriptedProcess) -> i32 {
    shake_hands(&mut me).await;
    while let Some(message) = read(&mut me).await {
        if message["method"] == "shutdown" {
            break;
        }
    }
    0
}

fn warnings() -> Vec<String> {
    heard().into_iter().filter(|line| line.trim_start().starts_with("WARN")).collect()
}

#[tokio::test(start_paused = true)]
async fn it_says_what_was_not_heeded_and_by_whom() {
    listen();
    let ladder = Ladder { drain: 2 * SEC, term_grace: SEC, ..Ladder::default() };
    let tree = tree(deaf, |spec| spec.ladder(ladder)).await;
    tree.wait_healthy(SEC).await.unwrap();
    let pid = tree.worker("/w").unwrap().pid().unwrap();
    let _ = tree.shutdown(60 * SEC).await;
    let warnings = warnings();
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    let text =
        "killed with its group: neither the request to stop (waited 2s) nor SIGTERM (waited 1s) ended it";
    assert!(warning.contains(text), "{warning}");
    assert!(warning.contains(&format!("path=\"/w\" incarnation=1 pid={pid}")), "{warning}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_said_to_be_one() {
    listen();
    let tree = tree(deaf, |spec| spec).await;
    tree.wait_healthy(SEC).await.unwrap();
    let _ = tree.shutdown(3 * SEC).await;
    let warnings = heard();
    // The worker knows the tree's deadline, and is done a little before it.
    let text = "killed at the deadline of the stop, after 2.75s path=\"/w\"";
    assert!(warnings.iter().any(|line| line.contains("WARN") && line.contains(text)), "{warnings:?}");
}

/// Takes a minute to end.
struct Slow;

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Slow {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        tokio::time::sleep(60 * SEC).await;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_knows_of_no_deadline_is_named_when_it_has_passed() {
    // S-20: an actor is told to stop, but not its deadline.
    listen();
    let slow = |id: &str| ChildSpec::actor(id, || (Slow, ())).shutdown(Shutdown::Infinity);
    let tree = Tree::builder().child(slow("a")).child(slow("b")).start().await.unwrap();
    let begin = tokio::time::Instant::now();
    let _ = tree.shutdown(3 * SEC).await;
    assert!(begin.elapsed() <= 3 * SEC);
    let warnings = warnings();
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(
        warning.contains("the stop did not finish before its deadline: killing `a`, `b` path=\"/\""),
        "{warning}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_waits_less_long_is_named_as_the_cause() {
    listen();
    let tree = tree_with(deaf, |spec| spec, Shutdown::Timeout(3 * SEC)).await;
    tree.wait_healthy(SEC).await.unwrap();
    let _ = tree.shutdown(60 * SEC).await;
    let warnings = warnings();
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.contains("killed at the deadline of the stop, after 2.75s"), "{warning}");
}

#[tokio::test(start_paused = true)]
async fn who_ends_when_told_to_and_who_was_to_be_killed_are_no_news() {
    listen();
    let ends = tree(polite, |spec| spec).await;
    ends.wait_healthy(SEC).await.unwrap();
    let _ = ends.shutdown(60 * SEC).await;
    assert_eq!(warnings(), [""; 0]);
    let killed = tree(deaf, |spec| spec).await;
    killed.wait_healthy(SEC).await.unwrap();
    heard();
    let _ = killed.kill().await;
    assert_eq!(warnings(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_that_nobody_repairs_is_one_too() {
    listen();
    let tree = tree(
        |mut me: ScriptedProcess| async move {
            shake_hands(&mut me).await;
            3
        },
        |spec| spec.restart(RestartPolicy::temporary()),
    )
    .await;
    tokio::time::sleep(SEC).await;
    let warnings = warnings();
    assert!(
        warnings.iter().any(|line| line.contains("ended: failed with exit code 3; not restarted")),
        "{warnings:?}"
    );
    let _ = tree.shutdown(60 * SEC).await;
}
