//! The files of a control group, accessed by system calls on descriptors, so that no path is ever longer
//! than a name.
//!
//! A member of a group that runs as the host's user may change the modes of the group's files. Where these
//! are in the way, the host restores them, which it may do as the owner.

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    ffi::CStr,
    fs::{self, AtFlags, Mode, OFlags},
    io::{self, Errno},
};

/// Opens the directory of a group, given the directory that contains it.
pub(super) fn open_group(at: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open(at.as_fd(), name, flags, 0o755)
}

/// Opens a file of a group for reading.
pub(super) fn open_file(group: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    open(group.as_fd(), name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, 0o444)
}

fn open(at: BorrowedFd<'_>, name: &CStr, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
    let open = || fs::openat(at, name, flags, Mode::empty());
    match open() {
        Err(Errno::ACCESS) => {
            fs::chmodat(at, name, Mode::from_bits_retain(mode), AtFlags::empty())?;
            open()
        }
        opened => opened,
    }
}

/// Makes a group.
pub(super) fn make(at: impl AsFd, name: &CStr) -> io::Result<()> {
    in_directory(at.as_fd(), |at| fs::mkdirat(at, name, Mode::from_bits_retain(0o755)))
}

/// Removes a group that is empty and has no groups in it. Succeeds if there is no such group.
pub(super) fn unlink(at: impl AsFd, name: &CStr) -> io::Result<()> {
    match in_directory(at.as_fd(), |at| fs::unlinkat(at, name, AtFlags::REMOVEDIR)) {
        Err(Errno::NOENT) => Ok(()),
        unlinked => unlinked,
    }
}

fn in_directory(at: BorrowedFd<'_>, act: impl Fn(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
    match act(at) {
        Err(Errno::ACCESS) => {
            fs::fchmod(at, Mode::from_bits_retain(0o755))?;
            act(at)
        }
        done => done,
    }
}

/// Whether any process in the group or in those below it is alive, not counting zombies; `None` if that
/// cannot be read now.
pub(super) fn is_populated(at: impl AsFd, name: &CStr) -> Option<bool> {
    let file = match open_group(at, name).and_then(|group| open_file(group, c"cgroup.events")) {
        Ok(file) => file,
        // It has been removed, which is possible only if it is empty.
        Err(Errno::NOENT | Errno::NODEV) => return Some(false),
        Err(_) => return None,
    };
    let mut events = [0; 256];
    let length = match io::read(&file, &mut events) {
        Ok(length) => length,
        Err(Errno::NODEV) => return Some(false),
        Err(_) => return None,
    };
    let populated =
        events[..length].split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"populated "));
    populated.map(|flag| flag != b"0")
}

/// Kills everything in the group and in those below it. It is one system call, whose duration grows with
/// the number of groups.
pub(super) fn kill(at: impl AsFd, name: &CStr) {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = open_group(at, name).and_then(|group| open(group.as_fd(), c"cgroup.kill", flags, 0o200));
    if let Ok(file) = file {
        let _ = io::write(&file, b"1");
    }
}

/// Whether the group contains groups. The link count tells: a directory has a link for each directory in it.
pub(super) fn has_groups(at: impl AsFd, name: &CStr) -> bool {
    fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|status| status.st_nlink > 2)
}

/// This many groups are killed in less than a millisecond.
const FEW: u64 = 100;

/// Whether there are so few groups below it that an operation on all of them does not take long.
pub(super) fn has_few_groups(at: impl AsFd, name: &CStr) -> bool {
    if !has_groups(at.as_fd(), name) {
        return true;
    }
    let mut figures = [0; 128];
    let read = open_group(at, name)
        .and_then(|group| open_file(group, c"cgroup.stat"))
        .and_then(|file| io::read(&file, &mut figures));
    let Ok(length) = read else { return false };
    let figure = figures[..length].split(|byte| *byte == b'\n').find_map(|line| {
        std::str::from_utf8(line).ok()?.strip_prefix("nr_descendants ")?.parse::<u64>().ok()
    });
    figure.is_some_and(|descendants| descendants <= FEW)
}
