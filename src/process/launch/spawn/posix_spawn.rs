//! Creates a process by `posix_spawn`, where nothing better is available.
//!
//! It is called directly rather than through [`std::process::Command`], which hands the caller's signal
//! mask and ignored signals on to the program: a host that blocks `SIGTERM` for a signalfd, or was started
//! by `nohup`, would have children that cannot be stopped (P-5). Resetting them in the calling thread
//! instead would expose the host to the very signals it blocks.

use std::{
    ffi::{CString, c_char, c_int},
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, OwnedFd},
    ptr,
};

use rustix::process::Pid;

use super::spawned_process::SpawnedProcess;
use crate::{containment::Containment, process::launch::exec_plan::ExecPlan};

/// Creates a process that leads its own session (its own group where the C library cannot do more), with
/// `stdio` as its only descriptors, an empty signal mask and every signal's default action. Blocks until
/// the program has been executed or could not be.
///
/// Never forks: the system's implementation shares the address space, so the cost does not depend on its
/// size.
///
/// # Errors
/// The system's error for changing the directory, executing the program or creating the process. In each
/// case no process is left.
pub(super) fn spawn(plan: &ExecPlan, stdio: &[OwnedFd; 3]) -> io::Result<SpawnedProcess> {
    let argv = pointers(&plan.argv);
    let envp = pointers(&plan.envp);
    let mut actions = Actions::new()?;
    for (fd, target) in stdio.iter().zip(0..) {
        actions.dup2(fd, target)?;
    }
    actions.close_others()?;
    if let Some(cwd) = &plan.cwd {
        actions.chdir(cwd)?;
    }
    let attributes = Attributes::new()?;
    let mut pid: libc::pid_t = 0;
    // SAFETY: the path and every element of the two arrays are NUL-terminated strings that `plan` owns, the
    // arrays end with a null pointer, actions and attributes are initialised, and all of them outlive the
    // call. The strings are declared mutable for historical reasons; they are not written to (POSIX,
    // rationale of `exec`).
    #[allow(unsafe_code)]
    let error = unsafe {
        libc::posix_spawn(
            &mut pid,
            plan.path.as_ptr(),
            &actions.0,
            &attributes.inner,
            argv.as_ptr().cast::<*mut c_char>(),
            envp.as_ptr().cast::<*mut c_char>(),
        )
    };
    check(error)?;
    let pid = Pid::from_raw(pid);
    let pid = pid.ok_or_else(|| io::Error::other("the system created a process without an id"))?;
    let containment = Containment { session: attributes.session, ..Containment::default() };
    Ok(SpawnedProcess { pid, pidfd: None, containment })
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// These functions return their error instead of setting `errno`.
fn check(error: c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// What the new process does before it executes the program.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Actions> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the function initialises what it is given, unless it returns an error.
        #[allow(unsafe_code)]
        unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            Ok(Actions(actions.assume_init()))
        }
    }

    fn dup2(&mut self, fd: &OwnedFd, target: c_int) -> io::Result<()> {
        // SAFETY: the actions are initialised; the function only notes the two numbers.
        #[allow(unsafe_code)]
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&mut self.0, fd.as_raw_fd(), target) })
    }

    /// Closes the descriptors that the host has open now: it may have inherited some that are not
    /// close-on-exec. Those that another thread opens from here on must be close-on-exec, as all that Rust
    /// opens are.
    ///
    /// # Errors
    /// No descriptor is left to read the list with. Then there is none to launch with either.
    #[cfg(target_os = "linux")]
    fn close_others(&mut self) -> io::Result<()> {
        use rustix::io::Errno;
        let open = match std::fs::read_dir("/proc/self/fd") {
            Ok(open) => open,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::MFILE) => return Err(error),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NFILE) => return Err(error),
            // No process table here.
            Err(_) => return Ok(()),
        };
        let numbers = open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<c_int>().ok());
        for fd in numbers.filter(|fd| *fd > 2) {
            // Refused only for numbers above the limit on open files. In the process, closing a number that
            // is no longer in use is no error. SAFETY: the actions are initialised; the function only notes
            // the number.
            #[allow(unsafe_code)]
            let _ = unsafe { libc::posix_spawn_file_actions_addclose(&mut self.0, fd) };
        }
        Ok(())
    }

    /// On Apple systems an attribute does it.
    #[cfg(target_vendor = "apple")]
    fn close_others(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn chdir(&mut self, directory: &CString) -> io::Result<()> {
        // SAFETY: the actions are initialised, the string is NUL-terminated, and the function copies it.
        #[allow(unsafe_code)]
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(&mut self.0, directory.as_ptr()) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and destroyed nowhere else.
        #[allow(unsafe_code)]
        unsafe {
            libc::posix_spawn_file_actions_destroy(&mut self.0);
        }
    }
}

/// The attributes of the new process: its group or session, and its signals.
struct Attributes {
    inner: libc::posix_spawnattr_t,
    session: bool,
}

/// C libraries that are older than this flag refuse it.
#[cfg(target_os = "linux")]
const SESSION: Option<libc::c_short> = Some(libc::POSIX_SPAWN_SETSID);
#[cfg(not(target_os = "linux"))]
const SESSION: Option<libc::c_short> = None;

impl Attributes {
    fn new() -> io::Result<Attributes> {
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        #[cfg(target_vendor = "apple")]
        let flags = flags | libc::POSIX_SPAWN_CLOEXEC_DEFAULT;
        let mut attributes = MaybeUninit::uninit();
        let mut none = MaybeUninit::uninit();
        let mut all = MaybeUninit::uninit();
        // SAFETY: the functions initialise what they are given: the attributes unless an error is returned,
        // the sets always. Everything that is read has been initialised before.
        #[allow(unsafe_code)]
        unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            let mut attributes = Attributes { inner: attributes.assume_init(), session: false };
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigfillset(all.as_mut_ptr());
            // The action of these two cannot be set, and some systems refuse to try.
            libc::sigdelset(all.as_mut_ptr(), libc::SIGKILL);
            libc::sigdelset(all.as_mut_ptr(), libc::SIGSTOP);
            check(libc::posix_spawnattr_setpgroup(&mut attributes.inner, 0))?;
            check(libc::posix_spawnattr_setsigmask(&mut attributes.inner, none.as_ptr()))?;
            check(libc::posix_spawnattr_setsigdefault(&mut attributes.inner, all.as_ptr()))?;
            // The constants are small; their type differs between systems.
            let mut set = |more| libc::posix_spawnattr_setflags(&mut attributes.inner, (flags | more) as _);
            let session = SESSION.is_some_and(|session| set(session.into()) == 0);
            if !session {
                check(set(libc::POSIX_SPAWN_SETPGROUP))?;
            }
            attributes.session = session;
            Ok(attributes)
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and destroyed nowhere else.
        #[allow(unsafe_code)]
        unsafe {
            libc::posix_spawnattr_destroy(&mut self.inner);
        }
    }
}
