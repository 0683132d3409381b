//! The same seed gives the same event log, byte for byte, in 200 runs (D-1).

use procession::internals::{Root, RootOptions};
use procession::{
    restart::{Backoff, RestartPolicy},
    supervision::{ChildSpec, SupervisorSpec},
};

use crate::support::*;

fn run(seed: u64) -> String {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let record = Record::default();
        let backoff =
            RestartPolicy::permanent().with_backoff(Backoff::exponential(10 * MS, SEC)).with_jitter(0.5);
        let mut group = SupervisorSpec::rest_for_one().intensity(4, SEC);
        for id in ["a", "b", "c"] {
            group = group.child(puppet(id, Script::slow_start(3), &record).restart(backoff.clone()));
        }
        let spec = SupervisorSpec::one_for_all()
            .intensity(5, SEC)
            .child(plain("first", &record))
            .child(ChildSpec::supervisor("group", group));
        let root = Root::start(spec, RootOptions { seed, ..RootOptions::default() }).await.unwrap();
        let mut events = root.events();
        for step in 0..30 {
            let path = ["/group/c", "/group/a", "/first", "/group/b"][step % 4];
            let _ = root.child::<Pull>(path).unwrap().cast(Pull::Fail("x"));
            tokio::time::sleep(5 * MS * (step as u32 % 7)).await;
        }
        let _ = root.shutdown(SEC).await;
        drain(&mut events).iter().map(|e| serde_json::to_string(e).unwrap() + "\n").collect()
    })
}

#[test]
fn two_hundred_runs_give_one_log() {
    // D-1, E-1
    let first = run(7);
    assert!(first.lines().count() > 100, "{first}");
    for _ in 1..200 {
        assert_eq!(run(7), first);
    }
    assert_ne!(run(8), first, "the seed decides the jitter");
    for (n, line) in first.lines().enumerate() {
        let event: procession::event::Event = serde_json::from_str(line).unwrap();
        let base =
            serde_json::from_str::<procession::event::Event>(first.lines().next().unwrap()).unwrap().seq;
        assert_eq!(event.seq, base + n as u64, "no gaps");
    }
}
