//! [`CgroupWalk`]: a visit to a group and to all groups below it, however deep and however many.
//!
//! Processes make groups in their own as they like. So this neither recurses nor keeps a directory open for each level
//! (it goes up by `..`, and groups cannot be moved), no path gets longer than a name, each directory is read once, and
//! the visit can be interrupted at any moment. For each level it remembers a name and a number.

use std::{ffi::CString, mem::MaybeUninit, sync::Arc, time::Instant};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    ffi::CStr,
    fs::{self, FileType, RawDir, SeekFrom},
    io::{self, Errno},
};

use super::files;

/// What is done on the way.
pub(super) trait CgroupVisitor {
    /// In a group, before those below it. Whether it is done there; if not it is called again, since time is over.
    fn enter(&mut self, _group: BorrowedFd<'_>, _until: Instant) -> bool {
        true
    }

    /// Whether to go down to the group of that name.
    fn goes_down(&mut self, above: BorrowedFd<'_>, name: &CStr) -> bool;

    /// Back from the group of that name.
    fn leave(&mut self, _above: BorrowedFd<'_>, _name: &CStr) {}
}

/// A walk that goes on where it was interrupted. It holds one descriptor of its own, two for a moment.
#[derive(Debug)]
pub(super) struct CgroupWalk {
    at: Arc<OwnedFd>,
    name: CString,
    here: Option<OwnedFd>,
    /// From the top to where it is: the name of each group that was gone down to, and where the directory that it is
    /// in is to be read on.
    way: Vec<(CString, u64)>,
    /// Where this directory is to be read on; none if it has not been entered.
    position: Option<u64>,
}

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalkProgress {
    /// Interrupted; it goes on at the next call.
    Interrupted,
    /// Everything has been visited that could be.
    Over,
}

/// What has been found in a directory.
enum FoundEntry {
    /// A group to go down to, and where to read on after that.
    Group(CString, u64),
    /// Time is over; where to read on.
    Interruption(u64),
    End,
}

impl CgroupWalk {
    /// Of the group of that name, in a directory.
    pub(super) fn new(at: Arc<OwnedFd>, name: CString) -> CgroupWalk {
        CgroupWalk { at, name, here: None, way: Vec::new(), position: None }
    }

    /// Walks until it is over or the time is; at least one step.
    pub(super) fn go(&mut self, visit: &mut impl CgroupVisitor, until: Instant) -> WalkProgress {
        loop {
            match self.step(visit, until) {
                Ok(None) if Instant::now() >= until => return WalkProgress::Interrupted,
                Ok(None) => {}
                Ok(Some(progress)) => return progress,
                // No descriptors, or groups have vanished on the way: as far as could be.
                Err(_) => {
                    self.here = None;
                    return WalkProgress::Over;
                }
            }
        }
    }

    fn step(&mut self, visit: &mut impl CgroupVisitor, until: Instant) -> io::Result<Option<WalkProgress>> {
        let Some(here) = &self.here else {
            if !visit.goes_down(self.at.as_fd(), &self.name) {
                return Ok(Some(WalkProgress::Over));
            }
            self.here = Some(files::open_group(&self.at, &self.name)?);
            return Ok(None);
        };
        let position = match self.position {
            Some(position) => position,
            None if visit.enter(here.as_fd(), until) => 0,
            None => return Ok(Some(WalkProgress::Interrupted)),
        };
        match look_for_group(here, position, visit, until)? {
            FoundEntry::Group(name, position) => match files::open_group(here, &name) {
                Ok(below) => {
                    self.here = Some(below);
                    self.way.push((name, position));
                    self.position = None;
                }
                Err(error @ (Errno::MFILE | Errno::NFILE)) => return Err(error),
                // It is gone, or may not be entered.
                Err(_) => self.position = Some(position),
            },
            FoundEntry::Interruption(position) => {
                self.position = Some(position);
                return Ok(Some(WalkProgress::Interrupted));
            }
            FoundEntry::End => {
                let Some((name, position)) = self.way.pop() else {
                    self.here = None;
                    visit.leave(self.at.as_fd(), &self.name);
                    return Ok(Some(WalkProgress::Over));
                };
                let above = files::open_group(here, c"..")?;
                visit.leave(above.as_fd(), &name);
                self.here = Some(above);
                self.position = Some(position);
            }
        }
        Ok(None)
    }
}

/// The next group that is to be gone down to.
fn look_for_group(
    here: &OwnedFd,
    position: u64,
    visit: &mut impl CgroupVisitor,
    until: Instant,
) -> io::Result<FoundEntry> {
    // Few entries at a time: after each way down and up the rest is read again.
    let mut buffer = [MaybeUninit::uninit(); 1024];
    fs::seek(here, SeekFrom::Start(position))?;
    let mut entries = RawDir::new(here, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // The directory itself is gone.
            Err(Errno::NOENT) => break,
            Err(error) => return Err(error),
        };
        let name = entry.file_name();
        if entry.file_type() != FileType::Directory || name == c"." || name == c".." {
            continue;
        }
        let position = entry.next_entry_cookie();
        if visit.goes_down(here.as_fd(), name) {
            return Ok(FoundEntry::Group(name.to_owned(), position));
        }
        if Instant::now() >= until {
            return Ok(FoundEntry::Interruption(position));
        }
    }
    Ok(FoundEntry::End)
}

/// Calls `each` with the name of every group in a directory.
pub(super) fn each_group(directory: &OwnedFd, mut each: impl FnMut(&CStr)) {
    struct Names<'a>(&'a mut dyn FnMut(&CStr));
    impl CgroupVisitor for Names<'_> {
        fn goes_down(&mut self, _: BorrowedFd<'_>, name: &CStr) -> bool {
            (self.0)(name);
            false
        }
    }
    let never = Instant::now() + std::time::Duration::from_secs(3600);
    let _ = look_for_group(directory, 0, &mut Names(&mut each), never);
}
