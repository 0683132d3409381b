//! [`ServerShutdownState`]: how far the host has told a server to shut down. Shared by a server and
//! the handler of its channel.

/// How far the host has told a server to shut down.
#[derive(Default)]
pub(super) struct ServerShutdownState {
    /// The server refuses new requests.
    pub(super) shutdown: bool,
    /// The server ends.
    pub(super) exit: bool,
}
