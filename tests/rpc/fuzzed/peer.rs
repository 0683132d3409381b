//! A whole peer against a hostile other side: it ends once, answers every call, keeps its bounds and never
//! hangs.

use std::{sync::Arc, time::Duration};

use procession::rpc::{
    CallOptions, CloseReason, Framing, Method, MethodRouter, NoisePolicy, Peer, PeerConfig, RequestId,
    RpcError, Timeout,
};
use serde_json::{Value, json, value::to_raw_value};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const MAX_QUEUED: usize = 2000;
const MAX_HANDLERS: usize = 3;
const MAX_WAITING: usize = 4;

struct Echo;
impl Method for Echo {
    const NAME: &'static str = "echo";
    type Params = Value;
    type Output = Value;
}

/// How the other side reads.
enum Reads {
    Everything,
    Slowly,
    Nothing,
    /// It has closed its input.
    Never,
}

/// The first four bytes say how both sides behave, the rest is what the other side sends.
pub(crate) fn run(data: &[u8]) {
    let Some((&[flags, cut, calls, pipe], stream)) = data.split_first_chunk::<4>() else { return };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let size = 1 + usize::from(pipe) * 16;
        let ((r, far_writer), (w, far_reader)) = (duplex(size), duplex(size));
        let peer = Peer::spawn(r, w, config(flags), Arc::new(router()));
        let reads = match flags >> 2 & 3 {
            0 => Reads::Everything,
            1 => Reads::Slowly,
            2 => Reads::Nothing,
            _ => Reads::Never,
        };
        let reading = tokio::spawn(read(far_reader, reads));
        let calls: Vec<_> = (0..calls % 16).map(|n| tokio::spawn(call(peer.clone(), n))).collect();
        let watching = tokio::spawn(watch(peer.clone()));
        let sending = send(far_writer, stream, cut);
        let everything = async {
            sending.await;
            let end = peer.closed().await;
            if flags & 16 != 0 {
                peer.close(CloseReason::Requested);
            }
            for call in calls {
                call.await.unwrap();
            }
            assert_eq!(peer.close_reason(), Some(end), "the first end stays");
            assert_eq!(peer.stats().in_flight, 0);
        };
        tokio::time::timeout(Duration::from_secs(3600), everything).await.expect("nothing hangs");
        watching.abort();
        reading.abort();
        if let Err(error) = watching.await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    });
}

fn config(flags: u8) -> PeerConfig {
    let mut config = PeerConfig::default();
    config.framing = if flags & 1 == 0 { Framing::Lines } else { Framing::ContentLength };
    config.noise = if flags & 2 == 0 { NoisePolicy::Log } else { NoisePolicy::Violation };
    config.max_frame_bytes = 4000;
    config.max_in_flight = 8;
    config.max_queued_bytes = MAX_QUEUED;
    config.max_handlers = MAX_HANDLERS;
    config.max_handler_bytes = 1500;
    config.max_queued_requests = MAX_WAITING;
    config.max_queued_request_bytes = 1000;
    config.write_stall = (flags & 32 == 0).then_some(Duration::from_secs(20));
    config.hold_pending = flags & 16 != 0;
    config.cancel = Some(Arc::new(|id: &RequestId| {
        Some(("$/cancelRequest".into(), to_raw_value(&json!({ "id": id })).unwrap()))
    }));
    config.incoming_cancel = Some(Arc::new(|method, params| {
        let params: Value =
            serde_json::from_str(params.filter(|_| method == "$/cancelRequest")?.get()).ok()?;
        RequestId::from_raw(&to_raw_value(&params["id"]).ok()?)
    }));
    config
}

fn router() -> MethodRouter {
    MethodRouter::new()
        .method::<Echo, _, _>(|_, params| async move { Ok(params) })
        .method_value("back", |cx, _| async move {
            let peer = cx.peer().ok_or_else(|| RpcError::internal("gone"))?;
            let options = CallOptions::timeout(Timeout::After(Duration::from_secs(5)));
            peer.call_value("echo", &1, options).await.map_err(RpcError::internal)
        })
        .method_value("wait", |cx, _| async move {
            let _ = tokio::time::timeout(Duration::from_secs(7), cx.cancelled()).await;
            Err(RpcError::new(1, "late"))
        })
        .notification_value("tell", |cx, _| {
            if let Some(peer) = cx.peer() {
                let _ = peer.try_notify_value("told", &"x".repeat(100));
            }
        })
}

/// Every call is answered, whatever happens; some callers go away first.
async fn call(peer: Peer, n: u8) {
    let params = json!("y".repeat(usize::from(n) * 40));
    let options = CallOptions::timeout(Timeout::After(Duration::from_secs(60)));
    let call = peer.call_with::<Echo>(&params, options);
    if n % 5 == 4 {
        // It is given up before it can be answered in time.
        let _ = tokio::time::timeout(Duration::from_millis(u64::from(n)), call).await;
        return;
    }
    let begin = tokio::time::Instant::now();
    // Any answer will do.
    let _ = call.await;
    assert!(begin.elapsed() <= Duration::from_secs(61));
}

/// The bounds of C-5 and C-6 hold at every moment anybody can see.
async fn watch(peer: Peer) {
    loop {
        let stats = peer.stats();
        assert!(stats.in_flight <= 8, "{stats:?}");
        // What waits to be written, its reserve, and as much for batches; each may hold a frame's framing
        // beyond that.
        assert!(stats.bytes_queued <= 4 * MAX_QUEUED + 100, "{stats:?}");
        assert!(stats.requests_open <= MAX_HANDLERS + MAX_WAITING, "{stats:?}");
        assert_eq!(stats.panics, 0);
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

async fn send(mut writer: DuplexStream, stream: &[u8], cut: u8) {
    for (n, piece) in stream.chunks(usize::from(cut) + 1).enumerate() {
        // A peer that has ended reads no more.
        if writer.write_all(piece).await.is_err() {
            return;
        }
        if n % 3 == 2 {
            tokio::time::sleep(Duration::from_millis(u64::from(cut))).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let _ = writer.shutdown().await;
}

async fn read(mut reader: DuplexStream, reads: Reads) {
    let mut bytes = [0; 256];
    match reads {
        Reads::Everything => while matches!(reader.read(&mut bytes).await, Ok(1..)) {},
        Reads::Slowly => {
            while matches!(reader.read(&mut bytes[..7]).await, Ok(1..)) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Reads::Nothing => std::future::pending().await,
        Reads::Never => {}
    }
}
