//! Where the control group of this program is in the file system.

use std::{fs, path::PathBuf};

/// A control group: where it is mounted, and its path below the root of the hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) directory: PathBuf,
    pub(super) path: String,
}

/// The group that this program is in, if it can be seen.
pub(super) fn own() -> Option<Place> {
    find(&fs::read_to_string("/proc/self/mountinfo").ok()?, &fs::read_to_string("/proc/self/cgroup").ok()?)
}

/// `mounts` is a `mountinfo`, `groups` lists the groups of a process. Beside hierarchies of version 1 the unified one
/// is number 0. In a container, what is mounted may be a part of the hierarchy only.
fn find(mounts: &str, groups: &str) -> Option<Place> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let at = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        if file_system.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
        let below = path.strip_prefix(root.trim_end_matches('/'))?;
        // A group outside of what the namespace shows, or a mere prefix of a name.
        if !below.is_empty() && !below.starts_with('/') || below.split('/').any(|name| name == "..") {
            return None;
        }
        let directory = PathBuf::from(point).join(below.trim_matches('/'));
        Some(Place { directory, path: path.trim_end_matches('/').to_owned() })
    };
    mounts.lines().find_map(at)
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(&part[3..]);
            }
            None => text.push_str(part),
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
        let dir = |mounts, groups| find(mounts, groups).map(|place| (place.directory, place.path));
        let is = |directory: &str, path: &str| Some((PathBuf::from(directory), path.to_owned()));
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
}
