//! Control groups (cgroup v2): what holds the descendants of a process that have left its process group and session.
//!
//! ```text
//! the host's own control group
//!   └─ procession-<namespace>-<pid>-<start>-<n>     Home: of this host; made at the first launch
//!        ├─ 1                                       Group: of one process, which is born into it
//!        └─ 2
//! ```
//!
//! Only where the host may make groups in its own (it is root, or the group was delegated to it) and the kernel has
//! `cgroup.kill` (Linux 5.14). Everywhere else there are none and all goes on without: that is never an error. No
//! controller is enabled, so nothing is limited or accounted differently, and the rule against processes in inner
//! groups does not apply.
//!
//! `home` is the host's group and what dead hosts have left; `place` finds where in the file system that is.

#[cfg(target_os = "linux")]
mod home;
#[cfg(not(target_os = "linux"))]
#[path = "none.rs"]
mod home;
#[cfg(target_os = "linux")]
mod place;

#[cfg(target_os = "linux")]
pub(super) use home::clear_leftovers;
pub(super) use home::{Group, Groups};

/// Whether processes are held by control groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupMode {
    /// Never.
    Never,
    /// Each process has a group of its own where that is possible: cgroup v2, permission to make groups in the host's
    /// own one (root, or a service with `Delegate=yes`), Linux 5.14. A launch takes some 50 µs longer, the
    /// end some 10 µs.
    #[default]
    WhenPossible,
}
