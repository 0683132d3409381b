//! Supervision trees whose leaves are OS processes.
#![cfg(unix)]

pub mod event;
pub mod exit;
pub mod id;
pub mod snapshot;
pub mod time;
pub mod vocabulary;

pub mod restart;
pub mod supervision;

pub mod process;
pub mod rpc;

pub mod protocol;
pub mod worker;

pub mod plugin;
pub mod pool;
pub mod tree;

pub mod testing;
