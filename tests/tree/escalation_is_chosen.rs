//! A broken process ends its siblings only if their supervisor was given an intensity or ties them
//! together; otherwise it pays for its own crashes.

use std::sync::Arc;

use procession::{
    exit::Exit,
    pool::PoolSpec,
    process::{Command, Signal},
    protocol::Plugin,
    restart::{BudgetScope, CrashLoop, CrashLoopAction, RestartPolicy},
    state::{ChildState, Strategy},
    supervision::{ChildSpec, SupervisorSpec},
    testing::ScriptedLauncher,
    tree::{Tree, TreeBuilder},
    worker::WorkerSpec,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::support::*;

/// `good` serves, `bad` fails a second after its launch.
fn launcher() -> ScriptedLauncher {
    let launcher = ScriptedLauncher::new();
    launcher.program("good", |me| async move {
        me.hang().await;
        0
    });
    launcher.program("bad", |me| async move {
        me.sleep(SEC / 10).await;
        9
    });
    launcher
}

fn process(launcher: &ScriptedLauncher, program: &str) -> WorkerSpec {
    WorkerSpec::new(Command::new(program)).launcher(Arc::new(launcher.clone()))
}

/// A worker that serves, and one that fails.
fn neighbours(launcher: &ScriptedLauncher) -> TreeBuilder {
    Tree::builder().worker("good", process(launcher, "good")).worker("bad", process(launcher, "bad"))
}

fn launches(launcher: &ScriptedLauncher, program: &str) -> usize {
    launcher.launched().iter().filter(|launched| launched.program == program).count()
}

/// Fails on its first message.
struct Fragile;

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Fragile {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        Err("broken".into())
    }
}

async fn ends(tree: &Tree) -> Option<Exit> {
    tokio::time::timeout(MINUTE * 10, tree.wait()).await.ok()
}

