//! [`ReapToken`]: a token that says "something of this process is still there".
//!
//! Whoever launches puts its own token in; this module only keeps it alive.

use std::{any::Any, fmt, sync::Arc};

/// A token of the launcher's caller that is kept until the process is really gone: killed, reaped, its group swept.
///
/// Whatever runs on behalf of a process (a background kill, the reaper) keeps a clone. When the caller's token is
/// dropped for the last time, nothing of the process is left.
#[derive(Clone)]
pub struct ReapToken {
    token: Option<Arc<dyn Any + Send + Sync>>,
}

impl ReapToken {
    /// Keeps `token` until the process is gone.
    pub fn new(token: impl Any + Send + Sync) -> ReapToken {
        ReapToken { token: Some(Arc::new(token)) }
    }

    /// Keeps nothing.
    pub fn none() -> ReapToken {
        ReapToken { token: None }
    }
}

impl fmt::Debug for ReapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.token.is_some() { "Hold(..)" } else { "Hold(none)" })
    }
}
