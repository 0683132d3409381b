//! What becomes of the requests and notifications of a process: the protocol's share first, then the user's handler.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::value::RawValue;

use super::spec::WorkerSpec;
use crate::{
    protocol::{LogEntry, LogLevel, Protocol},
    rpc::{Context, Handler, Router, RpcError},
};

/// Is told of every log message of a process, in order, by the channel's reader: it must not block.
pub trait LogSink: Send + Sync {
    /// One message; `cx` says which worker and which incarnation it comes from.
    fn log(&self, cx: &Context, entry: LogEntry);
}

pub(crate) struct WorkerHandler {
    routes: Router,
    user: Arc<dyn Handler>,
    protocol: Arc<dyn Protocol>,
    logs: Option<Arc<dyn LogSink>>,
}

impl WorkerHandler {
    pub(crate) fn new(spec: &WorkerSpec) -> WorkerHandler {
        WorkerHandler {
            routes: spec.protocol.routes().fallback(spec.handler.clone()),
            user: spec.handler.clone(),
            protocol: spec.protocol.clone(),
            logs: spec.logs.clone(),
        }
    }
}

#[async_trait]
impl Handler for WorkerHandler {
    async fn request(
        &self,
        cx: Context,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Box<RawValue>, RpcError> {
        self.routes.request(cx, method, params).await
    }

    fn notification(&self, cx: Context, method: &str, params: Option<&RawValue>) {
        let Some(entry) = self.protocol.log(method, params) else {
            return self.user.notification(cx, method, params);
        };
        publish(&cx, &entry);
        if let Some(logs) = &self.logs {
            logs.log(&cx, entry);
        }
    }
}

/// A log message of a process as an event of this process's log.
fn publish(cx: &Context, entry: &LogEntry) {
    let (path, incarnation, message) = (cx.path.as_str(), cx.incarnation.0, &entry.message);
    let meta = entry.meta.as_deref().map(RawValue::get);
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(target: "procession::log", path, incarnation, meta, "{message}")
        };
    }
    match entry.level {
        LogLevel::Trace => event!(trace),
        LogLevel::Debug => event!(debug),
        LogLevel::Info => event!(info),
        LogLevel::Warn => event!(warn),
        LogLevel::Error => event!(error),
    }
}
