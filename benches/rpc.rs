//! What a call costs, with a raw loop over the same sockets and the same child in the same run.
//!
//! `cargo bench --bench rpc`; a filter may follow (`-- 100B`, `-- death`). The child is this program itself:
//! it echoes, batched, with blocking reads and writes. The floor is one task that keeps as many requests
//! under way, writes JSON lines from one buffer, reads into another and parses what a caller must parse: the
//! envelope with a raw result, and the result's text. Beside it, for small calls, what one writes by hand: a
//! task per direction, a queue, a table and a oneshot per call. Rounds of all alternate; figures are medians
//! over rounds, ratios are of medians of the same run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::{
    collections::HashMap,
    future::poll_fn,
    io::{BufRead, BufReader, BufWriter, Write},
    os::fd::OwnedFd,
    pin::Pin,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use procession::internals::{Root, RootOptions};
use procession::{
    process::Command,
    protocol::Plugin,
    rpc::Method,
    supervision::SupervisorSpec,
    worker::{WorkerRef, WorkerSpec},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::UnixStream,
    sync::{mpsc, oneshot},
};

/// One round of one cell.
const ROUND: Duration = Duration::from_millis(150);
const ROUNDS: usize = 9;

struct Echo;
impl Method for Echo {
    const NAME: &'static str = "echo";
    type Params = String;
    type Output = String;
}

struct Hang;
impl Method for Hang {
    const NAME: &'static str = "hang";
    type Params = ();
    type Output = ();
}

// ---- the child ----------------------------------------------------------------------------------

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    method: &'a str,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

#[derive(Serialize, Deserialize)]
struct Response<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    result: &'a RawValue,
}

fn child() {
    const HELLO: &str = r#"{"ok":true,"supportedMethods":["echo","hang"]}"#;
    let hello: Box<RawValue> = RawValue::from_string(HELLO.to_owned()).unwrap();
    let mut input = BufReader::with_capacity(64 * 1024, own(0));
    let mut output = BufWriter::with_capacity(64 * 1024, own(1));
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).unwrap() == 0 {
            return;
        }
        let request: Request<'_> = serde_json::from_slice(&line).unwrap();
        let result = match request.method {
            "initialize" => &*hello,
            "hang" => continue,
            _ => request.params.unwrap_or(RawValue::NULL),
        };
        let response = Response { jsonrpc: "2.0", id: request.id, result };
        serde_json::to_writer(&mut output, &response).unwrap();
        output.write_all(b"\n").unwrap();
        if memchr::memchr(b'\n', input.buffer()).is_none() {
            output.flush().unwrap();
        }
        if request.method == "shutdown" {
            return;
        }
    }
}

/// Descriptor 0 or 1 without a buffer of the standard library around it.
fn own(fd: i32) -> std::fs::File {
    use std::os::fd::AsFd;
    let fd: OwnedFd = match fd {
        0 => std::io::stdin().as_fd().try_clone_to_owned().unwrap(),
        _ => std::io::stdout().as_fd().try_clone_to_owned().unwrap(),
    };
    fd.into()
}

// ---- where they run -----------------------------------------------------------------------------

#[derive(Clone, Copy, Debug)]
enum Cores {
    One,
    Two,
    Free,
}

impl Cores {
    fn name(self) -> &'static str {
        match self {
            Cores::One => "one core",
            Cores::Two => "two cores",
            Cores::Free => "unpinned",
        }
    }

    /// Pins the calling thread, or frees it. A child launched after this inherits it.
    fn pin(core: Option<usize>) {
        // SAFETY: the set is plain memory that the call reads; 0 is the calling thread.
        #[allow(unsafe_code)]
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            match core {
                Some(core) => libc::CPU_SET(core, &mut set),
                None => (0..64).for_each(|core| libc::CPU_SET(core, &mut set)),
            }
            assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set), 0);
        }
    }

    fn of_host(self) -> Option<usize> {
        (!matches!(self, Cores::Free)).then_some(0)
    }

    fn of_child(self) -> &'static str {
        match self {
            Cores::One => "0",
            Cores::Two => "1",
            Cores::Free => "free",
        }
    }
}

