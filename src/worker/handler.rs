//! [`WorkerHandler`]: handles a process's requests and notifications. The user's handler goes first,
//! then the protocol's defaults.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::value::RawValue;

use super::spec::{LogEntrySink, WorkerSpec};
use crate::{
    log_event_macro::log_event,
    log_limiter::LogTopic,
    protocol::{LogEntry, LogLevel, Protocol},
    rpc::{Context, Handler, MethodRouter, RpcError, error_codes},
    untrusted::{LINE_BYTES, one_line_up_to},
};

pub(crate) struct WorkerHandler {
    defaults: MethodRouter,
    user: Arc<dyn Handler>,
    protocol: Arc<dyn Protocol>,
    logs: Option<Arc<dyn LogEntrySink>>,
}

impl WorkerHandler {
    pub(crate) fn new(spec: &WorkerSpec) -> WorkerHandler {
        WorkerHandler {
            defaults: spec.protocol.routes(),
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
        if !self.defaults.has_method(method) {
            return self.user.request(cx, method, params).await;
        }
        match self.user.request(cx.clone(), method, params).await {
            Err(error) if error.code == error_codes::METHOD_NOT_FOUND => {
                self.defaults.request(cx, method, params).await
            }
            answer => answer,
        }
    }

    fn immediate_result(&self, method: &str) -> Option<Box<RawValue>> {
        if self.user.may_answer(method) {
            return self.user.immediate_result(method);
        }
        self.defaults.immediate_result(method)
    }

    fn may_answer(&self, method: &str) -> bool {
        self.defaults.may_answer(method) || self.user.may_answer(method)
    }

    fn is_notification(&self, method: &str) -> bool {
        !self.defaults.has_method(method)
            && (self.user.is_notification(method) || self.protocol.is_notification(method))
    }

    fn notification(&self, cx: Context, method: &str, params: Option<&RawValue>) {
        self.protocol.notified(method, params);
        if let Some(entry) = self.protocol.log(method, params) {
            publish(&cx, &entry);
            if let Some(logs) = &self.logs {
                logs.log(&cx, entry);
            }
        }
        self.user.notification(cx, method, params);
    }
}

/// Logs a log message of a process, unless there were too many just now.
fn publish(cx: &Context, entry: &LogEntry) {
    macro_rules! event {
        ($level:ident, $LEVEL:ident) => {
            // A line that no subscriber listens to must not count as left out.
            if tracing::enabled!(target: "procession::log", tracing::Level::$LEVEL) && cx.may_log(LogTopic::Message) {
                let message = one_line_up_to(LINE_BYTES + 64, &entry.message);
                let meta = entry.meta.as_deref().map(|meta| one_line_up_to(LINE_BYTES, meta.get()).to_string());
                log_event!($level, target: "procession::log", cx.path, cx.incarnation, meta, "{message}");
            }
        };
    }
    match entry.level {
        LogLevel::Trace => event!(trace, TRACE),
        LogLevel::Debug => event!(debug, DEBUG),
        LogLevel::Info => event!(info, INFO),
        LogLevel::Warn => event!(warn, WARN),
        LogLevel::Error => event!(error, ERROR),
    }
}
