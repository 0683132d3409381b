//! [`WorkerSpec`]: the declaration of a process worker.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::recycling::RecycleLimits;
use crate::{
    id::Incarnation,
    process::{
        Command, CommandChange, CommandMistake, Ladder, Launcher, OsLauncher, SuccessExitStatus, Tail,
    },
    protocol::{LogEntry, NoChannel, ProgramInfo, Protocol, Ready, StdioUse},
    restart::RestartPolicy,
    rpc::{Context, Handler, NoHandler, Peer, PeerConfig, StreamAcceptor},
    state::ChildKind,
    supervision::{ChildPolicy, Shutdown, SpecError, SpecErrors, StartMode},
};

/// Where the command of an incarnation comes from.
#[derive(Clone)]
pub(crate) enum CommandSource {
    /// The same command for all incarnations.
    Fixed(Arc<Command>),
    /// A new command for each incarnation, with a fresh token or port for example (rule W-9).
    Each(Arc<dyn Fn(Incarnation) -> Command + Send + Sync>),
}

impl fmt::Debug for CommandSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandSource::Fixed(command) => command.fmt(f),
            CommandSource::Each(_) => f.write_str("Each(..)"),
        }
    }
}

/// Runs after the handshake and before the first call is admitted: to replay subscriptions, reopen
/// documents, log in (rule W-8).
#[async_trait]
pub trait OnReady: Send + Sync {
    /// An error makes the incarnation fail as [`HandshakeFailed`](crate::exit::Exit::HandshakeFailed),
    /// with this text.
    async fn on_ready(&self, peer: &Peer, incarnation: Incarnation) -> Result<(), String>;
}

/// Receives every log message of a process, in order. Called by the channel's reader, so it must not
/// block.
pub trait LogEntrySink: Send + Sync {
    /// One message; `cx` says which worker and which incarnation it comes from.
    fn log(&self, cx: &Context, entry: LogEntry);
}

/// Regular pings of a worker whose protocol has one (rule W-3).
///
/// A server that works on one thing at a time cannot answer a ping while it is busy: the host considers
/// it unresponsive and kills it in the middle of its work. By default a ping that is not answered fails
/// after 5 s, the next one follows 10 s later, and the third failure in a row is one too many: a worker
/// that stops answering is killed after 35 to 45 s, and so may be a worker with a call that keeps it
/// from answering for 35 s. For servers whose calls may take longer, choose values for which
/// `failures_allowed × interval + (failures_allowed + 1) × timeout` is more than the longest time that
/// the server is busy, queued calls included. Or use no pings: a call that hangs ends by its own
/// timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// The pause between the end of one ping and the next ping.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How many pings in a row may fail before the worker is killed as unresponsive.
    pub failures_allowed: u32,
}

impl Default for Liveness {
    /// Every 10 s, 5 s for an answer, two failures allowed.
    fn default() -> Liveness {
        Liveness { interval: Duration::from_secs(10), timeout: Duration::from_secs(5), failures_allowed: 2 }
    }
}

/// The declaration of a process worker. Cheap to clone; one value serves any number of workers.
#[derive(Clone)]
pub struct WorkerSpec {
    pub(crate) command: CommandSource,
    pub(crate) protocol: Arc<dyn Protocol>,
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) logs: Option<Arc<dyn LogEntrySink>>,
    pub(crate) streams: Option<Arc<dyn StreamAcceptor>>,
    pub(crate) on_ready: Option<Arc<dyn OnReady>>,
    pub(crate) liveness: Option<Liveness>,
    pub(crate) ladder: Ladder,
    pub(crate) success: SuccessExitStatus,
    pub(crate) peer: PeerConfig,
    pub(crate) stderr_tail_bytes: usize,
    pub(crate) restart: RestartPolicy,
    pub(crate) start_timeout: Option<Duration>,
    pub(crate) handshake_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) recycling: RecycleLimits,
    #[cfg(feature = "watch")]
    pub(crate) watch: Option<super::file_watch::FileWatch>,
    /// The program that its handshake names as its host.
    pub(crate) host: Option<Arc<ProgramInfo>>,
    pub(crate) explicit: ExplicitSettings,
}

