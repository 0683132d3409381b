//! [`CgroupWalk`]: a visit to a group and to all groups below it, however deep and however many.
//!
//! A process may make any number of groups in its own. So the walk neither recurses nor keeps a directory
//! open for each level (it goes up by `..`, and groups cannot be moved). No path gets longer than a name,
//! each directory is read once, and the walk can be interrupted at any moment. For each level it remembers
//! a name and a number.

use std::{ffi::CString, mem::MaybeUninit, sync::Arc, time::Instant};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    ffi::CStr,
    fs::{self, FileType, RawDir, SeekFrom},
    io::{self, Errno},
};

use super::files;

/// What a walk does in each group.
pub(super) trait CgroupVisitor {
    /// Called in a group before those below it. Returns whether it is finished there. If not, because the
    /// time is over, it is called again.
    fn enter(&mut self, _group: BorrowedFd<'_>, _until: Instant) -> bool {
        true
    }

    /// Whether to visit the group of that name.
    fn descends_into(&mut self, above: BorrowedFd<'_>, name: &CStr) -> bool;

    /// Called after the group of that name has been visited.
    fn leave(&mut self, _above: BorrowedFd<'_>, _name: &CStr) {}
}

/// A walk that continues where it was interrupted. It holds one descriptor of its own, for short moments two.
#[derive(Debug)]
pub(super) struct CgroupWalk {
    at: Arc<OwnedFd>,
    name: CString,
    current: Option<OwnedFd>,
    /// The groups from the top to the current one: the name of each, and the position at which reading of
    /// its parent directory continues.
    ancestors: Vec<(CString, u64)>,
    /// The position at which reading of the current directory continues; `None` if it has not been entered.
    position: Option<u64>,
}

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalkProgress {
    /// The time was over. The next call continues.
    Interrupted,
    /// Every group that could be visited has been.
    Over,
}

/// What was found next in a directory.
enum CgroupWalkStep {
    /// A group to visit, and the position at which to continue after it.
    Group(CString, u64),
    /// The time is over; the position at which to continue.
    Interruption(u64),
    End,
}

impl CgroupWalk {
    /// A walk through the group of that name in a directory.
    pub(super) fn new(at: Arc<OwnedFd>, name: CString) -> CgroupWalk {
        CgroupWalk { at, name, current: None, ancestors: Vec::new(), position: None }
    }

    /// Walks until all groups are visited or the time is over. Makes at least one step.
    pub(super) fn run_until(&mut self, visitor: &mut impl CgroupVisitor, until: Instant) -> WalkProgress {
        loop {
            match self.step(visitor, until) {
                Ok(None) if Instant::now() >= until => return WalkProgress::Interrupted,
                Ok(None) => {}
                Ok(Some(progress)) => return progress,
                // No descriptor is left, or groups were removed meanwhile: the walk cannot go further.
                Err(_) => {
                    self.current = None;
                    return WalkProgress::Over;
                }
            }
        }
    }

    fn step(&mut self, visitor: &mut impl CgroupVisitor, until: Instant) -> io::Result<Option<WalkProgress>> {
        let Some(here) = &self.current else {
            if !visitor.descends_into(self.at.as_fd(), &self.name) {
                return Ok(Some(WalkProgress::Over));
            }
            self.current = Some(files::open_group(&self.at, &self.name)?);
            return Ok(None);
        };
        let position = match self.position {
            Some(position) => position,
            None if visitor.enter(here.as_fd(), until) => 0,
            None => return Ok(Some(WalkProgress::Interrupted)),
        };
        match next_group(here, position, visitor, until)? {
            CgroupWalkStep::Group(name, position) => match files::open_group(here, &name) {
                Ok(below) => {
                    self.current = Some(below);
                    self.ancestors.push((name, position));
                    self.position = None;
                }
                Err(error @ (Errno::MFILE | Errno::NFILE)) => return Err(error),
                // It has been removed, or may not be entered.
                Err(_) => self.position = Some(position),
            },
            CgroupWalkStep::Interruption(position) => {
                self.position = Some(position);
                return Ok(Some(WalkProgress::Interrupted));
            }
            CgroupWalkStep::End => {
                let Some((name, position)) = self.ancestors.pop() else {
                    self.current = None;
                    visitor.leave(self.at.as_fd(), &self.name);
                    return Ok(Some(WalkProgress::Over));
                };
                let above = files::open_group(here, c"..")?;
                visitor.leave(above.as_fd(), &name);
                self.current = Some(above);
                self.position = Some(position);
            }
        }
        Ok(None)
    }
}

/// The next group to visit.
fn next_group(
    here: &OwnedFd,
    position: u64,
    visitor: &mut impl CgroupVisitor,
    until: Instant,
) -> io::Result<CgroupWalkStep> {
    // Few entries at a time: after each visit of a group below, the rest is read again.
    let mut buffer = [MaybeUninit::uninit(); 1024];
    fs::seek(here, SeekFrom::Start(position))?;
    let mut entries = RawDir::new(here, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // The directory itself has been removed.
            Err(Errno::NOENT) => break,
            Err(error) => return Err(error),
        };
        let name = entry.file_name();
        if entry.file_type() != FileType::Directory || name == c"." || name == c".." {
            continue;
        }
        let position = entry.next_entry_cookie();
        if visitor.descends_into(here.as_fd(), name) {
            return Ok(CgroupWalkStep::Group(name.to_owned(), position));
        }
        if Instant::now() >= until {
            return Ok(CgroupWalkStep::Interruption(position));
        }
    }
    Ok(CgroupWalkStep::End)
}

/// Calls `act` with the name of every group in a directory.
pub(super) fn each_group(directory: &OwnedFd, mut act: impl FnMut(&CStr)) {
    struct Names<'a>(&'a mut dyn FnMut(&CStr));
    impl CgroupVisitor for Names<'_> {
        fn descends_into(&mut self, _: BorrowedFd<'_>, name: &CStr) -> bool {
            (self.0)(name);
            false
        }
    }
    let never = Instant::now() + std::time::Duration::from_secs(3600);
    let _ = next_group(directory, 0, &mut Names(&mut act), never);
}
