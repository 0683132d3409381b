//! P-3, P-11, C-4: what is written before an end is read, and a closed stream is an end of file or an
//! error, never a signal.

use std::io::ErrorKind;

use procession::process::StdioTransport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::*;

#[tokio::test]
async fn both_directions_carry_large_data() {
    // P-3
    for transport in [StdioTransport::Sockets, StdioTransport::Pipes] {
        let mut process = launch(sh("exec cat").transport(transport)).await;
        let sent: Vec<u8> = (0..3_000_000u32).map(|i| i as u8).collect();
        let (mut stdin, mut got) = (process.stdin, Vec::new());
        let write = async {
            stdin.write_all(&sent).await.unwrap();
            stdin.shutdown().await.unwrap();
        };
        let read = process.stdout.read_to_end(&mut got);
        let (_, read) = soon("echo", async { tokio::join!(write, read) }).await;
        read.unwrap();
        assert!(got == sent, "{transport:?}");
        soon("exit", process.control.exited()).await;
    }
}

#[tokio::test]
async fn what_was_written_before_the_end_is_read_and_then_comes_the_end() {
    // C-4: even if the process left its input unread.
    for transport in [StdioTransport::Sockets, StdioTransport::Pipes] {
        let mut process = launch(sh("read line; echo last words; exit 1").transport(transport)).await;
        process.stdin.write_all(b"one\ntwo\nthree\n").await.unwrap();
        soon("exit", process.control.exited()).await;
        reaped(&process).await;
        let mut got = String::new();
        soon("end of file", process.stdout.read_to_string(&mut got)).await.unwrap();
        assert_eq!(got, "last words\n", "{transport:?}");
    }
}

#[tokio::test]
async fn writing_to_the_dead_is_an_error_and_no_signal() {
    // P-11
    for transport in [StdioTransport::Sockets, StdioTransport::Pipes] {
        let mut process = launch(sh("exit 0").transport(transport)).await;
        soon("exit", process.control.exited()).await;
        let chunk = [0; 4096];
        let error = soon("an error", async {
            loop {
                if let Err(error) = process.stdin.write_all(&chunk).await {
                    return error;
                }
            }
        })
        .await;
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error:?}");
    }
}

#[tokio::test]
async fn a_closed_stdin_of_a_living_process_shows_when_it_is_written_to() {
    // P-11
    for transport in [StdioTransport::Sockets, StdioTransport::Pipes] {
        let mut process = launch(sh("exec <&-; echo $$; exec sleep 1000").transport(transport)).await;
        number(&mut process).await;
        let error = soon("write", process.stdin.write_all(b"x")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{transport:?}");
    }
}

#[tokio::test]
async fn a_closed_stdout_of_a_living_process_is_an_end_of_file() {
    // P-11
    let mut process = launch(sh("exec >&-; exec sleep 1000")).await;
    let mut got = Vec::new();
    soon("end of file", process.stdout.read_to_end(&mut got)).await.unwrap();
    assert!(got.is_empty() && exists(process.pid));
}

#[test]
fn a_host_that_does_not_ignore_sigpipe_survives() {
    // P-11
    host_of_its_own("", "streams_end_as_streams_do::inner_with_sigpipe");
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_with_sigpipe() {
    // SAFETY: the default action installs no handler.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    for transport in [StdioTransport::Sockets, StdioTransport::Pipes] {
        let mut process = launch(sh("exit 0").transport(transport)).await;
        soon("exit", process.control.exited()).await;
        assert_eq!(process.stdin.write_all(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let bufs = [std::io::IoSlice::new(b"x"), std::io::IoSlice::new(b"y")];
        assert_eq!(process.stdin.write_vectored(&bufs).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
    // No signal was left pending, and the host's disposition is unchanged: a SIGPIPE of its own would still
    // end it. SAFETY: each set is initialised by the function that it is passed to.
    #[allow(unsafe_code)]
    unsafe {
        let (mut pending, mut mask) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigpending(&mut pending);
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut mask);
        assert_eq!(
            (libc::sigismember(&pending, libc::SIGPIPE), libc::sigismember(&mask, libc::SIGPIPE)),
            (0, 0)
        );
    }
}
