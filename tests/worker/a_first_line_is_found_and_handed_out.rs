//! The ready line of a program without a channel is found however it is printed, and is handed out per
//! incarnation (W-7).

use std::sync::Arc;

use procession::{
    exit::Exit,
    process::Command,
    protocol::ReadyLine,
    supervision::TreeStartError,
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::WorkerSpec,
};

use crate::support::*;

fn prints(launcher: &ScriptedLauncher, prefix: &str) -> WorkerSpec {
    WorkerSpec::new(Command::new("worker"))
        .protocol(ReadyLine::new(prefix))
        .launcher(Arc::new(launcher.clone()))
}

/// A program that prints these pieces, a second apart, and keeps running.
fn program(pieces: &'static [&'static [u8]]) -> ScriptedLauncher {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", move |mut me: ScriptedProcess| async move {
        for (i, piece) in pieces.iter().enumerate() {
            if i > 0 {
                me.sleep(SEC / 2).await;
            }
            me.write(piece).await.unwrap();
        }
        me.hang().await
    });
    launcher
}

#[tokio::test(start_paused = true)]
async fn no_look_of_it_is_an_obstacle() {
    const LINE: &str = "listening on 127.0.0.1:80";
    let looks: [&[&[u8]]; 14] = [
        &[b"listening on 127.0.0.1:80\n"],
        &[b"listening on 127.0.0.1:80\r\n"],
        &[b"\xef\xbb\xbflistening on 127.0.0.1:80\n"],
        &[b"\x1b[32mlistening on\x1b[0m 127.0.0.1:80\x1b[K\n"],
        &[b"\x1b]0;title\x07  \x1b[1mlistening on 127.0.0.1:80\n"],
        &[b"\x1b[32m\xef\xbb\xbf\tlistening on 127.0.0.1:80\x1b[0m\n"],
        &[b"loading 10 %\rloading 90 %\rlistening on 127.0.0.1:80\n"],
        &[b"listening on 127.0.0.1:80\rstatus: idle"],
        // Without a line end, at once or in pieces; an escape sequence in two pieces.
        &[b"listening on 127.0.0.1:80"],
        &[b"starting\nlistening ", b"on 127.0", b".0.1:80"],
        &[b"\x1b[3", b"2mlistening on 127.0.0.1:80\x1b[0"],
        // After more bytes than a line may have, on a line of its own.
        &[&[b'x'; 60_000], b"\nlistening on 127.0.0.1:80\n"],
        &[b"not listening on 127.0.0.1:80\n", b"\xff\xfe\n", b"listening on 127.0.0.1:80\n"],
        &[b"\n\n\r\r\n \n\0listening on 127.0.0.1:80\n"],
    ];
    for look in looks {
        let launcher = program(look);
        let shown = || look.iter().map(|piece| String::from_utf8_lossy(piece).chars().take(80).collect());
        let shown: Vec<String> = shown().collect();
        let (root, worker) = tree(prints(&launcher, "listening on"))
            .await
            .unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        let (incarnation, line) = worker.ready_line().unwrap();
        assert_eq!((incarnation.0, &*line), (1, LINE), "{shown:?}");
        let node = worker.diagnostics().worker.unwrap();
        assert_eq!(node.ready_line.as_deref(), Some(LINE));
        let _ = root.kill().await;
        assert_eq!(worker.ready_line(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_not_ended_is_waited_for_until_it_is_quiet_and_no_longer() {
    // Endless dots: the line is what has been printed after three seconds.
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        me.write(b"up: 80 ").await.unwrap();
        while me.write(b".").await.is_ok() {
            me.sleep(SEC / 4).await;
        }
    });
    let begin = tokio::time::Instant::now();
    let (root, worker) = tree(prints(&launcher, "up:")).await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 3);
    assert!(worker.ready_line().unwrap().1.starts_with("up: 80 ...."));
    let _ = root.kill().await;
    // The end of stdout ends a line too.
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        me.write(b"up: 80").await.unwrap();
        me.close_stdout();
        me.hang().await
    });
    let begin = tokio::time::Instant::now();
    let (root, worker) = tree(prints(&launcher, "up:")).await.unwrap();
    assert!(begin.elapsed() < SEC / 2 && &*worker.ready_line().unwrap().1 == "up: 80");
    let _ = root.kill().await;
    // A start with little time waits less: a quarter of it.
    let launcher = program(&[b"up: 80"]);
    let hasty = prints(&launcher, "up:").handshake_timeout(400 * MS);
    let begin = tokio::time::Instant::now();
    let (root, _) = tree(hasty).await.unwrap();
    assert_eq!(begin.elapsed().as_millis(), 100);
    let _ = root.kill().await;
}

