//! [`ScriptedProcess`]: a scripted process as its script sees it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    ffi::{OsStr, OsString},
    fmt,
    future::{Future, pending},
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{
        AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream,
        ReadBuf,
    },
    sync::{mpsc, oneshot},
};

use super::scripted_group::{LEADER, ScriptedGroup};
use crate::process::{Command, ExitStatus, Signal};

/// How a script ends its process. A script may return a code, nothing (code 0), or one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptExit {
    /// It exits with this code.
    Code(i32),
    /// It dies of this signal.
    Signal(Signal),
}

impl ScriptExit {
    pub(super) fn exited(self) -> ExitStatus {
        match self {
            ScriptExit::Code(code) => ExitStatus::code(code),
            ScriptExit::Signal(signal) => ExitStatus::signal(signal.as_raw(), false),
        }
    }
}

impl From<i32> for ScriptExit {
    fn from(code: i32) -> ScriptExit {
        ScriptExit::Code(code)
    }
}

impl From<()> for ScriptExit {
    fn from((): ()) -> ScriptExit {
        ScriptExit::Code(0)
    }
}

impl From<Infallible> for ScriptExit {
    fn from(never: Infallible) -> ScriptExit {
        match never {}
    }
}

/// A scripted process as its script sees it. Its streams are bounded; they close when it is dropped, at
/// the latest when the process dies.
pub struct ScriptedProcess {
    pub(super) group: Arc<ScriptedGroup>,
    pub(super) command: Command,
    pub(super) env: BTreeMap<OsString, OsString>,
    pub(super) launch: u64,
    pub(super) stdin: Option<BufReader<ScriptedStdinEnd>>,
    /// The part of an incomplete line that has been read.
    pub(super) partial: Vec<u8>,
    pub(super) stdout: Option<DuplexStream>,
    pub(super) stderr: Option<DuplexStream>,
}

/// The process's end of its stdin. The host notices its drop, as with a real process.
pub(super) struct ScriptedStdinEnd {
    pub(super) stream: DuplexStream,
    pub(super) _open: oneshot::Sender<()>,
}

impl AsyncRead for ScriptedStdinEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

/// The arrivals of one signal.
#[derive(Debug)]
pub struct SignalArrivals(mpsc::UnboundedReceiver<()>);

impl SignalArrivals {
    /// Waits for the next arrival. Cancel-safe.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // Another handler has replaced this one.
            pending::<()>().await;
        }
    }
}

