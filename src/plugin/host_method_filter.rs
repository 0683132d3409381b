//! What a plugin may call on its host (rules G-3, G-9): [`HostMethodFilter`].

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use serde_json::value::RawValue;

use crate::{
    id::ChildId,
    log_event_macro::log_event,
    log_limiter::LogTopic,
    protocol::plugin_error_codes,
    rpc::{Context, Handler, RpcError},
    untrusted::one_line,
};

/// The plugin that a request or notification comes from: the last segment of the context's path.
pub fn plugin_of(cx: &Context) -> Option<ChildId> {
    cx.path.last()
}

/// A handler that lets only named methods through.
pub(crate) struct HostMethodFilter {
    /// `None`: all.
    pub(crate) allowed: Option<Arc<BTreeSet<String>>>,
    pub(crate) handler: Arc<dyn Handler>,
}

impl HostMethodFilter {
    fn allows(&self, method: &str) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.contains(method))
    }
}

#[async_trait]
impl Handler for HostMethodFilter {
    async fn request(
        &self,
        cx: Context,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Box<RawValue>, RpcError> {
        if self.allows(method) {
            return self.handler.request(cx, method, params).await;
        }
        log_denied(&cx, method);
        let message = format!(
            "capability denied: the plugin's declared capabilities do not name `{}`",
            one_line(method)
        );
        Err(RpcError::new(plugin_error_codes::CAPABILITY_DENIED, message))
    }

    fn may_answer(&self, method: &str) -> bool {
        self.handler.may_answer(method)
    }

    fn immediate_result(&self, method: &str) -> Option<Box<RawValue>> {
        self.handler.immediate_result(method).filter(|_| self.allows(method))
    }

    fn is_notification(&self, method: &str) -> bool {
        self.handler.is_notification(method)
    }

    fn notification(&self, cx: Context, method: &str, params: Option<&RawValue>) {
        if self.allows(method) {
            return self.handler.notification(cx, method, params);
        }
        // A log message needs no capability and has been logged already.
        if method != "log" {
            log_denied(&cx, method);
        }
    }
}

fn log_denied(cx: &Context, method: &str) {
    if cx.may_log(LogTopic::Denied) {
        log_event!(warn, cx.path, cx.incarnation, "capability denied: `{}`", one_line(method));
    }
}
