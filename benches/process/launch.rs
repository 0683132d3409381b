//! How long a launch takes, in hosts of different sizes.

use std::{os::unix::process::CommandExt, process::Stdio, time::Instant};

use procession::process::{HeldUntilReaped, Launcher, OsLauncher, Technique};

use crate::{
    BOUND,
    child::Child,
    figures::{launcher, quantile, report, runtime, us},
};

pub(crate) fn launch(child: &Child, mib: usize, rounds: usize) -> f64 {
    // P-13
    // Written to page by page, so that the memory is really there.
    let mut balloon = vec![0u8; mib << 20];
    balloon.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    let [mut ours, mut fallback, mut bare, mut tokio] = [const { Vec::new() }; 4];
    let posix = OsLauncher::builder().technique(Technique::PosixSpawn).build();
    let command = child.command();
    let one = async |launcher: &OsLauncher| {
        let began = Instant::now();
        let process = launcher.launch(&command, HeldUntilReaped::none()).await.unwrap();
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
