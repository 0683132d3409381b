//! [`Stdin`]: the host's end of a process's stdin, a socket or a pipe. It also notices when the process
//! closes the other end.

use std::{
    fmt,
    future::{Future, pending},
    io::{self, IoSlice},
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown},
};
use tokio::{
    io::{AsyncWrite, Interest, unix::AsyncFd},
    net::UnixStream,
};

use super::sigpipe;

/// Writes to a process's stdin.
pub(crate) type StdinWriter = Box<dyn AsyncWrite + Send + Unpin>;
/// Resolves when the process has closed its end of stdin.
pub(crate) type StdinClosed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The host's end of a process's stdin: a stream to write, and a future that resolves when the other end is
/// closed, even while nothing is written (P-11).
///
/// Dropping it, or only its writer, is an end of file for the process.
pub struct Stdin {
    writer: StdinWriter,
    closed: StdinClosed,
}

impl Stdin {
    /// A stream whose closed end only shows when it is written to.
    pub fn new(writer: impl AsyncWrite + Send + Unpin + 'static) -> Stdin {
        Stdin { writer: Box::new(writer), closed: Box::pin(pending()) }
    }

    pub(super) fn socket(socket: UnixStream) -> Stdin {
        let socket = Arc::new(socket);
        let watch = StdinWatch::new(until_hung_up(socket.clone()));
        Stdin::new(SocketWriter { socket, watch: watch.clone() }).with_closed(watch)
    }

    pub(super) fn pipe(fd: OwnedFd) -> io::Result<Stdin> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        // SAFETY: the value owns its descriptor, so the descriptor stays open for as long as the value
        // lives, and the value always returns the same number.
        #[allow(unsafe_code)]
        let pipe = unsafe { AsyncFd::register_with_interest(fd, PIPE_INTEREST) }.map_err(io::Error::from)?;
        let pipe = Arc::new(pipe);
        let watch = StdinWatch::new(until_unread(pipe.clone()));
        Ok(Stdin::new(PipeWriter { pipe: Some(pipe), watch: watch.clone() }).with_closed(watch))
    }

    /// The same stream, with a future that resolves when the other end is closed. It must not keep the
    /// stream open.
    #[must_use]
    pub fn with_closed(mut self, closed: impl Future<Output = ()> + Send + 'static) -> Stdin {
        self.closed = Box::pin(closed);
        self
    }

    /// Both halves.
    pub(crate) fn into_parts(self) -> (StdinWriter, StdinClosed) {
        (self.writer, self.closed)
    }
}

impl AsyncWrite for Stdin {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.writer.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdin").finish_non_exhaustive()
    }
}

/// The host's end of a stdin socket. Writing never raises `SIGPIPE`, whatever the embedding program has set.
struct SocketWriter {
    socket: Arc<UnixStream>,
    watch: StdinWatch,
}

#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
/// On Apple systems it is an option of the socket.
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
        // The system refuses more buffers than it takes at once.
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

/// Resolves when the other end of a stdin socket is closed (P-11).
///
/// A process can write into its stdin if that is a socket. What it writes is discarded, up to a bound: left
/// unread, it would turn the end of its stdin into a reset. Past the bound it is left to fill the socket's
/// buffer.
async fn until_hung_up(socket: Arc<UnixStream>) {
    const DISCARDED_BYTES: usize = 1024 * 1024;
    /// A hang-up after a half-close does not wake a task that waits to read, so it is polled.
    const HALF_CLOSED_POLL: Duration = Duration::from_millis(500);
    let mut discarded = 0;
    loop {
        let closed = match socket.ready(Interest::READABLE).await {
            Ok(ready) => ready.is_read_closed(),
            Err(_) => return,
        };
        let read = socket.try_io(Interest::READABLE, || {
            if discarded >= DISCARDED_BYTES {
                // What has arrived is left unread; only a change of state matters from here on.
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(rustix::net::recv(&*socket, &mut [0; 4096][..], RecvFlags::empty())?.0)
        });
        match read {
            Ok(n @ 1..) => discarded += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !closed => {}
            _ if is_hung_up(&socket) => return,
            // It has closed the direction that is not used, and the socket reports nothing about the other
            // one.
            _ => tokio::time::sleep(HALF_CLOSED_POLL).await,
        }
    }
}

/// Whether both directions of a socket are closed, as they are when the other end is.
fn is_hung_up(socket: &UnixStream) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&now)).is_ok()
        && polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// The host's end of a stdin pipe. Writing never raises `SIGPIPE` here either. A pipe has no half to shut
/// down, so a shutdown closes it and the process sees the end.
struct PipeWriter {
    pipe: Option<Arc<AsyncFd<OwnedFd>>>,
    watch: StdinWatch,
}

#[cfg(target_os = "linux")]
const PIPE_INTEREST: Interest = Interest::WRITABLE.add(Interest::ERROR);
#[cfg(not(target_os = "linux"))]
const PIPE_INTEREST: Interest = Interest::WRITABLE;

/// Resolves when the read end of a pipe is closed (P-11).
#[cfg(target_os = "linux")]
async fn until_unread(pipe: Arc<AsyncFd<OwnedFd>>) {
    let _ = pipe.ready(Interest::ERROR).await;
}

/// Other systems report a closed read end to a write only.
#[cfg(not(target_os = "linux"))]
async fn until_unread(_: Arc<AsyncFd<OwnedFd>>) {
    pending::<()>().await;
}

impl AsyncWrite for PipeWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Some(pipe) = &self.pipe else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        loop {
            let mut writable = ready!(pipe.poll_write_ready(cx))?;
            match writable.try_io(|pipe| Ok(sigpipe::write(pipe.as_fd(), buf)?)) {
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

/// Waits until the other end is closed, and drops the descriptor when the writer does: a watch that kept it
/// would keep the process from seeing the end of its stdin.
#[derive(Clone)]
struct StdinWatch(Arc<Mutex<Option<StdinClosed>>>);

impl StdinWatch {
    fn new(end: impl Future<Output = ()> + Send + 'static) -> StdinWatch {
        StdinWatch(Arc::new(Mutex::new(Some(Box::pin(end)))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<StdinClosed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        *self.lock() = None;
    }
}

impl Future for StdinWatch {
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::Shutdown;

    use super::*;

    fn ends() -> (Stdin, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Stdin::socket(UnixStream::from_std(ours).unwrap()), theirs)
    }

    async fn resolves(closed: &mut StdinClosed) -> bool {
        tokio::time::timeout(Duration::from_secs(30), closed).await.is_ok()
    }

    #[tokio::test]
    async fn a_hang_up_after_a_half_close_is_seen() {
        // P-11
        let (stdin, theirs) = ends();
        let (_writer, mut closed) = stdin.into_parts();
        theirs.shutdown(Shutdown::Write).unwrap();
        let soon = tokio::time::timeout(Duration::from_millis(700), &mut closed).await;
        assert!(soon.is_err(), "it can still be written to");
        drop(theirs);
        assert!(resolves(&mut closed).await);
    }

    #[tokio::test]
    async fn a_hang_up_is_seen_behind_what_was_written() {
        // P-11
        let (stdin, mut theirs) = ends();
        let (_writer, mut closed) = stdin.into_parts();
        std::io::Write::write_all(&mut theirs, &[7; 10_000]).unwrap();
        drop(theirs);
        assert!(resolves(&mut closed).await);
    }
}
