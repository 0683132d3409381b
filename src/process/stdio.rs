//! The host's and the process's ends of stdin, stdout and stderr.
//!
//! Every descriptor made here is close-on-exec from the first moment (P-5). The host's ends do not block.

use std::{
    future::Future,
    io::{self, IoSlice},
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd},
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
        let stdin = match self.stdin {
            End::Socket(socket) => SocketWriter::stdin(UnixStream::from_std(socket)?),
            End::Pipe(fd) => PipeWriter::stdin(fd)?,
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
struct SocketWriter {
    socket: Arc<UnixStream>,
    watch: Watch,
}

#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
/// There it is an option of the socket.
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: SendFlags = SendFlags::empty();

impl AsyncWrite for SocketWriter {
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

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(rustix::net::shutdown(&*self.socket, Shutdown::Write)?))
    }
}

impl SocketWriter {
    fn stdin(socket: UnixStream) -> Stdin {
        let socket = Arc::new(socket);
        let watch = Watch::new(hung_up(socket.clone()));
        Stdin::new(SocketWriter { socket, watch: watch.clone() }).with_closed(watch)
    }

    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        send: impl Fn(&UnixStream) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(cx))?;
            match self.socket.try_io(Interest::WRITABLE, || Ok(send(&self.socket)?)) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl Drop for SocketWriter {
    fn drop(&mut self) {
        self.watch.stop();
    }
}

/// Resolves when nobody has the other end of a stdin socket any more (P-11).
///
/// A process can write into its stdin when that is a socket. What it writes is discarded, up to a bound: left unread,
/// it would turn the end of its stdin into a reset. Past the bound it is left to fill the socket's buffer.
async fn hung_up(socket: Arc<UnixStream>) {
    const DISCARDED_BYTES: usize = 1024 * 1024;
    let mut discarded = 0;
    loop {
        let closed = match socket.ready(Interest::READABLE).await {
            Ok(ready) => ready.is_read_closed(),
            Err(_) => return,
        };
        let read = socket.try_io(Interest::READABLE, || {
            if discarded >= DISCARDED_BYTES {
                // What is there stays there; only further news count.
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(rustix::net::recv(&*socket, &mut [0; 4096][..], RecvFlags::empty())?.0)
        });
        match read {
            Ok(n @ 1..) => discarded += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !closed => {}
            _ if is_hung_up(&socket) => return,
            // It has closed the direction that nobody uses. Its end shows when something is written.
            _ => std::future::pending().await,
        }
    }
}

/// Whether both directions of a socket are closed, as they are when nobody has the other end.
fn is_hung_up(socket: &UnixStream) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&now)).is_ok()
        && polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// The host's end of a stdin pipe. A pipe has no half to shut down: it is closed, so that the process sees the end.
struct PipeWriter {
    pipe: Option<Arc<AsyncFd<OwnedFd>>>,
    watch: Watch,
}

impl PipeWriter {
    fn stdin(fd: OwnedFd) -> io::Result<Stdin> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        // SAFETY: the value owns its descriptor, so it stays open, and the same, for as long as the value lives; and it
        // always gives the same number.
        #[allow(unsafe_code)]
        let pipe = unsafe { AsyncFd::register_with_interest(fd, PIPE_INTEREST) }.map_err(io::Error::from)?;
        let pipe = Arc::new(pipe);
        let watch = Watch::new(unread(pipe.clone()));
        Ok(Stdin::new(PipeWriter { pipe: Some(pipe), watch: watch.clone() }).with_closed(watch))
    }
}

#[cfg(target_os = "linux")]
const PIPE_INTEREST: Interest = Interest::WRITABLE.add(Interest::ERROR);
#[cfg(not(target_os = "linux"))]
const PIPE_INTEREST: Interest = Interest::WRITABLE;