// ---- the floor: one task, two buffers -----------------------------------------------------------

struct Raw {
    child: Child,
    stdin: UnixStream,
    stdout: UnixStream,
    next: u64,
    out: Vec<u8>,
    input: Vec<u8>,
    filled: usize,
}

#[derive(Serialize)]
struct Call<'a> {
    jsonrpc: &'a str,
    id: u64,
    method: &'a str,
    params: &'a String,
}

#[derive(Deserialize)]
struct Answer<'a> {
    id: u64,
    #[serde(borrow)]
    result: &'a RawValue,
}

fn write_call(out: &mut Vec<u8>, id: u64, payload: &String) {
    let call = Call { jsonrpc: "2.0", id, method: "echo", params: payload };
    serde_json::to_writer(&mut *out, &call).unwrap();
    out.push(b'\n');
}

/// The child, its stdin and its stdout.
fn launch(cores: Cores) -> (Child, UnixStream, UnixStream) {
    let (stdin, theirs_in) = std::os::unix::net::UnixStream::pair().unwrap();
    let (stdout, theirs_out) = std::os::unix::net::UnixStream::pair().unwrap();
    stdin.set_nonblocking(true).unwrap();
    stdout.set_nonblocking(true).unwrap();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["child", cores.of_child()])
        .stdin(Stdio::from(OwnedFd::from(theirs_in)))
        .stdout(Stdio::from(OwnedFd::from(theirs_out)))
        .spawn()
        .unwrap();
    (child, UnixStream::from_std(stdin).unwrap(), UnixStream::from_std(stdout).unwrap())
}

impl Raw {
    fn start(cores: Cores) -> Raw {
        let (child, stdin, stdout) = launch(cores);
        Raw { child, stdin, stdout, next: 0, out: Vec::new(), input: vec![0; 64 * 1024], filled: 0 }
    }

    fn put(&mut self, payload: &String) {
        self.next += 1;
        write_call(&mut self.out, self.next, payload);
    }

