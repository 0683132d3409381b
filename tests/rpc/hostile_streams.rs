//! Streams that split, delay, block or corrupt frames never hang or mislead a call (C-1, C-4, C-13).

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use procession::rpc::{CallEffect, CallError, CallOptions, CloseReason, Framing, NoHandler, Peer, Timeout};
use proptest::prelude::*;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::Sleep,
};

use crate::support::{Echo, config, router, with_cancel};

/// A small generator, so that a case can be repeated from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Reads and writes in pieces of random size, after random delays, and flips a byte now and then.
struct Hostile<S> {
    inner: S,
    dice: Dice,
    sleep: Option<Pin<Box<Sleep>>>,
    corrupt: bool,
}

impl<S> Hostile<S> {
    fn new(inner: S, seed: u64, corrupt: bool) -> Hostile<S> {
        Hostile { inner, dice: Dice(seed | 1), sleep: None, corrupt }
    }

    fn delayed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.sleep.is_none() && self.dice.roll(4) == 0 {
            let delay = Duration::from_millis(self.dice.roll(20));
            self.sleep = Some(Box::pin(tokio::time::sleep(delay)));
        }
        if let Some(sleep) = &mut self.sleep {
            std::task::ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Hostile<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.delayed(cx));
        let size = 1 + self.dice.roll(40) as usize;
        let mut piece = vec![0; size.min(buf.remaining())];
        let mut limited = ReadBuf::new(&mut piece);
        std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, &mut limited))?;
        let filled = limited.filled().len();
        if self.corrupt && filled > 0 && self.dice.roll(20) == 0 {
            let at = self.dice.roll(filled as u64) as usize;
            piece[at] = self.dice.roll(256) as u8;
        }
        buf.put_slice(&piece[..filled]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Hostile<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.delayed(cx));
        let size = (1 + self.dice.roll(40) as usize).min(buf.len());
        Pin::new(&mut self.inner).poll_write(cx, &buf[..size])
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// 40 calls each way, some of them dropped; returns the right answers.
fn exchange(seed: u64, corrupt: bool, close_after: Option<u64>) -> usize {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let config = config(|c| {
            with_cancel(c);
            c.max_queued_bytes = 2000;
            c.max_handlers = 3;
            c.max_in_flight = 20;
            c.framing = if seed & 1 == 0 { Framing::Lines } else { Framing::ContentLength };
        });
        let (near, far) = tokio::io::duplex(100);
        let ((nr, nw), (fr, fw)) = (tokio::io::split(near), tokio::io::split(far));
        let nr = Hostile::new(nr, seed, corrupt);
        let nw = Hostile::new(nw, seed.rotate_left(7), false);
        let fr = Hostile::new(fr, seed.rotate_left(13), corrupt);
        let a = Peer::spawn(nr, nw, config.clone(), Arc::new(router()));
        let b = Peer::spawn(fr, fw, config, Arc::new(router()));
        let mut calls = Vec::new();
        for i in 0..40_u64 {
            for peer in [&a, &b] {
                let peer = peer.clone();
                calls.push(tokio::spawn(async move {
                    let text = format!("{i}\u{2028}{}", "ä".repeat((i * 5) as usize));
                    let after = CallOptions::timeout(Timeout::After(Duration::from_secs(30)));
                    let call = peer.call_with::<Echo>(&text, after);
                    if i % 7 == 6 {
                        let _ = tokio::time::timeout(Duration::from_millis(i * 10), call).await;
                        return false;
                    }
                    match call.await {
                        // A flipped byte inside a string is not the channel's to notice.
                        Ok(answer) => answer == text || corrupt,
                        Err(CallError::ZeroTimeout { .. } | CallError::InvalidParams { .. }) => {
                            panic!("not misused")
                        }
                        Err(_) => false,
                    }
                }));
            }
        }
        if let Some(after) = close_after {
            tokio::time::sleep(Duration::from_millis(after)).await;
            a.close(procession::rpc::CloseReason::Requested);
        }
        let mut right = 0;
        for call in calls {
            let answered = tokio::time::timeout(Duration::from_secs(300), call).await.expect("a call hangs");
            right += usize::from(answered.unwrap());
        }
        assert_eq!((a.stats().in_flight, b.stats().in_flight), (0, 0));
        right
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    // C-1, C-4
    #[test]
    fn splits_and_delays_change_no_answer(seed in any::<u64>()) {
        prop_assert_eq!(exchange(seed, false, None), 70);
    }

    // C-13: corruption fails what it hits, and every call is answered all the same.
    #[test]
    fn corruption_hangs_nothing(seed in any::<u64>()) {
        exchange(seed, true, None);
    }

    // C-4
    #[test]
    fn closing_at_any_moment_hangs_nothing(seed in any::<u64>(), after in 0_u64..3000) {
        exchange(seed, false, Some(after));
    }
}

