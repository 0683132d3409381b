//! How an incarnation ended: [`Exit`], plain data that is passed up from the leaf to the root.

mod report;

use std::{fmt, time::Duration};

pub use report::ExitReport;
pub(crate) use report::StderrExcerpt;

use serde::{Deserialize, Serialize};

use crate::{id::ChildId, state::GiveUpReason, untrusted};

/// How one incarnation of a child ended.
///
/// Reasons are for people: one line of at most some 2 KiB, whatever a process says.
///
/// Plain data: it is cloned into events, snapshots and errors, can be serialised, and is the typed
/// error of an actor. A supervisor that gives up nests the exit of the child that caused it, so the
/// exit at the root holds the whole causal chain: see [`Exit::chain`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "exit")]
#[non_exhaustive]
#[must_use = "an exit says whether all went well: see `Exit::into_result`"]
pub enum Exit {
    /// It was asked to end, and did.
    #[error("stopped on request")]
    Requested,
    /// The process ended by itself with a code that counts as success.
    #[error("exited with code {code}")]
    Clean {
        /// The exit code.
        code: i32,
    },
    /// The process ended by itself with a code that does not count as success.
    #[error("failed with exit code {code}")]
    Failed {
        /// The exit code.
        code: i32,
    },
    /// The process was ended by a signal that no part of the tree sent.
    #[error("killed by {}{}", signal_name(*.signal), if *.core { " (core dumped)" } else { "" })]
    Signalled {
        /// The signal's number on this system.
        signal: i32,
        /// Whether a core image was dumped.
        core: bool,
    },
    /// The process could not be launched.
    #[error("never started: {reason}")]
    NeverStarted {
        /// The system's error number, where there is one.
        errno: Option<i32>,
        /// Which step of the launch failed.
        stage: LaunchStage,
        /// A message that names the program or directory.
        reason: String,
    },
    /// The start took longer than the child's `start_timeout`.
    #[error("not ready after {after:?}")]
    StartTimeout {
        /// The bound that was reached.
        #[serde(with = "crate::human_duration")]
        after: Duration,
    },
    /// It ended by itself before it was ready, in a way that would be a success later. That is a
    /// failed start: a program that exits with 0 because it was started with a wrong flag has not
    /// done what it was started for.
    #[error("ended before it was ready: {how}{}", ends_with(.printed.as_deref()))]
    EndedBeforeReady {
        /// How it ended: [`Exit::Clean`] or [`Exit::ActorStopped`].
        how: Box<Exit>,
        /// The end of what its process printed on stdout that was not a message, if it printed
        /// anything: a program that is started with a wrong flag may explain its usage there. One
        /// line of at most some 400 bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        printed: Option<String>,
    },
    /// The handshake was refused or went wrong.
    #[error("handshake failed: {reason}")]
    HandshakeFailed {
        /// What went wrong.
        reason: String,
    },
    /// The handshake was not finished in time.
    #[error("handshake not finished after {after:?}{}", .awaited.as_deref().map(|a| format!(": {a}")).unwrap_or_default())]
    HandshakeTimeout {
        /// The bound that was reached.
        #[serde(with = "crate::human_duration")]
        after: Duration,
        /// What did not arrive, if that can be said, or what its process printed on stdout instead:
        /// a program that asks a question there gets no answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        awaited: Option<String>,
    },
    /// The process closed its stdin or stdout but kept running.
    #[error("channel lost: {reason}")]
    ChannelLost {
        /// Which side was closed.
        reason: String,
    },
    /// The process broke the protocol of its channel.
    #[error("protocol violation: {reason}")]
    ProtocolViolation {
        /// The rule that was broken.
        reason: String,
    },
    /// The process is alive but does not answer, or does not read.
    #[error("unresponsive: {reason}")]
    Unresponsive {
        /// What was not answered.
        reason: String,
    },
    /// The process exceeded a limit of its channel or of its resources.
    #[error("limit exceeded: {which}")]
    LimitExceeded {
        /// The name of the limit.
        which: String,
    },
    /// The process was killed and could not be reaped in time (uninterruptible sleep); a background
    /// reaper keeps trying.
    #[error("process {pid} was killed but has not ended yet; it is still waited for in the background")]
    Unkillable {
        /// The process id.
        pid: u32,
    },
    /// The start found nothing to run.
    #[error("ignored")]
    Ignored,
    /// An actor stopped itself.
    #[error("actor stopped{}", .reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    ActorStopped {
        /// The reason it gave.
        reason: Option<String>,
    },
    /// An actor returned an error or panicked, or its `pre_start` failed.
    #[error("actor failed: {}", .chain.join(": "))]
    ActorFailed {
        /// The error and its sources, outermost first.
        chain: Vec<String>,
    },
    /// An actor was killed, or its task was aborted.
    #[error("actor killed")]
    ActorKilled,
    /// A supervisor gave up: a child reached a limit.
    #[error("gave up on `{}` ({limit}): {cause}", untrusted::one_line(.child.as_str()))]
    IntensityExceeded {
        /// The child whose exit was one too many.
        child: ChildId,
        /// That exit.
        cause: Box<Exit>,
        /// The limit.
        limit: GiveUpReason,
    },
    /// A supervisor could not start because a required child could not.
    #[error("could not start `{}`: {cause}", untrusted::one_line(.child.as_str()))]
    StartFailed {
        /// The child that did not start.
        child: ChildId,
        /// How its start ended.
        cause: Box<Exit>,
    },
    /// A supervisor shut itself down because its significant children have ended.
    #[error("shut down after significant child `{}` ended", untrusted::one_line(.child.as_str()))]
    AutoShutdown {
        /// The last significant child to end.
        child: ChildId,
    },
}

