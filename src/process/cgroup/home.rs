//! [`Home`], the group of this host, [`Group`], that of one process in it, and what dead hosts have left.

use std::{
    fmt, fs as std_fs, io as std_io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    fs::{self, Access, AtFlags, Dir, FileType, Mode, OFlags},
    io::{self, Errno},
    process::{self as sys, Pid, PidfdFlags, Signal},
};

use super::{
    CgroupMode,
    place::{self, Place},
};
use crate::process::membership;

const PREFIX: &str = "procession-";
/// How long a first launch waits for the end of what a dead host has left.
const LEFTOVERS_WAIT: Duration = Duration::from_secs(1);

/// Makes groups; one for each launcher and its clones.
pub(in crate::process) struct Groups {
    mode: CgroupMode,
    /// Groups can be made here, but no process can be born into them.
    useless: AtomicBool,
    home: OnceLock<Option<Arc<Home>>>,
}

impl Groups {
    pub(in crate::process) fn new(mode: CgroupMode) -> Groups {
        Groups { mode, useless: AtomicBool::new(false), home: OnceLock::new() }
    }

    /// A new group for one process, where that is possible. Dropping it removes nothing; [`Group::remove`] does.
    pub(in crate::process) fn make(&self) -> Option<Group> {
        if self.mode == CgroupMode::Never || self.useless.load(Ordering::Relaxed) {
            return None;
        }
        self.home.get_or_init(Home::shared).as_ref()?.make()
    }

    /// A process could be created, but not in a group.
    pub(in crate::process) fn give_up(&self) {
        self.useless.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Groups").field(&self.mode).finish()
    }
}

/// The group of this host. All launchers share one; it is removed with the last of them and of its groups.
#[derive(Debug)]
struct Home {
    parent: OwnedFd,
    name: String,
    directory: OwnedFd,
    path: String,
    made: AtomicU64,
}

impl Home {
    fn shared() -> Option<Arc<Home>> {
        static SHARED: Mutex<Weak<Home>> = Mutex::new(Weak::new());
        // Nothing panics under the lock, and the pointer is valid at every moment.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(home) = shared.upgrade() {
            return Some(home);
        }
        let home = Arc::new(Home::new(place::own()?)?);
        *shared = Arc::downgrade(&home);
        Some(home)
    }

    fn new(own: Place) -> Option<Home> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let parent = fs::open(&own.directory, directory_flags(), Mode::empty()).ok()?;
        let me = Owner::me()?;
        let name = format!("{me}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        fs::mkdirat(&parent, &name, Mode::from_bits_retain(0o755)).ok()?;
        let opened = fs::openat(&parent, &name, directory_flags(), Mode::empty());
        let directory = opened.and_then(|directory| {
            fs::accessat(&directory, "cgroup.kill", Access::WRITE_OK, AtFlags::EACCESS).map(|()| directory)
        });
        let Ok(directory) = directory else {
            remove(&parent, &name);
            return None;
        };
        clear(&parent, Some(LEFTOVERS_WAIT));
        let path = format!("{}/{name}", own.path);
        Some(Home { parent, name, directory, path, made: AtomicU64::new(1) })
    }

    fn make(self: &Arc<Home>) -> Option<Group> {
        let name = self.made.fetch_add(1, Ordering::Relaxed).to_string();
        fs::mkdirat(&self.directory, &name, Mode::from_bits_retain(0o755)).ok()?;
        Some(Group { home: Arc::clone(self), name })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        remove(&self.parent, &self.name);
    }
}

/// The control group of one process and of all its descendants, whatever sessions they are in.
#[derive(Debug)]
pub(in crate::process) struct Group {
    home: Arc<Home>,
    name: String,
}

impl Group {
    /// Its path below the root of the hierarchy.
    pub(in crate::process) fn path(&self) -> String {
        format!("{}/{}", self.home.path, self.name)
    }

    /// Its directory, for a process to be born into.
    pub(in crate::process) fn open(&self) -> std_io::Result<OwnedFd> {
        Ok(fs::openat(&self.home.directory, &self.name, directory_flags(), Mode::empty())?)
    }

    /// Whether anything in it is alive, zombies not counted; `None` if that cannot be read now.
    pub(in crate::process) fn is_populated(&self) -> Option<bool> {
        is_populated(&self.home.directory, &self.name)
    }

    /// Kills everything in it. No fork escapes that.
    pub(in crate::process) fn kill(&self) {
        kill(&self.home.directory, &self.name);
    }

    /// Sends a signal to all members that are not in the process group.
    ///
    /// A number that is read may have a new owner when it is used. A pidfd has not, and a process that is still a
    /// member once its pidfd is open is the one that the pidfd means.
    pub(in crate::process) fn signal_others(&self, group: Pid, signal: Signal) {
        for pid in self.members() {
            if membership::is_in_group(pid, group) {
                continue;
            }
            let Ok(pidfd) = sys::pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if self.members().contains(&pid) {
                let _ = sys::pidfd_send_signal(&pidfd, signal);
            }
        }
    }

    fn members(&self) -> Vec<Pid> {
        let mut list = String::new();
        let path = format!("{}/cgroup.procs", self.name);
        // Members of groups that a member has made in it are reached by the kill only.
        if let Ok(file) = fs::openat(&self.home.directory, path, file_flags(), Mode::empty()) {
            let _ = std_io::Read::read_to_string(&mut std_fs::File::from(file), &mut list);
        }
        // A member in another namespace is shown as 0.
        list.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
    }

