//! However a process ends, and whatever its supervisor, it is not restarted endlessly without a pause
//!

use procession::internals::{Root, RootOptions};
use procession::{
    process::Command,
    restart::{Backoff, BudgetScope, CrashLoop, CrashLoopAction, RestartPolicy, RestartType},
    state::{ChildState, DownReason},
    supervision::SupervisorSpec,
    testing::ScriptedLauncher,
    worker::WorkerSpec,
};

use crate::support::*;

/// A process that is ready at once and ends with this code after the given seconds; never with `None`.
fn program(code: i32, after: Option<u64>) -> ScriptedLauncher {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", move |me| async move {
        match after {
            Some(seconds) => me.sleep(SEC * u32::try_from(seconds).unwrap()).await,
            None => {
                me.hang().await;
            }
        }
        code
    });
    launcher
}

fn bare(launcher: &ScriptedLauncher, policy: RestartPolicy) -> WorkerSpec {
    WorkerSpec::new(Command::new("worker")).launcher(std::sync::Arc::new(launcher.clone())).restart(policy)
}

async fn launches_in_an_hour(spec: SupervisorSpec, launcher: &ScriptedLauncher) -> usize {
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    tokio::time::sleep(3600 * SEC).await;
    let _ = root.shutdown(60 * SEC).await;
    launcher.launched().len()
}

#[tokio::test(start_paused = true)]
async fn whatever_the_exit_and_the_supervisor() {
    let parents = [
        SupervisorSpec::one_for_one(),
        SupervisorSpec::dynamic(),
        SupervisorSpec::one_for_all(),
        SupervisorSpec::rest_for_one(),
    ];
    for parent in parents {
        for code in [0, 1] {
            for restart in [RestartType::Permanent, RestartType::UnlessStopped, RestartType::OnSuccess] {
                let launcher = program(code, Some(0));
                let policy = RestartPolicy::permanent().with_restart(restart);
                let spec = parent.clone().child(bare(&launcher, policy).child("w"));
                let launches = launches_in_an_hour(spec, &launcher).await;
                // Eventually at most every 30 s.
                assert!(launches < 160, "{:?}, {restart}, exit {code}: {launches}", parent.flags.strategy);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_end_of_one_makes_its_group_wait_longer_each_time() {
    let (quits, stays) = (program(0, Some(1)), program(0, None));
    let spec = SupervisorSpec::one_for_all()
        .intensity(100, 5 * SEC)
        .child(bare(&stays, RestartPolicy::permanent()).child("stays"))
        .child(bare(&quits, RestartPolicy::permanent()).child("quits"));
    let launches = launches_in_an_hour(spec, &quits).await;
    assert!((100..160).contains(&launches), "{launches}");
    assert_eq!(stays.launched().len(), launches);
}

#[tokio::test(start_paused = true)]
async fn without_a_delay_its_own_crash_loop_is_the_bound() {
    for code in [0, 1] {
        let launcher = program(code, Some(1));
        let own = CrashLoop::new(4, 60 * SEC, CrashLoopAction::GiveUp);
        let policy =
            RestartPolicy::permanent().with_backoff(Backoff::None).with_budget(BudgetScope::Own(own));
        let (root, worker) = tree(bare(&launcher, policy)).await.unwrap();
        tokio::time::sleep(3600 * SEC).await;
        assert_eq!(launcher.launched().len(), 4, "exit {code}");
        assert!(matches!(worker.state(), ChildState::Down { why: DownReason::GaveUp { .. } }));
        let _ = root.shutdown(SEC).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_works_for_a_while_and_ends_well_is_run_again_without_an_end() {
    let launcher = program(0, Some(20));
    let policy = RestartPolicy::permanent().with_budget(BudgetScope::Own(CrashLoop::default()));
    let spec = SupervisorSpec::one_for_one().child(bare(&launcher, policy).child("w"));
    assert!(launches_in_an_hour(spec, &launcher).await > 170);
}

#[tokio::test(start_paused = true)]
async fn no_delay_without_any_bound_is_a_mistake() {
    let launcher = program(0, Some(0));
    let spec = SupervisorSpec::one_for_one().intensity(u32::MAX, SEC);
    let at_once = bare(&launcher, RestartPolicy::actor().with_budget(BudgetScope::Shared));
    let spec = spec.child(at_once.child("w"));
    let mistakes = spec.validate().unwrap_err().to_string();
    assert!(mistakes.contains("children[w].restart") && mistakes.contains("intensity"), "{mistakes}");
}
