//! [`WorkerSessionInfo`]: what a worker said of itself in a handshake, as its callers see it.

use std::{ops::Deref, sync::Arc};

use crate::{id::Incarnation, protocol::SessionInfo};

/// What one incarnation of a worker said of itself in its handshake: its program, what it can do, how it
/// is to be used, its methods. Cheap to clone.
///
/// The fields are those of [`SessionInfo`], to which it derefs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerSessionInfo {
    /// The incarnation that said it. The next one may say something else.
    pub incarnation: Incarnation,
    /// Whether that incarnation is the one that calls reach now. If not, this is what is remembered of
    /// the last one: the worker is stopped, idle, starting, or about to be restarted.
    pub live: bool,
    /// What it said.
    pub info: Arc<SessionInfo>,
}

impl WorkerSessionInfo {
    pub(crate) fn new(incarnation: Incarnation, info: SessionInfo) -> WorkerSessionInfo {
        WorkerSessionInfo { incarnation, live: false, info: Arc::new(info) }
    }
}

impl Deref for WorkerSessionInfo {
    type Target = SessionInfo;

    fn deref(&self) -> &SessionInfo {
        &self.info
    }
}
