//! What the restart policy is told of an exit.

use crate::{
    exit::{Exit, LaunchStage},
    restart::{RestartType, Verdict},
};

/// Errors with which a command will fail again until somebody changes it or the system (rule R-6).
fn is_permanent(errno: Option<i32>, stage: LaunchStage) -> bool {
    use rustix::io::Errno;
    const PERMANENT: [Errno; 4] = [Errno::NOENT, Errno::ACCESS, Errno::NOEXEC, Errno::NOTDIR];
    stage == LaunchStage::Command
        || errno.is_some_and(|errno| PERMANENT.iter().any(|e| e.raw_os_error() == errno))
}

/// Reduces an exit to what the restart policy needs.
///
/// A supervisor that gave up is abnormal for a permanent child and *shutdown* for a transient one (rule S-17, as OTP).
pub(crate) fn verdict(exit: &Exit, restart: RestartType) -> Verdict {
    match exit {
        Exit::Requested => Verdict::Requested,
        Exit::Clean { .. } | Exit::Ignored | Exit::ActorStopped { .. } | Exit::AutoShutdown { .. } => {
            Verdict::Clean
        }
        Exit::IntensityExceeded { .. } if restart == RestartType::Transient => Verdict::Clean,
        Exit::NeverStarted { errno, stage, .. } if is_permanent(*errno, *stage) => Verdict::Permanent,
        _ => Verdict::Failure,
    }
}
