//! P-5: over its channel a process can send bytes and nothing else. The kernel refuses a descriptor while
//! it is being sent, so the host never has to close one.

use std::{
    io::{IoSlice, Write},
    mem::MaybeUninit,
    net::TcpListener,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use procession::process::{Command, Process, StdioTransport};
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::*;

/// One of this program's ignored tests, as a process of its own.
fn me(inner: &str) -> Command {
    let test = format!("a_process_sends_no_descriptors::{inner}");
    Command::new(std::env::current_exe().unwrap()).args(["--exact", &test, "--ignored", "--nocapture"])
}

async fn errors_of(process: &mut Process) -> String {
    let mut said = String::new();
    soon("stderr", process.stderr.as_mut().unwrap().read_to_string(&mut said)).await.unwrap();
    said
}

#[tokio::test]
async fn descriptors_are_refused_as_they_are_sent() {
    // P-5
    for transport in [None, Some(StdioTransport::Sockets), Some(StdioTransport::Pipes)] {
        let command = me("inner_sender");
        let command = transport.map_or(command.clone(), |transport| command.transport(transport));
        let sockets = transport != Some(StdioTransport::Pipes) && sockets_are_expected();
        let mut process = launch(command).await;
        let said = errors_of(&mut process).await;
        let channel = if sockets { Errno::PERM } else { Errno::NOTSOCK };
        let expected = |fd: i32| if fd == 2 { Errno::NOTSOCK } else { channel };
        for fd in 0..3 {
            // Even after the process has tried to allow it.
            let line = format!("{fd}: {:?}\n", Err::<usize, _>(expected(fd)));
            assert_eq!(said.matches(&line).count(), 2, "{transport:?}: {line}{said}");
        }
        reaped(&process).await;
    }
}

#[test]
#[ignore = "run by another test, as a process of its own"]
fn inner_sender() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        for _ in 0..2 {
            let sent = send_with(fd, socket.as_fd());
            eprintln!("{}: {sent:?}", fd.as_raw_fd());
            allow(fd);
        }
    }
}

fn send_with(fd: BorrowedFd<'_>, sent: BorrowedFd<'_>) -> rustix::io::Result<usize> {
    let sent = [sent];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&sent)));
    rustix::net::sendmsg(fd, &[IoSlice::new(b"\n")], &mut ancillary, SendFlags::NOSIGNAL)
}

/// Sets `SO_PASSRIGHTS` on the process's own end.
fn allow(fd: BorrowedFd<'_>) {
    let on: libc::c_int = 1;
    // SAFETY: a value of that size, which outlives the call.
    #[allow(unsafe_code)]
    unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, 83, (&raw const on).cast(), 4);
    }
}

#[tokio::test]
async fn urgent_bytes_disturb_neither_direction() {
    // P-5, P-11: a Unix socket has urgent bytes too, and a reader that does not ask for them does not get
    // them.
    let mut process = launch(me("inner_urgent")).await;
    soon("stdin", process.stdin.write_all(b"still read\n")).await.unwrap();
    let mut said = String::new();
    soon("the end of stdout", process.stdout.read_to_string(&mut said)).await.unwrap();
    let (begin, end) = (said.find("\nbegin\n"), said.find("\nstill read\n"));
    assert!(begin.is_some() && begin < end, "{said}");
    assert_eq!(reaped(&process).await, procession::process::ExitStatus::code(0));
}

#[test]
#[ignore = "run by another test, as a process of its own"]
fn inner_urgent() {
    let mut out = std::io::stdout();
    out.write_all(b"\nbegin\n").unwrap();
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout()] {
        for _ in 0..3 {
            match rustix::net::send(fd, b"!", SendFlags::OOB | SendFlags::NOSIGNAL) {
                Ok(1) | Err(Errno::NOTSOCK | Errno::OPNOTSUPP) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    // The last urgent byte is out of band, those before it have become ordinary ones.
    out.write_all(b"\n").unwrap();
    out.write_all(line.as_bytes()).unwrap();
}
