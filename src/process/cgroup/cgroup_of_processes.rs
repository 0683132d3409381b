//! [`CgroupOfProcesses`], the group around all processes of this host, and [`SubCgroupLocation`], the group
//! of one process in it.

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::{
    fd::OwnedFd,
    fs::{self, Access, AtFlags},
};

use super::{
    files,
    host_id::CgroupHostId,
    leftovers,
    own_cgroup::{self, OwnCgroup},
    removal::CgroupRemovalJob,
};
use crate::process::cleanup_thread;

/// How long the first launch waits until the processes that a dead host has left have ended.
const LEFTOVERS_WAIT: Duration = Duration::from_secs(1);

/// The group in which each process of this host gets a group of its own. It is below the host's own
/// group, and the host is not in it. All launchers share it. It is removed when the last of them
/// and the last of its groups are dropped.
#[derive(Debug)]
pub(super) struct CgroupOfProcesses {
    parent: Arc<OwnedFd>,
    name: CString,
    directory: Arc<OwnedFd>,
    path: OsString,
    made: AtomicU64,
}

impl CgroupOfProcesses {
    pub(super) fn shared() -> Option<Arc<CgroupOfProcesses>> {
        static SHARED: Mutex<Weak<CgroupOfProcesses>> = Mutex::new(Weak::new());
        // Nothing panics under the lock, and the pointer is valid at every moment.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = shared.upgrade() {
            return Some(host);
        }
        let host = Arc::new(CgroupOfProcesses::new(&own_cgroup::own()?)?);
        *shared = Arc::downgrade(&host);
        Some(host)
    }

    fn new(own: &OwnCgroup) -> Option<CgroupOfProcesses> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let parent = Arc::new(own.open()?);
        let me = CgroupHostId::me()?;
        let text = format!("{me}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let name = CString::new(text.as_str()).ok()?;
        files::make(&parent, &name).ok()?;
        let opened = files::open_group(&parent, &name);
        let directory = opened.and_then(|directory| {
            fs::accessat(&directory, "cgroup.kill", Access::WRITE_OK, AtFlags::EACCESS).map(|()| directory)
        });
        let Ok(directory) = directory else {
            let _ = files::unlink(&parent, &name);
            return None;
        };
        for removal in leftovers::clear(&parent, LEFTOVERS_WAIT) {
            cleanup_thread::add(Box::new(removal));
        }
        let mut path = own.path.clone();
        path.push("/");
        path.push(&text);
        Some(CgroupOfProcesses {
            parent,
            name,
            directory: Arc::new(directory),
            path,
            made: AtomicU64::new(1),
        })
    }

    /// A new group in it.
    pub(super) fn make(self: &Arc<CgroupOfProcesses>) -> Option<SubCgroupLocation> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(number.to_string()).ok()?;
        files::make(&self.directory, &name).ok()?;
        let mut path = self.path.clone();
        path.push("/");
        path.push(&*name.to_string_lossy());
        Some(SubCgroupLocation { parent: Arc::clone(self), name, path })
    }
}

/// Where the group of one process is. Keeps the group around it alive, because that must not be
/// removed before it.
#[derive(Debug)]
pub(super) struct SubCgroupLocation {
    parent: Arc<CgroupOfProcesses>,
    name: CString,
    path: OsString,
}

impl SubCgroupLocation {
    /// The directory that it is in.
    pub(super) fn directory(&self) -> &Arc<OwnedFd> {
        &self.parent.directory
    }

    /// Its name in that directory.
    pub(super) fn name(&self) -> &CStr {
        &self.name
    }

    /// Its path below the root of the hierarchy.
    pub(super) fn path(&self) -> &OsStr {
        &self.path
    }
}

impl Drop for CgroupOfProcesses {
    fn drop(&mut self) {
        if files::unlink(&self.parent, &self.name).is_err() {
            cleanup_thread::add(Box::new(CgroupRemovalJob::new(Arc::clone(&self.parent), self.name.clone())));
        }
    }
}
