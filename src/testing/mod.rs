//! Processes that are functions: scripted, in memory, behind the same [`Launcher`](crate::process::Launcher) trait.
//!
//! Users test their own trees with it, under tokio's paused time and without sleeping (D-1):
//!
//! ```
//! use procession::process::{Command, Hold, Launcher};
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
//! let mut process = launcher.launch(&Command::new("shout"), Hold::none()).await.unwrap();
//! tokio::io::AsyncWriteExt::write_all(&mut process.stdin, b"hello\n").await.unwrap();
//! drop(process.stdin);
//! let mut heard = String::new();
//! process.stdout.read_to_string(&mut heard).await.unwrap();
//! assert_eq!(heard, "HELLO\n");
//! # }
//! ```
//!
//! Everything is deterministic: process ids count up from 1000, nothing runs on a thread of its own, and the host's
//! environment is not looked at. What a real process does and a scripted one does not: `SIGSTOP` does not stop it,
//! and a script that never awaits cannot be killed.
//!
//! Above all other modules; nothing imports it.

mod group;
mod launcher;
mod script;
#[cfg(test)]
mod tests;

pub use launcher::{Launched, ScriptedLauncher};
pub use script::{Arrivals, Ending, ScriptedProcess};
