//! Who is left in a process group: read from the process table, since a signal of number 0 cannot tell a living
//! member from the zombie leader (P-4).

#[cfg(target_os = "linux")]
use std::collections::BTreeSet;

use rustix::process::Pid;

#[cfg(target_os = "linux")]
use super::membership;

/// Whether the group has a member that is alive, zombies and its leader not counted: who asks knows that the leader has
/// ended. Walks through the process table once; `None` if it cannot be read now, for want of descriptors.
///
/// A member that is born while the table is read may be missed. That shortens its time to end by itself, nothing
/// more: the kill that follows reaches it.
#[cfg(target_os = "linux")]
pub(super) fn has_living_member(group: Pid) -> Option<bool> {
    let group = group.as_raw_nonzero().get();
    Some(living(&BTreeSet::from([group]))?.contains(&group))
}

/// Elsewhere the answer is not known, and taken to be no.
#[cfg(not(target_os = "linux"))]
pub(super) fn has_living_member(_group: Pid) -> Option<bool> {
    Some(false)
}

/// Whether the group has a living member, at some moment after this was called; off the runtime's threads.
pub(super) async fn look(group: Pid) -> Option<bool> {
    shared::look(group).await
}

/// Waits until the group has no living member. Looks every 50 ms, off the runtime's workers; a look that cannot be made
/// says nothing. Looks of several waiters are shared.
pub(super) async fn emptied(group: Pid) {
    const INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);
    loop {
        match look(group).await {
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
    //! With a thousand processes ending at once, one walk through the table serves all who asked before it began. One
    //! plain thread makes it, started when it is first needed: tasks of the runtime that did it for one another would
    //! stand or fall with their runtimes.

    use std::{
        sync::{Condvar, Mutex, MutexGuard, PoisonError},
        thread,
        time::Instant,
    };

    use rustix::process::Pid;
    use tokio::sync::oneshot;

    /// After a walk nobody walks for so many times as long as it took: who asks meanwhile shares the next one. Without a
    /// rest, a walk of a millisecond would be made again and again while a thousand processes end.
    const REST: u32 = 4;

    struct Queue {
        asked: Vec<(i32, oneshot::Sender<bool>)>,
        running: bool,
    }

    static QUEUE: Mutex<Queue> = Mutex::new(Queue { asked: Vec::new(), running: false });
    static ASKED: Condvar = Condvar::new();

    /// Whether the group has a living member, at some moment after this was called. `None` if nobody can say now.
    pub(super) async fn look(group: Pid) -> Option<bool> {
        let (answer, answered) = oneshot::channel();
        {
            let mut queue = lock();
            if !queue.running {
                let name = "procession-look".into();
                queue.running = thread::Builder::new().name(name).stack_size(512 * 1024).spawn(run).is_ok();
            }
            if queue.running {
                queue.asked.push((group.as_raw_nonzero().get(), answer));
                ASKED.notify_one();
            }
        }
        answered.await.ok()
    }

    fn lock() -> MutexGuard<'static, Queue> {
        QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run() {
        loop {
            let mut queue = lock();
            while queue.asked.is_empty() {
                queue = ASKED.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let asked = std::mem::take(&mut queue.asked);
            drop(queue);
            let began = Instant::now();
            let groups = asked.iter().map(|(group, _)| *group).collect();
            // Without descriptors the table cannot be read: whoever has asked is left without an answer.
            let Some(living) = super::living(&groups) else { continue };
            for (group, answer) in asked {
                // Nobody may wait any more.
                let _ = answer.send(living.contains(&group));
            }
            thread::sleep(began.elapsed() * REST);
        }
    }
}

/// Those of the groups that have a living member besides their leader; `None` where there is no process table to read,
/// or no descriptor to read it with.
///
/// With a thousand processes on the machine, this is what a stop costs: a system call for each of them tells its group,
/// and only members of the groups that are asked for are read, which takes thirty times as long.
#[cfg(target_os = "linux")]
fn living(asked: &BTreeSet<i32>) -> Option<BTreeSet<i32>> {
    use rustix::{
        fs::{Dir, Mode, OFlags, open, openat},
        io::Errno,
    };

    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let table = open("/proc", flags | OFlags::DIRECTORY, Mode::empty()).ok()?;
    let mut living = BTreeSet::new();
    for entry in Dir::read_from(&table).ok()? {
        let entry = entry.ok()?;
        let Some(pid) = entry.file_name().to_str().ok().and_then(|name| Pid::from_raw(name.parse().ok()?))
        else {
            continue;
        };
        // Not told, or gone: what can be read says which.
        let told = membership::group_of(pid);
        if told.is_some_and(|group| !asked.contains(&group) || group == pid.as_raw_nonzero().get()) {
            continue;
        }
        let file =
            match openat(&table, [entry.file_name().to_bytes(), b"/stat"].concat(), flags, Mode::empty()) {
                Ok(file) => file,
                Err(Errno::MFILE | Errno::NFILE) => return None,
                // A process that ends while it is being read is not a living member.
                Err(_) => continue,
            };
        // What is looked for comes first; the name before it has 64 bytes at most.
        let mut stat = [0; 256];
        if let Ok(length) = rustix::io::read(&file, &mut stat) {
            living.extend(group_of_living(&stat[..length]).filter(|group| asked.contains(group)));
        }
    }
    Some(living)
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
    use std::{os::unix::process::CommandExt, process::Command};

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        // P-4
        assert_eq!(group_of_living(b"12 (a) Z 1 2) S 1 77 77 0 -1"), Some(77));
        assert_eq!(group_of_living(b"12 (sh) Z 1 77 77 0 -1"), None);
        assert_eq!(group_of_living(b"12 (sh"), None);
    }

    #[test]
    fn a_group_is_empty_when_only_its_leader_is_left() {
        // P-4
        let sleep = |group| Command::new("sleep").arg("1000").process_group(group).spawn().unwrap();
        let mut leader = sleep(0);
        let group = Pid::from_child(&leader);
        assert_eq!(has_living_member(group), Some(false));
        let mut member = sleep(group.as_raw_nonzero().get());
        assert_eq!(has_living_member(group), Some(true));
        leader.kill().unwrap();
        leader.wait().unwrap();
        assert_eq!(has_living_member(group), Some(true));
        member.kill().unwrap();
        let ended = || has_living_member(group) == Some(false);
        assert!((0..10_000).any(|_| ended() || {
            std::thread::sleep(std::time::Duration::from_millis(1));
            false
        }));
        // A zombie is left.
        assert_eq!(rustix::process::test_kill_process_group(group), Ok(()));
        member.wait().unwrap();
        assert_eq!(has_living_member(group), Some(false));
    }
}