/// The step at which a launch failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LaunchStage {
    /// The command itself is not usable (an interior NUL, an empty program, a limit that cannot be applied).
    Command,
    /// Looking the program up.
    Program,
    /// Changing to the working directory.
    Directory,
    /// Making the channel.
    Stdio,
    /// Creating the process.
    Spawn,
    /// Replacing the process image.
    Exec,
}

impl Exit {
    /// The exit itself and, through supervisors that gave up, the exits that caused it, outermost
    /// first. The last one is that of the leaf.
    pub fn chain(&self) -> impl Iterator<Item = &Exit> {
        std::iter::successors(Some(self), |exit| exit.cause())
    }

    /// The exit of the child that caused this one, if this is a supervisor's.
    pub fn cause(&self) -> Option<&Exit> {
        match self {
            Exit::IntensityExceeded { cause, .. } | Exit::StartFailed { cause, .. } => Some(cause),
            _ => None,
        }
    }

    /// The ids of the children from this supervisor down to the leaf that caused the exit.
    pub fn culprits(&self) -> impl Iterator<Item = &ChildId> {
        self.chain().filter_map(|exit| match exit {
            Exit::IntensityExceeded { child, .. }
            | Exit::StartFailed { child, .. }
            | Exit::AutoShutdown { child } => Some(child),
            _ => None,
        })
    }

    /// The result for the end of `main`: the end of a service that was told to stop is `Ok`; every
    /// other exit is an error, including [`Exit::Clean`].
    ///
    /// ```no_run
    /// # use procession::tree::Tree;
    /// # async fn run(tree: Tree) -> Result<(), Box<dyn std::error::Error>> {
    /// tree.run_until_signal(Tree::DEFAULT_DEADLINE).await?.into_result()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The exit itself, unless it is [`Exit::Requested`].
    pub fn into_result(self) -> Result<(), Exit> {
        match self {
            Exit::Requested => Ok(()),
            other => Err(other),
        }
    }

    /// The exit of an incarnation that has not become ready: a success that came too early is a
    /// failed start.
    ///
    /// [`Exit::Ignored`] and [`Exit::AutoShutdown`] are kept: the start, or the declaration of the
    /// supervisor, says that there is nothing (more) to run.
    pub(crate) fn before_ready(self) -> Exit {
        match self {
            Exit::Clean { .. } | Exit::ActorStopped { .. } => {
                Exit::EndedBeforeReady { how: Box::new(self), printed: None }
            }
            other => other,
        }
    }

    /// The same exit, with the end of what the process printed, if it is one that should say so.
    pub(crate) fn with_printed(mut self, text: &str) -> Exit {
        match &mut self {
            Exit::EndedBeforeReady { printed, .. } => *printed = end_of(text),
            Exit::HandshakeTimeout { awaited: awaited @ None, .. } => {
                *awaited = end_of(text).map(|end| format!("its stdout ends with `{end}`"));
            }
            _ => {}
        }
        self
    }

