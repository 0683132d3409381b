//! C-6: no amount of input, in any pieces, keeps the other tasks of the thread from running.

use std::{sync::Arc, time::Duration};

use procession::rpc::{CloseReason, Framing, NoHandler, Peer};
use tokio::io::AsyncWriteExt;

use crate::support::{config, plain};

/// So many messages may be handled in one turn; the implementation takes fewer.
const MOST_IN_A_TURN: u64 = 1000;

/// Lets a peer read all of this, which is there at once, and counts the messages that it handles between two
/// turns of another task on the only thread.
async fn most_in_a_turn(framing: Framing, bytes: Vec<u8>) -> (u64, u64) {
    let bytes: &'static [u8] = bytes.leak();
    let config = config(|config| config.framing = framing);
    let peer = Peer::spawn(bytes, tokio::io::sink(), config, Arc::new(NoHandler));
    let handled = || {
        let stats = peer.stats();
        stats.frames_in + stats.noise_lines + stats.unknown_replies
    };
    let (mut before, mut most) = (0, 0);
    while peer.close_reason().is_none() {
        tokio::task::yield_now().await;
        let now = handled();
        most = most.max(now - before);
        before = now;
    }
    assert_eq!(peer.close_reason(), Some(CloseReason::Eof));
    (most, handled())
}

#[tokio::test]
async fn lines_of_noise() {
    // C-6
    for line in ["1\n", "a line of a log\n", "[]\n", "{\"level\":\"info\"}\n", "{\"id\":\n"] {
        let (most, all) = most_in_a_turn(Framing::Lines, line.repeat(30_000).into_bytes()).await;
        assert!(all >= 30_000 && most <= MOST_IN_A_TURN, "{line:?}: {most} of {all} in a turn");
    }
}

#[tokio::test]
async fn answers_that_nobody_waits_for() {
    // C-6
    let answer = r#"{"id":1,"result":1}"#;
    let lines = format!("{answer}\n").repeat(30_000);
    let blocks = format!("Content-Length: {}\r\n\r\n{answer}", answer.len()).repeat(30_000);
    for (framing, text) in [(Framing::Lines, lines), (Framing::ContentLength, blocks)] {
        let (most, all) = most_in_a_turn(framing, text.into_bytes()).await;
        assert!(all >= 60_000 && most <= MOST_IN_A_TURN, "{framing:?}: {most} of {all} in a turn");
    }
}

#[tokio::test]
async fn lines_between_headers() {
    // C-6
    let (most, all) = most_in_a_turn(Framing::ContentLength, "noise\r\n".repeat(30_000).into_bytes()).await;
    assert!(all >= 30_000 && most <= MOST_IN_A_TURN, "{most} of {all} in a turn");
}

#[tokio::test]
async fn messages_of_one_frame() {
    // C-6
    let answers = r#"{"id":1,"result":1},"#.repeat(4000);
    let batch = format!("[{answers}{{}}]\n");
    // More than a batch may hold, and no JSON: its ids are legible all the same.
    let long = format!("[{}{{}}]\n", answers.repeat(8));
    let damaged = format!("[{}\n", answers.repeat(8));
    for (text, least) in [(batch, 4000), (long, 32_000), (damaged, 32_000)] {
        let (most, all) = most_in_a_turn(Framing::Lines, text.into_bytes()).await;
        assert!(all >= least && most <= MOST_IN_A_TURN, "{most} of {all} in a turn");
    }
}

/// What is being handled is not quiet: the answer behind it is still found (C-4).
#[tokio::test]
async fn a_process_that_has_ended_is_heard_out() {
    // C-4, C-6
    let (peer, mut wire) = plain();
    let lines = "x\n".repeat(25_000);
    wire.writer.write_all(lines.as_bytes()).await.unwrap();
    // Others need their turns too: this one takes 15 ms of the only thread each time.
    let other = tokio::spawn(async {
        loop {
            std::thread::sleep(Duration::from_millis(15));
            tokio::task::yield_now().await;
        }
    });
    // The other end stays open, as it does when a grandchild holds it.
    peer.drain(Duration::from_millis(500), Duration::from_secs(60)).await;
    other.abort();
    assert_eq!(peer.stats().noise_lines, 25_000);
}
