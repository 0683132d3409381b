//! Replaces a worker when its files have changed (rule G-15): [`FileWatch`].
//!
//! All watches of a program share one watcher of the operating system, and so one thread. Files are watched
//! through their directories, since an editor, a compiler or a package manager replaces a file by another
//! one of the same name. Some changes come without an event: of what a symbolic link leads to, of directories
//! that are made again or exchanged, in network file systems, and where the system has no watch left. So the
//! files are also looked at every five seconds.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::{
    event::{RecycleReason, StartReason},
    log_event_macro::log_event,
    process::Command,
    supervision::StartContext,
};

/// How often files are looked at, whether there are events or not.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Which files are watched, and when a change of them counts. Most changes are seen at once; those that the
/// system does not tell, such as that a link leads elsewhere, within five seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct FileWatch {
    paths: Vec<PathBuf>,
    program: bool,
    settle: Duration,
}

impl Default for FileWatch {
    fn default() -> FileWatch {
        FileWatch::new()
    }
}

impl FileWatch {
    /// The program of the command, as it is looked up at the launch.
    pub fn new() -> FileWatch {
        FileWatch { paths: Vec::new(), program: true, settle: Duration::from_millis(300) }
    }

    /// Watches this file too, or, if it is a directory, the files directly in it. A relative path begins at
    /// the working directory of the host.
    pub fn path(mut self, path: impl Into<PathBuf>) -> FileWatch {
        self.paths.push(path.into());
        self
    }

    /// Does not watch the program: for scripts, whose program is their interpreter.
    pub fn without_program(mut self) -> FileWatch {
        self.program = false;
        self
    }

    /// How long sizes and times must have stood still until a change counts; 300 ms by default. A compiler
    /// or a copy that writes slowly needs more.
    pub fn settle(mut self, settle: Duration) -> FileWatch {
        self.settle = settle;
        self
    }

    pub(crate) fn settle_is_zero(&self) -> bool {
        self.settle.is_zero()
    }
}

/// The files of one incarnation, as they were before it was launched: what changes while it starts counts
/// too.
pub(super) struct KnownFiles {
    paths: Vec<PathBuf>,
    fingerprints: Vec<FileFingerprints>,
}

impl KnownFiles {
    pub(super) fn before_launch(watch: Option<&FileWatch>, command: &Command) -> Option<Box<KnownFiles>> {
        let watch = watch?;
        let program = watch.program.then(|| crate::process::program_of(command)).flatten();
        let paths = watch.paths.iter().cloned().chain(program);
        let paths: Vec<PathBuf> = paths.filter_map(|path| std::path::absolute(path).ok()).collect();
        let fingerprints = fingerprints_of(&paths);
        Some(Box::new(KnownFiles { paths, fingerprints }))
    }
}

/// Asks for a replacement whenever the files have changed. Never returns; ends with the incarnation.
pub(super) async fn replace_when_changed(
    watch: Option<&FileWatch>,
    known: Option<Box<KnownFiles>>,
    cx: &StartContext,
) {
    let (Some(watch), Some(known)) = (watch, known) else { return std::future::pending().await };
    let KnownFiles { paths, fingerprints: mut known } = *known;
    let (subscription, failures) = PathSubscription::new(&paths);
    for failure in failures {
        let (path, seconds) = (cx.node.path(), LOOK_INTERVAL.as_secs());
        log_event!(
            warn,
            path,
            cx.incarnation,
            "its files are not watched, and only looked at every {seconds} s: {failure}"
        );
    }
    loop {
        // What changes from now on wakes the subscription.
        let mut now = fingerprints_of(&paths);
        if now == known {
            subscription.changed().await;
            now = fingerprints_of(&paths);
        }
        loop {
            tokio::time::sleep(watch.settle).await;
            let later = fingerprints_of(&paths);
            if later == now && later.iter().all(|fingerprints| !fingerprints.files.is_empty()) {
                break;
            }
            if later == now {
                // A file is missing: it is being replaced, and its return is the next event.
                subscription.changed().await;
            }
            now = fingerprints_of(&paths);
        }
        if now == known {
            continue;
        }
        known = now;
        log_event!(info, cx.node.path(), cx.incarnation, "is replaced: its files have changed");
        if let Err(error) = cx.node.recycle(StartReason::Recycle(RecycleReason::Files)).await {
            log_event!(warn, cx.node.path(), cx.incarnation, "could not be replaced: {error}");
        }
    }
}

/// What a path looks like: its file, or the files directly in it; none if it is missing.
#[derive(Debug, PartialEq, Eq)]
struct FileFingerprints {
    files: Vec<FileFingerprint>,
}

#[derive(Debug)]
struct FileFingerprint {
    path: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
    inode: (u64, u64),
    inode_changed: (i64, i64),
}

impl PartialEq for FileFingerprint {
    /// Another file may have the same size and time, if it was copied or unpacked with them. It is another
    /// one only if its inode has another time too, since some file systems renumber the inodes of files that
    /// stay.
    fn eq(&self, other: &FileFingerprint) -> bool {
        (&self.path, self.bytes, self.modified) == (&other.path, other.bytes, other.modified)
            && (self.inode == other.inode || self.inode_changed == other.inode_changed)
    }
}