    /// Keeps `in_flight` requests under way for a round, each begun when one has ended. Returns how many
    /// ended.
    async fn round(&mut self, payload: &String, in_flight: usize, latencies: &mut Vec<f64>) -> usize {
        let begin = Instant::now();
        let mut since = begin;
        let (mut open, mut done, mut sent, mut looked) = (0, 0, 0, 0);
        while open < in_flight {
            self.put(payload);
            open += 1;
        }
        while open > 0 {
            poll_fn(|cx| {
                let mut progress = false;
                while sent < self.out.len() {
                    match Pin::new(&mut self.stdin).poll_write(cx, &self.out[sent..]) {
                        Poll::Ready(n) => sent += n.unwrap(),
                        Poll::Pending => break,
                    }
                }
                if sent == self.out.len() && sent > 0 {
                    self.out.clear();
                    sent = 0;
                }
                if self.filled == self.input.len() {
                    self.input.resize(2 * self.filled, 0);
                }
                let mut buf = ReadBuf::new(&mut self.input[self.filled..]);
                if let Poll::Ready(read) = Pin::new(&mut self.stdout).poll_read(cx, &mut buf) {
                    read.unwrap();
                    self.filled += buf.filled().len();
                    progress = true;
                }
                if progress { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let mut at = 0;
            while let Some(end) = memchr::memchr(b'\n', &self.input[looked.max(at)..self.filled]) {
                let end = looked.max(at) + end;
                let answer: Answer<'_> = serde_json::from_slice(&self.input[at..end]).unwrap();
                let text: String = serde_json::from_str(answer.result.get()).unwrap();
                assert!(text.len() == payload.len() && answer.id <= self.next);
                at = end + 1;
                open -= 1;
                done += 1;
                if in_flight == 1 {
                    latencies.push(since.elapsed().as_secs_f64() * 1e6);
                    since = Instant::now();
                }
                if begin.elapsed() < ROUND {
                    self.put(payload);
                    open += 1;
                }
            }
            self.input.copy_within(at..self.filled, 0);
            self.filled -= at;
            looked = self.filled;
        }
        done
    }
}

// ---- by hand: a task per direction, a queue between them and the callers, a table, a oneshot per

type Table = Arc<Mutex<HashMap<u64, oneshot::Sender<Box<RawValue>>>>>;

struct ByHand {
    queue: mpsc::UnboundedSender<Vec<u8>>,
    table: Table,
    next: AtomicU64,
}

impl ByHand {
    fn start(cores: Cores) -> (Child, Arc<ByHand>) {
        let (child, stdin, stdout) = launch(cores);
        let (queue, queued) = mpsc::unbounded_channel();
        let table = Table::default();
        tokio::spawn(write_queued(queued, stdin));
        tokio::spawn(read_answers(table.clone(), stdout));
        (child, Arc::new(ByHand { queue, table, next: AtomicU64::new(1) }))
    }
}

async fn write_queued(mut queued: mpsc::UnboundedReceiver<Vec<u8>>, mut stdin: UnixStream) {
    let (mut frames, mut out) = (Vec::new(), Vec::new());
    while queued.recv_many(&mut frames, 1024).await > 0 {
        out.clear();
        frames.drain(..).for_each(|frame| out.extend_from_slice(&frame));
        stdin.write_all(&out).await.unwrap();
    }
}

async fn read_answers(table: Table, mut stdout: UnixStream) {
    let mut input = BytesMut::with_capacity(64 * 1024);
    while stdout.read_buf(&mut input).await.unwrap() > 0 {
        let mut at = 0;
        while let Some(end) = memchr::memchr(b'\n', &input[at..]) {
            let answer: Answer<'_> = serde_json::from_slice(&input[at..at + end]).unwrap();
            let caller = table.lock().unwrap().remove(&answer.id).unwrap();
            caller.send(answer.result.to_owned()).unwrap();
            at += end + 1;
        }
        input.advance(at);
        input.reserve(64 * 1024);
    }
}

// ---- the whole crate ----------------------------------------------------------------------------

async fn start(cores: Cores) -> (Root, WorkerRef) {
    let program = std::env::current_exe().unwrap();
    let command = Command::new(program).args(["child", cores.of_child()]);
    let worker = WorkerSpec::new(command).protocol(Plugin::default());
    let spec = SupervisorSpec::one_for_one().child(worker.child("echo"));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/echo").unwrap());
    worker.wait_ready(Duration::from_secs(10)).await.unwrap();
    (root, worker)
}

/// Can be called from many tasks.
trait Callee: Clone + Send + 'static {
    fn echo(&self, payload: &Arc<String>) -> impl Future<Output = String> + Send;
}

impl Callee for WorkerRef {
    async fn echo(&self, payload: &Arc<String>) -> String {
        self.call::<Echo>(payload).await.unwrap()
    }
}

impl Callee for Arc<ByHand> {
    async fn echo(&self, payload: &Arc<String>) -> String {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut frame = Vec::with_capacity(128);
        write_call(&mut frame, id, payload);
        let (caller, answered) = oneshot::channel();
        self.table.lock().unwrap().insert(id, caller);
        self.queue.send(frame).unwrap();
        serde_json::from_str(answered.await.unwrap().get()).unwrap()
    }
}

/// Keeps `in_flight` tasks calling for a round. Returns how many calls ended.
async fn round(
    callee: &impl Callee,
    payload: &Arc<String>,
    in_flight: usize,
    latencies: &mut Vec<f64>,
) -> usize {
    let begin = Instant::now();
    let callers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (callee, payload) = (callee.clone(), payload.clone());
            let mut latencies = Vec::new();
            tokio::spawn(async move {
                let mut done = 0;
                loop {
                    let since = (in_flight == 1).then(Instant::now);
                    let text = callee.echo(&payload).await;
                    assert_eq!(text.len(), payload.len());
                    done += 1;
                    latencies.extend(since.map(|since| since.elapsed().as_secs_f64() * 1e6));
                    if begin.elapsed() >= ROUND {
                        return (done, latencies);
                    }
                }
            })
        })
        .collect();
    let mut done = 0;
    for caller in callers {
        let (calls, mut times) = caller.await.unwrap();
        done += calls;
        latencies.append(&mut times);
    }
    done
}

