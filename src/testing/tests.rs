use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::*;
use crate::{
    exit::{Exit, LaunchStage},
    process::{
        Command, ExitStatus, HeldUntilReaped, KILL_WAIT, Ladder, Launcher, Process, Rung, Signal,
        StopOutcome, Unkillable, terminate,
    },
};

const SECOND: Duration = Duration::from_secs(1);

async fn start(launcher: &ScriptedLauncher, program: &str) -> Process {
    launcher.launch(&Command::new(program), HeldUntilReaped::none()).await.unwrap()
}

fn held_value() -> (HeldUntilReaped, impl Fn() -> bool) {
    struct Held(Arc<AtomicBool>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }
    let held = Arc::new(AtomicBool::new(true));
    (HeldUntilReaped::new(Held(Arc::clone(&held))), move || held.load(Ordering::SeqCst))
}

#[tokio::test(start_paused = true)]
async fn a_script_sees_its_command_and_talks_on_its_streams() {
    // D-1
    let launcher = ScriptedLauncher::new();
    launcher.host_env("SECRET", "x");
    launcher.host_env("LANG", "C");
    launcher.program("echo", |mut me: ScriptedProcess| async move {
        let greeting = format!("{} {:?} {:?} {:?}", me.launch(), me.args(), me.var("A"), me.env().len());
        me.write_line(&greeting).await.unwrap();
        while let Some(line) = me.read_line().await {
            me.write_line(&line).await.unwrap();
        }
        me.write_error_line("bye").await.unwrap();
        3
    });
    for n in 1..3 {
        let command = Command::new("echo").arg("x y").env("A", "1");
        let mut process = launcher.launch(&command, HeldUntilReaped::none()).await.unwrap();
        process.stdin.write_all(b"one\ntwo").await.unwrap();
        process.stdin.shutdown().await.unwrap();
        assert_eq!(process.control.exited().await, ExitStatus::code(3));
        let (mut out, mut err) = (String::new(), String::new());
        process.stdout.read_to_string(&mut out).await.unwrap();
        process.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
        assert_eq!(out, format!("{n} [\"x y\"] Some(\"1\") 3\none\ntwo\n"));
        assert_eq!(err, "bye\n");
        let error = process.stdin.write_all(b"x").await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        assert_eq!(launcher.alive(), [999 + n], "a zombie");
        process.control.reap(KILL_WAIT).await.unwrap();
        assert!(launcher.alive().is_empty());
    }
    let launched = launcher.launched();
    assert_eq!(launched[1], LaunchRecord { program: "echo".into(), pid: 1001, launch: 2 });
}

#[tokio::test(start_paused = true)]
async fn unknown_programs_and_scheduled_failures_never_start() {
    //
    let launcher = ScriptedLauncher::new();
    let (held_until_reaped, held) = held_value();
    let failed = launcher.launch(&Command::new("absent"), held_until_reaped).await.unwrap_err();
    assert!(
        matches!(failed, Exit::NeverStarted { errno: Some(2), stage: LaunchStage::Program, .. }),
        "{failed:?}"
    );
    assert!(!held());
    launcher.program("absent", |_: ScriptedProcess| async {});
    launcher.fail_next("absent", Exit::Ignored);
    assert_eq!(
        launcher.launch(&Command::new("absent"), HeldUntilReaped::none()).await.unwrap_err(),
        Exit::Ignored
    );
    assert_eq!(start(&launcher, "absent").await.control.exited().await, ExitStatus::code(0));
}

