//! Processes that a worker leaves behind are swept after its exit; stops, removals, reloads and drains
//! wait for that, a successor does not (P-4).

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    pool::PoolSpec,
    process::{Command, ExitStatus, HeldUntilReaped, Launcher, Process, ProcessControl, Signal, Unkillable},
    restart::{Backoff, RestartPolicy},
    supervision::{ChildSpec, SupervisorSpec},
    testing::ScriptedLauncher,
    tree::Tree,
    worker::{WorkerRef, WorkerSpec},
};

use crate::support::*;

/// A launcher whose processes always leave something to be swept; `trails` holds the guards back.
#[derive(Clone, Debug)]
struct Leaving {
    scripted: ScriptedLauncher,
    trails: Arc<Mutex<Vec<HeldUntilReaped>>>,
}

#[async_trait]
impl Launcher for Leaving {
    async fn launch(&self, command: &Command, hold: HeldUntilReaped) -> Result<Process, Exit> {
        let mut process = self.scripted.launch(command, hold).await?;
        process.control = Box::new(Left { control: process.control, trails: Arc::clone(&self.trails) });
        Ok(process)
    }
}

#[derive(Debug)]
struct Left {
    control: Box<dyn ProcessControl>,
    trails: Arc<Mutex<Vec<HeldUntilReaped>>>,
}

#[async_trait]
impl ProcessControl for Left {
    fn pid(&self) -> u32 {
        self.control.pid()
    }
    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.control.signal(signal)
    }
    async fn exited(&self) -> ExitStatus {
        self.control.exited().await
    }
    async fn emptied(&self) {
        self.control.emptied().await;
    }
    async fn reap(&self, wait: Duration) -> Result<ExitStatus, Unkillable> {
        self.control.reap(wait).await
    }
    async fn reap_after_exit(
        &self,
        wait: Duration,
        trail: HeldUntilReaped,
    ) -> Result<ExitStatus, Unkillable> {
        self.trails.lock().unwrap().push(trail);
        self.control.reap(wait).await
    }
}

fn leaving() -> (WorkerSpec, Leaving) {
    let scripted = ScriptedLauncher::new();
    scripted.program("worker", serve);
    let launcher = Leaving { scripted, trails: Arc::default() };
    let spec = WorkerSpec::new(Command::new("worker"))
        .protocol(procession::protocol::Plugin::default())
        .launcher(Arc::new(launcher.clone()));
    (spec, launcher)
}

async fn crashed(backoff: Backoff) -> (Root, WorkerRef, Leaving) {
    let (spec, launcher) = leaving();
    let spec = spec.restart(RestartPolicy::permanent().with_backoff(backoff));
    let nested = SupervisorSpec::one_for_one().child(spec.child("w"));
    let spec = SupervisorSpec::one_for_one().child(ChildSpec::supervisor("s", nested));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/s/w").unwrap());
    let _ = worker.call::<Die>(&7).await.unwrap_err();
    let at_hand = Arc::clone(&launcher.trails);
    until(move || !at_hand.lock().unwrap().is_empty()).await;
    (root, worker, launcher)
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(MS).await;
    }
}

/// Whether the future completes within a minute.
async fn is_over<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
    tokio::time::timeout(60 * SEC, future).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn by_no_successor() {
    // P-4
    let (root, worker, launcher) = crashed(Backoff::fixed(MS)).await;
    assert_eq!(worker.wait_ready(SEC).await.unwrap().0, 2);
    assert_eq!(launcher.trails.lock().unwrap().len(), 1);
    launcher.trails.lock().unwrap().clear();
    root.shutdown(SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn by_a_stop_while_it_backs_off() {
    // P-4, S-19
    let (root, worker, launcher) = crashed(Backoff::fixed(3600 * SEC)).await;
    let mut stop = Box::pin(worker.stop());
    assert!(!is_over(&mut stop).await);
    launcher.trails.lock().unwrap().clear();
    stop.await.unwrap();
    root.shutdown(SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn by_a_removal_and_a_reload() {
    // P-4, S-22
    let (root, worker, launcher) = crashed(Backoff::fixed(3600 * SEC)).await;
    let supervisor = root.supervisor_at("/s").unwrap();
    let spec = supervisor.child_spec("w").await.unwrap();
    let mut reload = Box::pin(supervisor.reload_child(spec));
    assert!(!is_over(&mut reload).await);
    assert_eq!(worker.wait_ready(SEC).await.unwrap().0, 2, "the new one has not waited");
    launcher.trails.lock().unwrap().clear();
    reload.await.unwrap();
    let _ = worker.call::<Die>(&7).await.unwrap_err();
    let at_hand = Arc::clone(&launcher.trails);
    until(move || !at_hand.lock().unwrap().is_empty()).await;
    let mut removal = Box::pin(supervisor.remove_child("w"));
    assert!(!is_over(&mut removal).await);
    launcher.trails.lock().unwrap().clear();
    removal.await.unwrap();
    root.shutdown(SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn by_the_end_of_the_tree() {
    // P-4, S-20
    let (root, _, launcher) = crashed(Backoff::fixed(3600 * SEC)).await;
    let mut shutdown = Box::pin(root.shutdown(SEC));
    assert!(!is_over(&mut shutdown).await);
    launcher.trails.lock().unwrap().clear();
    shutdown.await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn by_a_pool_that_is_drained() {
    // P-4, L-5: its worker has left the table by then.
    let (spec, launcher) = leaving();
    let pool = PoolSpec::keyed(2, spec).restart(RestartPolicy::temporary());
    let tree = Tree::builder().pool("pool", pool).start().await.unwrap();
    let pool = tree.pool("pool").unwrap();
    let lease = pool.acquire("key").await.unwrap();
    let _ = lease.call::<Die>(&7).await.unwrap_err();
    drop(lease);
    let at_hand = Arc::clone(&launcher.trails);
    until(move || !at_hand.lock().unwrap().is_empty()).await;
    let mut drain = Box::pin(pool.drain());
    assert!(!is_over(&mut drain).await);
    launcher.trails.lock().unwrap().clear();
    drain.await.unwrap();
    tree.shutdown(SEC).await.into_result().unwrap();
}
