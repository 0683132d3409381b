//! [`ExitStatus`]: how a process ended, as the kernel reports it. [`SuccessExitStatus`]: which of these
//! count as success (R-1).

use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// How a process ended, as reported by the kernel. It is never inferred from a signal that was sent (P-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExitStatus {
    /// The status.
    pub status: ExitStatusKind,
}

/// The status of a process that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitStatusKind {
    /// It exited with this code, 0 to 255.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number on this system.
        signal: i32,
        /// Whether a core image was dumped.
        core: bool,
    },
    /// The system ended it by a signal because it reached a limit that it was launched with (P-6).
    Limit {
        /// The name of the limit, as in [`Limits`](super::Limits).
        which: &'static str,
        /// The signal's number on this system.
        signal: i32,
    },
    /// It has ended, but its status is lost: the embedding program waited for "any child", or ignores
    /// `SIGCHLD`.
    Lost,
}

impl ExitStatus {
    /// It exited with this code.
    pub fn code(code: i32) -> ExitStatus {
        ExitStatus { status: ExitStatusKind::Code(code) }
    }

    /// A signal ended it.
    pub fn signal(signal: i32, core: bool) -> ExitStatus {
        ExitStatus { status: ExitStatusKind::Signal { signal, core } }
    }

    /// The same as an [`Exit`].
    ///
    /// A code or signal that `success` lists is [`Exit::Clean`] (a signal as code 128 + signal, as shells
    /// report it). Any other is [`Exit::Failed`], [`Exit::Signalled`] or [`Exit::LimitExceeded`]. A lost
    /// status is a failure with code -1.
    pub fn exit(&self, success: &SuccessExitStatus) -> Exit {
        match self.status {
            ExitStatusKind::Code(code) if success.codes.contains(&code) => Exit::Clean { code },
            ExitStatusKind::Code(code) => Exit::Failed { code },
            ExitStatusKind::Signal { signal, .. } | ExitStatusKind::Limit { signal, .. }
                if success.signals.contains(&signal) =>
            {
                Exit::Clean { code: 128 + signal }
            }
            ExitStatusKind::Signal { signal, core } => Exit::Signalled { signal, core },
            ExitStatusKind::Limit { which, .. } => Exit::LimitExceeded { which: which.to_owned() },
            ExitStatusKind::Lost => Exit::Failed { code: -1 },
        }
    }
}

/// Which exit codes and signals count as success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SuccessExitStatus {
    /// Exit codes; 0 alone by default.
    pub codes: Vec<i32>,
    /// Signal numbers; none by default.
    pub signals: Vec<i32>,
}

impl Default for SuccessExitStatus {
    fn default() -> SuccessExitStatus {
        SuccessExitStatus { codes: vec![0], signals: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_success() {
        // R-1
        let default = SuccessExitStatus::default();
        assert_eq!(ExitStatus::code(0).exit(&default), Exit::Clean { code: 0 });
        assert_eq!(ExitStatus::code(1).exit(&default), Exit::Failed { code: 1 });
        assert_eq!(ExitStatus::signal(11, true).exit(&default), Exit::Signalled { signal: 11, core: true });
        assert_eq!(ExitStatus { status: ExitStatusKind::Lost }.exit(&default), Exit::Failed { code: -1 });
        let cpu = ExitStatus { status: ExitStatusKind::Limit { which: "cpu_seconds", signal: 24 } };
        assert_eq!(cpu.exit(&default), Exit::LimitExceeded { which: "cpu_seconds".into() });
        let odd: SuccessExitStatus = serde_json::from_str(r#"{"codes":[0,2],"signals":[15]}"#).unwrap();
        assert_eq!(ExitStatus::code(2).exit(&odd), Exit::Clean { code: 2 });
        assert_eq!(ExitStatus::signal(15, false).exit(&odd), Exit::Clean { code: 143 });
        let none: SuccessExitStatus = serde_json::from_str(r#"{"codes":[]}"#).unwrap();
        assert_eq!(ExitStatus::code(0).exit(&none), Exit::Failed { code: 0 });
    }
}
