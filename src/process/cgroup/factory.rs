//! [`CgroupFactory`]: makes the control group of each process that a launcher starts.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{CgroupMode, cgroup_of_processes::CgroupOfProcesses, group::Cgroup};

/// Makes control groups. A launcher and its clones share one factory.
pub(in crate::process) struct CgroupFactory {
    mode: CgroupMode,
    /// Groups can be made here, but no process can be created in them.
    disabled: AtomicBool,
    host: OnceLock<Option<Arc<CgroupOfProcesses>>>,
}

impl CgroupFactory {
    pub(in crate::process) fn new(mode: CgroupMode) -> CgroupFactory {
        CgroupFactory { mode, disabled: AtomicBool::new(false), host: OnceLock::new() }
    }

    /// A new group for one process, where that is possible. Dropping it does not remove the group;
    /// [`Cgroup::remove`] does.
    pub(in crate::process) fn make(&self) -> Option<Cgroup> {
        if self.mode == CgroupMode::Never || self.disabled.load(Ordering::Relaxed) {
            return None;
        }
        self.host.get_or_init(CgroupOfProcesses::shared).as_ref()?.make().map(Cgroup::new)
    }

    /// Makes no more groups: a process could be created, but not in a group.
    pub(in crate::process) fn disable(&self) {
        self.disabled.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for CgroupFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CgroupFactory").field(&self.mode).finish()
    }
}
