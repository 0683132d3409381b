//! [`LiveWorker`]: what callers reach of one incarnation of a worker, published with the live incarnation.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use super::diagnostics::WorkerDiagnostics;
use crate::{rpc::Peer, supervision::LiveAttachment};

/// Published with the live incarnation.
pub(crate) struct LiveWorker {
    /// `None` for protocols without a channel.
    pub(crate) peer: OnceLock<Option<Peer>>,
    pub(crate) diagnostics: Arc<WorkerDiagnostics>,
    watch: Mutex<RetractionHook>,
}

/// A callback for the moment when the incarnation gets no more calls.
#[derive(Default)]
struct RetractionHook {
    retracted: bool,
    on_retracted: Option<Box<dyn FnOnce() + Send>>,
}

impl LiveWorker {
    pub(crate) fn new(diagnostics: Arc<WorkerDiagnostics>) -> LiveWorker {
        LiveWorker { peer: OnceLock::new(), diagnostics, watch: Mutex::default() }
    }

    /// Calls `on_retracted` once the incarnation gets no more calls; `false` if that is already so.
    /// It runs under a lock: it must not wait, and must not come back here.
    pub(crate) fn watch(&self, on_retracted: impl FnOnce() + Send + 'static) -> bool {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if !watch.retracted {
            watch.on_retracted = Some(Box::new(on_retracted));
        }
        !watch.retracted
    }

    /// Whether it is ready and its protocol has no channel.
    pub(crate) fn has_no_channel(&self) -> bool {
        matches!(self.peer.get(), Some(None))
    }

    pub(crate) fn peer(&self) -> Option<&Peer> {
        self.peer.get().and_then(Option::as_ref)
    }
}

impl fmt::Debug for LiveWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveWorker").field(&self.peer()).finish()
    }
}

impl LiveAttachment for LiveWorker {
    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    /// May be called by several threads. None of them gets past it before `on_retracted` has
    /// returned: what it does next may be seen by a caller, who must not be sent here after that.
    fn retracted(&self) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.retracted = true;
        if let Some(on_retracted) = watch.on_retracted.take() {
            on_retracted();
        }
    }
}