/// Resolves when nobody reads from a pipe any more (P-11). Elsewhere only a write tells.
async fn unread(pipe: Arc<AsyncFd<OwnedFd>>) {
    #[cfg(target_os = "linux")]
    let _ = pipe.ready(Interest::ERROR).await;
    #[cfg(not(target_os = "linux"))]
    std::future::pending::<Arc<AsyncFd<OwnedFd>>>().await;
}

impl AsyncWrite for PipeWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Some(pipe) = &self.pipe else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        loop {
            let mut writable = ready!(pipe.poll_write_ready(cx))?;
            match writable.try_io(|pipe| Ok(rustix::io::write(pipe, buf)?)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch.stop();
        self.pipe = None;
        Poll::Ready(Ok(()))
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.watch.stop();
    }
}

/// Waits for the end of the other side, and lets go of the descriptor when the writer does: a watcher that kept it
/// would keep the process from seeing the end of its stdin.
#[derive(Clone)]
struct Watch(Arc<Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>>);

impl Watch {
    fn new(end: impl Future<Output = ()> + Send + 'static) -> Watch {
        Watch(Arc::new(Mutex::new(Some(Box::pin(end)))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pin<Box<dyn Future<Output = ()> + Send>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        *self.lock() = None;
    }
}

impl Future for Watch {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut end = self.lock();
        match end.as_mut() {
            Some(waiting) => {
                ready!(waiting.as_mut().poll(cx));
                *end = None;
                Poll::Ready(())
            }
            None => Poll::Pending,
        }
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
        let (ours, mut theirs) = socket_pair().unwrap();
        (&ours).write_all(b"never read").unwrap();
        theirs.write_all(b"last words").unwrap();
        drop(theirs);
        let mut reader = Reader(UnixStream::from_std(ours).unwrap());
        let mut got = String::new();
        reader.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "last words");
    }

    const BOUND: Duration = Duration::from_secs(30);

    /// Lets everything happen that is about to.
    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_closed_stdin_is_noticed_while_nothing_is_written() {
        // P-11
        for wiring in [Wiring::Sockets, Wiring::Pipes] {
            let (inner, outer) = make(wiring).unwrap();
            let (_writer, closed) = outer.register().unwrap().0.into_parts();
            let closed = tokio::spawn(closed);
            settle().await;
            assert!(!closed.is_finished());
            drop(inner);
            tokio::time::timeout(BOUND, closed).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn what_a_process_writes_into_its_stdin_changes_nothing() {
        // P-11
        let (inner, outer) = make(Wiring::Sockets).unwrap();
        let (mut writer, closed) = outer.register().unwrap().0.into_parts();
        let closed = tokio::spawn(closed);
        let [stdin, ..] = inner.fds;
        let mut stdin = StdStream::from(stdin);
        stdin.set_nonblocking(true).unwrap();
        // It is discarded, then left to fill the socket.
        let mut written = 0;
        for _ in 0..1000 {
            match stdin.write(&[b'x'; 16 * 1024]) {
                Ok(n) => written += n,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            settle().await;
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
        let (inner, outer) = make(Wiring::Sockets).unwrap();
        let (mut writer, closed) = outer.register().unwrap().0.into_parts();
        let closed = tokio::spawn(closed);
        let [stdin, ..] = inner.fds;
        let mut stdin = StdStream::from(stdin);
        stdin.shutdown(std::net::Shutdown::Write).unwrap();
        settle().await;
        assert!(!closed.is_finished());
        writer.write_all(b"x").await.unwrap();
        assert_eq!(stdin.read(&mut [0; 8]).unwrap(), 1);
    }

    #[tokio::test]
    async fn the_watcher_keeps_nothing_open() {
        // P-11
        for (wiring, drops) in
            [(Wiring::Sockets, true), (Wiring::Sockets, false), (Wiring::Pipes, true), (Wiring::Pipes, false)]
        {
            let (inner, outer) = make(wiring).unwrap();
            let (mut writer, closed) = outer.register().unwrap().0.into_parts();
            let _closed = tokio::spawn(closed);
            settle().await;
            let [stdin, ..] = inner.fds;
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
