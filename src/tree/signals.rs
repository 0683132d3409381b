//! [`SignalPolicy`]: what a service does on signals that tell it to stop or to reload (rule T-4).

use std::{fmt, future::Future, io, sync::Arc, task::Poll, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use super::handle::Tree;
use crate::{
    exit::Exit,
    id::{Incarnation, TreePath},
    log_event_macro::log_event,
    process,
    supervision::{
        BoxFuture,
        panics::{catch_panic_async, discard},
    },
};

/// Some signals come in pairs that mean one thing. A signal to a whole group reaches the host directly,
/// and once more through the program that started it and passes signals on: a guardian, `timeout`,
/// `npm run`, `uv run`. A terminal that closes signals its jobs, and so does the shell in it. A service
/// manager may send `SIGHUP` right after `SIGTERM`.
const ECHO: Duration = Duration::from_millis(250);

/// A signal that can tell a host to stop or to reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostSignal {
    /// `SIGTERM`, which service managers and `kill` send.
    Terminate,
    /// `SIGINT`: Ctrl-C.
    Interrupt,
    /// `SIGHUP`: the terminal has been closed; to many daemons it means "reload".
    Hangup,
    /// `SIGQUIT`: Ctrl-\.
    Quit,
    /// `SIGUSR1`.
    User1,
    /// `SIGUSR2`.
    User2,
}

impl HostSignal {
    fn kind(self) -> SignalKind {
        match self {
            HostSignal::Terminate => SignalKind::terminate(),
            HostSignal::Interrupt => SignalKind::interrupt(),
            HostSignal::Hangup => SignalKind::hangup(),
            HostSignal::Quit => SignalKind::quit(),
            HostSignal::User1 => SignalKind::user_defined1(),
            HostSignal::User2 => SignalKind::user_defined2(),
        }
    }
}

impl fmt::Display for HostSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HostSignal::Terminate => "SIGTERM",
            HostSignal::Interrupt => "SIGINT",
            HostSignal::Hangup => "SIGHUP",
            HostSignal::Quit => "SIGQUIT",
            HostSignal::User1 => "SIGUSR1",
            HostSignal::User2 => "SIGUSR2",
        })
    }
}

type Hook = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Which signals stop a tree, which reload, and how long a stop may take: what [`Tree::run_until_signal`] is
/// given.
///
/// By default `SIGTERM`, `SIGINT`, `SIGHUP` and `SIGQUIT` stop the tree within [`Tree::DEFAULT_DEADLINE`],
/// and none reloads. A [`Duration`] becomes the default with that deadline.
///
/// ```no_run
/// use procession::tree::{HostSignal, SignalPolicy, Tree};
///
/// # async fn reload(_: &Tree) {}
/// # async fn run(tree: Tree) -> Result<(), Box<dyn std::error::Error>> {
/// let again = tree.clone();
/// let signals = SignalPolicy::default().reload_on(HostSignal::Hangup, move || {
///     let tree = again.clone();
///     async move { reload(&tree).await } // read the configuration, reload plugins …
/// });
/// tree.run_until_signal(signals).await?.into_result()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "it has no effect until `Tree::run_until_signal` is given it"]
pub struct SignalPolicy {
    deadline: Duration,
    stop: Vec<HostSignal>,
    reload: Vec<(HostSignal, Hook)>,
}

impl Default for SignalPolicy {
    fn default() -> SignalPolicy {
        use HostSignal::{Hangup, Interrupt, Quit, Terminate};
        let stop = vec![Terminate, Interrupt, Hangup, Quit];
        SignalPolicy { deadline: Tree::DEFAULT_DEADLINE, stop, reload: Vec::new() }
    }
}

impl From<Duration> for SignalPolicy {
    fn from(deadline: Duration) -> SignalPolicy {
        SignalPolicy::default().deadline(deadline)
    }
}

impl SignalPolicy {
    /// Whatever has not stopped in order after this long is killed. 25 s by default.
    pub fn deadline(mut self, deadline: Duration) -> SignalPolicy {
        self.deadline = deadline;
        self
    }

    /// These signals stop the tree, and no others do. They no longer reload.
    pub fn stop_on(mut self, signals: impl IntoIterator<Item = HostSignal>) -> SignalPolicy {
        self.stop = signals.into_iter().collect();
        let SignalPolicy { stop, reload, .. } = &mut self;
        reload.retain(|(signal, _)| !stop.contains(signal));
        self
    }

    /// This signal does not stop the tree: `hook` runs on each arrival instead.
    ///
    /// Reloads run one at a time. Arrivals during a reload cause one more reload after it. A stop does
    /// not wait for a reload: its future is dropped. A reload that panics is logged, and the service
    /// goes on.
    pub fn reload_on<F, R>(mut self, signal: HostSignal, hook: F) -> SignalPolicy
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.stop.retain(|stops| *stops != signal);
        self.reload.retain(|(reloads, _)| *reloads != signal);
        self.reload.push((signal, Arc::new(move || Box::pin(hook()))));
        self
    }
}

impl fmt::Debug for SignalPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reload: Vec<HostSignal> = self.reload.iter().map(|(signal, _)| *signal).collect();
        let SignalPolicy { deadline, stop, .. } = self;
        let mut f = f.debug_struct("SignalPolicy");
        f.field("deadline", deadline).field("stop", stop).field("reload", &reload).finish()
    }
}

impl Tree {
    /// The default deadline of [`Tree::run_until_signal`]: 25 s, within the 30 s that most service
    /// managers and container runtimes allow.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(25);

