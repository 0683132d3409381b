//! [`RestartType`]: which exits lead to a restart; and [`ExitClass`]: all that this layer sees of
//! an exit.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an exit means for the restart of a child.
///
/// The layers above reduce an exit to this, using the child's own definition of success (which
/// codes, which signals) and the supervisor's knowledge of what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitClass {
    /// It ended by itself, with success, after it had been ready. Never counted as a failure. (A success
    /// before that is a failed start.)
    Clean,
    /// It failed: crashed, hung, broke its protocol, did not become ready, however well it ended then.
    Failure,
    /// It can never start as it is declared (a command that is too long, or contains a NUL). Also a
    /// failure.
    Permanent,
    /// Its program or directory does not exist, or is not usable (empty, not executable). Also a
    /// failure. For a child that has never been ready it is permanent; otherwise the program is
    /// taken to be in the middle of being replaced.
    Missing,
    /// Its program is being written, or cannot be read completely. Also a failure; if the child has
    /// been ready, the program is taken to be in the middle of being replaced.
    Busy,
    /// It was asked to end, but not by its supervisor, and did. Never counted as a failure. (Exits
    /// that the supervisor itself asked for are not judged at all.)
    Requested,
}

impl ExitClass {
    /// Whether it counts as a failure: for back-off, crash loops and totals.
    pub fn is_failure(self) -> bool {
        matches!(self, ExitClass::Failure | ExitClass::Permanent | ExitClass::Missing | ExitClass::Busy)
    }

    /// Whether its program is missing or busy.
    pub fn is_away(self) -> bool {
        matches!(self, ExitClass::Missing | ExitClass::Busy)
    }
}

/// Which exits lead to a restart (OTP's restart types and two more).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartType {
    /// Every exit (OTP: `permanent`).
    #[default]
    Permanent,
    /// Failures only (OTP: `transient`).
    Transient,
    /// None; a supervisor removes the child when it ends (OTP: `temporary`).
    Temporary,
    /// Clean exits only: a job that is run again until it fails.
    OnSuccess,
    /// Every exit, as [`Permanent`](Self::Permanent); but if an operator stopped the child, a group
    /// restart of its siblings does not start it.
    UnlessStopped,
}

impl RestartType {
    /// Whether a child of this type is restarted after an exit of this class.
    ///
    /// | | clean | failure of any kind | requested |
    /// |---|---|---|---|
    /// | `Permanent`, `UnlessStopped` | yes | yes | yes |
    /// | `Transient` | no | yes | no |
    /// | `OnSuccess` | yes | no | no |
    /// | `Temporary` | no | no | no |
    pub fn wants_restart(self, class: ExitClass) -> bool {
        match self {
            RestartType::Permanent | RestartType::UnlessStopped => true,
            RestartType::Transient => class.is_failure(),
            RestartType::OnSuccess => class == ExitClass::Clean,
            RestartType::Temporary => false,
        }
    }
}

impl fmt::Display for RestartType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RestartType::Permanent => "permanent",
            RestartType::Transient => "transient",
            RestartType::Temporary => "temporary",
            RestartType::OnSuccess => "on-success",
            RestartType::UnlessStopped => "unless-stopped",
        })
    }
}
