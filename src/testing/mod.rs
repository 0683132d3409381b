//! Scripted processes: functions in memory, behind the same [`Launcher`](crate::process::Launcher)
//! trait as real processes.
//!
//! Users test their own trees with them, under tokio's paused time and without sleeping (D-1).
//!
//! # Testing a tree
//!
//! Give the workers this launcher instead of the operating system's. The program behind a name is a
//! closure; a program that speaks the plugin protocol is a [`Server`](crate::protocol::Server) on the
//! script's streams. Time is paused, which needs tokio's feature `test-util` (under
//! `[dev-dependencies]`): back-offs and timeouts take no real time, and happen in order. In a test the
//! attribute is `#[tokio::test(start_paused = true)]`.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use procession::{
//!     event::EventKind,
//!     process::{Command, Signal},
//!     protocol::{Plugin, Server},
//!     rpc::{Method, MethodRouter},
//!     testing::{ScriptedLauncher, ScriptedProcess},
//!     tree::Tree,
//!     state::ChildState,
//!     worker::WorkerSpec,
//! };
//!
//! struct Add;
//! impl Method for Add {
//!     const NAME: &'static str = "add";
//!     type Params = (i64, i64);
//!     type Output = i64;
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let launcher = ScriptedLauncher::new();
//! launcher.program("calculator", |mut me: ScriptedProcess| async move {
//!     let router = MethodRouter::new().method::<Add, _, _>(|_, (a, b)| async move { Ok(a + b) });
//!     let (Some(stdin), Some(stdout)) = (me.take_stdin(), me.take_stdout()) else { return };
//!     Server::new(router).serve(stdin, stdout).await;
//! });
//!
//! let calculator = WorkerSpec::new(Command::new("calculator"))
//!     .protocol(Plugin::default())
//!     .launcher(Arc::new(launcher.clone()));
//! let tree = Tree::builder().worker("calculator", calculator).start().await?;
//! let calculator = tree.worker("/calculator")?;
//! assert_eq!(calculator.call::<Add>(&(1, 2)).await?, 3);
//!
//! // Subscribe first, so that no event is missed.
//! let mut events = tree.events();
//! let first = calculator.node().incarnation();
//! launcher.kill(calculator.pid().ok_or("no process")?, Signal::KILL)?;
//! let back = events.wait_for(|event| {
//!     event.path == *calculator.path()
//!         && event.incarnation > first
//!         && matches!(event.kind, EventKind::State { to: ChildState::Ready, .. })
//! });
//! tokio::time::timeout(Duration::from_secs(60), back).await??; // in paused time
//! assert_eq!(calculator.call::<Add>(&(3, 4)).await?, 7);
//! assert_eq!(launcher.launched().len(), 2);
//!
//! tree.shutdown(Tree::DEFAULT_DEADLINE).await.into_result()?;
//! assert!(launcher.alive().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! For plugins there is [`PluginHostSpec::launcher`](crate::plugin::PluginHostSpec::launcher); the
//! workers of a pool use the launcher of the `WorkerSpec` that they are made from.
//! [`ScriptedLauncher::fail_next`] makes a launch fail, and a script may do everything that a bad
//! program does: exit, crash, hang, flood, ignore signals, leave grandchildren.
//!
//! # One process
//!
//! ```
//! use procession::process::{Command, HeldUntilReaped, Launcher};
//! use procession::testing::{ScriptedLauncher, ScriptedProcess};
//! use tokio::io::AsyncReadExt;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let launcher = ScriptedLauncher::new();
//! launcher.program("shout", |mut me: ScriptedProcess| async move {
//!     while let Some(line) = me.read_line().await {
//!         if me.write_line(&line.to_uppercase()).await.is_err() {
//!             return 1;
//!         }
//!     }
//!     0
//! });
//! let mut process = launcher.launch(&Command::new("shout"), HeldUntilReaped::none()).await.unwrap();
//! tokio::io::AsyncWriteExt::write_all(&mut process.stdin, b"hello\n").await.unwrap();
//! drop(process.stdin);
//! let mut heard = String::new();
//! process.stdout.read_to_string(&mut heard).await.unwrap();
//! assert_eq!(heard, "HELLO\n");
//! # }
//! ```
//!
//! Everything is deterministic: process ids count up from 1000, nothing runs on a thread of its own,
//! and the host's environment is not read. Two things differ from a real process: `SIGSTOP` does not
//! stop a scripted one, and a script that never awaits cannot be killed.
//!
//! Above all other modules; nothing imports this one.

mod launcher;
mod scripted_group;
mod scripted_process;
#[cfg(test)]
mod tests;

pub use launcher::{LaunchRecord, ScriptedLauncher};
pub use scripted_process::{ScriptExit, ScriptedProcess, SignalArrivals};
