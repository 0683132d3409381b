//! Makes the host's and the process's ends of stdin, stdout and stderr.
//!
//! Every descriptor made here is close-on-exec from the first moment (P-5). The host's ends do not block,
//! and its sockets refuse descriptors.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{UnixStream, unix::pipe},
};

use super::{refuse_descriptors, stdin::Stdin};
use crate::process::command::{Command, StdioTransport};

/// The size that is requested for the pipes of a channel.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 256 * 1024;

/// The ends that the process gets as descriptors 0, 1 and 2.
pub(in crate::process) struct ChildEnds {
    pub(in crate::process) fds: [OwnedFd; 3],
}

/// The ends that the host keeps, not yet registered with a runtime.
#[derive(Debug)]
pub(in crate::process) struct HostEnds {
    stdin: StdioEndpoint,
    stdout: StdioEndpoint,
    stderr: OwnedFd,
}

/// The host's end of a process's stdout.
pub type Stdout = Box<dyn AsyncRead + Send + Unpin>;
/// The host's end of a process's stderr.
pub type Stderr = Box<dyn AsyncRead + Send + Unpin>;

/// The host's ends, registered with a runtime.
pub(in crate::process) type HostStreams = (Stdin, Stdout, Stderr);

#[derive(Debug)]
enum StdioEndpoint {
    Socket(StdStream),
    Pipe(OwnedFd),
}

/// Whether processes may have sockets as stdin and stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketsForStdio {
    /// Where the system lets the host refuse the descriptors that a process sends over them (since Linux
    /// 6.16).
    #[default]
    Auto,
    /// Nowhere: every process gets pipes, as it does on systems that cannot refuse descriptors.
    Never,
}

/// What a process gets as stdin and stdout, as far as it can be decided before the launch.
#[derive(Clone, Copy, Debug)]
pub(in crate::process) struct StdioLayout {
    sockets: bool,
    /// Stdin and stdout are a channel, which carries much data in both directions.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "pipes have one size there"))]
    channel: bool,
}

impl StdioLayout {
    pub(in crate::process) fn new(command: &Command, sockets: SocketsForStdio) -> StdioLayout {
        // A value of `SHLVL` that the caller chose is respected, and no shell may read a start-up file
        // because of a socket.
        let fit = sockets == SocketsForStdio::Auto && command.get_environment().is_fit_for_sockets();
        StdioLayout {
            sockets: fit && command.get_transport() == StdioTransport::Sockets,
            channel: command.has_channel(),
        }
    }
}

/// Makes both ends of all three streams. Sockets are used only where they can refuse descriptors.
pub(in crate::process) fn make(layout: StdioLayout) -> io::Result<(ChildEnds, HostEnds)> {
    let (stderr, their_stderr) = io::pipe()?;
    let sockets = if layout.sockets { two_socket_pairs()? } else { None };
    let (stdin, their_stdin, stdout, their_stdout) = match sockets {
        Some([(stdin, their_stdin), (stdout, their_stdout)]) => (
            StdioEndpoint::Socket(stdin),
            OwnedFd::from(their_stdin),
            StdioEndpoint::Socket(stdout),
            OwnedFd::from(their_stdout),
        ),
        None => {
            let (their_stdin, stdin) = io::pipe()?;
            let (stdout, their_stdout) = io::pipe()?;
            let (stdin, stdout) = (OwnedFd::from(stdin), OwnedFd::from(stdout));
            #[cfg(target_os = "linux")]
            // Refused if the user's quota of pipe memory is used up; the default size works as well.
            // Because of that quota, a stdin that nothing is written to gets the smallest size.
            if layout.channel {
                let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE_BYTES);
                let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES);
            } else {
                let _ = rustix::pipe::fcntl_setpipe_size(&stdin, 1);
            }
            (StdioEndpoint::Pipe(stdin), their_stdin.into(), StdioEndpoint::Pipe(stdout), their_stdout.into())
        }
    };
    let fds = [above_stdio(their_stdin)?, above_stdio(their_stdout)?, above_stdio(their_stderr.into())?];
    Ok((ChildEnds { fds }, HostEnds { stdin, stdout, stderr: stderr.into() }))
}

fn two_socket_pairs() -> io::Result<Option<[(StdStream, StdStream); 2]>> {
    let (Some(stdin), Some(stdout)) = (socket_pair()?, socket_pair()?) else { return Ok(None) };
    Ok(Some([stdin, stdout]))
}

/// The host's end and the process's end. `None` where the host's end cannot refuse descriptors.
fn socket_pair() -> io::Result<Option<(StdStream, StdStream)>> {
    let (ours, theirs) = StdStream::pair()?;
    if !refuse_descriptors::refuse(&ours)? {
        return Ok(None);
    }
    ours.set_nonblocking(true)?;
    #[cfg(target_vendor = "apple")]
    rustix::net::sockopt::set_socket_nosigpipe(&ours, true)?;
    Ok(Some((ours, theirs)))
}

