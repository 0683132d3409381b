//! P-4, P-5: a process gets its three streams and nothing else of the host: no other descriptor, no signal
//! setting.

use procession::process::{Command, StdioTransport, Technique};

use crate::common::*;

#[tokio::test]
async fn no_other_descriptor_is_open() {
    // P-5
    let mut other = launch(sh("echo $$; exec sleep 1000")).await;
    number(&mut other).await;
    // A descriptor that the host has inherited or made without close-on-exec, at a number that no other
    // test uses.
    let file = std::fs::File::open("/dev/null").unwrap();
    let leaky = rustix::io::dup(&file).unwrap();
    assert!(!rustix::io::fcntl_getfd(&leaky).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    for transport in [StdioTransport::Sockets, StdioTransport::Pipes] {
        // The glob reads the directory through a descriptor of the shell, which is closed again.
        let seen =
            output(sh("for fd in /proc/$$/fd/*; do [ -e $fd ] && echo ${fd##*/}; done").transport(transport))
                .await;
        assert_eq!(String::from_utf8(seen).unwrap(), "0\n1\n2\n", "{transport:?}");
    }
}

#[tokio::test]
async fn the_process_leads_its_own_session_and_group() {
    // P-4
    let out = output(sh("cut -d' ' -f1,5,6 /proc/$$/stat")).await;
    let out = String::from_utf8(out).unwrap();
    let ids: Vec<_> = out.split_whitespace().collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{out}");
}

#[tokio::test]
async fn pipes_are_pipes_and_large() {
    // P-11
    let out = output(
        sh("readlink /proc/$$/fd/0 /proc/$$/fd/1; : > /dev/stdout && echo reopened")
            .transport(StdioTransport::Pipes),
    )
    .await;
    let out = String::from_utf8(out).unwrap();
    assert!(out.matches("pipe:").count() == 2 && out.ends_with("reopened\n"), "{out}");
    let out = String::from_utf8(output(sh("readlink /proc/$$/fd/0 /proc/$$/fd/1")).await).unwrap();
    assert_eq!(out.matches("socket:").count(), if sockets_are_expected() { 2 } else { 0 }, "{out}");
}

/// Blocked and ignored signals are properties of the host's threads and of the host: the test runs in a
/// host of its own, a copy of this program that a shell started with ignored signals.
#[tokio::test]
async fn signals_are_reset_whatever_the_host_does_with_them() {
    // P-5
    let inner = "only_stdio_reaches_the_process::inner_report_of_signals";
    let out = host_of_its_own("trap '' HUP TERM USR1 PIPE;", inner);
    let line = |name: &str| {
        let mask =
            out.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {out}"));
        u64::from_str_radix(mask.trim(), 16).unwrap()
    };
    let bit = |signal: i32| 1u64 << (signal - 1);
    let ignored = bit(libc::SIGHUP) | bit(libc::SIGTERM) | bit(libc::SIGUSR1);
    assert_eq!(line("host: SigIgn:") & ignored, ignored);
    assert_eq!(line("host: SigBlk:"), bit(libc::SIGUSR2));
    assert_eq!(line("SigBlk:"), 0);
    // The C library ignores the two signals that it reserves, in every child that it spawns.
    let kept = if technique() == Technique::PosixSpawn { bit(32) | bit(33) } else { 0 };
    assert_eq!(line("SigIgn:") & !kept, 0);
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_report_of_signals() {
    // The launch thread inherits the mask of this one, which starts it.
    // SAFETY: the set is initialised before it is used.
    #[allow(unsafe_code)]
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGUSR2);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
    let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    own.lines().filter(|line| line.starts_with("Sig")).for_each(|line| println!("host: {line}"));
    let seen = output(Command::new("cat").arg("/proc/self/status")).await;
    println!("{}", String::from_utf8(seen).unwrap());
}

#[test]
fn a_host_without_stdin_and_stdout_can_launch() {
    // P-5
    host_of_its_own("", "only_stdio_reaches_the_process::inner_without_stdio");
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_without_stdio() {
    let stdin = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 100).unwrap();
    let stdout = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 100).unwrap();
    // SAFETY: nothing uses the two descriptors until they are restored.
    #[allow(unsafe_code)]
    unsafe {
        libc::close(0);
        libc::close(1);
    }
    let seen = output(sh("echo through >&2; cat; echo out")).await;
    rustix::stdio::dup2_stdin(&stdin).unwrap();
    rustix::stdio::dup2_stdout(&stdout).unwrap();
    assert_eq!(seen, b"out\n");
}
