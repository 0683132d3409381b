//! Programs that others wrote, as peers and as supervised processes; see README.md for how to install them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod installed;
mod stage;

mod css_and_json_servers;
mod jsonrpc_peers;
mod mcp_eras;
mod mcp_everything;
mod mcp_memory;
mod mcp_time;
mod pylsp;
mod pyright;
mod ruff;
