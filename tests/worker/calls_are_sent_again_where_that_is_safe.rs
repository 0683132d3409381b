//! C-9: a call that was not sent is sent to the next incarnation, an idempotent one also if its effect is
//! unknown; at most three times, and within its time, whatever progress gives to a sending (C-14).

use std::sync::{Arc, Mutex};

use procession::{
    internals::{Root, RootOptions},
    restart::{Backoff, RestartPolicy},
    rpc::{CallEffect, CallError, CallOptions, Method, PeerConfig, Timeout},
    supervision::SupervisorSpec,
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::WorkerRef,
};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::support::*;

/// As `echo`, and safe to be sent twice.
struct Look;
impl Method for Look {
    const NAME: &'static str = "look";
    const IDEMPOTENT: bool = true;
    type Params = u64;
    type Output = u64;
}

/// Has an effect each time.
struct Pay;
impl Method for Pay {
    const NAME: &'static str = "pay";
    type Params = u64;
    type Output = u64;
}

/// Ends the process, and is declared to be safe all the same.
struct Poison;
impl Method for Poison {
    const NAME: &'static str = "die";
    const IDEMPOTENT: bool = true;
    type Params = i32;
    type Output = ();
}

type Paid = Arc<Mutex<Vec<u64>>>;

/// Answers after a millisecond; notes the payments that arrive.
async fn moody(mut me: ScriptedProcess, paid: Paid) -> i32 {
    let hello = read(&mut me).await.unwrap();
    answer(&mut me, &hello["id"], serde_json::json!({"ok": true})).await;
    while let Some(message) = read(&mut me).await {
        let params = message["params"].clone();
        match message["method"].as_str().unwrap() {
            "die" => return 9,
            "pay" => paid.lock().unwrap().push(params.as_u64().unwrap()),
            "shutdown" => return 0,
            _ => {}
        }
        me.sleep(MS).await;
        answer(&mut me, &message["id"], params).await;
    }
    0
}

async fn worker(launcher: &ScriptedLauncher, backoff: Backoff) -> (Root, WorkerRef) {
    let restart = RestartPolicy::permanent().with_backoff(backoff).with_jitter(0.0);
    let child = plugin(launcher).restart(restart).child("w");
    let spec = SupervisorSpec::one_for_one().intensity(1000, SEC).child(child);
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    (root, worker)
}

