//! [`stdio`]: this process's own stdin and stdout as streams.
//!
//! Sockets and pipes, which a host gives its workers, are driven by the runtime directly. Anything else
//! (a file, a terminal) is copied by threads, because the runtime cannot wait for it. A thread that
//! hangs in a read does not keep the process alive, which tokio's own stdin would do.

use std::{
    fs::File,
    io::{self, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::FileTypeExt, net::UnixStream as StdStream},
    },
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{
        UnixStream,
        unix::pipe::{Receiver, Sender},
    },
    sync::oneshot,
};

pub(crate) struct OwnStdio {
    pub(crate) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// Resolves when the helper thread has written everything; `None` if there is no such thread.
    pub(crate) flushed: Option<oneshot::Receiver<()>>,
}

enum OwnStdioKind {
    Socket,
    Pipe,
    Other,
}

pub(crate) fn stdio() -> io::Result<OwnStdio> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    let (stdin, kind) = classify(stdin)?;
    let reader: Box<dyn AsyncRead + Send + Unpin> = match kind {
        OwnStdioKind::Socket => Box::new(socket(stdin)?),
        OwnStdioKind::Pipe => Box::new(Receiver::from_owned_fd(stdin)?),
        OwnStdioKind::Other => {
            let (near, mut far) = StdStream::pair()?;
            let mut stdin = File::from(stdin);
            std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
                // However the copy ends, the other end sees the end of the stream.
                let _ = io::copy(&mut stdin, &mut far);
                let _ = far.shutdown(Shutdown::Write);
            })?;
            Box::new(socket(near.into())?)
        }
    };
    let (stdout, kind) = classify(stdout)?;
    let mut flushed = None;
    let writer: Box<dyn AsyncWrite + Send + Unpin> = match kind {
        OwnStdioKind::Socket => Box::new(socket(stdout)?),
        OwnStdioKind::Pipe => Box::new(Sender::from_owned_fd(stdout)?),
        OwnStdioKind::Other => {
            let (near, mut far) = StdStream::pair()?;
            let (done, wait) = oneshot::channel();
            flushed = Some(wait);
            let mut stdout = File::from(stdout);
            std::thread::Builder::new().name("stdout".to_owned()).spawn(move || {
                let _ = io::copy(&mut far, &mut stdout);
                let _ = stdout.flush();
                // The server may not wait for it.
                let _ = done.send(());
            })?;
            Box::new(socket(near.into())?)
        }
    };
    Ok(OwnStdio { reader, writer, flushed })
}

fn classify(fd: OwnedFd) -> io::Result<(OwnedFd, OwnStdioKind)> {
    let file = File::from(fd);
    let kind = file.metadata()?.file_type();
    let kind = match kind {
        kind if kind.is_socket() => OwnStdioKind::Socket,
        kind if kind.is_fifo() => OwnStdioKind::Pipe,
        _ => OwnStdioKind::Other,
    };
    Ok((file.into(), kind))
}

fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let stream = StdStream::from(fd);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}
