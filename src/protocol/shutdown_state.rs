//! [`ShutdownState`]: how far the host has told a server to shut down. Shared by a server and the handler of its channel.

/// What the host has told a server to do.
#[derive(Default)]
pub(super) struct ShutdownState {
    /// To begin nothing more.
    pub(super) shutdown: bool,
    /// To end.
    pub(super) exit: bool,
}
