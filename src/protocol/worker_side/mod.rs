//! The other end of a channel: what a program in Rust uses to be a worker or a language server ([`Server`]).
//!
//! Everything else in `protocol` is the host's side.

mod lsp_handler;
mod own_stdio;
mod plugin_handler;
mod server;
mod server_shutdown_state;

pub use plugin_handler::InitializeParams;
pub use server::{Served, Server};
