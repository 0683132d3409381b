//! P-3, E-4: stderr is drained and logged in bounded memory and at a bounded rate, and its end is kept.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use procession::process::{ExitStatus, Tail, drain};
use tokio::io::AsyncWriteExt;

use crate::common::*;

#[tokio::test]
async fn a_flood_without_a_newline_costs_bounded_memory_and_does_not_block_the_process() {
    // P-3
    let mut process = launch(sh("head -c 20000000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 0")).await;
    let tail = Tail::default();
    soon("the flood", drain(process.stderr.take().unwrap(), tail.clone())).await;
    assert_eq!(soon("exit", process.control.exited()).await, ExitStatus::code(0));
    let text = tail.text();
    assert!(text.ends_with("xxxend\n") && text.len() == Tail::DEFAULT_BYTES);
    assert_eq!(tail.dropped_bytes(), 20_000_004 - Tail::DEFAULT_BYTES as u64);
}

#[tokio::test]
async fn a_flood_of_lines_leaves_other_tasks_their_turns() {
    // P-3
    let lines = b"a\n".repeat(500_000).leak();
    let tail = Tail::default();
    let draining = tokio::spawn(drain(&*lines, tail.clone()));
    let (mut before, mut most) = (0, 0);
    while !draining.is_finished() {
        tokio::task::yield_now().await;
        let now = tail.dropped_bytes();
        most = most.max(now - before);
        before = now;
    }
    assert_eq!(tail.text().len(), Tail::DEFAULT_BYTES);
    assert!(most < 64 * 1024, "{most} bytes in a turn");
}

#[tokio::test]
async fn the_last_words_are_kept() {
    // P-3
    let mut process = launch(sh("printf 'line one\\r\\n\\nno newline: \\377' >&2; exit 1")).await;
    let tail = Tail::default();
    soon("stderr", drain(process.stderr.take().unwrap(), tail.clone())).await;
    assert_eq!(tail.text(), "line one\r\n\nno newline: \u{fffd}");
}

/// Collects what is logged while it lives, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber =
            tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(move || log.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(String::from).collect()
    }
}

/// These run in hosts of their own: `tracing` remembers for the whole program whether an event has a
/// subscriber, and the first thread to ask may be that of a test without one.
#[test]
fn lines_are_logged() {
    // P-3
    for inner in ["in_the_callers_span_and_long_ones_cut", "in_moderation_and_the_rest_is_counted_in_time"] {
        host_of_its_own("", &format!("stderr_is_drained::inner_{inner}"));
    }
}

#[tokio::test(start_paused = true)]
#[ignore = "run by another test, in a host of its own"]
async fn inner_in_the_callers_span_and_long_ones_cut() {
    let log = Log::default();
    let _guard = log.start();
    let span = tracing::info_span!("incarnation", pid = 7);
    let text = [b"one\r\n\ntwo \xff\n".as_slice(), &[b'x'; 20_000], b"\nlast"].concat();
    tracing::Instrument::instrument(drain(&text[..], Tail::default()), span).await;
    let lines = log.lines();
    assert_eq!(lines[0], " INFO incarnation{pid=7}: procession::stderr: one");
    assert_eq!(lines[1], " INFO incarnation{pid=7}: procession::stderr: two \u{fffd}");
    assert!(lines[2].contains(&format!("{}…", "x".repeat(16 * 1024))) && lines[2].contains("cut_bytes=3616"));
    assert!(lines[3].ends_with("last") && lines.len() == 4, "{lines:?}");
}

#[tokio::test(start_paused = true)]
#[ignore = "run by another test, in a host of its own"]
async fn inner_in_moderation_and_the_rest_is_counted_in_time() {
    let log = Log::default();
    let _guard = log.start();
    let (mut child, host) = tokio::io::duplex(100_000);
    let tail = Tail::new(20);
    let drained = tokio::spawn(drain(host, tail.clone()));
    child.write_all("line\n".repeat(1000).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(log.lines().len(), 100);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(log.lines().len(), 101, "reported though nothing follows");
    assert!(log.lines()[100].contains("900 lines suppressed"));
    child.write_all(b"after\n").await.unwrap();
    drop(child);
    drained.await.unwrap();
    assert!(log.lines()[101].ends_with(": after"));
    assert_eq!(tail.text(), "\nline\nline\nline\nafter\n".split_at(2).1);
}
