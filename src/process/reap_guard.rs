//! [`ReapGuard`]: keeps a value of the launcher's caller alive as long as something of a process is left.
//!
//! The caller puts a token of its own in. The process layer does nothing with it but keep it alive.

use std::{any::Any, fmt, sync::Arc};

/// A token of the launcher's caller that is kept until nothing of the process is left: it is killed and
/// reaped, and its group is swept.
///
/// All code that works on behalf of a process (a background kill, the reaper) keeps a clone. When the last
/// clone of the caller's token is dropped, nothing of the process is left.
#[derive(Clone)]
pub struct ReapGuard {
    token: Option<Arc<dyn Any + Send + Sync>>,
}

impl ReapGuard {
    /// Keeps `token` until nothing of the process is left.
    pub fn new(token: impl Any + Send + Sync) -> ReapGuard {
        ReapGuard { token: Some(Arc::new(token)) }
    }

    /// Keeps nothing.
    pub fn none() -> ReapGuard {
        ReapGuard { token: None }
    }
}

impl fmt::Debug for ReapGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.token.is_some() { "ReapGuard(..)" } else { "ReapGuard(none)" })
    }
}