// ---- the figures --------------------------------------------------------------------------------

fn quantile(samples: &mut [f64], q: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[((samples.len() - 1) as f64 * q).round() as usize]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn echo(name: &str, bytes: usize, in_flight: usize, cores: Cores) {
    Cores::pin(cores.of_host());
    let payload = Arc::new("x".repeat(bytes));
    // What a call costs beside that of others who share a channel is a question of small ones.
    let with_hand = bytes == 100 && in_flight > 1;
    let (mut ours, mut raw, mut hand) = (Vec::new(), Vec::new(), Vec::new());
    let (mut our_times, mut raw_times) = (Vec::new(), Vec::new());
    runtime().block_on(async {
        let (root, worker) = start(cores).await;
        let mut floor = Raw::start(cores);
        let by_hand = with_hand.then(|| ByHand::start(cores));
        for n in 0..=ROUNDS {
            let (mut times, mut their_times) = (Vec::new(), Vec::new());
            let begin = Instant::now();
            let done = floor.round(&payload, in_flight, &mut their_times).await as f64;
            let rate = done / begin.elapsed().as_secs_f64();
            let begin = Instant::now();
            let done = round(&worker, &payload, in_flight, &mut times).await as f64;
            let our_rate = done / begin.elapsed().as_secs_f64();
            let mut hand_rate = None;
            if let Some((_, by_hand)) = &by_hand {
                let begin = Instant::now();
                let done = round(by_hand, &payload, in_flight, &mut Vec::new()).await as f64;
                hand_rate = Some(done / begin.elapsed().as_secs_f64());
            }
            // The first is to warm up.
            if n > 0 {
                raw.push(rate);
                ours.push(our_rate);
                hand.extend(hand_rate);
                our_times.append(&mut times);
                raw_times.append(&mut their_times);
            }
        }
        drop(floor.stdin);
        floor.child.wait().unwrap();
        if let Some((mut child, by_hand)) = by_hand {
            drop(by_hand);
            // Its writer ends with the queue.
            tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        }
        let _ = root.shutdown(Duration::from_secs(10)).await;
    });
    let name = format!("{name} echo, {in_flight} in flight, {}", cores.name());
    let (o, r) = (quantile(&mut ours, 0.5), quantile(&mut raw, 0.5));
    if in_flight == 1 {
        let (o50, r50) = (quantile(&mut our_times, 0.5), quantile(&mut raw_times, 0.5));
        let (o99, r99) = (quantile(&mut our_times, 0.99), quantile(&mut raw_times, 0.99));
        let target = if bytes == 100 { "target <= 1.2" } else { "target <= 1.25" };
        println!(
            "{name:<42} {o50:>9.1} ({o99:>8.1})  raw {r50:>9.1} ({r99:>8.1}) us       ratio {:>5.2}  {target}",
            o50 / r50
        );
    } else {
        let (slow, slow_raw) = (quantile(&mut ours, 0.01), quantile(&mut raw, 0.01));
        println!(
            "{name:<42} {o:>9.0} ({slow:>8.0})  raw {r:>9.0} ({slow_raw:>8.0}) calls/s  ratio {:>5.2}  target >= 0.8",
            o / r
        );
    }
    if with_hand {
        let (h, slow) = (quantile(&mut hand, 0.5), quantile(&mut hand, 0.01));
        println!(
            "{:<42} {:>20}  hand {h:>8.0} ({slow:>8.0}) calls/s  ratio {:>5.2}",
            "  against a loop by hand",
            "",
            o / h
        );
    }
}

/// Makes so many calls of 100 bytes, 256 in flight, and nothing else: for a tool that counts instructions
/// (`calls=<number>`).
fn count(calls: usize) {
    const IN_FLIGHT: usize = 256;
    let payload = Arc::new("x".repeat(100));
    runtime().block_on(async {
        let (root, worker) = start(Cores::Free).await;
        let callers: Vec<_> = (0..IN_FLIGHT)
            .map(|n| {
                let (worker, payload) = (worker.clone(), payload.clone());
                let share = calls / IN_FLIGHT + usize::from(n < calls % IN_FLIGHT);
                tokio::spawn(async move {
                    for _ in 0..share {
                        assert_eq!(worker.echo(&payload).await.len(), payload.len());
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        let _ = root.shutdown(Duration::from_secs(10)).await;
    });
}

/// From SIGKILL until the last of the open calls has failed, and until a bare pidfd says that a process has
/// died.
fn death(calls: usize, rounds: usize) {
    Cores::pin(None);
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    runtime().block_on(async {
        for _ in 0..rounds {
            let floor = Raw::start(Cores::Free);
            let pid = rustix::process::Pid::from_child(&floor.child);
            let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
            // SAFETY: the value owns its descriptor and gives the same number always.
            #[allow(unsafe_code)]
            let pidfd = unsafe {
                tokio::io::unix::AsyncFd::register_with_interest(pidfd, tokio::io::Interest::READABLE)
                    .unwrap()
            };
            tokio::time::sleep(Duration::from_millis(5)).await;
            let begin = Instant::now();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            let _ = pidfd.readable().await.unwrap();
            raw.push(begin.elapsed().as_secs_f64() * 1e6);
            let mut child = floor.child;
            child.wait().unwrap();

            let (root, worker) = start(Cores::Free).await;
            let open: Vec<_> = (0..calls)
                .map(|_| {
                    let worker = worker.clone();
                    tokio::spawn(async move { worker.call::<Hang>(&()).await.unwrap_err() })
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(5)).await;
            let pid = rustix::process::Pid::from_raw(worker.pid().unwrap() as i32).unwrap();
            let begin = Instant::now();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            for call in open {
                call.await.unwrap();
            }
            ours.push(begin.elapsed().as_secs_f64() * 1e6);
            let _ = root.shutdown(Duration::from_secs(10)).await;
        }
    });
    let (o, r) = (quantile(&mut ours, 0.5), quantile(&mut raw, 0.5));
    let (o99, r99) = (quantile(&mut ours, 0.99), quantile(&mut raw, 0.99));
    let name = format!("death with {calls} open calls");
    println!(
        "{name:<42} {o:>9.1} ({o99:>8.1})  raw {r:>9.1} ({r99:>8.1}) us       later {:>5.0} us  target <= 1000",
        o - r
    );
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "child") {
        Cores::pin(args[1].parse().ok());
        return child();
    }
    if let Some(calls) = args.iter().find_map(|arg| arg.strip_prefix("calls=")) {
        return count(calls.parse().expect("calls=<number>"));
    }
    let filter: Vec<String> = args.into_iter().filter(|arg| !arg.starts_with("--")).collect();
    println!("median (p99)");
    for cores in [Cores::One, Cores::Two, Cores::Free] {
        for (name, bytes) in [("100B", 100), ("64KiB", 64 * 1024), ("1MiB", 1024 * 1024)] {
            for in_flight in [1, 64, 256] {
                let cell = format!("{name}/{in_flight}/{}", cores.name().replace(' ', "-"));
                if filter.iter().all(|part| cell.contains(part)) {
                    echo(name, bytes, in_flight, cores);
                }
            }
        }
    }
    if filter.iter().all(|part| "death".contains(part)) {
        death(64, 100);
        death(1024, 30);
    }
}