#[tokio::test(start_paused = true)]
async fn idempotent_calls_survive_fifty_kills_and_payments_are_made_once() {
    let (launcher, paid) = (ScriptedLauncher::new(), Paid::default());
    let log = paid.clone();
    launcher.program("worker", move |me| moody(me, log.clone()));
    let (root, worker) = worker(&launcher, Backoff::fixed(3 * MS)).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let (mut looks, mut payments) = (JoinSet::new(), JoinSet::new());
    for n in 0..10_u64 {
        let (worker, stopped) = (worker.clone(), stopped.clone());
        looks.spawn(async move {
            let mut made = 0;
            while !*stopped.borrow() {
                let options = CallOptions::timeout(Timeout::After(100 * SEC));
                match worker.call_with::<Look>(&n, options).await {
                    Ok(seen) => assert_eq!(seen, n),
                    Err(error) => panic!("{error}"),
                }
                made += 1;
            }
            made
        });
    }
    for n in 0..3_u64 {
        let (worker, stopped) = (worker.clone(), stopped.clone());
        payments.spawn(async move {
            let (mut number, mut known) = (n, Vec::new());
            while !*stopped.borrow() {
                match worker.call::<Pay>(&number).await {
                    Ok(_) => known.push(number),
                    Err(error) => assert!(error.effect() != CallEffect::Answered, "{error}"),
                }
                number += 3;
                sleep(MS).await;
            }
            known
        });
    }
    for _ in 0..50 {
        sleep(30 * MS).await;
        if let Some(pid) = worker.pid() {
            let _ = launcher.kill(pid, procession::process::Signal::KILL);
        }
    }
    stop.send_replace(true);
    let made: u64 = looks.join_all().await.into_iter().sum();
    let known: Vec<u64> = payments.join_all().await.into_iter().flatten().collect();
    let mut paid = paid.lock().unwrap().clone();
    paid.sort_unstable();
    assert!(paid.windows(2).all(|pair| pair[0] != pair[1]), "paid twice: {paid:?}");
    assert!(known.iter().all(|number| paid.binary_search(number).is_ok()));
    assert!(made > 500 && known.len() > 50, "{made} {}", known.len());
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_kills_its_worker_kills_three_at_most() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |me| moody(me, Paid::default()));
    let (root, worker) = worker(&launcher, Backoff::fixed(MS)).await;
    let lost = worker.call::<Poison>(&1).await.unwrap_err();
    assert!(matches!(lost, CallError::WorkerLost { effect: CallEffect::Unknown, .. }), "{lost}");
    sleep(SEC).await;
    assert_eq!(launcher.launched().len(), 4, "the last one works");
    assert_eq!(worker.call::<Look>(&1).await.unwrap(), 1);
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_the_worker_backs_off_idempotent_calls_wait_and_others_are_refused() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |me| moody(me, Paid::default()));
    let (root, worker) = worker(&launcher, Backoff::fixed(10 * SEC)).await;
    assert!(worker.call::<Die>(&1).await.is_err());
    sleep(MS).await;
    let refused = worker.call::<Pay>(&1).await.unwrap_err();
    assert!(matches!(refused, CallError::Unavailable { .. }), "{refused}");
    // Due after the deadline: refused at once.
    let began = Instant::now();
    let hurried = worker.call_with::<Look>(&1, CallOptions::timeout(Timeout::After(5 * SEC))).await;
    assert!(matches!(hurried, Err(CallError::Unavailable { .. })));
    assert!(began.elapsed() < SEC);
    assert_eq!(worker.call::<Look>(&1).await.unwrap(), 1);
    assert!(began.elapsed() > 9 * SEC);
    // By name, if the call says so.
    assert!(worker.call::<Die>(&1).await.is_err());
    let options = CallOptions::default().idempotent();
    assert_eq!(worker.call_value("look", &2, options).await.unwrap().get(), "2");
    worker.stop().await.unwrap();
    let stopped = worker.call::<Look>(&1).await.unwrap_err();
    assert!(matches!(stopped, CallError::Unavailable { .. }), "stopped: refused at once; {stopped}");
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_call_is_that_of_all_its_sendings() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me: ScriptedProcess| async move {
        shake_hands(&mut me).await;
        let _ = read(&mut me).await;
        me.sleep(6 * SEC).await;
        9
    });
    let restart = RestartPolicy::permanent().with_backoff(Backoff::None);
    let child = plugin(&launcher).restart(restart).child("w");
    let spec = SupervisorSpec::one_for_one().intensity(1000, SEC).child(child);
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    let began = Instant::now();
    let options = CallOptions::timeout(Timeout::After(10 * SEC)).idempotent();
    let late = worker.call_value("echo", &1, options).await.unwrap_err();
    assert!(matches!(&late, CallError::Timeout { after, .. } if *after == 10 * SEC), "{late}");
    assert_eq!(began.elapsed().as_secs(), 10);
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_once_is_not_reported_as_not_sent() {
    // C-12: it may have been carried out, also if there is no incarnation for the second sending.
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |me| moody(me, Paid::default()));
    let (root, worker) = worker(&launcher, Backoff::fixed(100 * SEC)).await;
    let lost = worker.call::<Poison>(&1).await.unwrap_err();
    assert!(matches!(lost, CallError::WorkerLost { effect: CallEffect::Unknown, .. }), "{lost}");
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_default_time_of_a_call_is_that_of_its_first_sending() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |me| moody(me, Paid::default()));
    let restart = RestartPolicy::permanent().with_backoff(Backoff::fixed(20 * SEC)).with_jitter(0.0);
    let mut channel = PeerConfig::default();
    channel.timeout = Some(2 * SEC);
    let child = plugin(&launcher).channel(channel).restart(restart).child("w");
    let root = Root::start(SupervisorSpec::one_for_one().child(child), RootOptions::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    let began = Instant::now();
    let lost = worker.call::<Poison>(&1).await.unwrap_err();
    assert!(began.elapsed() <= 2 * SEC, "{:?}: {lost}", began.elapsed());
    assert_eq!(lost.effect(), CallEffect::Unknown, "{lost}");
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn progress_takes_a_call_past_its_timeout_and_no_sending() {
    // C-14: it is sent again as long as its timeout has not passed, and its own error is returned after that.
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me: ScriptedProcess| async move {
        shake_hands(&mut me).await;
        let launch = me.launch();
        while let Some(message) = read(&mut me).await {
            let id = message["id"].clone();
            if message["method"] != "echo" {
                answer(&mut me, &id, json!({})).await;
                continue;
            }
            let reports = if launch == 1 { 0 } else { 3 };
            for _ in 0..reports {
                tokio::time::sleep(8 * SEC).await;
                let progress = json!({"jsonrpc": "2.0", "method": "$/progress", "params": {"request": id}});
                me.write_line(&progress.to_string()).await.unwrap();
            }
            if launch != 2 {
                return 3;
            }
            answer(&mut me, &id, json!("late")).await;
        }
        0
    });
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    let options = CallOptions::timeout(Timeout::After(10 * SEC)).max_total(100 * SEC).idempotent();
    let call = async || worker.call_with::<Echo>(&"x".to_owned(), options).await;
    assert_eq!(call().await.unwrap(), "late", "the second one took 24 s");
    worker.restart("test").await.unwrap();
    let lost = call().await.unwrap_err();
    assert!(matches!(lost, CallError::WorkerLost { .. }), "{lost}");
    assert_eq!(launcher.launched().len(), 3);
    drop(root.shutdown(60 * SEC).await);
}
