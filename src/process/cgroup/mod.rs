//! Control groups (cgroup v2): they hold the descendants of a process that have left its process group and
//! session.
//!
//! ```text
//! the host's own control group
//!   └─ procession-<namespace>-<pid>-<start>-<n>     CgroupOfProcesses: made at the first launch
//!        ├─ 1                                       Cgroup: of one process, which is created in it
//!        └─ 2
//! ```
//!
//! They are used only where the host may make groups in its own (it is root, or the group was delegated to
//! it) and the kernel has `cgroup.kill` (Linux 5.14). Everywhere else processes are launched without them,
//! which is never an error. No controller is enabled, so nothing is limited or accounted differently, and
//! the rule against processes in inner groups does not apply.
//!
//! `factory` makes the groups. `cgroup_of_processes` is the group around all processes of this host, `group`
//! that of one process, and `leftovers` removes what dead hosts have left. `own_cgroup` finds the
//! host's own group in the file system, and `host_id` tells which host a group belongs to. A
//! process may make any number of groups in its own, nested to any depth. `walk` visits them on the
//! clean-up thread, for a `removal` or a `signal_walk`.

#[cfg(target_os = "linux")]
mod cgroup_of_processes;
#[cfg(target_os = "linux")]
mod factory;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod group;
#[cfg(target_os = "linux")]
mod host_id;
#[cfg(target_os = "linux")]
mod leftovers;
#[cfg(target_os = "linux")]
mod own_cgroup;
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

/// Whether each process gets a control group of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupMode {
    /// Never.
    Never,
    /// Where it is possible. This takes cgroup v2, Linux 5.14, and permission to make groups in the host's
    /// own group (as root, or in a service with `Delegate=yes`). A launch takes some 50 µs longer, the end
    /// some 10 µs.
    #[default]
    WhenPossible,
}