#[tokio::test(start_paused = true)]
async fn a_broken_worker_pauses_alone_and_health_names_it() {
    let launcher = launcher();
    let tree = neighbours(&launcher).start().await.unwrap();
    tokio::time::sleep(20 * SEC).await;
    assert_eq!(launches(&launcher, "bad"), 5);
    assert!(matches!(tree.find("/bad").unwrap().state(), ChildState::CoolingOff { .. }));
    let health = tree.health();
    assert!(!health.healthy);
    let paths: Vec<&str> = health.issues.iter().map(|issue| issue.path.as_str()).collect();
    assert_eq!(paths, ["/bad"]);
    assert!(health.issues[0].to_string().contains("cooling off"), "{}", health.issues[0]);
    assert_eq!(ends(&tree).await, None, "the tree goes on");
    // One trial a minute.
    assert!((12..=16).contains(&launches(&launcher, "bad")), "{}", launches(&launcher, "bad"));
    assert_eq!(launches(&launcher, "good"), 1);
    let _ = tree.shutdown(MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn many_that_die_together_come_back() {
    let launcher = launcher();
    let workers = (0..14).map(|n| process(&launcher, "good").child(format!("w{n}").as_str()));
    let tree = workers.fold(Tree::builder(), TreeBuilder::child).start().await.unwrap();
    for _ in 0..3 {
        for pid in launcher.alive() {
            launcher.kill(pid, Signal::KILL).unwrap();
        }
        tokio::time::sleep(5 * SEC).await;
        assert!(tree.health().healthy, "{:?}", tree.health());
    }
    assert_eq!(launches(&launcher, "good"), 4 * 14);
    let _ = tree.shutdown(MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_pool_rests_alone_and_health_names_it() {
    let launcher = launcher();
    launcher.program("gone", |_| async { 0 });
    for program in ["bad", "gone"] {
        let pool = PoolSpec::anonymous(2, 4, process(&launcher, program).protocol(Plugin::default()));
        let tree = Tree::builder().worker("good", process(&launcher, "good")).pool("pool", pool);
        let tree = tree.start().await.unwrap();
        tokio::time::sleep(20 * SEC).await;
        let health = tree.health();
        assert!(health.issues.iter().any(|issue| issue.path.as_str() == "/pool"), "{health:?}");
        assert_eq!(ends(&tree).await, None, "the tree goes on");
        // Two workers with five failures each, after each pause of 30 s.
        let launched = launches(&launcher, program);
        assert!((40..=300).contains(&launched), "{program}: {launched}");
        let _ = tree.shutdown(MINUTE).await;
    }
    assert_eq!(launches(&launcher, "good"), 2, "one in each tree");
    // With an intensity it escalates.
    let pool = PoolSpec::anonymous(2, 4, process(&launcher, "bad").protocol(Plugin::default()));
    let tree = Tree::builder().intensity(0, MINUTE).pool("pool", pool.intensity(3, 5 * SEC));
    let exit = ends(&tree.start().await.unwrap()).await.unwrap();
    assert!(matches!(&exit, Exit::IntensityExceeded { child, .. } if child.as_str() == "pool"), "{exit}");
}

#[tokio::test(start_paused = true)]
async fn an_intensity_that_was_given_escalates() {
    let launcher = launcher();
    let tree = neighbours(&launcher).intensity(3, 5 * SEC).start().await.unwrap();
    let exit = ends(&tree).await.unwrap();
    assert!(matches!(&exit, Exit::IntensityExceeded { child, .. } if child.as_str() == "bad"), "{exit}");
    assert_eq!(launches(&launcher, "bad"), 4);
}

#[tokio::test(start_paused = true)]
async fn groups_and_actors_escalate_as_ever() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let launcher = launcher();
        let tree = neighbours(&launcher).strategy(strategy).start().await.unwrap();
        assert!(matches!(ends(&tree).await, Some(Exit::IntensityExceeded { .. })), "{strategy}");
        assert_eq!(launches(&launcher, "bad"), 4, "{strategy}");
    }
    let tree = Tree::builder().actor("fragile", || (Fragile, ())).start().await.unwrap();
    for _ in 0..4 {
        tree.actor::<()>("fragile").unwrap().cast(()).unwrap();
        tokio::time::sleep(SEC).await;
    }
    assert!(matches!(ends(&tree).await, Some(Exit::IntensityExceeded { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_a_policy_says_counts_whatever_the_supervisor() {
    let launcher = launcher();
    let bad = |budget| process(&launcher, "bad").restart(RestartPolicy::permanent().with_budget(budget));
    // Shared although the supervisor has no intensity.
    let tree = Tree::builder().worker("bad", bad(BudgetScope::Shared)).start().await.unwrap();
    assert!(matches!(ends(&tree).await, Some(Exit::IntensityExceeded { .. })));
    // Its own budget although the supervisor has an intensity.
    let own = BudgetScope::Own(CrashLoop::new(2, MINUTE, CrashLoopAction::GiveUp));
    let tree = Tree::builder().intensity(0, MINUTE).worker("bad", bad(own)).start().await.unwrap();
    assert_eq!(ends(&tree).await, None);
    let _ = tree.shutdown(MINUTE).await;
    // A crash loop without an explicit budget is the budget.
    let policy =
        RestartPolicy::permanent().with_crash_loop(CrashLoop::new(2, MINUTE, CrashLoopAction::Escalate));
    let before = launches(&launcher, "bad");
    let tree =
        Tree::builder().worker("bad", process(&launcher, "bad").restart(policy)).start().await.unwrap();
    assert!(matches!(ends(&tree).await, Some(Exit::IntensityExceeded { .. })));
    assert_eq!(launches(&launcher, "bad"), before + 2);
}

/// The budget of a worker is decided in every way in which it becomes a child.
#[tokio::test(start_paused = true)]
async fn it_is_settled_where_a_declaration_becomes_a_child() {
    let launcher = launcher();
    let nested = |intensity: Option<u32>| {
        let spec = SupervisorSpec::dynamic().child(process(&launcher, "good").child("first"));
        intensity.into_iter().fold(spec, |spec, max| spec.intensity(max, MINUTE))
    };
    let tree = Tree::builder()
        .supervisor("alone", nested(None))
        .supervisor("together", nested(Some(1)))
        .start()
        .await
        .unwrap();
    let open = || process(&launcher, "good").child("late");
    let custom =
        RestartPolicy::permanent().with_crash_loop(CrashLoop::new(7, MINUTE, CrashLoopAction::GiveUp));
    for (path, own) in [("/alone", true), ("/together", false)] {
        let supervisor = tree.supervisor(path).unwrap();
        let budget = async |id: &str| supervisor.child_spec(id).await.unwrap().policy.restart.budget;
        let settled = |crash_loop| own.then_some(BudgetScope::Own(crash_loop));
        assert_eq!(budget("first").await, settled(CrashLoop::default()), "{path}");
        supervisor.start_child(open()).await.unwrap();
        assert_eq!(budget("late").await, settled(CrashLoop::default()), "{path}, start_child");
        supervisor.reload_child(open().restart(custom.clone())).await.unwrap();
        let seven = CrashLoop::new(7, MINUTE, CrashLoopAction::GiveUp);
        assert_eq!(budget("late").await, settled(seven), "{path}, reload_child");
        supervisor.set_policy("late", process(&launcher, "good").policy()).await.unwrap();
        assert_eq!(budget("late").await, settled(CrashLoop::default()), "{path}, set_policy");
        // Actors keep their setting.
        supervisor.start_child(ChildSpec::actor("actor", || (Counter, ()))).await.unwrap();
        assert_eq!(budget("actor").await, None, "{path}");
    }
    let _ = tree.shutdown(MINUTE).await;
}
