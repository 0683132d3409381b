//! [`OwnCgroup`]: where the control group of this program is in the file system.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
};

/// The directory of a control group and its path below the root of the hierarchy. Names need not be UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OwnCgroup {
    pub(super) directory: PathBuf,
    pub(super) path: OsString,
}

impl OwnCgroup {
    /// Opens its directory.
    pub(super) fn open(&self) -> Option<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(&self.directory, flags, Mode::empty()).ok()
    }
}

/// The group that this program is in, if it is visible.
pub(super) fn own() -> Option<OwnCgroup> {
    find(&fs::read("/proc/self/mountinfo").ok()?, &fs::read("/proc/self/cgroup").ok()?)
}

/// `mounts` is the text of `mountinfo`; `groups` lists the groups of a process. Beside hierarchies of
/// version 1, the unified hierarchy has number 0. In a container, only a part of the hierarchy may be
/// mounted.
fn find(mounts: &[u8], groups: &[u8]) -> Option<OwnCgroup> {
    let path = lines(groups).find_map(|line| line.strip_prefix(b"0::"))?;
    let at = |line: &[u8]| {
        let dash = memchr::memmem::find(line, b" - ")?;
        let (mount, file_system) = (&line[..dash], &line[dash + 3..]);
        if fields(file_system).next() != Some(b"cgroup2") {
            return None;
        }
        let mut fields = fields(mount).skip(3);
        let (mut root, point) = (unescape(fields.next()?), unescape(fields.next()?));
        while root.last() == Some(&b'/') {
            root.pop();
        }
        let below = path.strip_prefix(&*root)?;
        // The group is outside of what the namespace shows, or only a prefix of a name matched.
        let mut names = below.split(|byte| *byte == b'/');
        if !names.next()?.is_empty() || names.clone().any(|name| name == b"..") {
            return None;
        }
        let mut directory = PathBuf::from(OsString::from_vec(point));
        directory
            .extend(names.filter(|name| !name.is_empty()).map(|name| Path::new(OsStr::from_bytes(name))));
        let path = path.strip_suffix(b"/").unwrap_or(path);
        Some(OwnCgroup { directory, path: OsStr::from_bytes(path).to_owned() })
    };
    lines(mounts).find_map(at)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ')
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut parts = field.split(|byte| *byte == b'\\');
    let mut text = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let octal = part.get(..3).and_then(|octal| std::str::from_utf8(octal).ok());
        match octal.and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                text.push(byte);
                text.extend(&part[3..]);
            }
            None => text.extend(part),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
    const PART: &str = "41 31 0:38 /docker/abc /my\\040groups rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_own_group_is_found_in_every_kind_of_mount() {
        // P-6
        let dir = |mounts: &str, groups: &str| find(mounts.as_bytes(), groups.as_bytes());
        let is = |directory: &str, path: &str| {
            Some(OwnCgroup { directory: PathBuf::from(directory), path: path.into() })
        };
        assert_eq!(dir(HYBRID, "8:pids:/x\n0::/\n"), is("/sys/fs/cgroup/unified", ""));
        assert_eq!(dir(HYBRID, "0::/a/b\n"), is("/sys/fs/cgroup/unified/a/b", "/a/b"));
        assert_eq!(dir(PART, "0::/docker/abc\n"), is("/my groups", "/docker/abc"));
        assert_eq!(dir(PART, "0::/docker/abc/d\n"), is("/my groups/d", "/docker/abc/d"));
        for elsewhere in ["0::/docker/abcd\n", "0::/\n", "0::/../x\n", "8:pids:/\n", ""] {
            assert_eq!(dir(PART, elsewhere), None, "{elsewhere}");
        }
        assert_eq!(dir(HYBRID, "0::/../x\n"), None);
        assert_eq!(dir("", "0::/\n"), None);
    }

    #[test]
    fn names_that_are_no_text_are_names() {
        // P-6
        let name = b"/\xff.service";
        let mounts = [b"40 31 0:9 / /mnt/\xfe rw - ext4 /dev/x rw\n", HYBRID.as_bytes()].concat();
        let own = find(&mounts, &[b"0::", &name[..], b"\n"].concat()).unwrap();
        assert_eq!(own.path.as_bytes(), name);
        assert_eq!(own.directory.as_os_str().as_bytes(), [b"/sys/fs/cgroup/unified", &name[..]].concat());
    }
}
