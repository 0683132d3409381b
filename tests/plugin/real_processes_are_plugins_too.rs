//! What only the kernel can show (D-2): a plugin written in shell, killed by SIGKILL, is reported as
//! crashed and returns (G-11, R-1).

use std::time::Duration;

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    plugin::{PluginEventKind, PluginHostSpec, PluginSpec, Plugins},
    process::Command,
    rpc::Timeout,
    supervision::SupervisorSpec,
};

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
    plugins.stop_all().await.unwrap();
    let _ = root.shutdown(patience).await;
    assert_eq!(rustix::process::test_kill_process(victim), Err(rustix::io::Errno::SRCH));
}