    /// An actor's error with its sources as [`Exit::ActorFailed`].
    pub fn from_error(error: &(dyn std::error::Error + 'static)) -> Exit {
        if let Some(exit) = error.downcast_ref::<Exit>() {
            return exit.clone();
        }
        let chain = std::iter::successors(Some(error), |e| e.source())
            .map(|e| untrusted::into_one_line(e.to_string()));
        Exit::ActorFailed { chain: chain.collect() }
    }

    /// The same exit with one-line reasons: part of them may be text from the process.
    pub(crate) fn with_one_line_reasons(mut self) -> Exit {
        match &mut self {
            Exit::NeverStarted { reason, .. }
            | Exit::HandshakeFailed { reason }
            | Exit::ChannelLost { reason }
            | Exit::ProtocolViolation { reason }
            | Exit::Unresponsive { reason }
            | Exit::HandshakeTimeout { awaited: Some(reason), .. } => {
                *reason = untrusted::into_one_line(std::mem::take(reason));
            }
            _ => {}
        }
        self
    }
}

/// The end of what a process has printed, on one line, if it printed anything.
fn end_of(text: &str) -> Option<String> {
    const BYTES: usize = 400;
    let text = text.trim();
    let begin = (text.len().saturating_sub(BYTES)..).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let more = if begin > 0 { "…" } else { "" };
    (!text.is_empty()).then(|| format!("{more}{}", untrusted::one_line_up_to(BYTES, &text[begin..])))
}

fn ends_with(text: Option<&str>) -> String {
    text.map(|text| format!("; its stdout ends with `{text}`")).unwrap_or_default()
}

/// The name of a signal as in POSIX, or its number.
pub(crate) fn signal_name(signal: i32) -> impl fmt::Display {
    struct Name(i32);
    impl fmt::Display for Name {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            use rustix::process::Signal;
            const NAMES: [(Signal, &str); 19] = [
                (Signal::HUP, "SIGHUP"),
                (Signal::INT, "SIGINT"),
                (Signal::QUIT, "SIGQUIT"),
                (Signal::ILL, "SIGILL"),
                (Signal::TRAP, "SIGTRAP"),
                (Signal::ABORT, "SIGABRT"),
                (Signal::BUS, "SIGBUS"),
                (Signal::FPE, "SIGFPE"),
                (Signal::KILL, "SIGKILL"),
                (Signal::USR1, "SIGUSR1"),
                (Signal::SEGV, "SIGSEGV"),
                (Signal::USR2, "SIGUSR2"),
                (Signal::PIPE, "SIGPIPE"),
                (Signal::ALARM, "SIGALRM"),
                (Signal::TERM, "SIGTERM"),
                (Signal::STOP, "SIGSTOP"),
                (Signal::XCPU, "SIGXCPU"),
                (Signal::XFSZ, "SIGXFSZ"),
                (Signal::SYS, "SIGSYS"),
            ];
            match NAMES.iter().find(|(s, _)| s.as_raw() == self.0) {
                Some((_, name)) => f.write_str(name),
                None => write!(f, "signal {}", self.0),
            }
        }
    }
    Name(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested() -> Exit {
        let leaf = Exit::Signalled { signal: 9, core: false };
        let limit = GiveUpReason::Intensity { max_restarts: 3, period: Duration::from_secs(5) };
        let pool =
            Exit::IntensityExceeded { child: "w1".into(), cause: Box::new(leaf), limit: limit.clone() };
        Exit::IntensityExceeded { child: "pool".into(), cause: Box::new(pool), limit }
    }

    #[test]
    fn the_chain_leads_to_the_leaf() {
        let exit = nested();
        assert_eq!(exit.chain().count(), 3);
        assert_eq!(exit.chain().last(), Some(&Exit::Signalled { signal: 9, core: false }));
        assert_eq!(exit.culprits().map(ChildId::as_str).collect::<Vec<_>>(), ["pool", "w1"]);
        assert_eq!(
            exit.to_string(),
            "gave up on `pool` (more than 3 restarts in 5s): gave up on `w1` (more than 3 restarts in 5s): killed by SIGKILL"
        );
    }

    #[test]
    fn only_a_requested_end_is_a_success() {
        // T-4
        assert_eq!(Exit::Requested.into_result(), Ok(()));
        for exit in [nested(), Exit::Clean { code: 0 }, Exit::Ignored] {
            assert_eq!(exit.clone().into_result(), Err(exit));
        }
    }

    #[test]
    fn exits_survive_serialisation() {
        // R-1
        for exit in [nested(), Exit::Clean { code: 0 }.before_ready()] {
            let json = serde_json::to_string(&exit).unwrap();
            assert_eq!(serde_json::from_str::<Exit>(&json).unwrap(), exit);
        }
    }

    #[test]
    fn a_success_before_ready_is_none() {
        // R-1
        let early = Exit::Clean { code: 0 }.before_ready();
        assert_eq!(early.to_string(), "ended before it was ready: exited with code 0");
        assert_eq!(early.clone().before_ready(), early);
        let stopped = Exit::ActorStopped { reason: Some("done".into()) };
        assert_eq!(
            stopped.clone().before_ready(),
            Exit::EndedBeforeReady { how: Box::new(stopped), printed: None }
        );
        for exit in [nested(), Exit::Ignored, Exit::Requested, Exit::AutoShutdown { child: "a".into() }] {
            assert_eq!(exit.clone().before_ready(), exit);
        }
    }
}
