//! C-8: text that a child prints between frames is logged, shortened and at a bounded rate, and all of it is
//! counted.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::plain;

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(ToOwned::to_owned).collect()
    }
}

/// In a process of its own: who is interested in an event is remembered for the whole program, and the thread
/// that comes first may be that of a test without a subscriber, even while this one sets its own.
#[test]
fn noise_is_logged_in_moderation() {
    // C-8
    let inner = "noise_is_bounded::inner_noise_is_logged_in_moderation";
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let ran = alone.args(["--exact", inner, "--ignored", "--nocapture"]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && out.contains("1 passed"), "{:?}: {out} {err}", ran.status);
}

#[tokio::test(start_paused = true)]
#[ignore = "run by another test, in a process of its own"]
async fn inner_noise_is_logged_in_moderation() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (peer, mut wire) = plain();
    for round in 1..=2 {
        for n in 0..200 {
            wire.send(&format!("line {n} {}", "é".repeat(2000))).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let logged = log.take();
        assert_eq!(logged.len(), 101, "100 of them, and how many there were more");
        assert!(logged[0].contains("line 0 é") && logged[99].contains("line 99 é"));
        assert!(logged.iter().all(|line| line.chars().count() < 700), "shortened");
        assert!(
            logged[100].contains("WARN") && logged[100].contains("100 lines of noise on stdout suppressed")
        );
        assert_eq!(peer.stats().noise_lines, round * 200);
    }
    assert_eq!(peer.close_reason(), None);
}
