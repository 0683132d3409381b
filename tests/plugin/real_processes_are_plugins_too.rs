//! What only the kernel can show (D-2): a plugin written in shell, killed by SIGKILL, is reported as
//! crashed and returns (G-11, R-1); one written in Rust loses no call in twenty swaps (G-14).

use std::{
    collections::{BTreeSet, HashMap},
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    plugin::{PluginEventKind, PluginHostSpec, PluginSpec, Plugins},
    process::Command,
    protocol::Server,
    rpc::{MethodRouter, RpcError, Timeout},
    supervision::SupervisorSpec,
};
use serde_json::value::to_raw_value;

const SCRIPT: &str = r#"
answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$1" "$2"; }
while read -r line; do
    id=${line#*\"id\":}; id=${id%%[,\}]*}
    case $line in
        *'"initialize"'*)
            printf '{"jsonrpc":"2.0","method":"log","params":{"level":"info","message":"hello"}}\n'
            answer "$id" '{"ok":true,"supportedMethods":["pid"]}' ;;
        *'"pid"'*) answer "$id" "$$" ;;
        *'"shutdown"'*) answer "$id" null; exit 0 ;;
    esac
done
"#;

#[tokio::test]
async fn a_killed_process_is_a_crash_and_comes_back() {
    // G-11, R-1
    let patience = Duration::from_secs(30);
    let command = Command::new("/bin/sh").args(["-c", SCRIPT]);
    let host = PluginHostSpec::new().plugin(PluginSpec::new("sh", command));
    let spec = SupervisorSpec::one_for_one().child(host.child("plugins"));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let plugins = Plugins::new(root.find("/plugins").unwrap());
    let first = plugins.ensure_ready("sh", patience).await.unwrap();
    let pid = async || -> i32 {
        let pid = plugins.call_value("sh", "pid", &(), Timeout::Default).await.unwrap();
        serde_json::from_str(pid.get()).unwrap()
    };
    let old = pid().await;
    assert_eq!(plugins.worker("sh").unwrap().pid(), Some(u32::try_from(old).unwrap()));
    assert_eq!(plugins.diagnostics("sh").unwrap().logs[0].message, "hello");

    let mut events = plugins.events().unwrap();
    let victim = rustix::process::Pid::from_raw(old).unwrap();
    rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
    let crash = tokio::time::timeout(patience, events.next()).await.unwrap().unwrap();
    assert!(
        matches!(
            &crash.kind,
            PluginEventKind::Crashed {
                signal: Some(9),
                exit: Exit::Signalled { signal: 9, .. },
                will_restart: true,
                ..
            }
        ),
        "{crash:?}"
    );
    let second = plugins.ensure_ready("sh", patience).await.unwrap();
    assert_eq!(second, first.next());
    assert_ne!(pid().await, old);
    plugins.stop_all().await.unwrap().into_result().unwrap();
    let _ = root.shutdown(patience).await;
    assert_eq!(rustix::process::test_kill_process(victim), Err(rustix::io::Errno::SRCH));
}

/// Where the plugin below writes what it has done.
const DONE: &str = "PROCESSION_TEST_DONE";

/// A plugin that works on any number of calls at the same time, each for 20 ms, and writes down which.
#[test]
#[ignore = "a process of `no_call_is_lost_in_twenty_swaps`"]
fn worker_of_the_swaps() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = std::env::var_os(DONE).unwrap();
    let router = MethodRouter::new().method_value("work", move |_, params| {
        let done = done.clone();
        async move {
            let number: u64 = serde_json::from_str(params.as_deref().unwrap().get()).unwrap();
            let mut file = std::fs::OpenOptions::new().append(true).open(&done).unwrap();
            file.write_all(format!("{number}\n").as_bytes()).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            to_raw_value(&std::process::id()).map_err(RpcError::internal)
        }
    });
    runtime.block_on(Server::new(router).serve_stdio()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_in_twenty_swaps() {
    // G-14, C-9: 200 calls are open all the time; each is answered, and carried out once.
    const CALLERS: u64 = 200;
    let patience = Duration::from_secs(60);
    let done = std::env::temp_dir().join(format!("procession-swaps-{}", std::process::id()));
    std::fs::write(&done, "").unwrap();
    let worker = "real_processes_are_plugins_too::worker_of_the_swaps";
    let command = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", worker, "--ignored", "--nocapture"])
        .env(DONE, done.as_os_str());
    let spec = || PluginSpec::new("swapped", command.clone()).overlap();
    let spec_of_host =
        SupervisorSpec::one_for_one().child(PluginHostSpec::new().plugin(spec()).child("plugins"));
    let root = Root::start(spec_of_host, RootOptions::default()).await.unwrap();
    let plugins = Plugins::new(root.find("/plugins").unwrap());
    plugins.ensure_ready("swapped", patience).await.unwrap();
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (plugins, stop, next) = (plugins.clone(), stop.clone(), next.clone());
            tokio::spawn(async move {
                let mut pids = BTreeSet::new();
                while !stop.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let answer =
                        plugins.call_value("swapped", "work", &number, Timeout::Default).await.unwrap();
                    pids.insert(serde_json::from_str::<u32>(answer.get()).unwrap());
                }
                pids
            })
        })
        .collect();
    for _ in 0..20 {
        plugins.reload("swapped", spec()).await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let mut pids = BTreeSet::new();
    for caller in callers {
        pids.extend(caller.await.unwrap());
    }
    let mut times = HashMap::<u64, u32>::new();
    for line in std::fs::read_to_string(&done).unwrap().lines() {
        *times.entry(line.parse().unwrap()).or_default() += 1;
    }
    let made = next.load(Ordering::SeqCst);
    assert_eq!(times.len() as u64, made, "each call was carried out");
    assert!(times.values().all(|times| *times == 1), "and only once");
    assert!(made > 20 * CALLERS / 2 && pids.len() >= 20, "{made} calls, {} processes", pids.len());
    plugins.stop_all().await.unwrap().into_result().unwrap();
    let _ = root.shutdown(patience).await;
    std::fs::remove_file(&done).unwrap();
    for pid in pids {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        assert_eq!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH));
    }
}