// A stream that is at its end from the beginning, or that fails.
#[tokio::test(start_paused = true)]
async fn a_stream_that_was_never_there() {
    let peer = Peer::spawn(tokio::io::empty(), tokio::io::sink(), config(|_| {}), Arc::new(NoHandler));
    assert!(peer.call::<Echo>(&String::new()).await.is_err());
    struct Broken;
    impl AsyncRead for Broken {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::Error::other("broken")))
        }
    }
    let peer = Peer::spawn(Broken, tokio::io::sink(), config(|_| {}), Arc::new(NoHandler));
    let error = peer.call::<Echo>(&String::new()).await.unwrap_err();
    assert!(error.to_string().contains("broken"), "{error}");
}

/// The bytes of one answer, framed.
fn answer(framing: Framing, id: u64) -> Vec<u8> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"\u00e9ä"}}"#);
    match framing {
        Framing::ContentLength => format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        _ => format!("{body}\r\n"),
    }
    .into_bytes()
}

// C-1, C-4: the stream may end, or stand still, at any byte: what was whole is an answer, the rest is none.
#[tokio::test(start_paused = true)]
async fn a_stream_may_end_or_stand_still_at_any_byte() {
    for framing in [Framing::Lines, Framing::ContentLength] {
        let stream = [answer(framing, 1), answer(framing, 2)].concat();
        let whole = answer(framing, 1).len();
        for (cut, stands) in (0..=stream.len()).flat_map(|cut| [(cut, false), (cut, true)]) {
            let ((reader, mut far), (writer, _sink)) = (tokio::io::duplex(4096), tokio::io::duplex(4096));
            let peer = Peer::spawn(reader, writer, config(|c| c.framing = framing), Arc::new(NoHandler));
            let (first, second) = (String::new(), String::new());
            let calls = async { tokio::join!(peer.call::<Echo>(&first), peer.call::<Echo>(&second)) };
            let feed = async {
                tokio::task::yield_now().await;
                far.write_all(&stream[..cut]).await.unwrap();
                if !stands {
                    far.shutdown().await.unwrap();
                }
            };
            let ((first, second), ()) = tokio::join!(calls, feed);
            // A last line counts without its end, if the stream ends there.
            let line = usize::from(framing == Framing::Lines && !stands) * 2;
            for (call, end) in [(first, whole - line), (second, stream.len() - line)] {
                match call {
                    Ok(text) => assert!(text == "éä" && cut >= end, "{cut}"),
                    Err(CallError::Timeout { effect, .. }) => {
                        assert!(stands && cut < end && effect == CallEffect::Unknown, "{cut}");
                    }
                    Err(CallError::Closed { reason: CloseReason::Eof, effect, .. }) => {
                        assert!(!stands && cut < end && effect == CallEffect::Unknown, "{cut}");
                    }
                    // Half a line at the end of the stream is no JSON, or a result that is none.
                    Err(other) => panic!("{cut}: {other}"),
                }
            }
        }
    }
}

// C-11, C-12: the other side may stop reading at any byte; the call is lost after the stall, and what is
// known is said.
#[tokio::test(start_paused = true)]
async fn a_pipe_may_block_at_any_byte() {
    for room in 1..60 {
        let ((reader, _far), (writer, mut far)) = (tokio::io::duplex(64), tokio::io::duplex(room));
        let stall = Duration::from_secs(3);
        let peer = Peer::spawn(reader, writer, config(|c| c.write_stall = Some(stall)), Arc::new(NoHandler));
        let begin = tokio::time::Instant::now();
        let text = "x".repeat(60);
        let (one, other) = tokio::join!(peer.call::<Echo>(&text), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            peer.call::<Echo>(&text).await
        });
        assert_eq!(begin.elapsed(), stall);
        assert_eq!(
            (one.unwrap_err().effect(), other.unwrap_err().effect()),
            (CallEffect::Unknown, CallEffect::NotSent)
        );
        assert_eq!(peer.close_reason(), Some(CloseReason::WriteStalled { after: stall }));
        // What had left is the beginning of a frame, and nothing else.
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        let frame = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"echo","params":"{text}"}}"#);
        assert_eq!(got, &frame.as_bytes()[..room]);
    }
}
