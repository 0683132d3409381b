//! [`TraceContext`]: which distributed trace a call belongs to.

use std::sync::Arc;

/// Gives the trace that a call belongs to. It is asked at each call, by the task that makes the
/// call, and must not wait.
pub type TraceContextHook = Arc<dyn Fn() -> Option<TraceContext> + Send + Sync>;

/// The longest value that is sent. The specification asks for at least this much of `tracestate`.
const MAX_BYTES: usize = 512;

/// The trace that a call belongs to, in the two members of W3C Trace Context. What they hold is for the
/// tracing library of the host to say; this crate hands them on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceContext {
    /// The trace and the span that called, such as
    /// `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`.
    pub traceparent: String,
    /// What tracing systems add to it.
    pub tracestate: Option<String>,
}

impl TraceContext {
    /// A trace without a `tracestate`.
    pub fn new(traceparent: impl Into<String>) -> TraceContext {
        TraceContext { traceparent: traceparent.into(), tracestate: None }
    }

    /// The same with what tracing systems add.
    #[must_use]
    pub fn with_tracestate(mut self, tracestate: impl Into<String>) -> TraceContext {
        self.tracestate = Some(tracestate.into());
        self
    }

    /// The members and their JSON texts. A value that is empty, longer than 512 bytes or not printable ASCII
    /// is left out.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&'static str, String)> {
        let text = |value: &str| {
            let fits = (1..=MAX_BYTES).contains(&value.len());
            let printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            (fits && printable).then(|| serde_json::to_string(value).ok())?
        };
        let parent = text(&self.traceparent);
        let state = parent.as_ref().and_then(|_| text(self.tracestate.as_deref()?));
        let members = [("traceparent", parent), ("tracestate", state)];
        members.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}
