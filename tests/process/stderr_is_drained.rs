use procession::process::{Exited, Tail, drain};

use crate::common::*;

#[tokio::test]
async fn a_flood_without_a_newline_costs_bounded_memory_and_blocks_nobody() {
    // P-3
    let mut process = launch(sh("head -c 20000000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 0")).await;
    let tail = Tail::default();
    soon("the flood", drain(process.stderr.take().unwrap(), tail.clone())).await;
    assert_eq!(soon("exit", process.control.exited()).await, Exited::code(0));
    let text = tail.text();
    assert!(text.ends_with("xxxend\n") && text.len() == Tail::DEFAULT_BYTES);
    assert_eq!(tail.dropped_bytes(), 20_000_004 - Tail::DEFAULT_BYTES as u64);
}

#[tokio::test]
async fn the_last_words_are_kept() {
    // P-3
    let mut process = launch(sh("printf 'line one\\r\\n\\nno newline: \\377' >&2; exit 1")).await;
    let tail = Tail::default();
    soon("stderr", drain(process.stderr.take().unwrap(), tail.clone())).await;
    assert_eq!(tail.text(), "line one\r\n\nno newline: \u{fffd}");
}
