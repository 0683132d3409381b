//! Removes what hosts that died without a guardian have left beside the group of this one.

use std::{
    ffi::{CStr, CString},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::fd::OwnedFd;

use super::{files, host_id::CgroupHostId, own_cgroup, removal::CgroupRemovalJob, walk};

/// How long a guardian spends at most on removing what its host has left.
const GUARDIAN_WAIT: Duration = Duration::from_secs(10);

/// Kills and removes what dead hosts have left in the group of this program. For the guardian, whose host
/// has just ended.
pub(in crate::process) fn clear_leftovers() {
    let Some(parent) = own_cgroup::own().and_then(|own| own.open()) else { return };
    let end = Instant::now() + GUARDIAN_WAIT;
    for mut removal in clear(&Arc::new(parent), Duration::ZERO) {
        removal.run_until(end);
    }
}

/// Kills what dead hosts have left, waits at most `wait` until it has ended, and returns the groups to
/// remove.
pub(super) fn clear(parent: &Arc<OwnedFd>, wait: Duration) -> Vec<CgroupRemovalJob> {
    let mut names: Vec<CString> = Vec::new();
    walk::each_group(parent, |name: &CStr| {
        if CgroupHostId::of(name).is_some_and(CgroupHostId::is_dead) {
            files::kill(parent, name);
            names.push(name.to_owned());
        }
    });
    let end = Instant::now() + wait;
    for name in &names {
        while files::is_populated(parent, name) == Some(true) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    names.into_iter().map(|name| CgroupRemovalJob::new(Arc::clone(parent), name)).collect()
}