/// Which settings were made explicitly, where the value alone does not show it: an explicit setting
/// without effect is a mistake.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExplicitSettings {
    pub(crate) protocol: bool,
    pub(crate) handler: bool,
    pub(crate) logs: bool,
    pub(crate) channel: bool,
    pub(crate) restart: bool,
}

impl fmt::Debug for WorkerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("WorkerSpec");
        if let CommandSource::Fixed(command) = &self.command {
            f.field("command", command);
        }
        f.field("protocol", &self.protocol).field("launcher", &self.launcher).finish_non_exhaustive()
    }
}

impl WorkerSpec {
    /// A worker that runs this command and speaks no protocol ([`NoChannel`]): it is ready once it has been
    /// launched.
    pub fn new(command: Command) -> WorkerSpec {
        WorkerSpec::from_source(CommandSource::Fixed(Arc::new(command)))
    }

    /// A worker whose command is made for each incarnation.
    pub fn with_commands(make: impl Fn(Incarnation) -> Command + Send + Sync + 'static) -> WorkerSpec {
        WorkerSpec::from_source(CommandSource::Each(Arc::new(make)))
    }

    fn from_source(command: CommandSource) -> WorkerSpec {
        WorkerSpec {
            command,
            protocol: Arc::new(NoChannel::default()),
            launcher: Arc::new(OsLauncher::new()),
            handler: Arc::new(NoHandler),
            logs: None,
            streams: None,
            on_ready: None,
            liveness: None,
            ladder: Ladder::default(),
            success: SuccessExitStatus::default(),
            peer: PeerConfig::default(),
            stderr_tail_bytes: Tail::DEFAULT_BYTES,
            restart: RestartPolicy::permanent(),
            handshake_timeout: None,
            start_timeout: None,
            idle_timeout: None,
            recycling: RecycleLimits::default(),
            #[cfg(feature = "watch")]
            watch: None,
            host: None,
            explicit: ExplicitSettings::default(),
        }
    }

    /// The protocol on its channel. Without this setting there is none ([`NoChannel`]): the worker cannot be
    /// called, and settings that belong to a channel (handler, logs, streams, `on_ready`, liveness, bounds)
    /// are mistakes.
    #[must_use]
    pub fn protocol(mut self, protocol: impl Protocol + 'static) -> WorkerSpec {
        self.protocol = Arc::new(protocol);
        self.explicit.protocol = true;
        self
    }

    /// What launches it; the operating system by default, a scripted launcher in tests.
    #[must_use]
    pub fn launcher(mut self, launcher: Arc<dyn Launcher>) -> WorkerSpec {
        self.launcher = launcher;
        self
    }

    /// Answers its requests to the host and receives its notifications. It goes before the protocol's
    /// own [default answers](Protocol::routes), which are used where it answers −32601.
    #[must_use]
    pub fn handler(mut self, handler: impl Handler) -> WorkerSpec {
        self.handler = Arc::new(handler);
        self.explicit.handler = true;
        self
    }

    /// Receives its log messages, in addition to `tracing` and the handler.
    #[must_use]
    pub fn logs(mut self, sink: impl LogEntrySink + 'static) -> WorkerSpec {
        self.logs = Some(Arc::new(sink));
        self.explicit.logs = true;
        self
    }

    /// Takes the streams that it opens (rule C-10), except those of calls whose callers take them
    /// ([`WorkerRef::call_streaming`](super::WorkerRef::call_streaming)); for a task that receives them, a
    /// [`StreamBacklog`](crate::rpc::StreamBacklog). Any protocol with a channel has streams then.
    #[must_use]
    pub fn streams(mut self, acceptor: impl StreamAcceptor) -> WorkerSpec {
        self.streams = Some(Arc::new(acceptor));
        self
    }

    /// Runs after the handshake and before the first call.
    #[must_use]
    pub fn on_ready(mut self, on_ready: impl OnReady + 'static) -> WorkerSpec {
        self.on_ready = Some(Arc::new(on_ready));
        self
    }

    /// Regular pings; none by default. A mistake if the protocol has no ping: [`NoChannel`], `ReadyLine`,
    /// `Lsp` (see the table at [`protocol`](crate::protocol)). Without effect on a plugin worker that
    /// did not announce `ping`, which is logged.
    #[must_use]
    pub fn liveness(mut self, liveness: Liveness) -> WorkerSpec {
        self.liveness = Some(liveness);
        self
    }

