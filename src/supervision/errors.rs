//! Errors of declarations, starts, requests and messages: misuse apart from failure.

use std::{fmt, time::Duration};

use super::exit_class::never_starts;
use crate::{
    exit::{Exit, ExitReport, StderrExcerpt},
    human_duration::brief,
    id::{ChildId, TreePath},
    state::{ChildState, GiveUpReason},
};

/// One mistake in a declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The field, such as `children[db].start_timeout`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.problem)
    }
}

/// All mistakes in a declaration, never empty (rule S-6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecErrors(Vec<SpecError>);

impl SpecErrors {
    /// `Ok` if there are none.
    ///
    /// # Errors
    /// The mistakes, if there are any.
    pub fn check(errors: Vec<SpecError>) -> Result<(), SpecErrors> {
        if errors.is_empty() { Ok(()) } else { Err(SpecErrors(errors)) }
    }

    /// A single mistake.
    pub fn one(field: impl Into<String>, problem: impl Into<String>) -> SpecErrors {
        SpecErrors(vec![SpecError { field: field.into(), problem: problem.into() }])
    }

    /// The mistakes as those of a part of something else; `prefix` names the part.
    pub(crate) fn below(&self, prefix: &str) -> impl Iterator<Item = SpecError> {
        self.iter().map(move |error| {
            let field = format!("{prefix}.{}", error.field);
            SpecError { field, problem: error.problem.clone() }
        })
    }

    /// The mistakes.
    pub fn iter(&self) -> impl Iterator<Item = &SpecError> {
        self.0.iter()
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid declaration: ")?;
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecErrors {}

/// Why a tree did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeStartError {
    /// Its declaration has mistakes.
    #[error(transparent)]
    Invalid(#[from] SpecErrors),
    /// There is no tokio runtime here, or it has no timer. Trees with processes also need I/O.
    #[error(
        "the tree did not start: {reason}; it needs a tokio runtime with time and I/O enabled, as `enable_all` does"
    )]
    Runtime {
        /// What is missing.
        reason: String,
    },
    /// A required child did not start. What had started has been stopped again; nothing is left.
    #[error("the tree did not start: {exit}{}", StderrExcerpt(.stderr_tail))]
    Failed {
        /// Why: the causes lead to the child that did not start, see [`Exit::chain`].
        exit: Exit,
        /// The last lines that the process of this child wrote to stderr; empty if it has none, or it wrote
        /// none.
        stderr_tail: String,
    },
}

impl TreeStartError {
    /// Whether the same start may succeed later without a change. Not if a required child can never start as
    /// it is declared.
    pub fn is_retryable(&self) -> bool {
        matches!(self, TreeStartError::Failed { exit, .. } if !never_starts(exit))
    }

    /// Whether the declaration or the runtime is wrong, so that the start fails however often it is tried.
    pub fn is_misuse(&self) -> bool {
        matches!(self, TreeStartError::Invalid(_) | TreeStartError::Runtime { .. })
    }
}

