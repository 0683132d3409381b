//! C-14: each report of progress gives a call its timeout once more, up to the longest time that the call
//! allows; without such a time, and for other calls, it changes nothing.

use std::{sync::Arc, time::Duration};

use procession::{
    protocol::{self, Lsp, Mcp, Plugin, Protocol},
    rpc::{CallEffect, CallError, CallOptions, MethodRouter, NoHandler, Peer, RequestId, Timeout},
};
use serde_json::{Value, json, value::to_raw_value};
use tokio::time::Instant;

use crate::support::*;

const SEC: Duration = Duration::from_secs(1);

fn speaking(protocol: impl Protocol) -> (Peer, Wire) {
    let protocol: Arc<dyn Protocol> = Arc::new(protocol);
    peer_on_wire(protocol::peer_config(&protocol).unwrap(), Arc::new(NoHandler), 64 * 1024)
}

/// Calls while the other side reports progress of this request each `every`, so many times, and then
/// answers if it is asked to. Returns the outcome and how long it took.
async fn called(
    options: CallOptions,
    every: Duration,
    times: u32,
    answers: bool,
) -> (Result<(), CallError>, Duration) {
    let (peer, mut wire) = speaking(Plugin::default());
    let began = Instant::now();
    let call = async {
        let result = peer.call_value("long", &(), options).await;
        (result.map(drop), began.elapsed())
    };
    let other_side = async {
        let id = wire.line().await["id"].clone();
        for _ in 0..times {
            tokio::time::sleep(every).await;
            let params = json!({ "request": id, "done": 1 });
            wire.send_json(json!({ "jsonrpc": "2.0", "method": "$/progress", "params": params })).await;
        }
        if answers {
            wire.send_json(json!({ "jsonrpc": "2.0", "id": id, "result": 1 })).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = call => ended,
        () = other_side => unreachable!(),
    }
}

fn near(time: Duration, expected: Duration) -> bool {
    (expected..=expected + Duration::from_millis(5)).contains(&time)
}

#[tokio::test(start_paused = true)]
async fn each_report_gives_the_timeout_once_more() {
    let options = CallOptions::timeout(Timeout::After(10 * SEC)).max_total(100 * SEC);
    let (result, took) = called(options, 8 * SEC, 5, true).await;
    assert!(result.is_ok() && near(took, 40 * SEC), "{took:?}");
    // Silence after the last report.
    let (result, took) = called(options, 8 * SEC, 5, false).await;
    let Err(CallError::Timeout { after, effect: CallEffect::Unknown, .. }) = result else { panic!() };
    assert!(near(took, 50 * SEC) && near(after, 50 * SEC), "{took:?} {after:?}");
    // A report never takes time away.
    let (_, took) = called(options, SEC / 10, 1, false).await;
    assert!(near(took, 10 * SEC + SEC / 10), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn up_to_the_longest_time() {
    let options = CallOptions::timeout(Timeout::After(10 * SEC)).max_total(35 * SEC);
    let (result, took) = called(options, 2 * SEC, 1000, false).await;
    let Err(CallError::Timeout { after, .. }) = result else { panic!() };
    assert!(near(took, 35 * SEC) && near(after, 35 * SEC), "{took:?} {after:?}");
    // One that is shorter than the timeout shortens nothing.
    let options = CallOptions::timeout(Timeout::After(10 * SEC)).max_total(SEC);
    let (_, took) = called(options, 2 * SEC, 1000, false).await;
    assert!(near(took, 10 * SEC), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_longest_time_it_changes_nothing() {
    let (result, took) = called(CallOptions::timeout(Timeout::After(10 * SEC)), 2 * SEC, 1000, false).await;
    let Err(CallError::Timeout { after, .. }) = result else { panic!() };
    assert!(near(took, 10 * SEC) && after == 10 * SEC, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn progress_of_another_call_changes_nothing_and_the_handler_hears_of_all() {
    let (heard, count) = (Counter::default(), Counter::default());
    let plugin: Arc<dyn Protocol> = Arc::new(Plugin::default());
    let router = {
        let heard = heard.clone();
        MethodRouter::new().notification_value("$/progress", move |_, _| {
            heard.add();
        })
    };
    let config = protocol::peer_config(&plugin).unwrap();
    let (peer, mut wire) = peer_on_wire(config, Arc::new(router), 64 * 1024);
    let options = CallOptions::timeout(Timeout::After(10 * SEC)).max_total(100 * SEC);
    let began = Instant::now();
    let call = peer.call_value("long", &(), options);
    let other_side = async {
        let id = wire.line().await["id"].as_u64().unwrap();
        for params in
            [json!({ "request": id + 1 }), json!({ "request": [id] }), json!(null), json!({ "request": "x" })]
        {
            tokio::time::sleep(2 * SEC).await;
            count.add();
            wire.send_json(json!({ "jsonrpc": "2.0", "method": "$/progress", "params": params })).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = call => assert!(result.is_err()),
        () = other_side => {}
    }
    assert!(near(began.elapsed(), 10 * SEC));
    assert_eq!((heard.get(), count.get()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn an_mcp_server_is_asked_for_it() {
    let (peer, mut wire) = speaking(Mcp::default());
    let began = Instant::now();
    let options = CallOptions::timeout(Timeout::After(10 * SEC)).max_total(100 * SEC);
    let params = json!({ "name": "index" });
    let call = peer.call_value("tools/call", &params, options);
    let other_side = async {
        let request = wire.line().await;
        let token = request["params"]["_meta"]["progressToken"].clone();
        assert_eq!((&token, &request["params"]["name"]), (&request["id"], &json!("index")));
        for n in 0..4 {
            tokio::time::sleep(8 * SEC).await;
            let params = json!({ "progressToken": token, "progress": n });
            let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params });
            wire.send_json(progress).await;
        }
        wire.send_json(json!({ "jsonrpc": "2.0", "id": request["id"], "result": {} })).await;
    };
    let (result, ()) = tokio::join!(call, other_side);
    result.unwrap();
    assert!(near(began.elapsed(), 32 * SEC));
    // Calls without a longest time do not ask.
    let (_, request) = tokio::join!(peer.call_value("tools/call", &params, SEC), async {
        wire.line().await["params"].clone()
    });
    assert_eq!(request, params);
}

#[test]
fn a_token_is_added_wherever_it_belongs() {
    let asked = |params: Value| {
        let params = to_raw_value(&params).unwrap();
        let asked = Mcp::default().ask_progress(&RequestId::Number(7), &params)?;
        Some(serde_json::from_str::<Value>(asked.get()).unwrap())
    };
    let meta = json!({ "progressToken": 7 });
    assert_eq!(asked(json!(null)).unwrap(), json!({ "_meta": meta }));
    assert_eq!(asked(json!({})).unwrap(), json!({ "_meta": meta }));
    assert_eq!(asked(json!({ "a": 1 })).unwrap(), json!({ "_meta": meta, "a": 1 }));
    assert_eq!(
        asked(json!({ "A": {}, "_meta": {}, "b": {} })).unwrap(),
        json!({ "A": {}, "_meta": meta, "b": {} })
    );
    let both = json!({ "progressToken": 7, "trace": {} });
    assert_eq!(asked(json!({ "_meta": { "trace": {} } })).unwrap(), json!({ "_meta": both }));
    // The caller's own.
    assert_eq!(asked(json!({ "_meta": { "progressToken": "mine" } })), None);
    for params in [json!([1]), json!("x"), json!({ "_meta": 3 })] {
        assert_eq!(asked(params), None);
    }
}

#[test]
fn a_language_server_is_asked_by_a_token_of_work_done() {
    let asked = |params: Value| {
        let params = to_raw_value(&params).unwrap();
        let asked = Lsp::default().ask_progress(&RequestId::Number(7), &params)?;
        Some(serde_json::from_str::<Value>(asked.get()).unwrap())
    };
    assert_eq!(asked(json!(null)).unwrap(), json!({ "workDoneToken": 7 }));
    assert_eq!(asked(json!({ "a": 1 })).unwrap(), json!({ "workDoneToken": 7, "a": 1 }));
    for params in [json!({ "workDoneToken": "mine" }), json!([1]), json!("x")] {
        assert_eq!(asked(params), None);
    }
    let reported =
        |params: Value| Lsp::default().progress("$/progress", Some(&to_raw_value(&params).unwrap()));
    assert_eq!(reported(json!({ "token": 7, "value": { "kind": "report" } })), Some(RequestId::Number(7)));
    assert_eq!(reported(json!({ "value": 1 })), None);
    assert_eq!(Lsp::default().progress("window/logMessage", None), None);
}
