//! C-15 for a channel by itself: with either framing, and with another side that reads or does not.

use std::{
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use procession::{
    protocol::{self, Plugin, Protocol},
    rpc::{
        CallOptions, Framing, Method, MethodRouter, Notification, Peer, PeerConfig, RpcError, StreamListener,
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

use crate::{
    Tried, peak_of,
    shapes::{self, FRAME, Shape},
};

const KIB: usize = 1024;
/// Calls that are open, and not looked at.
const CALLS: usize = 16;

/// Small bounds, against which a frame is large.
pub(crate) fn config() -> PeerConfig {
    let mut config = PeerConfig::default();
    config.max_frame_bytes = FRAME;
    config.max_outgoing_frame_bytes = Some(FRAME);
    config.max_in_flight = 64;
    config.max_queued_bytes = 32 * KIB;
    config.max_handlers = 4;
    config.max_handler_bytes = 64 * KIB;
    config.max_queued_requests = 32;
    config.max_queued_request_bytes = 32 * KIB;
    config.max_answer_bytes = FRAME;
    config.max_streams = 32;
    config.max_stream_bytes = 64 * KIB;
    config
}

struct Typed;
impl Method for Typed {
    const NAME: &'static str = "typed";
    type Params = (i64, String);
    type Output = ();
}
impl Notification for Typed {
    const NAME: &'static str = "typed";
    type Params = (i64, bool);
}

pub(crate) fn router() -> MethodRouter {
    MethodRouter::new()
        .method_value("hang", |_, _| std::future::pending())
        .method_value(
            "echo",
            |_, params| async move { params.ok_or_else(|| RpcError::invalid_params("none")) },
        )
        .method::<Typed, _, _>(|_, _| async { Ok(()) })
        .notification::<Typed>(|_, _| {})
}

fn framed(framing: Framing, frame: &str) -> Vec<u8> {
    match framing {
        Framing::ContentLength => format!("Content-Length: {}\r\n\r\n{frame}", frame.len()).into_bytes(),
        _ => format!("{frame}\n").into_bytes(),
    }
}

/// What is held while a shape comes in. Streams are taken, or wait for a consumer that does not look.
fn peak(shape: &Shape, framing: Framing, reads: bool, takes: bool) -> isize {
    let frames: Vec<Vec<u8>> = shape.frames.iter().map(|frame| framed(framing, frame)).collect();
    let plugin: Arc<dyn Protocol> = Arc::new(Plugin::default().with_framing(framing));
    let wired = protocol::peer_config(&plugin).unwrap();
    let mut config = config();
    (config.framing, config.cancel, config.incoming_cancel) = (framing, wired.cancel, wired.incoming_cancel);
    peak_of(async || {
        let (queue, mut streams) = StreamListener::new(1000, 100_000);
        config.stream_acceptor = Some(Arc::new(queue));
        let (near, far) = duplex(64 * KIB);
        let ((reader, writer), (mut back, mut sink)) = (split(near), split(far));
        let peer = Peer::spawn(reader, writer, config, Arc::new(router()));
        let mut calls: Vec<_> =
            (0..CALLS).map(|_| Box::pin(peer.call_value("m", &(), CallOptions::default()))).collect();
        for call in &mut calls {
            assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        let reading = async {
            let mut buffer = [0; 16 * KIB];
            while reads && back.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            std::future::pending::<()>().await;
        };
        let writing = async {
            for _ in 0..shape.times {
                for frame in &frames {
                    if sink.write_all(frame).await.is_err() {
                        return;
                    }
                }
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        };
        let taking = async {
            while takes && let Some(mut stream) = streams.accept().await {
                while stream.recv().await.is_some() {}
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = taking => {}
            () = reading => {}
            // One that has ended the channel is not read any more.
            ended = tokio::time::timeout(Duration::from_secs(10), writing) => drop(ended),
        }
        drop(calls);
    })
}

pub(crate) fn try_all(wanted: &dyn Fn(&str) -> bool, check: &mut dyn FnMut(Tried)) {
    let bound = config().worst_case_bytes();
    let mut each = |shape: &Shape, framing: Framing, reads: bool| {
        let how = if reads { "" } else { ", unread" };
        let name = format!("channel, {framing:?}: {}{how}", shape.name);
        if wanted(&name) {
            check(Tried { peak: peak(shape, framing, reads, false), name, bound });
        }
    };
    shapes::messages(&mut |shape| {
        each(shape, Framing::Lines, true);
        let replies = shape.name.starts_with("requests of `echo`") || shape.name.starts_with("batches");
        let many = shape.name.contains("many");
        if replies || many {
            each(shape, Framing::Lines, false);
        }
        if many {
            each(shape, Framing::ContentLength, true);
        }
    });
    shapes::answers(&mut |shape| each(shape, Framing::Lines, true));
    shapes::streams(&mut |shape| {
        for takes in [false, true] {
            let how = if takes { ", taken" } else { "" };
            let name = format!("channel: {}{how}", shape.name);
            if wanted(&name) {
                check(Tried { peak: peak(shape, Framing::Lines, true, takes), name, bound });
            }
        }
    });
    // Without the framing: each is a line in the place of a header.
    let headers = [
        ("headers of a large length", format!("Content-Length: {FRAME}\r\n")),
        ("a length that is too large", "Content-Length: 99999999999\r\n\r\n".to_owned()),
        ("many headers", "X-Header: value\r\n".repeat(10_000)),
        ("a header that never ends", "X-Header: ".to_owned() + &"v".repeat(FRAME)),
        (
            "a section that never ends",
            "Content-Length: 5\r\n".to_owned() + &"X-Header: value\r\n".repeat(100_000),
        ),
    ];
    for (name, text) in headers {
        let shape = Shape { name, frames: vec![text], times: 1 };
        let name = format!("channel, headers: {name}");
        if wanted(&name) {
            // By line framing nothing is put around it but the end of the line.
            let frames = shape.frames[0].clone();
            let peak = peak_of(async || {
                let (near, far) = duplex(64 * KIB);
                let ((reader, writer), (_back, mut sink)) = (split(near), split(far));
                let mut config = config();
                config.framing = Framing::ContentLength;
                let _peer = Peer::spawn(reader, writer, config, Arc::new(router()));
                let _ = tokio::time::timeout(Duration::from_secs(5), sink.write_all(frames.as_bytes())).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            });
            check(Tried { name, peak, bound });
        }
    }
}