    /// Runs until the tree ends or the process is told to stop, and returns how the tree ended. Nothing
    /// of the tree is left then.
    ///
    /// `SIGTERM`, `SIGINT`, `SIGHUP` and `SIGQUIT` stop everything in order within the deadline, and a
    /// second one kills the rest at once. A [`SignalPolicy`] changes which signals stop or reload, and
    /// the deadline; a [`Duration`] is the default policy with that deadline.
    ///
    /// If the tree has given up, this call does not return `Err`: a program that ignores the [`Exit`]
    /// ends with success. In `main`:
    ///
    /// ```no_run
    /// # use procession::tree::Tree;
    /// # async fn run(tree: Tree) -> Result<(), Box<dyn std::error::Error>> {
    /// // `Ok` if it was told to stop; otherwise the reason, with the whole chain of causes.
    /// tree.run_until_signal(Tree::DEFAULT_DEADLINE).await?.into_result()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// See [`Tree::shutdown`] for how long an orderly stop takes. A signal that arrives before the
    /// first call, for example during the start, ends the program by its default action: see
    /// [`TreeBuilder::start`](super::TreeBuilder::start).
    ///
    /// # A signal to the host and its workers
    ///
    /// A service manager may signal the workers together with their host. A worker that ends by such a
    /// signal a moment before its host has received it has not crashed (rule R-1), even if it catches
    /// the signal and exits with a code.
    ///
    /// # Signals that do not count
    ///
    /// * A signal that was ignored when this is called stays ignored, as under `nohup`.
    /// * A second signal within 250 ms of the first is an echo. Programs that start a host (`timeout`,
    ///   `npm run`, `uv run`, a [`guardian`](crate::guardian())) pass on signals that the whole group
    ///   has already received, and `SIGHUP` comes in pairs when a terminal closes, or right after
    ///   `SIGTERM`.
    ///
    /// The first call installs handlers for these signals for the rest of the process's lifetime, as
    /// tokio does.
    ///
    /// # Errors
    /// When a handler cannot be installed; the tree continues.
    pub async fn run_until_signal(&self, signals: impl Into<SignalPolicy>) -> io::Result<Exit> {
        let SignalPolicy { deadline, stop, reload } = signals.into();
        let mut stop = listen(stop.into_iter().map(|signal| (signal, ())))?;
        let mut reload = listen(reload)?;
        let mut also = listen(stop.iter().map(|listened| (listened.signal, ())))?;
        let numbers: Vec<i32> = stop.iter().map(|listened| listened.signal.kind().as_raw_value()).collect();
        // In this order: a signal that arrives between the two checks is seen at the next one.
        self.root().watch_host(Box::new(move || process::is_pending(&numbers) || arrived(&mut also)));
        let mut reloading: Option<BoxFuture<'static, ()>> = None;
        let first = loop {
            tokio::select! {
                biased;
                exit = self.wait() => return Ok(exit),
                (signal, ()) = next(&mut stop) => break signal,
                () = async { if let Some(reload) = &mut reloading { reload.await } }, if reloading.is_some() => {
                    reloading = None;
                }
                (signal, hook) = next(&mut reload), if reloading.is_none() => {
                    log_event!(info, TreePath::root(), Incarnation(1), %signal, "received a signal to reload");
                    reloading = Some(Box::pin(async move {
                        if let Err(panicked) = catch_panic_async("the reload hook", async move { hook().await }).await {
                            log_event!(error, TreePath::root(), Incarnation(1), %signal, "{panicked}");
                        }
                    }));
                }
            }
        };
        discard(reloading);
        log_event!(info, TreePath::root(), Incarnation(1), signal = %first, ?deadline, "received a signal to stop: stopping in order");
        let echo = Instant::now() + ECHO;
        let mut shutdown = std::pin::pin!(self.shutdown(deadline));
        let second = loop {
            let (signal, ()) = tokio::select! {
                biased;
                exit = &mut shutdown => return Ok(exit),
                signal = next(&mut stop) => signal,
            };
            if Instant::now() >= echo {
                break signal;
            }
        };
        log_event!(warn, TreePath::root(), Incarnation(1), signal = %second, "received a second signal to stop: killing what is left");
        Ok(self.root().kill().await)
    }
}

/// Receives one signal, together with what to do then.
struct ListenedSignal<T> {
    signal: HostSignal,
    arrivals: Signal,
    then: T,
}

/// Listens to those of the signals that are not ignored.
fn listen<T>(signals: impl IntoIterator<Item = (HostSignal, T)>) -> io::Result<Vec<ListenedSignal<T>>> {
    let mut listened_signals = Vec::new();
    for (number, then) in signals {
        if process::is_ignored(number.kind().as_raw_value()) {
            log_event!(info, TreePath::root(), Incarnation(1), signal = %number, "this signal was ignored when the program started, and stays ignored");
            continue;
        }
        listened_signals.push(ListenedSignal { signal: number, arrivals: signal(number.kind())?, then });
    }
    Ok(listened_signals)
}

/// The next of the signals to arrive; the first in the list if several have arrived. Cancel safe.
async fn next<T: Clone>(listened_signals: &mut [ListenedSignal<T>]) -> (HostSignal, T) {
    std::future::poll_fn(|cx| {
        for listened in listened_signals.iter_mut() {
            if let Poll::Ready(Some(())) = listened.arrivals.poll_recv(cx) {
                return Poll::Ready((listened.signal, listened.then.clone()));
            }
        }
        Poll::Pending
    })
    .await
}

/// Whether any of the signals has arrived since the last check.
fn arrived(listened_signals: &mut [ListenedSignal<()>]) -> bool {
    let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
    let mut look = std::pin::pin!(tokio::task::unconstrained(next(listened_signals)));
    look.as_mut().poll(cx).is_ready()
}
