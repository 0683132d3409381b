use procession::process::Exited;

use crate::common::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_own_children_are_left_to_it() {
    // P-7: nobody waits for "any child", and nobody handles SIGCHLD.
    let own = std::thread::spawn(|| {
        for code in 0..60 {
            let mut child =
                std::process::Command::new("/bin/sh").arg("-c").arg(format!("exit {code}")).spawn().unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(code));
        }
    });
    for code in 0..30 {
        let process = launch(sh(&format!("exit {code}"))).await;
        assert_eq!(soon("exit", process.control.exited()).await, Exited::code(code));
        drop(process);
    }
    tokio::task::spawn_blocking(|| own.join().unwrap()).await.unwrap();
}
