//! [`Stdin`]: the host's end of a process's stdin, and the news that nobody reads the other one any more.

use std::{
    fmt,
    future::{Future, pending},
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;

/// Where a process's stdin is written.
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Unpin>;
/// Resolves when a process's stdin has been closed on its side.
pub(crate) type Closed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The host's end of a process's stdin: a stream to write, and a future that tells when the other end is closed, also
/// while nothing is written (P-11).
///
/// Dropping it, or only its writer, is an end of file for the process.
pub struct Stdin {
    writer: Writer,
    closed: Closed,
}

impl Stdin {
    /// A stream that shows its end only to those who write.
    pub fn new(writer: impl AsyncWrite + Send + Unpin + 'static) -> Stdin {
        Stdin { writer: Box::new(writer), closed: Box::pin(pending()) }
    }

    /// The same stream, with a future that resolves when the other end is closed. It must not keep the stream open.
    #[must_use]
    pub fn with_closed(mut self, closed: impl Future<Output = ()> + Send + 'static) -> Stdin {
        self.closed = Box::pin(closed);
        self
    }

    /// Both halves.
    pub(crate) fn into_parts(self) -> (Writer, Closed) {
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