impl Eq for FileFingerprint {}

fn fingerprints_of(paths: &[PathBuf]) -> Vec<FileFingerprints> {
    paths.iter().map(|path| fingerprints_at(path)).collect()
}

fn fingerprints_at(path: &Path) -> FileFingerprints {
    /// More files than this of one directory are not looked at.
    const MAX_FILES: usize = 10_000;
    let file = |path: PathBuf| {
        let metadata = fs::metadata(&path).ok()?;
        metadata.is_file().then(|| FileFingerprint {
            path,
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            inode: (metadata.dev(), metadata.ino()),
            inode_changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    let mut files: Vec<_> = match fs::read_dir(path) {
        Ok(entries) => {
            entries.take(MAX_FILES).filter_map(Result::ok).filter_map(|entry| file(entry.path())).collect()
        }
        Err(_) => file(path.to_owned()).into_iter().collect(),
    };
    files.sort_by(|one, other| one.path.cmp(&other.path));
    FileFingerprints { files }
}

/// Woken whenever something happens to one of its paths. Its drop ends the watch.
struct PathSubscription {
    shared: Arc<PathSubscriptionInner>,
    directories: Vec<PathBuf>,
}

struct PathSubscriptionInner {
    paths: Vec<PathBuf>,
    woken: Notify,
}

/// The watcher of this program.
#[derive(Default)]
struct SharedFileWatcher {
    watcher: Option<RecommendedWatcher>,
    /// How many subscriptions each directory has.
    directories: HashMap<PathBuf, usize>,
}

fn shared_watcher() -> std::sync::MutexGuard<'static, SharedFileWatcher> {
    static SHARED: OnceLock<Mutex<SharedFileWatcher>> = OnceLock::new();
    SHARED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the watcher's thread wakes. It has a lock of its own: the shared watcher is locked while
/// the watcher is asked to watch a directory, and the watcher answers on that thread.
fn subscriptions() -> std::sync::MutexGuard<'static, Vec<Weak<PathSubscriptionInner>>> {
    static SUBSCRIPTIONS: Mutex<Vec<Weak<PathSubscriptionInner>>> = Mutex::new(Vec::new());
    SUBSCRIPTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PathSubscription {
    /// Also says which directories cannot be watched.
    fn new(paths: &[PathBuf]) -> (PathSubscription, Vec<String>) {
        let directory = |path: &PathBuf| match path.is_dir() {
            true => Some(path.clone()),
            false => path.parent().map(Path::to_owned),
        };
        let mut directories: Vec<PathBuf> = paths.iter().filter_map(directory).collect();
        directories.sort();
        directories.dedup();
        let shared = Arc::new(PathSubscriptionInner { paths: paths.to_vec(), woken: Notify::new() });
        let mut subscription = PathSubscription { shared: shared.clone(), directories: Vec::new() };
        let mut failures = Vec::new();
        subscriptions().push(Arc::downgrade(&shared));
        let mut shared = shared_watcher();
        for directory in directories {
            match shared.add(&directory) {
                Ok(()) => subscription.directories.push(directory),
                Err(error) => failures.push(format!("`{}`: {error}", directory.display())),
            }
        }
        (subscription, failures)
    }

    /// Returns when it is time to look.
    async fn changed(&self) {
        let _ = tokio::time::timeout(LOOK_INTERVAL, self.shared.woken.notified()).await;
    }
}

impl Drop for PathSubscription {
    fn drop(&mut self) {
        let mine = Arc::downgrade(&self.shared);
        subscriptions().retain(|subscription| !subscription.ptr_eq(&mine));
        let mut shared = shared_watcher();
        for directory in &self.directories {
            shared.remove(directory);
        }
    }
}

impl SharedFileWatcher {
    fn add(&mut self, directory: &Path) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            None => self.watcher.insert(notify::recommended_watcher(told)?),
        };
        // Also if it is watched: there may be another directory of that name now.
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        *self.directories.entry(directory.to_owned()).or_default() += 1;
        Ok(())
    }

    fn remove(&mut self, directory: &Path) {
        let Some(count) = self.directories.get_mut(directory) else { return };
        *count -= 1;
        if *count == 0 {
            self.directories.remove(directory);
            if let Some(watcher) = &mut self.watcher {
                // It fails if the directory is gone, which ends its watch as well.
                let _ = watcher.unwatch(directory);
            }
        }
    }
}

/// Something has happened; called on the watcher's thread.
fn told(event: notify::Result<notify::Event>) {
    let subscribed: Vec<_> = subscriptions().iter().filter_map(Weak::upgrade).collect();
    for subscription in subscribed {
        let concerns = match &event {
            Ok(event) if event.need_rescan() => true,
            Ok(event) if event.kind.is_access() => false,
            Ok(event) => event.paths.iter().any(|path| {
                subscription.paths.iter().any(|watched| {
                    path == watched || path.parent() == Some(watched) || watched.parent() == Some(path)
                })
            }),
            // Something was lost: look.
            Err(_) => true,
        };
        if concerns {
            subscription.woken.notify_one();
        }
    }
}
