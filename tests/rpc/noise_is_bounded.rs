//! C-8: what a child prints between frames is logged, shortened and at a bounded rate, and all of it is counted.

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

// C-8
#[tokio::test(start_paused = true)]
async fn noise_is_logged_in_moderation() {
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
        assert_eq!(logged.len(), 51, "50 of them, and that there were more");
        assert!(logged[0].contains("line 0 é") && logged[49].contains("line 49 é"));
        assert!(logged.iter().all(|line| line.chars().count() < 700), "shortened");
        assert!(logged[50].contains("WARN"));
        assert_eq!(peer.stats().noise_lines, round * 200);
    }
    assert_eq!(peer.end(), None);
}
