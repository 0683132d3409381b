//! [`HostCgroup`], the group of this host, and what dead hosts have left beside it.

use std::{
    ffi::{CStr, CString, OsString},
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    fd::OwnedFd,
    fs::{self, Access, AtFlags, Mode, OFlags},
};

use super::{
    CgroupMode,
    cgroup_path::{self, CgroupPath},
    files,
    group::Cgroup,
    owner::CgroupOwner,
    removal::CgroupRemoval,
    walk,
};
use crate::process::sweeper;

/// How long a first launch waits for the end of what a dead host has left.
const LEFTOVERS_WAIT: Duration = Duration::from_secs(1);
/// How long a guardian takes at most to remove what its host has left.
const GUARDIAN_WAIT: Duration = Duration::from_secs(10);

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
        self.home.get_or_init(HostCgroup::shared).as_ref()?.make()
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

/// The group of this host. All launchers share one; it is removed with the last of them and of its groups.
#[derive(Debug)]
pub(super) struct HostCgroup {
    parent: Arc<OwnedFd>,
    name: CString,
    pub(super) directory: Arc<OwnedFd>,
    pub(super) path: OsString,
    made: AtomicU64,
}

impl HostCgroup {
    fn shared() -> Option<Arc<HostCgroup>> {
        static SHARED: Mutex<Weak<HostCgroup>> = Mutex::new(Weak::new());
        // Nothing panics under the lock, and the pointer is valid at every moment.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(home) = shared.upgrade() {
            return Some(home);
        }
        let home = Arc::new(HostCgroup::new(&cgroup_path::own()?)?);
        *shared = Arc::downgrade(&home);
        Some(home)
    }

    fn new(own: &CgroupPath) -> Option<HostCgroup> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let parent = Arc::new(open(own)?);
        let me = CgroupOwner::me()?;
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
        for removal in clear(&parent, LEFTOVERS_WAIT) {
            sweeper::add(Box::new(removal));
        }
        let mut path = own.path.clone();
        path.push("/");
        path.push(&text);
        Some(HostCgroup { parent, name, directory: Arc::new(directory), path, made: AtomicU64::new(1) })
    }

    fn make(self: &Arc<HostCgroup>) -> Option<Cgroup> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(number.to_string()).ok()?;
        files::make(&self.directory, &name).ok()?;
        Some(Cgroup::new(Arc::clone(self), name))
    }
}

impl Drop for HostCgroup {
    fn drop(&mut self) {
        if files::unlink(&self.parent, &self.name).is_err() {
            sweeper::add(Box::new(CgroupRemoval::new(Arc::clone(&self.parent), self.name.clone())));
        }
    }
}

fn open(place: &CgroupPath) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::open(&place.directory, flags, Mode::empty()).ok()
}

/// Kills and removes what hosts that are dead have left in the group of this program. For the guardian, whose host has
/// just ended.
pub(in crate::process) fn clear_leftovers() {
    let Some(parent) = cgroup_path::own().as_ref().and_then(open) else { return };
    let end = Instant::now() + GUARDIAN_WAIT;
    for mut removal in clear(&Arc::new(parent), Duration::ZERO) {
        removal.go(end);
    }
}

/// Kills what dead hosts have left, waits for its end for at most `wait`, and returns what is to be removed.
fn clear(parent: &Arc<OwnedFd>, wait: Duration) -> Vec<CgroupRemoval> {
    let mut names: Vec<CString> = Vec::new();
    walk::each_group(parent, |name: &CStr| {
        if CgroupOwner::of(name).is_some_and(CgroupOwner::is_dead) {
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
    names.into_iter().map(|name| CgroupRemoval::new(Arc::clone(parent), name)).collect()
}
