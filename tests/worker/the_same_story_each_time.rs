//! The same seed gives the same events, byte for byte, with processes too (D-1).

use procession::testing::ScriptedLauncher;

use crate::support::*;

fn run() -> String {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", |mut me| async move {
            match me.launch() % 4 {
                0 => 1,
                1 => me.hang().await.into_code(),
                2 => {
                    shake_hands(&mut me).await;
                    me.sleep(20 * MS).await;
                    9
                }
                _ => serve(me).await,
            }
        });
        let mut spec = procession::supervision::SupervisorSpec::rest_for_one().intensity(100, SEC);
        for id in ["a", "b", "c"] {
            spec = spec.child(plugin(&launcher).child(id).background());
        }
        let options = procession::internals::RootOptions { seed: 3, ..Default::default() };
        let root = procession::internals::Root::start(spec, options).await.unwrap();
        let mut events = root.events();
        tokio::time::sleep(90 * SEC).await;
        let _ = root.shutdown(60 * SEC).await;
        let mut log = String::new();
        while let Ok(Some(event)) = events.try_next() {
            log += &format!("{event}\n");
        }
        log
    })
}

trait IntoCode {
    fn into_code(self) -> i32;
}

impl IntoCode for std::convert::Infallible {
    fn into_code(self) -> i32 {
        match self {}
    }
}

#[test]
fn two_hundred_runs_give_one_log() {
    // D-1
    let first = run();
    assert!(first.lines().count() > 50, "{first}");
    for _ in 1..200 {
        assert_eq!(run(), first);
    }
}
