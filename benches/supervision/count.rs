//! Runs one kind of work alone, on one thread, for a tool that counts instructions: on a busy machine
//! wall-clock times are not reliable.
//!
//! `-- count <start|restart|storm|group> <ours|bare> <children> <rounds>` prints nothing. The cost of one
//! unit is the difference between two runs of different length, for example under
//! `valgrind --tool=callgrind`.

use procession::state::Strategy;

use crate::world::World;

/// Runs it if the arguments ask for it, and returns whether they did.
pub(crate) fn asked() -> bool {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let [count, what, who, children, rounds] = words.as_slice() else { return false };
    if count != "count" {
        return false;
    }
    let (n, rounds) = (children.parse().unwrap(), rounds.parse().unwrap());
    let strategy = if what == "group" { Strategy::OneForAll } else { Strategy::OneForOne };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::start(who == "ours", strategy, n).await;
        // Until every child has run: they are counted or not, but all of them.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        for round in 0..rounds {
            let (first, killed, awaited) = match what.as_str() {
                "restart" => (round % n, 1, 1),
                "storm" => (0, n, n),
                "group" => (0, 1, n),
                _ => std::process::exit(0),
            };
            for child in &world.children[first..first + killed] {
                child.kill();
            }
            for _ in 0..awaited {
                world.next().await;
            }
            world.ping(first).await;
        }
        // Not the end of it all: it is not what is counted.
        std::process::exit(0);
    });
    true
}
