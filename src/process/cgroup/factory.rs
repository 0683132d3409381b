//! [`CgroupFactory`]: makes the control group of each process that a launcher starts.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{CgroupMode, group::Cgroup, host_cgroup::HostCgroup};

/// Makes groups; one for each launcher and its clones.
pub(in crate::process) struct CgroupFactory {
    mode: CgroupMode,
    /// Groups can be made here, but no process can be born into them.
    useless: AtomicBool,
    home: OnceLock<Option<Arc<HostCgroup>>>,
}

impl CgroupFactory {
    pub(in crate::process) fn new(mode: CgroupMode) -> CgroupFactory {
        CgroupFactory { mode, useless: AtomicBool::new(false), home: OnceLock::new() }
    }

    /// A new group for one process, where that is possible. Dropping it removes nothing; [`Cgroup::remove`] does.
    pub(in crate::process) fn make(&self) -> Option<Cgroup> {
        if self.mode == CgroupMode::Never || self.useless.load(Ordering::Relaxed) {
            return None;
        }
        self.home.get_or_init(HostCgroup::shared).as_ref()?.make().map(Cgroup::new)
    }

    /// A process could be created, but not in a group.
    pub(in crate::process) fn give_up(&self) {
        self.useless.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for CgroupFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Groups").field(&self.mode).finish()
    }
}
