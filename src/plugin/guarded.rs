//! What a plugin may call on its host (rules G-3, G-9): [`Guarded`].

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use serde_json::value::RawValue;

use crate::{
    foreign::{About, shown},
    id::ChildId,
    log_event::log_event,
    protocol::codes,
    rpc::{Context, Handler, RpcError},
};

/// The plugin that a request or notification comes from: the last segment of the context's path.
pub fn plugin_of(cx: &Context) -> Option<ChildId> {
    cx.path.last()
}

/// A handler that lets only named methods through.
pub(crate) struct Guarded {
    /// `None`: all.
    pub(crate) allowed: Option<Arc<BTreeSet<String>>>,
    pub(crate) handler: Arc<dyn Handler>,
}

impl Guarded {
    fn allows(&self, method: &str) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.contains(method))
    }
}

#[async_trait]
impl Handler for Guarded {
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
        let message =
            format!("capability denied: the plugin's declared capabilities do not name `{}`", shown(method));
        Err(RpcError::new(codes::CAPABILITY_DENIED, message))
    }

    fn is_notification(&self, method: &str) -> bool {
        self.handler.is_notification(method)
    }

    fn notification(&self, cx: Context, method: &str, params: Option<&RawValue>) {
        if self.allows(method) {
            return self.handler.notification(cx, method, params);
        }
        // A log message has been logged already, for which no capability is needed.
        if method != "log" {
            log_denied(&cx, method);
        }
    }
}

fn log_denied(cx: &Context, method: &str) {
    if cx.may_log(About::Denied) {
        log_event!(warn, cx.path, cx.incarnation, "capability denied: `{}`", shown(method));
    }
}
