//! What one OS process costs, with bare loops around the same system calls in the same run.
//!
//! `cargo bench --bench process`; a filter may follow (`-- launch`, `-- death`, `-- restart`, `-- fleet`). Linux only. A
//! harness of its own: single latencies between this program and others, which a loop around a closure does not fit.
//! What is compared takes turns, sample by sample; the child is a static program that answers lines, compiled when the
//! benchmark starts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        alloc::{GlobalAlloc, Layout, System},
        io::Write,
        os::{
            fd::{AsFd, OwnedFd},
            unix::process::CommandExt,
        },
        path::PathBuf,
        process::Stdio,
        sync::{
            Arc,
            atomic::{AtomicIsize, Ordering},
        },
        time::{Duration, Instant},
    };

    use procession::{
        process::{CgroupMode, Command, Hold, Launcher, OsLauncher, Process, Technique},
        protocol::Plugin,
        restart::{Backoff, RestartPolicy},
        supervision::{Root, RootOptions, SupervisorSpec},
        vocabulary::State,
        worker::{WorkerRef, WorkerSpec},
    };
    use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, waitid};
    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufReader, unix::AsyncFd},
        sync::mpsc,
    };

    const BOUND: Duration = Duration::from_secs(60);
    const LINE: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":null}\n";

    struct Counting;

    static LIVE: AtomicIsize = AtomicIsize::new(0);

    // SAFETY: everything is passed on to the system's allocator unchanged.
    #[allow(unsafe_code)]
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
            unsafe { System.alloc(layout) }
        }
        unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
            LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
            unsafe { System.dealloc(ptr, layout) }
        }
    }

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    // ---- the child ------------------------------------------------------------------------------------------------

    /// Answers each line that has a numeric id; ends with its stdin, or when it is told to. Without a C library: starting
    /// one takes longer than all that is measured here.
    const CHILD: &str = r#"
        #if defined(__x86_64__)
        static long call(long n, long a, const void *b, long c) {
            long r;
            __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
            return r;
        }
        enum { READ = 0, WRITE = 1, EXIT = 60 };
        #define START __attribute__((force_align_arg_pointer))
        #else
        static long call(long n, long a, const void *b, long c) {
            register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x2 __asm__("x2") = c;
            register const void *x1 __asm__("x1") = b;
            __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
            return x0;
        }
        enum { READ = 63, WRITE = 64, EXIT = 93 };
        #define START
        #endif
        static char in[8192], out[256];
        static const char *find(const char *text, const char *end, const char *what) {
            for (; text < end; text++) {
                const char *t = text, *w = what;
                while (t < end && *w && *t == *w) t++, w++;
                if (!*w) return t;
            }
            return 0;
        }
        static char *put(char *to, const char *text) {
            while (*text) *to++ = *text++;
            return to;
        }
        START void _start(void) {
            long have = 0;
            for (;;) {
                long got = call(READ, 0, in + have, sizeof in - have);
                if (got <= 0) break;
                have += got;
                char *line = in, *end = in;
                for (; end < in + have; end++) {
                    if (*end != '\n') continue;
                    const char *id = find(line, end, "\"id\":");
                    if (id) {
                        char *to = put(out, "{\"jsonrpc\":\"2.0\",\"id\":");
                        while (*id >= '0' && *id <= '9') *to++ = *id++;
                        to = put(to, find(line, end, "\"initialize\"")
                            ? ",\"result\":{\"ok\":true,\"supportedMethods\":[\"echo\"]}}\n"
                            : ",\"result\":1}\n");
                        call(WRITE, 1, out, to - out);
                    }
                    if (find(line, end, "\"shutdown\"")) call(EXIT, 0, 0, 0);
                    line = end + 1;
                }
                have = in + have - line;
                for (long i = 0; i < have; i++) in[i] = line[i];
            }
            call(EXIT, 0, 0, 0);
        }
    "#;

    struct Child(PathBuf);

    impl Child {
        fn compile() -> Child {
            let path = std::env::temp_dir().join(format!("procession-bench-child-{}", std::process::id()));
            let mut cc = std::process::Command::new("cc")
                .args([
                    "-O1",
                    "-static",
                    "-nostdlib",
                    "-ffreestanding",
                    "-fno-stack-protector",
                    "-fno-builtin",
                ])
                .args(["-x", "c", "-", "-o"])
                .arg(&path)
                .stdin(Stdio::piped())
                .spawn()
                .expect("a C compiler");
            cc.stdin.take().unwrap().write_all(CHILD.as_bytes()).unwrap();
            assert!(cc.wait().unwrap().success());
            Child(path)
        }

        fn command(&self) -> Command {
            Command::new(&self.0)
        }
    }

    impl Drop for Child {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    // ---- figures --------------------------------------------------------------------------------------------------

    fn quantile(samples: &mut [f64], q: f64) -> f64 {
        samples.sort_by(f64::total_cmp);
        samples[((samples.len() - 1) as f64 * q) as usize]
    }

    fn us(since: Instant) -> f64 {
        since.elapsed().as_secs_f64() * 1e6
    }

    fn report(name: &str, ours: &mut [f64], floor: (&str, &mut [f64]), target: f64) {
        let [p50, p99] = [quantile(ours, 0.5), quantile(ours, 0.99)];
        let [floor50, floor99] = [quantile(floor.1, 0.5), quantile(floor.1, 0.99)];
        println!(
            "{name:36} {p50:8.0} ({p99:7.0})  {:14} {floor50:8.0} ({floor99:7.0}) us   ratio {:5.2}  target <= {target}",
            floor.0,
            p50 / floor50,
        );
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    }

    /// Without control groups, which the loops do not have either, unless `--cgroups` is among the arguments.
    fn launcher() -> OsLauncher {
        let with = std::env::args().any(|arg| arg == "--cgroups");
        OsLauncher::builder().cgroup(if with { CgroupMode::WhenPossible } else { CgroupMode::Never }).build()
    }

    fn kill(pid: u32) {
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    }

    // ---- launch ---------------------------------------------------------------------------------------------------

    fn launch(child: &Child, mib: usize, rounds: usize) -> f64 {
        // Touched, page by page.
        let mut balloon = vec![0u8; mib << 20];
        balloon.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        let [mut ours, mut fallback, mut bare, mut tokio] = [const { Vec::new() }; 4];
        let posix = OsLauncher::builder().technique(Technique::PosixSpawn).build();
        let command = child.command();
        let one = async |launcher: &OsLauncher| {
            let began = Instant::now();
            let process = launcher.launch(&command, Hold::none()).await.unwrap();
            let took = us(began);
            process.control.reap(BOUND).await.unwrap();
            took
        };
        runtime().block_on(async {
            let launcher = launcher();
            for round in 0..rounds + 10 {
                let mut one_of_each = Vec::new();
                one_of_each.push(one(&launcher).await);
                one_of_each.push(one(&posix).await);
                let null = Stdio::null;
                let began = Instant::now();
                let mut spawned = std::process::Command::new(&child.0)
                    .process_group(0)
                    .env_clear()
                    .stdin(null())
                    .stdout(null())
                    .stderr(null())
                    .spawn()
                    .unwrap();
                one_of_each.push(us(began));
                spawned.wait().unwrap();
                let began = Instant::now();
                let mut spawned = tokio::process::Command::new(&child.0)
                    .process_group(0)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap();
                one_of_each.push(us(began));
                spawned.kill().await.unwrap();
                if round >= 10 {
                    for (all, one) in
                        [&mut ours, &mut fallback, &mut bare, &mut tokio].into_iter().zip(one_of_each)
                    {
                        all.push(one);
                    }
                }
            }
        });
        std::hint::black_box(&balloon);
        let name = |what: &str| format!("launch{what}, host of {mib} MiB");
        report(&name(""), &mut ours, ("posix_spawn", &mut bare), 1.3);
        report(&name(""), &mut ours, ("tokio process", &mut tokio), 1.3);
        report(&name(" (posix_spawn)"), &mut fallback, ("tokio process", &mut tokio), 1.3);
        quantile(&mut ours, 0.5)
    }

    // ---- death ----------------------------------------------------------------------------------------------------

    /// Tells when a process has ended, and which sample that was.
    type Deaths = mpsc::UnboundedSender<Instant>;

    async fn watched(launcher: &OsLauncher, command: &Command, deaths: &Deaths) -> u32 {
        let process = launcher.launch(command, Hold::none()).await.unwrap();
        let (pid, deaths) = (process.pid, deaths.clone());
        tokio::spawn(async move {
            let Process { control, stdin, .. } = process;
            control.exited().await;
            let _ = deaths.send(Instant::now());
            control.reap(BOUND).await.unwrap();
            drop(stdin);
        });
        pid
    }

    fn register(pid: Pid) -> AsyncFd<OwnedFd> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        // SAFETY: the value owns its descriptor.
        #[allow(unsafe_code)]
        unsafe { AsyncFd::register(pidfd) }.unwrap()
    }

    /// The floor: one task, one descriptor, one system call.
    fn watched_barely(child: &Child, deaths: &Deaths) -> u32 {
        let spawned = std::process::Command::new(&child.0).stdin(Stdio::piped()).spawn().unwrap();
        let (pid, deaths) = (spawned.id(), deaths.clone());
        let raw = Pid::from_raw(pid as i32).unwrap();
        tokio::spawn(async move {
            let pidfd = register(raw);
            let _ = pidfd.readable().await.unwrap();
            waitid(WaitId::PidFd(pidfd.get_ref().as_fd()), WaitIdOptions::EXITED).unwrap();
            let _ = deaths.send(Instant::now());
            drop(spawned);
        });
        pid
    }

    fn death(child: &Child, n: usize, rounds: usize) {
        let command = child.command();
        let launcher = launcher();
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for (samples, procession) in [(&mut bare, false), (&mut ours, true)] {
            runtime().block_on(async {
                let (deaths, mut died) = mpsc::unbounded_channel();
                let bear = async || match procession {
                    true => watched(&launcher, &command, &deaths).await,
                    false => watched_barely(child, &deaths),
                };
                let mut pids = Vec::new();
                for _ in 0..n {
                    pids.push(bear().await);
                }
                for round in 0..rounds {
                    let victim = round * 7 % n;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    let pid = pids[victim];
                    // From a thread that is no worker: the task has to be woken up.
                    let killed = tokio::task::spawn_blocking(move || {
                        let now = Instant::now();
                        kill(pid);
                        now
                    });
                    let at = died.recv().await.unwrap();
                    samples.push(at.duration_since(killed.await.unwrap()).as_secs_f64() * 1e6);
                    pids[victim] = bear().await;
                }
                for pid in pids {
                    kill(pid);
                    died.recv().await.unwrap();
                }
            });
        }
        report(&format!("death noticed, {n} children"), &mut ours, ("pidfd loop", &mut bare), 1.3);
    }

    // ---- restart --------------------------------------------------------------------------------------------------

    async fn tree(child: &Child, n: usize) -> (Root, Vec<WorkerRef>) {
        let at_once = RestartPolicy::permanent().with_backoff(Backoff::None).with_jitter(0.0);
        let mut spec = SupervisorSpec::one_for_one().intensity(u32::MAX, Duration::from_secs(1));
        let launcher = Arc::new(launcher());
        for i in 0..n {
            let worker =
                WorkerSpec::new(child.command()).protocol(Plugin::default()).restart(at_once.clone());
            let worker = worker.launcher(launcher.clone());
            spec = spec.child(worker.child(format!("w{i}")));
        }
        let root = Root::start(spec, RootOptions::default()).await.unwrap();
        let workers = (0..n).map(|i| WorkerRef::new(root.find(&format!("/w{i}")).unwrap())).collect();
        (root, workers)
    }

    /// A child of tokio's with the loop around it that everybody writes: wait, spawn, ask, tell.
    fn looped(
        child: &Child,
        up: mpsc::UnboundedSender<(usize, u32)>,
        i: usize,
    ) -> tokio::task::JoinHandle<()> {
        let program = child.0.clone();
        tokio::spawn(async move {
            loop {
                let mut spawned = tokio::process::Command::new(&program)
                    .process_group(0)
                    .kill_on_drop(true)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap();
                let (mut stdin, stdout) = (spawned.stdin.take().unwrap(), spawned.stdout.take().unwrap());
                stdin.write_all(LINE).await.unwrap();
                let mut lines = BufReader::new(stdout).lines();
                lines.next_line().await.unwrap().unwrap();
                let _ = up.send((i, spawned.id().unwrap()));
                spawned.wait().await.unwrap();
            }
        })
    }

    fn restart(child: &Child, n: usize, rounds: usize) {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        runtime().block_on(async {
            let (up, mut ups) = mpsc::unbounded_channel();
            let tasks: Vec<_> = (0..n).map(|i| looped(child, up.clone(), i)).collect();
            let mut pids = vec![0; n];
            for _ in 0..n {
                let (i, pid) = ups.recv().await.unwrap();
                pids[i] = pid;
            }
            for round in 0..rounds {
                tokio::time::sleep(Duration::from_millis(2)).await;
                let began = Instant::now();
                kill(pids[round * 7 % n]);
                let (i, pid) = ups.recv().await.unwrap();
                bare.push(us(began));
                pids[i] = pid;
            }
            tasks.iter().for_each(tokio::task::JoinHandle::abort);
        });
        runtime().block_on(async {
            let (root, workers) = tree(child, n).await;
            for round in 0..rounds {
                tokio::time::sleep(Duration::from_millis(2)).await;
                let worker = &workers[round * 7 % n];
                let (pid, before) = (worker.pid().unwrap(), worker.wait_ready(BOUND).await.unwrap());
                let place = worker.place();
                let began = Instant::now();
                kill(pid);
                place.wait_state(|state| *state == State::Ready && place.incarnation() > before).await;
                ours.push(us(began));
            }
            let _ = root.shutdown(BOUND).await;
        });
        report(&format!("restart, {n} children"), &mut ours, ("tokio loop", &mut bare), 1.3);
    }

    // ---- fleet ----------------------------------------------------------------------------------------------------

    fn fleet(child: &Child, n: usize) {
        runtime().block_on(async {
            // What is there only once.
            let (root, _) = tree(child, 4).await;
            let _ = root.shutdown(BOUND).await;
            let before = LIVE.load(Ordering::Relaxed);
            let (root, workers) = tree(child, n).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            let bytes = (LIVE.load(Ordering::Relaxed) - before) / n as isize;
            println!("memory of one idle worker of {n:<6}        {bytes:8} bytes                                             target <= 32768");
            let began = Instant::now();
            let nodes = root.snapshot().root.walk().count();
            println!("snapshot of {nodes:<6} nodes                 {:8.0} us", us(began));
            let began = Instant::now();
            let mut all = tokio::task::JoinSet::new();
            for worker in workers {
                all.spawn(async move { worker.stop().await.unwrap() });
            }
            while let Some(stopped) = all.join_next().await {
                stopped.unwrap();
            }
            let ours = began.elapsed().as_secs_f64() * 1e3;
            let _ = root.shutdown(BOUND).await;
            let (deaths, mut died) = mpsc::unbounded_channel();
            let mut pipes = Vec::new();
            for _ in 0..n {
                let mut spawned = std::process::Command::new(&child.0)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap();
                pipes.push(spawned.stdin.take());
                let pid = Pid::from_raw(spawned.id() as i32).unwrap();
                let pidfd = register(pid);
                let deaths = deaths.clone();
                tokio::spawn(async move {
                    let _ = pidfd.readable().await.unwrap();
                    waitid(WaitId::PidFd(pidfd.get_ref().as_fd()), WaitIdOptions::EXITED).unwrap();
                    let _ = deaths.send(());
                    drop(spawned);
                });
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            let began = Instant::now();
            drop(pipes);
            for _ in 0..n {
                died.recv().await.unwrap();
            }
            let bare = began.elapsed().as_secs_f64() * 1e3;
            println!("stop of {n} in parallel                {ours:8.0}            raw loop       {bare:8.0}           ms   ratio {:5.2}  target <= 2", ours / bare);
        });
    }

    pub(crate) fn main() {
        let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
        let wanted = |name: &str| filter.is_empty() || filter.iter().any(|f| name.contains(f.as_str()));
        let child = Arc::new(Child::compile());
        println!("p50 (p99)");
        if wanted("launch") {
            let small = launch(&child, 10, 400);
            launch(&child, 1024, 200);
            let large = launch(&child, 4096, 200);
            println!("launch, 4 GiB against 10 MiB{:>72} {:5.2}  target <= 1.3", "ratio", large / small);
        }
        if wanted("death") {
            for n in [1, 1000] {
                death(&child, n, 400);
            }
        }
        if wanted("restart") {
            for (n, rounds) in [(1, 400), (100, 400), (1000, 400)] {
                restart(&child, n, rounds);
            }
        }
        if wanted("fleet") {
            fleet(&child, 1000);
        }
    }
}
