//! G-15: a worker is replaced when its files have changed and stand still, also if they are replaced by
//! others of the same name.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use procession::{
    event::{EventKind, RecycleReason, StartReason},
    internals::{Root, RootOptions},
    process::Command,
    supervision::SupervisorSpec,
    worker::{FileWatch, WorkerRef, WorkerSpec},
};

const BOUND: Duration = Duration::from_secs(60);

/// A directory that is removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("procession-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn start(script: &PathBuf, watch: FileWatch) -> (Root, WorkerRef) {
    let worker = WorkerSpec::new(Command::new("sh").arg(script)).watch(watch);
    // No restart is allowed.
    let spec = SupervisorSpec::one_for_one().intensity(0, BOUND).child(worker.child("w"));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    (root, worker)
}

/// As `start`, with replacements that are swaps. The process does not need the files that are
/// watched, which may be missing just when one is launched.
async fn start_overlapping(watch: FileWatch) -> (Root, WorkerRef) {
    let worker = WorkerSpec::new(Command::new("sleep").arg("1000")).watch(watch);
    let spec = SupervisorSpec::one_for_one().intensity(0, BOUND).child(worker.child("w").overlap());
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    (root, worker)
}

/// Waits for an incarnation that is ready and has at least this number. The watch of an incarnation begins
/// a moment after it is ready, so the change is made again until it is seen.
async fn changes_until(worker: &WorkerRef, incarnation: u64, mut change: impl FnMut(u64)) {
    let reached = async {
        for n in 0.. {
            change(n);
            let reached = worker.node().wait_state(|_| worker.node().incarnation().0 >= incarnation);
            if tokio::time::timeout(Duration::from_secs(2), reached).await.is_ok() {
                break;
            }
        }
        worker.wait_ready(BOUND).await.unwrap();
    };
    tokio::time::timeout(BOUND, reached).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_written_or_replaced() {
    let dir = Dir::new("watch");
    let script = dir.write("worker.sh", "exec sleep 1000\n");
    let watch = FileWatch::new().without_program().path(&script).settle(Duration::from_millis(50));
    let (root, worker) = start(&script, watch).await;
    let mut events = root.events();
    // As long as it does not change, nothing happens, whatever happens beside it.
    dir.write("beside.sh", "x");
    assert_eq!(worker.node().incarnation().0, 1);
    changes_until(&worker, 2, |n| {
        dir.write("worker.sh", &format!("exec sleep 1001 # {n}\n"));
    })
    .await;
    let says_why = async {
        loop {
            let event = events.next().await.unwrap();
            if let EventKind::State { reason: Some(reason), .. } = &event.kind {
                break *reason;
            }
        }
    };
    let reason = tokio::time::timeout(BOUND, says_why).await.unwrap();
    assert_eq!(reason, StartReason::Recycle(RecycleReason::Files));
    let before = worker.node().incarnation().0;
    changes_until(&worker, before + 1, |n| {
        let new = dir.write("new.sh", &format!("exec sleep 1002 # replaced {n}\n"));
        fs::rename(new, &script).unwrap();
    })
    .await;
    let snapshot = worker.diagnostics();
    assert_eq!((snapshot.total_restarts, snapshot.total_failures), (0, 0));
    let _ = root.shutdown(BOUND).await;
}

#[tokio::test]
async fn a_directory_and_what_is_made_in_it() {
    let dir = Dir::new("watch-dir");
    let script = dir.write("worker.sh", "exec sleep 1000\n");
    let modules = Dir::new("watch-modules");
    let watch = FileWatch::new().without_program().path(&modules.0).settle(Duration::from_millis(50));
    modules.write("a.py", "1");
    let (root, worker) = start(&script, watch).await;
    changes_until(&worker, 2, |n| {
        modules.write("b.py", &n.to_string().repeat(n as usize + 1));
    })
    .await;
    let _ = root.shutdown(BOUND).await;
}

#[tokio::test]
async fn a_directory_that_is_removed_and_made_again() {
    // As builds do it that begin with an empty directory, or exchange it for another one.
    let dir = Dir::new("watch-again");
    let (dist, new, old) = (dir.0.join("dist"), dir.0.join("dist.new"), dir.0.join("dist.old"));
    fs::create_dir(&dist).unwrap();
    let script = dir.write("dist/worker.sh", "exec sleep 1000\n");
    let watch = FileWatch::new().without_program().path(&script).settle(Duration::from_millis(50));
    let (root, worker) = start_overlapping(watch).await;
    for reached in [2, 3] {
        changes_until(&worker, reached, |n| {
            fs::remove_dir_all(&dist).unwrap();
            std::thread::sleep(Duration::from_millis(100));
            fs::create_dir(&dist).unwrap();
            dir.write("dist/worker.sh", &format!("exec sleep 100{reached} # {n}\n"));
        })
        .await;
    }
    for reached in [4, 5] {
        let reached = reached.max(worker.node().incarnation().0 + 1);
        changes_until(&worker, reached, |n| {
            let _ = fs::remove_dir_all(&old);
            fs::create_dir(&new).unwrap();
            dir.write("dist.new/worker.sh", &format!("exec sleep 100{reached} # {n}\n"));
            fs::rename(&dist, &old).unwrap();
            fs::rename(&new, &dist).unwrap();
        })
        .await;
    }
    let _ = root.shutdown(BOUND).await;
}

#[tokio::test]
async fn a_link_that_leads_elsewhere() {
    // As deployments switch from one release to the next, and as mounted configurations are updated. The two
    // releases are alike in size and time.
    let dir = Dir::new("watch-link");
    let epoch = std::time::UNIX_EPOCH + Duration::from_secs(1);
    let mut releases = 0..;
    let mut release = || {
        let release = dir.0.join(format!("release-{}", releases.next().unwrap()));
        fs::create_dir(&release).unwrap();
        fs::write(release.join("worker.sh"), "exec sleep 1000\n").unwrap();
        fs::File::open(release.join("worker.sh")).unwrap().set_modified(epoch).unwrap();
        let link = dir.0.join("link");
        std::os::unix::fs::symlink(release, &link).unwrap();
        fs::rename(link, dir.0.join("current")).unwrap();
    };
    release();
    let script = dir.0.join("worker.sh");
    std::os::unix::fs::symlink("current/worker.sh", &script).unwrap();
    let watch = FileWatch::new().without_program().path(&script).settle(Duration::from_millis(50));
    let (root, worker) = start_overlapping(watch).await;
    // Its rights are no contents.
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(worker.node().incarnation().0, 1);
    changes_until(&worker, 2, |_| release()).await;
    let _ = root.shutdown(BOUND).await;
}

#[tokio::test]
async fn a_change_during_the_start_counts() {
    let dir = Dir::new("watch-start");
    // It is ready only after its file has changed.
    let script = dir.write("worker.sh", "sleep 0.5; echo up; exec sleep 1000\n");
    let watch = FileWatch::new().without_program().path(&script).settle(Duration::from_millis(50));
    let worker = WorkerSpec::new(Command::new("sh").arg(&script)).watch(watch);
    let spec = SupervisorSpec::one_for_one()
        .child(worker.protocol(procession::protocol::ReadyLine::new("up")).child("w").background());
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    while worker.pid().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let new = dir.write("new.sh", "echo up; exec sleep 1000 # new\n");
    fs::rename(new, &script).unwrap();
    let second = worker.node().wait_state(|_| worker.node().incarnation().0 >= 2);
    tokio::time::timeout(BOUND, second).await.unwrap();
    let _ = root.shutdown(BOUND).await;
}

/// The watcher's thread must not wait for a watch that begins, which waits for that thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_begin_and_end_while_files_change() {
    let dir = Dir::new("watch-busy");
    let busy = dir.write("busy", "");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (told, path) = (stop.clone(), busy.clone());
    let writer = std::thread::spawn(move || {
        while !told.load(std::sync::atomic::Ordering::Relaxed) {
            fs::write(&path, "x").unwrap();
        }
    });
    let other = Dir::new("watch-other");
    let mut spec = SupervisorSpec::one_for_one();
    for n in 0..2 {
        // Only the first one watches the directory that is busy.
        let watched = if n == 0 { busy.clone() } else { other.write("quiet", "") };
        let watch = FileWatch::new().without_program().path(watched).settle(BOUND);
        let worker = WorkerSpec::new(Command::new("sleep").arg("1000")).watch(watch);
        spec = spec.child(worker.child(format!("w{n}")));
    }
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w1").unwrap());
    let restarts = tokio::spawn(async move {
        for _ in 0..100 {
            worker.restart("again").await.unwrap();
        }
        let _ = root.shutdown(BOUND).await;
    });
    // A thread that is blocked would block the runtime's end as well.
    let began = std::time::Instant::now();
    while !restarts.is_finished() {
        if began.elapsed() > BOUND {
            eprintln!("a watch that begins waits for ever");
            std::process::abort();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    restarts.await.unwrap();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
}

#[test]
fn a_change_must_be_able_to_stand_still() {
    let watch = FileWatch::new().settle(Duration::ZERO);
    let mistakes = WorkerSpec::new(Command::new("sh")).watch(watch).validate().unwrap_err();
    assert!(mistakes.to_string().contains("settle"), "{mistakes}");
}
