//! A tree is declared and checked as a whole, and everything in it is found by its path (T-1, T-2, T-4,
//! S-6, S-26, E-2).

use procession::{
    snapshot::Snapshot,
    state::ChildState,
    supervision::{FindError, TreeStartError, Unavailable},
    testing::ScriptedLauncher,
    tree::Tree,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn everything_is_found_by_its_path() {
    // T-2
    let launcher = ScriptedLauncher::new();
    let tree = tree(&launcher).start().await.unwrap();
    assert!(tree.ready());
    tree.wait_healthy(10 * SEC).await.unwrap();
    assert_eq!(echo(&tree, "a/b").await.unwrap(), "a/b");
    assert_eq!(tree.worker("/pool/a~1b").unwrap().pid(), Some(1002), "a slash inside a key is escaped");
    assert_eq!(tree.plugins("plugins").unwrap().call::<Echo>("weather", &"hi".into()).await.unwrap(), "hi");
    assert_eq!(count(&tree).await, 1);
    assert!(matches!(tree.find("/nothing"), Err(FindError::NotFound(_))));
    assert!(matches!(tree.find("/a//b"), Err(FindError::Path(_))));
    assert_eq!(tree.worker("pool/a~1b").unwrap().path().as_str(), "/pool/a~1b");
    assert!(matches!(tree.pool("/counter"), Err(FindError::WrongKind { .. })));
    assert!(matches!(tree.worker("/counter"), Err(FindError::WrongKind { .. })));
    assert!(matches!(tree.plugins("counter"), Err(FindError::WrongKind { .. })));
    assert!(matches!(tree.supervisor("/counter"), Err(FindError::WrongKind { .. })));
    assert_eq!(tree.supervisor("/").unwrap().count_children().await.unwrap().supervisors, 2);
    let _ = tree.shutdown(60 * SEC).await;
    assert!(launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn all_mistakes_of_a_whole_tree_are_reported_at_once() {
    // S-6, T-1
    use procession::{pool::PoolSpec, process::Command, supervision::SupervisorSpec, worker::WorkerSpec};
    let bare = || WorkerSpec::new(Command::new("true"));
    let nested = SupervisorSpec::one_for_one().intensity(1, std::time::Duration::ZERO);
    let builder = Tree::builder()
        .intensity(3, std::time::Duration::ZERO)
        .worker("w", bare().start_timeout(std::time::Duration::ZERO))
        .worker("w", bare())
        .pool("p", PoolSpec::keyed(0, bare()))
        .supervisor("s", nested);
    let Err(TreeStartError::Invalid(errors)) = builder.start().await else { panic!() };
    let fields: Vec<_> = errors.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(fields[0], "intensity.period");
    assert!(fields.contains(&"children[w].start_timeout") && fields.contains(&"children[w].id"));
    assert!(fields.iter().any(|f| f.starts_with("children[p].")), "{fields:?}");
    assert!(fields.contains(&"children[s].intensity.period"));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_plain_data_and_readable() {
    // E-2
    let launcher = ScriptedLauncher::new();
    let tree = tree(&launcher).start().await.unwrap();
    echo(&tree, "red").await.unwrap();
    tree.wait_healthy(10 * SEC).await.unwrap();
    let snapshot = tree.snapshot();
    let json = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
    let text = snapshot.to_string();
    let lines: Vec<_> = text.lines().map(|l| l.split("  ").next().unwrap()).collect();
    assert_eq!(
        lines,
        ["/ #1", "├─ counter #1", "├─ pool #1", "│", "└─ plugins #1", "", ""].map(|l| l.trim_end()),
        "{text}"
    );
    assert!(text.contains("red #1") && text.contains("0 of 2 restarts used"), "{text}");
    let health = tree.health();
    assert!(health.healthy && health.issues.is_empty());
    tree.worker("/pool/red").unwrap().stop().await.unwrap();
    assert!(tree.health().healthy, "a child that an operator has stopped is no health issue");
    let _ = tree.shutdown(60 * SEC).await;
    assert!(!tree.ready() && !tree.health().healthy);
}

#[tokio::test(start_paused = true)]
async fn any_actor_can_own_a_tree() {
    // S-26
    struct Owner;
    #[cfg_attr(feature = "async-trait", ractor::async_trait)]
    impl Actor for Owner {
        type Msg = ();
        type State = ();
        type Arguments = ();
        async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }
    let (owner, _) = Actor::spawn(None, Owner, ()).await.unwrap();
    let launcher = ScriptedLauncher::new();
    let tree = tree(&launcher).owner(owner.get_cell()).start().await.unwrap();
    tree.wait_healthy(10 * SEC).await.unwrap();
    assert_eq!(launcher.alive().len(), 2);
    owner.kill();
    let _ = tree.wait().await;
    assert!(launcher.alive().is_empty(), "it ends with its owner");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_given_up_leaves_nothing() {
    // P-10
    let launcher = ScriptedLauncher::new();
    let slow = launcher.clone();
    launcher.program("slow", |me| async move { me.hang().await });
    let spec = procession::worker::WorkerSpec::new(procession::process::Command::new("slow"))
        .protocol(procession::protocol::Mcp::default())
        .launcher(std::sync::Arc::new(slow));
    let start = Tree::builder().worker("slow", spec).start();
    assert!(tokio::time::timeout(SEC, start).await.is_err());
    tokio::time::sleep(60 * SEC).await;
    assert_eq!((launcher.launched().len(), launcher.alive().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn handles_outlive_their_tree_and_say_so() {
    let launcher = ScriptedLauncher::new();
    let tree = tree(&launcher).start().await.unwrap();
    echo(&tree, "red").await.unwrap();
    let (pool, worker) = (tree.pool("pool").unwrap(), tree.worker("/pool/red").unwrap());
    let _ = tree.shutdown(60 * SEC).await;
    drop(tree);
    assert!(pool.acquire_within("red", SEC).await.is_err());
    assert!(worker.call::<Echo>(&String::new()).await.is_err());
    assert!(worker.restart("please").await.is_err());
    let gone: Result<_, Unavailable> = worker.wait_ready(SEC).await;
    assert!(!matches!(gone.unwrap_err().state, ChildState::Ready));
}

#[tokio::test(start_paused = true)]
async fn what_is_set_too_late_is_a_mistake() {
    // S-6: the subscription has fixed both.
    let mut builder = Tree::builder();
    let _events = builder.events();
    let Err(TreeStartError::Invalid(errors)) = builder.seed(7).event_capacity(9).start().await else {
        panic!()
    };
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), ["seed", "event_capacity"]);
    assert!(texts.iter().all(|text| text.contains("before `TreeBuilder::events`")), "{texts:?}");
    let mut builder = Tree::builder().seed(7).event_capacity(9);
    let _events = builder.events();
    assert!(builder.validate().is_ok());
    assert!(Tree::builder().event_capacity(0).validate().is_err());
}