/// Why an operator's request was refused or failed (OTP's errors of `start_child` and its relatives).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no such child.
    #[error("there is no child `{0}`")]
    NotFound(ChildId),
    /// A child with this id exists and is alive.
    #[error("child `{0}` is already started")]
    AlreadyStarted(ChildId),
    /// A child with this id exists, but is not running.
    #[error("child `{0}` is already present; restart or delete it")]
    AlreadyPresent(ChildId),
    /// The request needs a child that is down.
    #[error("child `{0}` is running; terminate it first")]
    Running(ChildId),
    /// The request needs a child that is down, and this one is about to be restarted.
    #[error("child `{0}` is restarting; terminate it first")]
    Restarting(ChildId),
    /// The supervisor has as many children as it may have.
    #[error("the supervisor already has {0} children, its maximum")]
    MaxChildren(usize),
    /// The supervisor is stopping, or gone.
    #[error("the supervisor is shutting down")]
    ShuttingDown,
    /// The child was started, but did not become ready.
    #[error("child `{child}` did not start: {exit}{}", StderrExcerpt(.stderr_tail))]
    StartFailed {
        /// The child.
        child: ChildId,
        /// How its start ended.
        exit: Exit,
        /// The last lines that the process behind it wrote to stderr; empty if there was none, or it wrote
        /// none.
        stderr_tail: String,
    },
    /// The child was stopped before the request was carried out.
    #[error("child `{0}` was stopped before the request was carried out")]
    Stopped(ChildId),
    /// An operator has stopped the child, and only an operator starts it again.
    #[error("child `{0}` was stopped by an operator and stays down until an operator restarts it")]
    StoppedByOperator(ChildId),
    /// The policy of the child has given it up, and only an operator starts it again.
    #[error("child `{child}` was given up ({why}) and stays down until an operator restarts it")]
    GaveUp {
        /// The child.
        child: ChildId,
        /// The limit that was reached.
        why: GiveUpReason,
    },
    /// The child's policy requires more time between restarts by hand
    /// ([`min_interval`](crate::restart::RestartPolicy::min_interval)).
    #[error("child `{child}` was restarted by hand too recently; try again in {:?}", brief(*.retry_after))]
    TooSoon {
        /// The child.
        child: ChildId,
        /// How long to wait.
        retry_after: Duration,
    },
    /// The declaration has mistakes.
    #[error(transparent)]
    Invalid(#[from] SpecErrors),
}

impl RequestError {
    /// Whether the same request may succeed later without a change. Not if the child can never
    /// start as it is declared.
    pub fn is_retryable(&self) -> bool {
        match self {
            RequestError::Restarting(_) | RequestError::MaxChildren(_) | RequestError::TooSoon { .. } => true,
            RequestError::StartFailed { exit, .. } => !never_starts(exit),
            _ => false,
        }
    }

    /// Whether the declaration in the request has mistakes, so that it fails however often it is made.
    pub fn is_misuse(&self) -> bool {
        matches!(self, RequestError::Invalid(_))
    }
}

/// A child cannot be reached now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is not available: {}{}", .state.doing(*.retry_after), last(.last_exit.as_deref()))]
pub struct Unavailable {
    /// Where the child is in the tree.
    pub path: TreePath,
    /// What it is doing instead.
    pub state: ChildState,
    /// When its next start is due, if that is known.
    pub retry_after: Option<Duration>,
    /// How its last incarnation ended, if one has, and the end of what its process wrote to stderr.
    pub last_exit: Option<Box<ExitReport>>,
}

impl Unavailable {
    /// Whether it may become available without anyone acting. Not if its policy has given it up,
    /// and not if it can never start as it is declared.
    pub fn is_retryable(&self) -> bool {
        let never =
            self.state.is_down() && self.last_exit.as_ref().is_some_and(|lost| never_starts(&lost.exit));
        !self.state.is_given_up() && !never
    }
}

fn last(lost: Option<&ExitReport>) -> String {
    lost.map(|lost| format!("; its last incarnation: {lost}")).unwrap_or_default()
}

/// Why a child could not be found by its path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The text is not a path.
    #[error(transparent)]
    Path(#[from] crate::id::TreePathError),
    /// There is no child at this path.
    #[error("there is no child at `{0}`")]
    NotFound(TreePath),
    /// There is something else at this path.
    #[error("`{path}` is not {expected}")]
    WrongKind {
        /// The path.
        path: TreePath,
        /// What was looked for.
        expected: &'static str,
    },
}

impl FindError {
    /// Whether the child may be there later. Children of a supervisor are found from its first start on, and
    /// children may be added at run time.
    pub fn is_retryable(&self) -> bool {
        matches!(self, FindError::NotFound(_))
    }

    /// Whether the text is no path, or names something of another kind.
    pub fn is_misuse(&self) -> bool {
        matches!(self, FindError::Path(_) | FindError::WrongKind { .. })
    }
}
