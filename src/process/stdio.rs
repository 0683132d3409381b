//! The host's and the process's ends of stdin, stdout and stderr.
//!
//! Every descriptor made here is close-on-exec from the first moment (P-5). The host's ends do not block.

use std::{
    io::{self, IoSlice},
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{UnixStream, unix::pipe},
};

use super::{Stderr, Stdin, Stdout, Wiring};

/// The size asked for where programs insist on pipes.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 256 * 1024;

/// The ends that the process gets: 0, 1 and 2.
pub(super) struct Inner {
    pub(super) fds: [OwnedFd; 3],
}

/// The ends that the host keeps, not yet known to a runtime.
#[derive(Debug)]
pub(super) struct Outer {
    stdin: End,
    stdout: End,
    stderr: OwnedFd,
}

#[derive(Debug)]
enum End {
    Socket(StdStream),
    Pipe(OwnedFd),
}

/// Makes both sides of all three.
pub(super) fn make(wiring: Wiring) -> io::Result<(Inner, Outer)> {
    let (stderr, their_stderr) = io::pipe()?;
    let (stdin, their_stdin, stdout, their_stdout) = match wiring {
        Wiring::Sockets => {
            let (stdin, their_stdin) = socket_pair()?;
            let (stdout, their_stdout) = socket_pair()?;
            (End::Socket(stdin), OwnedFd::from(their_stdin), End::Socket(stdout), OwnedFd::from(their_stdout))
        }
        Wiring::Pipes => {
            let (their_stdin, stdin) = io::pipe()?;
            let (stdout, their_stdout) = io::pipe()?;
            let (stdin, stdout) = (OwnedFd::from(stdin), OwnedFd::from(stdout));
            #[cfg(target_os = "linux")]
            for pipe in [&stdin, &stdout] {
                // Refused when the user's quota of pipe memory is used up; the default size does as well.
                let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
            }
            (End::Pipe(stdin), their_stdin.into(), End::Pipe(stdout), their_stdout.into())
        }
    };
    let fds = [above_stdio(their_stdin)?, above_stdio(their_stdout)?, above_stdio(their_stderr.into())?];
    Ok((Inner { fds }, Outer { stdin, stdout, stderr: stderr.into() }))
}

fn socket_pair() -> io::Result<(StdStream, StdStream)> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    #[cfg(target_vendor = "apple")]
    rustix::net::sockopt::set_socket_nosigpipe(&ours, true)?;
    Ok((ours, theirs))
}

/// A host that runs without stdin, stdout or stderr gets their numbers for its next descriptors. The process's ends
/// must not have them: putting one into place would close another.
fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() > 2 { Ok(fd) } else { Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?) }
}

impl Outer {
    /// Registers the host's ends with the current runtime.
    pub(super) fn register(self) -> io::Result<(Stdin, Stdout, Stderr)> {
        let stdin: Stdin = match self.stdin {
            End::Socket(socket) => Box::new(Writer(UnixStream::from_std(socket)?)),
            End::Pipe(fd) => Box::new(PipeWriter(Some(pipe::Sender::from_owned_fd(fd)?))),
        };
        let stdout: Stdout = match self.stdout {
            End::Socket(socket) => Box::new(Reader(UnixStream::from_std(socket)?)),
            End::Pipe(fd) => Box::new(pipe::Receiver::from_owned_fd(fd)?),
        };
        Ok((stdin, stdout, Box::new(pipe::Receiver::from_owned_fd(self.stderr)?)))
    }
}

/// The host's end of a stdout socket. A reset is an end of file: it only says that the process did not read
/// everything before it died.
struct Reader(UnixStream);

impl AsyncRead for Reader {
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

/// The host's end of a stdin socket. Writing never raises `SIGPIPE`, whatever the embedding program has set.
struct Writer(UnixStream);

#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
/// There it is an option of the socket.
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: SendFlags = SendFlags::empty();

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |socket| rustix::net::send(socket, buf, NO_SIGNAL))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // More buffers than the system takes at once would be refused.
        let bufs = &bufs[..bufs.len().min(64)];
        self.poll_send(cx, |socket| {
            rustix::net::sendmsg(socket, bufs, &mut SendAncillaryBuffer::default(), NO_SIGNAL)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Writer {
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        send: impl Fn(&UnixStream) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_io(Interest::WRITABLE, || Ok(send(&self.0)?)) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

/// The host's end of a stdin pipe. A pipe has no half to shut down: it is closed, so that the process sees the end.
struct PipeWriter(Option<pipe::Sender>);

impl PipeWriter {
    fn open(&mut self) -> io::Result<Pin<&mut pipe::Sender>> {
        self.0.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncWrite for PipeWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.open()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.open()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_reset_is_an_end_of_file() {
        // P-8
        let (ours, mut theirs) = socket_pair().unwrap();
        (&ours).write_all(b"never read").unwrap();
        theirs.write_all(b"last words").unwrap();
        drop(theirs);
        let mut reader = Reader(UnixStream::from_std(ours).unwrap());
        let mut got = String::new();
        reader.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "last words");
    }
}
