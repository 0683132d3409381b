//! [`HeldUntilReaped`]: keeps a value of the launcher's caller alive as long as something of a
//! process is left.
//!
//! The caller puts a value of its own in. The process layer does nothing with it but keep it alive.

use std::{any::Any, fmt, sync::Arc};

/// A value of the launcher's caller that is kept until nothing of the process is left: it is killed and
/// reaped, and its group is swept.
///
/// All code that works on behalf of a process (a background kill, the reaper) keeps a clone. When the last
/// clone of the held value is dropped, nothing of the process is left.
#[derive(Clone)]
pub struct HeldUntilReaped {
    kept: Option<Arc<dyn Any + Send + Sync>>,
}

impl HeldUntilReaped {
    /// Keeps `value` until nothing of the process is left.
    pub fn new(value: impl Any + Send + Sync) -> HeldUntilReaped {
        HeldUntilReaped { kept: Some(Arc::new(value)) }
    }

    /// Keeps nothing.
    pub fn none() -> HeldUntilReaped {
        HeldUntilReaped { kept: None }
    }
}

impl fmt::Debug for HeldUntilReaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.kept.is_some() { "HeldUntilReaped(..)" } else { "HeldUntilReaped(none)" })
    }
}