#[tokio::test(start_paused = true)]
async fn the_ladder_climbs_in_virtual_time() {
    // P-9
    let launcher = ScriptedLauncher::new();
    launcher.program("hang", |me: ScriptedProcess| async move { me.hang().await });
    launcher.program("deaf", |me: ScriptedProcess| async move {
        me.ignore(Signal::TERM);
        me.ignore(Signal::KILL);
        me.hang().await
    });
    launcher.program("slow", |me: ScriptedProcess| async move {
        me.on_signal(Signal::TERM).next().await;
        me.sleep(SECOND).await;
        9
    });
    launcher.program("orphan", |me: ScriptedProcess| async move {
        me.grandchild(&[], async { std::future::pending().await });
        me.exit(4).await
    });
    launcher.program("stubborn", |me: ScriptedProcess| async move {
        me.grandchild(&[Signal::TERM], tokio::time::sleep(12 * SECOND));
    });
    for (program, exited, rung, seconds) in [
        ("hang", ExitStatus::signal(15, false), Rung::Term, 10),
        ("deaf", ExitStatus::signal(9, false), Rung::Kill, 15),
        ("slow", ExitStatus::code(9), Rung::Term, 11),
        ("orphan", ExitStatus::code(4), Rung::Term, 10),
        ("stubborn", ExitStatus::code(0), Rung::Term, 12),
    ] {
        let (process, began) = (start(&launcher, program).await, Instant::now());
        let ended = terminate(&*process.control, &Ladder::default(), None).await;
        assert_eq!(ended, Ok(StopOutcome { exited, rung }), "{program}");
        assert_eq!(began.elapsed().as_secs(), seconds, "{program}");
        assert!(launcher.alive().is_empty());
    }
    let (process, began) = (start(&launcher, "deaf").await, Instant::now());
    let ended = terminate(&*process.control, &Ladder::default(), Some(began + 2 * SECOND)).await;
    assert_eq!((ended.unwrap().rung, began.elapsed()), (Rung::Kill, 2 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_drop_kills_all_and_the_hold_lasts_until_then() {
    // P-10
    let launcher = ScriptedLauncher::new();
    launcher.program("family", |me: ScriptedProcess| async move {
        me.ignore(Signal::TERM);
        me.grandchild(&[Signal::TERM], async { std::future::pending().await });
        me.hang().await
    });
    let (held_until_reaped, held) = held_value();
    let process = launcher.launch(&Command::new("family"), held_until_reaped).await.unwrap();
    tokio::task::yield_now().await;
    drop(process);
    assert!(held() && launcher.alive() == [1000], "the kill has been sent and is not over");
    tokio::time::sleep(SECOND).await;
    assert!(!held() && launcher.alive().is_empty());
}

#[test]
fn the_runtime_takes_its_scripts_with_it() {
    // P-10
    let launcher = ScriptedLauncher::new();
    launcher.program("hang", |me: ScriptedProcess| async move { me.hang().await });
    let (held_until_reaped, held) = held_value();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let process = runtime.block_on(launcher.launch(&Command::new("hang"), held_until_reaped)).unwrap();
    drop(runtime);
    assert!(held(), "a zombie");
    drop(process);
    assert!(!held() && launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_process_in_uninterruptible_sleep_is_unkillable_until_it_wakes() {
    // S-19
    let launcher = ScriptedLauncher::new();
    launcher.program("stuck", |me: ScriptedProcess| async move {
        me.set_uninterruptible(true);
        me.sleep(60 * SECOND).await;
        me.set_uninterruptible(false);
        me.hang().await
    });
    let (held_until_reaped, held) = held_value();
    let process = launcher.launch(&Command::new("stuck"), held_until_reaped).await.unwrap();
    tokio::task::yield_now().await;
    let began = Instant::now();
    assert_eq!(process.control.reap(KILL_WAIT).await, Err(Unkillable { pid: 1000 }));
    assert_eq!(began.elapsed(), KILL_WAIT);
    assert!(!held(), "the tree goes on without it");
    assert_eq!(launcher.alive(), [1000]);
    tokio::time::sleep(60 * SECOND).await;
    assert!(launcher.alive().is_empty());
    assert_eq!(process.control.reap(KILL_WAIT).await, Ok(ExitStatus::signal(9, false)));
}

#[tokio::test(start_paused = true)]
async fn signals_reach_the_group_or_one_process() {
    // P-4
    let launcher = ScriptedLauncher::new();
    launcher.program("pair", |mut me: ScriptedProcess| async move {
        let stdout = me.take_stdout();
        me.grandchild(&[], async move {
            std::future::pending::<()>().await;
            drop(stdout);
        });
        me.hang().await
    });
    let mut process = start(&launcher, "pair").await;
    tokio::task::yield_now().await;
    launcher.kill(process.pid, Signal::SEGV).unwrap();
    assert_eq!(process.control.exited().await, ExitStatus::signal(11, false));
    let mut out = Vec::new();
    let read = process.stdout.read_to_end(&mut out);
    assert!(tokio::time::timeout(SECOND, read).await.is_err(), "the grandchild holds stdout");
    assert!(tokio::time::timeout(SECOND, process.control.emptied()).await.is_err());
    process.control.signal(Signal::TERM).unwrap();
    process.control.emptied().await;
    process.stdout.read_to_end(&mut out).await.unwrap();
    process.control.reap(KILL_WAIT).await.unwrap();
    assert_eq!(process.control.signal(Signal::TERM).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    assert_eq!(launcher.kill(process.pid, Signal::TERM).unwrap_err().raw_os_error(), Some(libc::ESRCH));
}

#[tokio::test(start_paused = true)]
async fn crashes_panics_and_floods() {
    // R-1, P-3
    let launcher = ScriptedLauncher::new();
    launcher.program("crash", |me: ScriptedProcess| async move { me.crash(Signal::BUS).await });
    launcher.program("panic", |me: ScriptedProcess| async move { assert!(me.pid() == 0, "on purpose") });
    launcher.program("flood", |mut me: ScriptedProcess| async move {
        me.close_stdin();
        me.flood(b'x', 1_000_000).await.unwrap();
    });
    assert_eq!(start(&launcher, "crash").await.control.exited().await, ExitStatus::signal(7, false));
    assert_eq!(start(&launcher, "panic").await.control.exited().await, ExitStatus::signal(6, false));
    let mut process = start(&launcher, "flood").await;
    let waits = tokio::time::timeout(SECOND, process.control.exited()).await.is_err();
    assert!(waits, "stdout is full");
    assert!(process.stdin.write_all(b"x").await.is_err());
    let mut out = Vec::new();
    process.stdout.read_to_end(&mut out).await.unwrap();
    assert_eq!(out.len(), 1_000_000);
    assert_eq!(process.control.exited().await, ExitStatus::code(0));
}

#[tokio::test(start_paused = true)]
async fn a_line_survives_a_cancelled_read_and_a_script_waits_for_several_things() {
    // D-1
    let launcher = ScriptedLauncher::new();
    launcher.program("polite", |mut me: ScriptedProcess| async move {
        let mut term = me.on_signal(Signal::TERM);
        for _ in 0..3 {
            let _ = tokio::time::timeout(SECOND, me.read_line()).await;
        }
        tokio::select! {
            biased;
            line = me.read_line() => me.write_line(&line.unwrap()).await.unwrap(),
            () = term.next() => return 1,
        }
        term.next().await;
        me.write_line("bye").await.unwrap();
        2
    });
    let mut process = start(&launcher, "polite").await;
    process.stdin.write_all(b"be").await.unwrap();
    tokio::time::sleep(4 * SECOND).await;
    process.stdin.write_all(b"gun\n").await.unwrap();
    let ended = terminate(&*process.control, &Ladder::default(), None).await;
    assert_eq!(ended, Ok(StopOutcome { exited: ExitStatus::code(2), rung: Rung::Term }));
    let mut out = String::new();
    process.stdout.read_to_string(&mut out).await.unwrap();
    assert_eq!(out, "begun\nbye\n");
}

#[tokio::test(start_paused = true)]
async fn the_hold_outlives_every_script_and_grandchild() {
    // P-10, S-21
    /// Notes at its end whether the hold is still there.
    struct Witness(Arc<dyn Fn() -> bool + Send + Sync>, Arc<AtomicBool>);
    impl Drop for Witness {
        fn drop(&mut self) {
            self.1.fetch_and((self.0)(), Ordering::SeqCst);
        }
    }
    for grandchildren in 0..3 {
        let (held_until_reaped, held) = held_value();
        let (held, always): (Arc<dyn Fn() -> bool + Send + Sync>, _) =
            (Arc::new(held), Arc::new(AtomicBool::new(true)));
        let witness = {
            let (held, always) = (Arc::clone(&held), Arc::clone(&always));
            move || Witness(Arc::clone(&held), Arc::clone(&always))
        };
        let launcher = ScriptedLauncher::new();
        launcher.program("family", move |me: ScriptedProcess| {
            let (leader, others) = (witness(), (0..grandchildren).map(|_| witness()).collect::<Vec<_>>());
            async move {
                let _leader = leader;
                for other in others {
                    me.grandchild(&[], async move {
                        let _other = other;
                        std::future::pending().await
                    });
                }
                me.hang().await
            }
        });
        let process = launcher.launch(&Command::new("family"), held_until_reaped).await.unwrap();
        tokio::time::sleep(SECOND).await;
        drop(process);
        tokio::time::sleep(SECOND).await;
        assert!(!held() && always.load(Ordering::SeqCst), "{grandchildren} grandchildren");
    }
}