#[tokio::test(start_paused = true)]
async fn each_incarnation_has_a_line_of_its_own() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        // As go-plugin prints it.
        let line = format!("1|1|tcp|127.0.0.1:{}|grpc|", 1000 + me.launch());
        me.write_line(&line).await.unwrap();
        me.sleep(60 * SEC).await;
        3
    });
    let (root, worker) = tree(prints(&launcher, "1|")).await.unwrap();
    let line = |worker: &procession::worker::WorkerRef| {
        worker.ready_line().map(|(incarnation, line)| format!("{}: {line}", incarnation.0))
    };
    assert_eq!(line(&worker).as_deref(), Some("1: 1|1|tcp|127.0.0.1:1001|grpc|"));
    worker.restart("to see another").await.unwrap();
    assert_eq!(line(&worker).as_deref(), Some("2: 1|1|tcp|127.0.0.1:1002|grpc|"));
    tokio::time::sleep(60 * SEC + 50 * MS).await;
    assert_eq!(line(&worker), None, "it waits for its restart");
    worker.wait_ready(SEC).await.unwrap();
    assert_eq!(line(&worker).as_deref(), Some("3: 1|1|tcp|127.0.0.1:1003|grpc|"));
    let _ = root.kill().await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_beginning_means_the_first_line_that_says_something() {
    let launcher = program(&[b"\n  \r\n\x1b[2J", b"hello there\n"]);
    let (root, worker) = tree(prints(&launcher, "")).await.unwrap();
    assert_eq!(&*worker.ready_line().unwrap().1, "hello there");
    let _ = root.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_time_out_says_what_was_awaited_and_what_came() {
    let cases: [(&[&[u8]], &str); 4] = [
        (&[b"usage: worker FILE\n"], "the last line is `usage: worker FILE`"),
        (&[b"50 %\r\x1b[31m60 %\x1b[0m\n\n"], "the last line is `60 %`"),
        (&[b"password: "], "the last line is `password: `"),
        (&[b"\n \n"], "nothing was printed"),
    ];
    for (printed, last) in cases {
        let launcher = program(printed);
        let Err(TreeStartError::Failed { exit, .. }) = tree(prints(&launcher, "ready")).await else {
            panic!()
        };
        let Some(Exit::HandshakeTimeout { after, awaited: Some(awaited) }) = exit.cause() else { panic!() };
        assert_eq!(*after, 15 * SEC);
        assert_eq!(*awaited, format!("no line of its stdout begins with `ready`; {last}"));
        // It survives as plain data, and data without the line can be read too.
        let text = serde_json::to_string(&exit).unwrap();
        assert_eq!(serde_json::from_str::<Exit>(&text).unwrap(), exit);
    }
    let old = serde_json::to_string(&Exit::HandshakeTimeout { after: SEC, awaited: None }).unwrap();
    assert!(!old.contains("awaited"), "{old}");
}

#[tokio::test(start_paused = true)]
async fn what_it_prints_is_told_from_its_stderr_and_bounded() {
    // P-3: 300 MiB without an end of line.
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        me.write_error_line("complaint").await.unwrap();
        me.flood(b'x', 300 << 20).await.unwrap();
        me.write(b"\nup: 80\nmore\n").await.unwrap();
        me.hang().await
    });
    let (root, worker) = tree(prints(&launcher, "up:")).await.unwrap();
    let node = worker.diagnostics().worker.unwrap();
    assert_eq!(node.stderr_tail, "complaint\n");
    assert!(node.stdout_tail.ends_with("xx\nup: 80\nmore\n") && node.stdout_tail.len() <= 8192);
    let _ = root.kill().await;
}