    /// Removes it, with the groups that members have made in it, if nothing in it is alive. Returns whether that is
    /// so; `None` if it cannot be told now. In the usual case this is a single system call.
    pub(in crate::process) fn vacated(&self) -> Option<bool> {
        if let Ok(()) | Err(Errno::NOENT) = fs::unlinkat(&self.home.directory, &self.name, AtFlags::REMOVEDIR)
        {
            return Some(true);
        }
        let vacated = !self.is_populated()?;
        if vacated {
            self.remove();
        }
        Some(vacated)
    }

    /// Removes it, with the groups that members have made in it. It must be empty.
    pub(in crate::process) fn remove(&self) {
        remove(&self.home.directory, &self.name);
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn file_flags() -> OFlags {
    OFlags::RDONLY | OFlags::CLOEXEC
}

fn is_populated(at: &OwnedFd, name: &str) -> Option<bool> {
    let file = match fs::openat(at, format!("{name}/cgroup.events"), file_flags(), Mode::empty()) {
        Ok(file) => file,
        // Somebody has removed it, which is possible only if it is empty.
        Err(Errno::NOENT) => return Some(false),
        Err(_) => return None,
    };
    let mut events = [0; 256];
    let length = io::read(&file, &mut events).ok()?;
    let populated =
        events[..length].split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"populated "));
    populated.map(|flag| flag != b"0")
}

fn kill(at: &OwnedFd, name: &str) {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(file) = fs::openat(at, format!("{name}/cgroup.kill"), flags, Mode::empty()) {
        let _ = io::write(&file, b"1");
    }
}

/// Removes a group and those below it, if they are empty.
fn remove(at: &OwnedFd, name: &str) {
    if let Ok(()) | Err(Errno::NOENT) = fs::unlinkat(at, name, AtFlags::REMOVEDIR) {
        return;
    }
    let Ok(group) = fs::openat(at, name, directory_flags(), Mode::empty()) else { return };
    for inner in groups_in(&group) {
        remove(&group, &inner);
    }
    let _ = fs::unlinkat(at, name, AtFlags::REMOVEDIR);
}

fn groups_in(group: &OwnedFd) -> Vec<String> {
    let Ok(entries) = Dir::read_from(group) else { return Vec::new() };
    let name = |entry: fs::DirEntry| {
        let name = entry.file_name().to_str().ok()?;
        (entry.file_type() == FileType::Directory && !name.starts_with('.')).then(|| name.to_owned())
    };
    entries.flatten().filter_map(name).collect()
}

/// Kills and removes what hosts that are dead have left in the group of this program. For the guardian, whose host has
/// just ended.
pub(in crate::process) fn clear_leftovers() {
    let Some(own) = place::own() else { return };
    if let Ok(parent) = fs::open(&own.directory, directory_flags(), Mode::empty()) {
        clear(&parent, None);
    }
}

/// Waits for the end of what is killed for at most `wait`; a later start removes the rest.
fn clear(parent: &OwnedFd, wait: Option<Duration>) {
    let dead = |name: &String| Owner::of(name).is_some_and(|owner| owner.is_dead());
    let leftovers: Vec<String> = groups_in(parent).into_iter().filter(dead).collect();
    leftovers.iter().for_each(|name| kill(parent, name));
    let end = Instant::now() + wait.unwrap_or_default();
    for name in leftovers {
        while is_populated(parent, &name) == Some(true) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        remove(parent, &name);
    }
}

/// The host that a group belongs to, as its name says. While a system runs, no two have the same three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    /// The namespace that the process id is of.
    namespace: u64,
    pid: i32,
    /// When it was started, in ticks since the system was.
    start: u64,
}

impl Owner {
    fn me() -> Option<Owner> {
        let pid = sys::getpid().as_raw_nonzero().get();
        Some(Owner { namespace: namespace()?, pid, start: start(pid)? })
    }

    fn of(group: &str) -> Option<Owner> {
        let mut numbers = group.strip_prefix(PREFIX)?.split('-').map(str::parse::<u64>);
        let (namespace, pid, start) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        // And a number of its own.
        numbers.next()?.ok()?;
        Some(Owner { namespace, pid: i32::try_from(pid).ok()?, start })
    }

    /// Whether it is certain that it has ended. Of hosts in other namespaces nothing is known.
    fn is_dead(self) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        if namespace() != Some(self.namespace) {
            return false;
        }
        match sys::test_kill_process(pid) {
            Err(Errno::SRCH) => true,
            // There is such a process: it is another one if it was started at another time.
            _ => start(self.pid).is_some_and(|start| start != self.start),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-{}-{}", self.namespace, self.pid, self.start)
    }
}

/// The number in `pid:[4026531836]`.
fn namespace() -> Option<u64> {
    let link = std_fs::read_link("/proc/self/ns/pid").ok()?;
    link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}

/// The 22nd field of `/proc/<pid>/stat`; the second is the program's name in parentheses and may contain anything.
fn start(pid: i32) -> Option<u64> {
    let stat = std_fs::read(format!("/proc/{pid}/stat")).ok()?;
    let rest = std::str::from_utf8(&stat[memchr::memrchr(b')', &stat)? + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_dead_is_dead() {
        // P-12
        let me = Owner::me().unwrap();
        assert_eq!(Owner::of(&format!("{me}-0")), Some(me));
        assert!(!me.is_dead());
        assert!(Owner { start: me.start + 1, ..me }.is_dead(), "the number has a new owner");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().cast_signed();
        child.wait().unwrap();
        assert!(Owner { pid, start: 1, ..me }.is_dead());
        assert!(!Owner { pid, start: 1, namespace: me.namespace + 1 }.is_dead(), "who knows");
        for stranger in
            ["procession", "procession-1-2-3", "procession-1-2-x-4", "procession-1--3-4", "other-1-2-3-4"]
        {
            assert_eq!(Owner::of(stranger), None, "{stranger}");
        }
    }
}
