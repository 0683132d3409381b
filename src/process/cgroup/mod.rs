//! Control groups (cgroup v2): what holds the descendants of a process that have left its process group and session.
//!
//! ```text
//! the host's own control group
//!   └─ procession-<namespace>-<pid>-<start>-<n>     HostCgroup: of this host; made at the first launch
//!        ├─ 1                                       Cgroup: of one process, which is born into it
//!        └─ 2
//! ```
//!
//! Only where the host may make groups in its own (it is root, or the group was delegated to it) and the kernel has
//! `cgroup.kill` (Linux 5.14). Everywhere else there are none and all goes on without: that is never an error. No
//! controller is enabled, so nothing is limited or accounted differently, and the rule against processes in inner
//! groups does not apply.
//!
//! `home` is the host's group and what dead hosts have left, `group` that of one process; `place` finds where in the file
//! system that is, and `owner` says which host a group belongs to. Processes make groups in their own as they like, as deep
//! as they like: `walk` visits them, for a `removal` or with a `courier`, on the thread of the sweeper.

#[cfg(target_os = "linux")]
mod cgroup_path;
#[cfg(target_os = "linux")]
mod factory;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod group;
#[cfg(target_os = "linux")]
mod host_cgroup;
#[cfg(target_os = "linux")]
mod leftovers;
#[cfg(target_os = "linux")]
mod owner;
#[cfg(target_os = "linux")]
mod removal;
#[cfg(target_os = "linux")]
mod signal_walk;
#[cfg(not(target_os = "linux"))]
mod unsupported;
#[cfg(target_os = "linux")]
mod walk;

#[cfg(target_os = "linux")]
pub(super) use factory::CgroupFactory;
#[cfg(target_os = "linux")]
pub(super) use group::Cgroup;
#[cfg(target_os = "linux")]
pub(super) use leftovers::clear_leftovers;
#[cfg(not(target_os = "linux"))]
pub(super) use unsupported::{Cgroup, CgroupFactory};

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