    /// The times of an orderly stop.
    #[must_use]
    pub fn ladder(mut self, ladder: Ladder) -> WorkerSpec {
        self.ladder = ladder;
        self
    }

    /// Which exit codes and signals count as success.
    #[must_use]
    pub fn success(mut self, success: SuccessExitStatus) -> WorkerSpec {
        self.success = success;
        self
    }

    /// Bounds and timeouts of its channel. Settings that belong to the protocol or the node are filled
    /// in.
    #[must_use]
    pub fn channel(mut self, config: PeerConfig) -> WorkerSpec {
        self.peer = config;
        self.explicit.channel = true;
        self
    }

    /// How much of the newest stderr is kept for diagnostics, in bytes; 8 KiB by default. For a worker
    /// without a channel, as much of its stdout is kept too.
    #[must_use]
    pub fn stderr_tail(mut self, bytes: usize) -> WorkerSpec {
        self.stderr_tail_bytes = bytes;
        self
    }

    /// When it is restarted; by default always, with a back-off from 100 ms to 30 s.
    #[must_use]
    pub fn restart(mut self, restart: RestartPolicy) -> WorkerSpec {
        self.restart = restart;
        self.explicit.restart = true;
        self
    }

    /// How long a start may take from launch to ready. The handshake has its [own
    /// timeout](WorkerSpec::handshake_timeout) within it; by default the start has 15 s more than that,
    /// and at least 30 s.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> WorkerSpec {
        self.start_timeout = Some(timeout);
        self
    }

    /// How long the handshake may take; by default as long as the
    /// [protocol](Protocol::handshake_timeout) says, 15 s for the built-in protocols (W-1). A server
    /// behind a package runner, which may have to download it first, needs more; the default
    /// [`start_timeout`](WorkerSpec::start_timeout) follows. A mistake where there is nothing to wait
    /// for ([`NoChannel`]), and with a shorter explicit `start_timeout`.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> WorkerSpec {
        self.handshake_timeout = Some(timeout);
        self
    }

    /// The worker is started by its first call, and stopped when nothing has used it for this long, until
    /// the next call (rule S-28). Calls, notifications to it, its own requests and its streams are use; pings
    /// and snapshots are none. It stops between this time and a quarter more. A mistake without a channel,
    /// and in a pool, which has its own idle time.
    ///
    /// To start it with its supervisor all the same, declare its child as
    /// [required](crate::supervision::ChildSpec::required) or
    /// [in the background](crate::supervision::ChildSpec::background).
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> WorkerSpec {
        self.idle_timeout = Some(timeout);
        self
    }

    /// It is replaced by a new process after about so many calls: up to a tenth fewer, so that workers of one
    /// age are not replaced together (rule W-5). That is no crash and counts nowhere. It waits for up to ten
    /// seconds until no call is open; what is open then ends within the time to drain. Where its child may
    /// [overlap](crate::supervision::ChildSpec::overlap), the new process is ready before the old one goes.
    /// In a pool, see [`PoolSpec::recycle_after_calls`](crate::pool::PoolSpec::recycle_after_calls).
    #[must_use]
    pub fn recycle_after_calls(mut self, calls: u64) -> WorkerSpec {
        self.recycling.max_calls = Some(calls);
        self
    }

    /// As [`recycle_after_calls`](WorkerSpec::recycle_after_calls), after this time.
    #[must_use]
    pub fn recycle_after(mut self, age: Duration) -> WorkerSpec {
        self.recycling.max_age = Some(age);
        self
    }

    /// As [`recycle_after_calls`](WorkerSpec::recycle_after_calls), when the worker uses more resident
    /// memory than this. The processes in its control group count together; without control groups, those
    /// in its process group. What members have moved to groups of their own does not count. Looked at every
    /// five seconds; without effect where the system does not tell (all but Linux).
    #[must_use]
    pub fn recycle_above_rss(mut self, bytes: u64) -> WorkerSpec {
        self.recycling.max_rss_bytes = Some(bytes);
        self
    }

    /// It is replaced by a new process when its files have changed (rule G-15): stopped and started
    /// again, or, where its child may [overlap](crate::supervision::ChildSpec::overlap), replaced by
    /// one that is ready. That is no crash. If the new one does not become ready, and the two may
    /// overlap, the old one goes on.
    #[cfg(feature = "watch")]
    #[must_use]
    pub fn watch(mut self, files: super::file_watch::FileWatch) -> WorkerSpec {
        self.watch = Some(files);
        self
    }

    /// How many bytes of memory one process of this worker can make its host hold, whatever it writes:
    /// what [its channel](PeerConfig#what-the-other-side-can-make-this-one-hold) may hold, a few times
    /// the tail of its stderr, 1 MiB for lines that are being read, log messages and the names of its
    /// methods, and 1 MiB for its session ([`WorkerRef::session`](super::WorkerRef::session)). A plugin's
    /// newest log entries are added to that (`PluginHostSpec::recent_logs`).
    pub fn worst_case_bytes(&self) -> usize {
        const LINES_AND_NAMES: usize = 1024 * 1024;
        const SESSION: usize = 1024 * 1024;
        let channel = match self.protocol.stdio_use() {
            StdioUse::Rpc(_) => self.peer.worst_case_bytes().saturating_add(SESSION),
            StdioUse::Output(_) => 0,
        };
        // Twice for a ring buffer that grows, and again as text with invalid UTF-8 replaced.
        let stderr = self.stderr_tail_bytes.saturating_mul(8);
        channel.saturating_add(stderr).saturating_add(LINES_AND_NAMES)
    }

    /// Checks the declaration. A command that is made per incarnation is checked when it is launched.
    ///
    /// # Errors
    /// All mistakes at once, each naming its field (rule S-6). Mistakes of the policy are found where
    /// the worker becomes a child.
    pub fn validate(&self) -> Result<(), SpecErrors> {
        let mut errors = Vec::new();
        let mut add = |field: String, problem: String| errors.push(SpecError { field, problem });
        if let CommandSource::Fixed(command) = &self.command {
            for CommandMistake { field, problem } in self.launcher.mistakes(command) {
                add(format!("command.{field}"), problem);
            }
        }
        let times =
            self.liveness.map(|l| [("liveness.interval", l.interval), ("liveness.timeout", l.timeout)]);
        let zero = times.into_iter().flatten().filter(|(_, time)| time.is_zero());
        let zero = zero.map(|(field, _)| field.to_owned());
        let zero = zero
            .chain((self.handshake_timeout == Some(Duration::ZERO)).then(|| "handshake_timeout".to_owned()))
            .chain((self.idle_timeout == Some(Duration::ZERO)).then(|| "idle_timeout".to_owned()))
            .chain((self.recycling.max_calls == Some(0)).then(|| "recycle_after_calls".to_owned()))
            .chain((self.recycling.max_age == Some(Duration::ZERO)).then(|| "recycle_after".to_owned()))
            .chain((self.recycling.max_rss_bytes == Some(0)).then(|| "recycle_above_rss".to_owned()));
        let zero = zero.chain(self.peer.mistakes().into_iter().map(|field| format!("channel.{field}")));
        zero.for_each(|field| add(field, "must not be zero".to_owned()));
        #[cfg(feature = "watch")]
        if self.watch.as_ref().is_some_and(super::file_watch::FileWatch::settle_is_zero) {
            add("watch.settle".to_owned(), "must not be zero".to_owned());
        }
        if let StdioUse::Output(ready) = self.protocol.stdio_use()
            && let Some(why) = ready.unmatchable()
        {
            add("protocol".to_owned(), format!("waits for a line that cannot occur: its prefix {why}"));
        }
        if let (Some(handshake), Some(start)) = (self.handshake_timeout, self.start_timeout)
            && handshake > start
        {
            let problem =
                format!("is {handshake:?}, longer than the `start_timeout` of {start:?}, which includes it");
            add("handshake_timeout".to_owned(), problem);
        }
        self.report_ineffective(&mut |field, why| add(field.to_owned(), format!("has no effect: {why}")));
        SpecErrors::check(errors)
    }

    /// Reports settings that would do nothing with this protocol.
    fn report_ineffective(&self, add: &mut dyn FnMut(&str, String)) {
        let ExplicitSettings { handler, logs, channel, protocol, .. } = self.explicit;
        let name = self.protocol.name();
        match self.protocol.stdio_use() {
            StdioUse::Rpc(framing) => {
                if self.peer.framing != framing && self.peer.framing != PeerConfig::default().framing {
                    add("channel.framing", format!("the protocol `{name}` has its own"));
                }
                if self.liveness.is_some() && !self.protocol.has_ping() {
                    add("liveness", format!("the protocol `{name}` has no ping"));
                }
            }
            StdioUse::Output(ready) => {
                let why = if protocol {
                    format!("the protocol `{name}` has no channel")
                } else {
                    "the worker was given no protocol, so it has no channel; choose one with \
                     `.protocol(…)`"
                        .to_owned()
                };
                let set = [
                    ("handler", handler),
                    ("logs", logs),
                    ("streams", self.streams.is_some()),
                    ("on_ready", self.on_ready.is_some()),
                    ("liveness", self.liveness.is_some()),
                    ("channel", channel),
                    ("idle_timeout", self.idle_timeout.is_some()),
                    ("recycle_after_calls", self.recycling.max_calls.is_some()),
                ];
                set.into_iter().filter(|(_, set)| *set).for_each(|(field, _)| add(field, why.clone()));
                if ready == Ready::Launched && self.handshake_timeout.is_some() {
                    add("handshake_timeout", format!("a `{name}` worker is ready as soon as it is launched"));
                }
            }
        }
    }

    /// The policy of a child with this declaration: its time to stop is the whole stop ladder plus a
    /// margin.
    pub fn policy(&self) -> ChildPolicy {
        const MARGIN: Duration = Duration::from_secs(2);
        const BESIDE_THE_HANDSHAKE: Duration = Duration::from_secs(15);
        let longest = self.handshake_bound().saturating_add(BESIDE_THE_HANDSHAKE);
        let longest = longest.max(ChildPolicy::DEFAULT_START_TIMEOUT);
        ChildPolicy {
            restart: self.restart.clone(),
            shutdown: Shutdown::Timeout(self.ladder.total().saturating_add(MARGIN)),
            start_timeout: self.start_timeout.unwrap_or(longest),
            kind: ChildKind::Worker,
            start: if self.idle_timeout.is_some() { StartMode::OnDemand } else { StartMode::Required },
            ..ChildPolicy::actor()
        }
    }

    /// The same with another command; `None` if its command is made per incarnation.
    pub(crate) fn with_command_change(&self, change: &CommandChange) -> Option<WorkerSpec> {
        let CommandSource::Fixed(command) = &self.command else { return None };
        let command = CommandSource::Fixed(Arc::new(change.apply(command)));
        Some(WorkerSpec { command, ..self.clone() })
    }

    /// Whether anything but its end or a stop may end an incarnation that is ready: idleness, age, changed
    /// files.
    pub(crate) fn has_upkeep(&self) -> bool {
        #[cfg(feature = "watch")]
        if self.watch.is_some() {
            return true;
        }
        self.idle_timeout.is_some() || self.is_recycled()
    }

    pub(crate) fn is_recycled(&self) -> bool {
        self.recycling != RecycleLimits::default()
    }

    /// The timeout of the handshake.
    pub(crate) fn handshake_bound(&self) -> Duration {
        self.handshake_timeout.unwrap_or_else(|| self.protocol.handshake_timeout())
    }

    /// For logs and snapshots.
    pub(crate) fn program(&self) -> String {
        match &self.command {
            CommandSource::Fixed(command) => command.get_program().to_string_lossy().into_owned(),
            CommandSource::Each(_) => String::new(),
        }
    }

    pub(crate) fn command_of(&self, incarnation: Incarnation) -> Arc<Command> {
        let command = match &self.command {
            CommandSource::Fixed(command) => command.clone(),
            CommandSource::Each(make) => Arc::new(make(incarnation)),
        };
        match self.protocol.stdio_use() {
            StdioUse::Rpc(_) => command,
            StdioUse::Output(_) => Arc::new(Command::clone(&command).without_channel()),
        }
    }
}