impl ScriptedProcess {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.group.pid
    }

    /// Which launch of this program this is: 1 for the first.
    pub fn launch(&self) -> u64 {
        self.launch
    }

    /// The arguments, without the program's name.
    pub fn args(&self) -> &[OsString] {
        self.command.get_args()
    }

    /// The working directory, if the command names one.
    pub fn cwd(&self) -> Option<&Path> {
        self.command.get_cwd()
    }

    /// The value of an environment variable.
    pub fn var(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.env.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// The whole environment, sorted by name.
    pub fn env(&self) -> &BTreeMap<OsString, OsString> {
        &self.env
    }

    /// The next line of stdin without its end; `None` at the end of file, or when stdin is closed. Bytes that
    /// are not UTF-8 are replaced. Cancel-safe: a part of a line that has been read is kept for the next
    /// call.
    pub async fn read_line(&mut self) -> Option<String> {
        let read = self.stdin.as_mut()?.read_until(b'\n', &mut self.partial).await;
        let mut line = std::mem::take(&mut self.partial);
        if read.is_err() || line.is_empty() {
            return None;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// Reads exactly this many bytes of stdin, for protocols that are not line-based.
    ///
    /// # Errors
    /// If there are fewer bytes, or stdin is closed.
    pub async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.stdin.as_mut().ok_or_else(closed)?.read_exact(buffer).await.map(|_| ())
    }

    /// Writes a line to stdout, waiting while it is full.
    ///
    /// # Errors
    /// `BrokenPipe` when the host has closed its end, or stdout is closed.
    pub async fn write_line(&mut self, line: &str) -> io::Result<()> {
        self.write(format!("{line}\n").as_bytes()).await
    }

    /// Writes bytes to stdout.
    ///
    /// # Errors
    /// As [`ScriptedProcess::write_line`].
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdout.as_mut().ok_or_else(closed)?.write_all(bytes).await
    }

    /// Writes a line to stderr.
    ///
    /// # Errors
    /// As [`ScriptedProcess::write_line`].
    pub async fn write_error_line(&mut self, line: &str) -> io::Result<()> {
        self.stderr.as_mut().ok_or_else(closed)?.write_all(format!("{line}\n").as_bytes()).await
    }

    /// Writes `byte` this many times to stdout, without a newline.
    ///
    /// # Errors
    /// As [`ScriptedProcess::write_line`].
    pub async fn flood(&mut self, byte: u8, times: usize) -> io::Result<()> {
        let chunk = vec![byte; times.min(16 * 1024)];
        let mut left = times;
        while left > 0 {
            let now = left.min(chunk.len());
            self.write(&chunk[..now]).await?;
            left -= now;
        }
        Ok(())
    }

    /// Takes stdin away from the process, to read it in another way or to hand it to a grandchild. It
    /// stays open until it is dropped.
    pub fn take_stdin(&mut self) -> Option<impl AsyncBufRead + Send + Unpin + use<>> {
        self.stdin.take()
    }

    /// Takes stdout away from the process. It stays open until it is dropped.
    pub fn take_stdout(&mut self) -> Option<DuplexStream> {
        self.stdout.take()
    }

    /// Takes stderr away from the process. It stays open until it is dropped.
    pub fn take_stderr(&mut self) -> Option<DuplexStream> {
        self.stderr.take()
    }

    /// Closes stdin: the host notices at once, and its writes fail with `BrokenPipe`.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Closes stdout: the host reads what is there and then the end of file.
    pub fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Closes stderr.
    pub fn close_stderr(&mut self) {
        self.stderr = None;
    }

    /// Ends the process at once, with this exit code.
    pub async fn exit(&self, code: i32) -> Infallible {
        self.end(ScriptExit::Code(code)).await
    }

    /// Ends the process at once by a signal, even if it is ignored.
    pub async fn crash(&self, signal: Signal) -> Infallible {
        self.end(ScriptExit::Signal(signal)).await
    }

    async fn end(&self, ending: ScriptExit) -> Infallible {
        self.group.end_with(LEADER, ending.exited());
        pending().await
    }

    /// Hangs forever. It does not read either, so the host finds stdin full after a while.
    pub async fn hang(&self) -> Infallible {
        pending().await
    }

    /// Waits, in tokio's time.
    pub async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Ignores a signal from now on. `SIGKILL` cannot be ignored.
    pub fn ignore(&self, signal: Signal) {
        self.group.ignore(signal);
    }

    /// Catches a signal from now on. `SIGKILL` cannot be caught.
    pub fn on_signal(&self, signal: Signal) -> SignalArrivals {
        SignalArrivals(self.group.handle(signal))
    }

    /// While set, the process does not die of `SIGKILL`, like a process in uninterruptible sleep.
    pub fn set_uninterruptible(&self, yes: bool) {
        self.group.set_uninterruptible(yes);
    }

    /// Starts a grandchild in the process's group. It lives until `body` returns, or until a signal
    /// ends it that is not among `ignored`. Streams that are moved into `body` stay open until then.
    pub fn grandchild(&self, ignored: &[Signal], body: impl Future<Output = ()> + Send + 'static) {
        let number = self.group.join(ignored);
        let body = async move {
            body.await;
            ExitStatus::code(0)
        };
        tokio::spawn(Arc::clone(&self.group).run(number, body));
    }
}

fn closed() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl fmt::Debug for ScriptedProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedProcess")
            .field("pid", &self.pid())
            .field("launch", &self.launch)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}
