//! The stdout of a process without a channel: log lines, and perhaps the line that says that it is ready.

use tokio::{io::AsyncReadExt, sync::oneshot, time::timeout_at};

use crate::{
    foreign::LINE_BYTES,
    process::{LineLog, Stdout},
    protocol::Ready,
};

/// Reads stdout to its end, so that the process never blocks on it; memory is bounded whatever it writes. Tells `seen`
/// once when a line makes the process ready.
pub(crate) async fn log_lines(mut stdout: Stdout, mut expected: Option<(Ready, oneshot::Sender<()>)>) {
    let mut log = LineLog::new();
    let mut line = Vec::new();
    let mut buffer = vec![0; 4 * 1024];
    loop {
        let read = match log.due() {
            None => stdout.read(&mut buffer).await,
            Some(due) => match timeout_at(due, stdout.read(&mut buffer)).await {
                Ok(read) => read,
                Err(_) => {
                    log.report();
                    continue;
                }
            },
        };
        let Ok(n @ 1..) = read else { break };
        log.write(&buffer[..n]);
        if expected.is_none() {
            continue;
        }
        for &byte in &buffer[..n] {
            if byte != b'\n' {
                if line.len() < LINE_BYTES {
                    line.push(byte);
                }
                continue;
            }
            if let Some((_, seen)) =
                expected.take_if(|(ready, _)| ready.is_met_by(&String::from_utf8_lossy(&line)))
            {
                // Nobody waits any more: the start was given up.
                let _ = seen.send(());
                line = Vec::new();
                break;
            }
            line.clear();
        }
    }
    log.finish();
}