/// A host that runs without stdin, stdout or stderr gets their numbers for its next descriptors. The
/// process's ends must not have these numbers: moving one into place would close another.
fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() > 2 { Ok(fd) } else { Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?) }
}

impl HostEnds {
    /// Registers the host's ends with the current runtime.
    pub(in crate::process) fn register(self) -> io::Result<HostStreams> {
        let stdin = match self.stdin {
            StdioEndpoint::Socket(socket) => Stdin::socket(UnixStream::from_std(socket)?),
            StdioEndpoint::Pipe(fd) => Stdin::pipe(fd)?,
        };
        let stdout: Stdout = match self.stdout {
            StdioEndpoint::Socket(socket) => Box::new(StdoutReader(UnixStream::from_std(socket)?)),
            StdioEndpoint::Pipe(fd) => Box::new(pipe::Receiver::from_owned_fd(fd)?),
        };
        Ok((stdin, stdout, Box::new(pipe::Receiver::from_owned_fd(self.stderr)?)))
    }
}

/// The host's end of a stdout socket. A reset counts as an end of file: it only means that the process did
/// not read everything before it ended.
struct StdoutReader(UnixStream);

impl AsyncRead for StdoutReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll_read(cx, buf)) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            result => result,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        time::Duration,
    };

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_reset_is_an_end_of_file() {
        // P-8
        let (ours, mut theirs) = StdStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (&ours).write_all(b"never read").unwrap();
        theirs.write_all(b"last words").unwrap();
        drop(theirs);
        let mut reader = StdoutReader(UnixStream::from_std(ours).unwrap());
        let mut got = String::new();
        reader.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "last words");
    }

    const BOUND: Duration = Duration::from_secs(30);

    fn ends(transport: StdioTransport) -> (ChildEnds, HostEnds) {
        make(StdioLayout::new(&Command::new("x").transport(transport), SocketsForStdio::Auto)).unwrap()
    }

    /// Lets all other tasks run until they wait.
    async fn run_other_tasks() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_closed_stdin_is_noticed_while_nothing_is_written() {
        // P-11
        for transport in [StdioTransport::Sockets, StdioTransport::Pipes] {
            let (child_ends, host_ends) = ends(transport);
            let (_writer, closed) = host_ends.register().unwrap().0.into_parts();
            let closed = tokio::spawn(closed);
            run_other_tasks().await;
            assert!(!closed.is_finished());
            drop(child_ends);
            tokio::time::timeout(BOUND, closed).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn what_a_process_writes_into_its_stdin_changes_nothing() {
        // P-11
        let (child_ends, host_ends) = ends(StdioTransport::Sockets);
        let (mut writer, closed) = host_ends.register().unwrap().0.into_parts();
        let closed = tokio::spawn(closed);
        let [stdin, ..] = child_ends.fds;
        let mut stdin = StdStream::from(stdin);
        stdin.set_nonblocking(true).unwrap();
        // First it is discarded, then it is left to fill the socket.
        let mut written = 0;
        for _ in 0..1000 {
            match stdin.write(&[b'x'; 16 * 1024]) {
                Ok(n) => written += n,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            run_other_tasks().await;
        }
        assert!((1024 * 1024..8 * 1024 * 1024).contains(&written), "{written}");
        assert!(!closed.is_finished());
        writer.write_all(b"still read").await.unwrap();
        let mut read = [0; 10];
        stdin.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"still read");
        drop(stdin);
        tokio::time::timeout(BOUND, closed).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_process_that_closes_only_the_other_direction_still_reads() {
        // P-11
        let (child_ends, host_ends) = ends(StdioTransport::Sockets);
        let (mut writer, closed) = host_ends.register().unwrap().0.into_parts();
        let closed = tokio::spawn(closed);
        let [stdin, ..] = child_ends.fds;
        let mut stdin = StdStream::from(stdin);
        stdin.shutdown(std::net::Shutdown::Write).unwrap();
        run_other_tasks().await;
        assert!(!closed.is_finished());
        writer.write_all(b"x").await.unwrap();
        assert_eq!(stdin.read(&mut [0; 8]).unwrap(), 1);
    }

    #[tokio::test]
    async fn the_watcher_keeps_nothing_open() {
        // P-11
        for (transport, drops) in [
            (StdioTransport::Sockets, true),
            (StdioTransport::Sockets, false),
            (StdioTransport::Pipes, true),
            (StdioTransport::Pipes, false),
        ] {
            let (child_ends, host_ends) = ends(transport);
            let (mut writer, closed) = host_ends.register().unwrap().0.into_parts();
            let _closed = tokio::spawn(closed);
            run_other_tasks().await;
            let [stdin, ..] = child_ends.fds;
            writer.write_all(b"last").await.unwrap();
            if drops {
                drop(writer);
            } else {
                writer.shutdown().await.unwrap();
            }
            let mut read = String::new();
            std::fs::File::from(stdin).read_to_string(&mut read).unwrap();
            assert_eq!(read, "last");
        }
    }
}
