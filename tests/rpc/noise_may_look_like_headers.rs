//! C-8, C-13: with `Content-Length` framing, printed text that looks like a header does not break the
//! channel.

use std::sync::Arc;

use procession::rpc::{CloseReason, Framing, NoisePolicy, Peer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Wire, config, peer_on_wire, router};

fn peer(noise: NoisePolicy) -> (Peer, Wire) {
    let config = config(|c| (c.framing, c.noise) = (Framing::ContentLength, noise));
    peer_on_wire(config, Arc::new(router()), 64 * 1024)
}

/// A request with something before its length, behind it, and behind all its headers.
fn frame(before: &str, behind: &str) -> String {
    let body = r#"{"id":1,"method":"echo","params":"ok"}"#;
    format!("{before}Content-Length: {}\r\n{behind}\r\n{body}", body.len())
}

async fn is_answered(wire: &mut Wire) {
    let expected = "Content-Length: 38\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"ok\"}";
    let mut answer = vec![0; expected.len()];
    wire.reader.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn what_is_printed_between_frames_is_noise_however_it_is_cut() {
    let cases = [
        (frame("Warning: the disk is nearly full\n", ""), 1),
        (frame("Warning: one\r\nNote: two\r\n\r\nINFO: three\n\n", ""), 3),
        (frame("Content-Type: x; charset=utf-8\r\n", "X-Extra: 1\r\n"), 0),
        (frame("Warning: before a section\nContent-Type: x\r\n", ""), 1),
        (frame("Warning: no line break", ""), 1),
    ];
    for (text, noise) in cases {
        for size in [1, 2, 7, text.len()] {
            let (peer, mut wire) = peer(NoisePolicy::Log);
            // Twice, so that what comes before is also between two frames.
            for round in 1..=2 {
                for piece in text.as_bytes().chunks(size) {
                    wire.writer.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                is_answered(&mut wire).await;
                assert_eq!(peer.stats().noise_lines, round * noise, "{text:?} by {size}");
            }
            assert_eq!((peer.close_reason(), peer.stats().invalid_frames), (None, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_noise_is_a_violation_this_is_one_too_and_headers_are_not() {
    let (peer, mut wire) = peer(NoisePolicy::Violation);
    let (text, warning) = (frame("Content-Type: x\r\n", "X-Extra: 1\r\n"), "Warning: full\n");
    wire.writer.write_all(text.as_bytes()).await.unwrap();
    is_answered(&mut wire).await;
    wire.writer.write_all(warning.as_bytes()).await.unwrap();
    let CloseReason::Violation { reason } = peer.closed().await else { panic!("no violation") };
    assert_eq!(reason, "not JSON: Warning: full");
}

#[tokio::test(start_paused = true)]
async fn no_end_of_warnings_is_kept() {
    let (peer, mut wire) = peer(NoisePolicy::Log);
    let mebibyte = "Warning: again\n".repeat((1 << 20) / 15);
    for _ in 0..16 {
        wire.writer.write_all(mebibyte.as_bytes()).await.unwrap();
    }
    wire.writer.write_all(frame("", "").as_bytes()).await.unwrap();
    is_answered(&mut wire).await;
    assert_eq!((peer.stats().noise_lines, peer.close_reason()), (16 * ((1 << 20) / 15), None));
}
