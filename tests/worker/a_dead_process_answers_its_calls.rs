//! When a process dies, its calls fail with the exit and the tail of stderr, and answers that are still
//! in the pipe are delivered (C-4, C-12, R-1, P-11).

use procession::{
    exit::Exit,
    process::Signal,
    rpc::{CallEffect, CallError},
    testing::ScriptedLauncher,
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn calls_in_flight_fail_with_the_exit_and_the_tail_of_stderr() {
    // C-4, C-12
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    let begin = tokio::time::Instant::now();
    let (hung, died) = tokio::join!(worker.call::<Hang>(&()), worker.call::<Die>(&7));
    for error in [hung.unwrap_err(), died.unwrap_err()] {
        assert_eq!(error.effect(), CallEffect::Unknown);
        let CallError::WorkerLost { lost, .. } = error else { panic!("{error}") };
        assert_eq!((&lost.exit, lost.stderr_tail.as_str()), (&Exit::Failed { code: 7 }, "I am dying\n"));
    }
    assert!(begin.elapsed() < SEC, "not after the calls' own timeout");
    let down = worker.call::<Echo>(&String::new()).await.unwrap_err();
    assert!(matches!(down, CallError::Unavailable { .. }) && down.effect() == CallEffect::NotSent);
    assert_eq!(worker.wait_ready(SEC).await.unwrap().0, 2);
    assert_eq!(worker.call::<Echo>(&"again".to_owned()).await.unwrap(), "again");
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_still_in_the_pipe_is_delivered() {
    // C-4
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        shake_hands(&mut me).await;
        let call = read(&mut me).await.unwrap();
        answer(&mut me, &call["id"], "last words".into()).await;
        me.crash(Signal::KILL).await
    });
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    assert_eq!(worker.call::<Echo>(&String::new()).await.unwrap(), "last words");
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_living_process_that_closes_its_end_has_lost_its_channel() {
    // P-11
    for close in [false, true] {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", move |mut me| async move {
            if me.launch() > 1 {
                return serve(me).await;
            }
            shake_hands(&mut me).await;
            read(&mut me).await;
            if close {
                me.close_stdout()
            } else {
                me.close_stdin()
            }
            me.hang().await;
            0
        });
        let (root, worker) = tree(plugin(&launcher)).await.unwrap();
        let first = worker.call::<Hang>(&());
        let second = async {
            tokio::time::sleep(MS).await;
            worker.call::<Hang>(&()).await
        };
        let (lost, also) = tokio::join!(first, second);
        assert!(matches!(lost.unwrap_err().exit(), Some(Exit::ChannelLost { .. })));
        also.unwrap_err();
        assert_eq!(worker.wait_ready(2 * SEC).await.unwrap().0, 2);
        assert_eq!(launcher.alive(), [1001]);
        let _ = root.shutdown(60 * SEC).await;
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_and_floods_are_violations_in_bounded_memory() {
    // C-1
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        if me.launch() > 1 {
            return serve(me).await;
        }
        shake_hands(&mut me).await;
        read(&mut me).await;
        let _ = me.flood(b'x', 1 << 30).await;
        0
    });
    let mut channel = procession::rpc::PeerConfig::default();
    channel.max_frame_bytes = 64 * 1024;
    let (root, worker) = tree(plugin(&launcher).channel(channel)).await.unwrap();
    let lost = worker.call::<Hang>(&()).await.unwrap_err();
    assert!(matches!(lost.exit(), Some(Exit::ProtocolViolation { .. })), "{lost}");
    assert_eq!(worker.wait_ready(2 * SEC).await.unwrap().0, 2);
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_means_stop_is_no_crash_if_the_tree_stops_too() {
    //
    for stopping in [true, false] {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", serve);
        let (root, worker) = tree(plugin(&launcher)).await.unwrap();
        let mut events = root.events();
        launcher.kill(worker.pid().unwrap(), Signal::TERM).unwrap();
        tokio::time::sleep(100 * MS).await;
        if stopping {
            let _ = root.shutdown(60 * SEC).await;
        } else {
            assert_eq!(worker.wait_ready(SEC).await.unwrap().0, 2);
        }
        let mut crashes = 0;
        while let Ok(Some(event)) = events.try_next() {
            crashes += usize::from(event.is_crash());
        }
        assert_eq!(crashes, usize::from(!stopping));
        let _ = root.shutdown(60 * SEC).await;
    }
}
