//! Who is left in a process group: read from the process table, since a signal of number 0 cannot tell a living
//! member from the zombie leader (P-4).

use rustix::process::Pid;

/// Whether the group has a member that is alive, zombies not counted. Reads the whole process table once; `None` if it
/// cannot be read now, for want of descriptors.
///
/// A member that is born while the table is read may be missed. That shortens its time to end by itself, nothing
/// more: the kill that follows reaches it.
#[cfg(target_os = "linux")]
pub(super) fn has_living_member(group: Pid) -> Option<bool> {
    Some(living()?.contains(&group.as_raw_nonzero().get()))
}

/// Elsewhere the answer is not known, and taken to be no.
#[cfg(not(target_os = "linux"))]
pub(super) fn has_living_member(_group: Pid) -> Option<bool> {
    Some(false)
}

/// Waits until the group has no living member. Looks every 50 ms, off the runtime's workers; looks of several
/// waiters are shared.
pub(super) async fn emptied(group: Pid) {
    const INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);
    loop {
        // If the look cannot be made, the runtime is shutting down, and this future with it.
        match shared::look(group).await {
            Some(false) => return,
            _ => tokio::time::sleep(INTERVAL).await,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod shared {
    use rustix::process::Pid;

    pub(super) async fn look(group: Pid) -> Option<bool> {
        super::has_living_member(group)
    }
}

#[cfg(target_os = "linux")]
mod shared {
    //! With two hundred processes ending at once, one walk through the table serves all who asked before it began.

    use std::{
        collections::BTreeSet,
        sync::{Arc, Mutex, PoisonError},
        time::Instant,
    };

    use rustix::process::Pid;

    type Look = (Instant, Arc<BTreeSet<i32>>);
    static LAST: Mutex<Option<Look>> = Mutex::new(None);

    /// Whether the group has a living member, at some moment after this was called.
    pub(super) async fn look(group: Pid) -> Option<bool> {
        let asked = Instant::now();
        let look = move || {
            let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
            let groups = match &*last {
                Some((began, groups)) if *began >= asked => Arc::clone(groups),
                _ => {
                    let began = Instant::now();
                    // Without descriptors the table cannot be read: nothing is known then.
                    let groups = Arc::new(super::living()?);
                    *last = Some((began, Arc::clone(&groups)));
                    groups
                }
            };
            Some(groups.contains(&group.as_raw_nonzero().get()))
        };
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }
}

/// The groups that have a living member; `None` where there is no process table to read.
#[cfg(target_os = "linux")]
fn living() -> Option<std::collections::BTreeSet<i32>> {
    use std::io::Read;

    let mut groups = std::collections::BTreeSet::new();
    let mut stat = Vec::with_capacity(512);
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        stat.clear();
        // A process that ends while it is being read is not a living member.
        let mut file = match std::fs::File::open(entry.path().join("stat")) {
            Ok(file) => file,
            Err(error) if error.raw_os_error() == Some(libc::EMFILE) => return None,
            Err(error) if error.raw_os_error() == Some(libc::ENFILE) => return None,
            Err(_) => continue,
        };
        if file.read_to_end(&mut stat).is_ok() {
            groups.extend(group_of_living(&stat));
        }
    }
    Some(groups)
}

/// The group of the process that a line of `/proc/<pid>/stat` describes, unless it is dead.
///
/// The second field is the program's name in parentheses and may contain anything, parentheses included.
#[cfg(target_os = "linux")]
fn group_of_living(stat: &[u8]) -> Option<i32> {
    let rest = &stat[memchr::memrchr(b')', stat)? + 1..];
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    (!matches!(state, "Z" | "X" | "x")).then_some(group)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        // P-4
        assert_eq!(group_of_living(b"12 (a) Z 1 2) S 1 77 77 0 -1"), Some(77));
        assert_eq!(group_of_living(b"12 (sh) Z 1 77 77 0 -1"), None);
        assert_eq!(group_of_living(b"12 (sh"), None);
        assert_eq!(has_living_member(rustix::process::getpgrp()), Some(true));
    }
}
