//! A [`Handler`] made of closures: [`MethodRouter`].

use std::{collections::BTreeMap, fmt, pin::Pin, sync::Arc};

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    log_event_macro::log_event,
    log_limiter::LogTopic,
    rpc::{
        error::RpcError,
        incoming::handler::{Context, Handler},
        method::{Method, Notification},
        wire::typed_values,
    },
    untrusted::one_line,
};

type HandlerReply = Pin<Box<dyn Future<Output = Result<Box<RawValue>, RpcError>> + Send>>;
type Route = Box<dyn Fn(Context, Option<&RawValue>) -> HandlerReply + Send + Sync>;
type NotificationRoute = Box<dyn Fn(Context, Option<&RawValue>) + Send + Sync>;

/// Answers requests and takes notifications by method name, typed or raw.
///
/// Messages without a route go to the [`fallback`](MethodRouter::fallback). Without a fallback, requests
/// are answered with −32601 and notifications are ignored. Params that do not fit are answered with
/// −32602 and the path of the field (C-7). A later route of the same name replaces the earlier one.
#[derive(Default)]
pub struct MethodRouter {
    methods: BTreeMap<String, Route>,
    immediate: BTreeMap<String, Box<RawValue>>,
    notifications: BTreeMap<String, NotificationRoute>,
    fallback: Option<Arc<dyn Handler>>,
}

impl MethodRouter {
    /// A router without routes.
    pub fn new() -> MethodRouter {
        MethodRouter::default()
    }

    /// Answers `M` with what `answer` returns.
    #[must_use]
    pub fn method<M, F, Fut>(mut self, answer: F) -> MethodRouter
    where
        M: Method<Params: DeserializeOwned, Output: Serialize>,
        F: Fn(Context, M::Params) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<M::Output, RpcError>> + Send + 'static,
    {
        let route = move |cx: Context, params: Option<&RawValue>| -> HandlerReply {
            match typed_values::params(params) {
                Ok(params) => {
                    let answer = answer(cx, params);
                    Box::pin(async move { to_raw_value(&answer.await?).map_err(RpcError::internal) })
                }
                Err(reason) => Box::pin(async move { Err(RpcError::invalid_params(reason)) }),
            }
        };
        self.set_method(M::NAME.to_owned(), Box::new(route));
        self
    }

    /// Answers the method of this name with what `answer` returns, without looking at the params.
    #[must_use]
    pub fn method_value<F, Fut>(mut self, name: impl Into<String>, answer: F) -> MethodRouter
    where
        F: Fn(Context, Option<Box<RawValue>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Box<RawValue>, RpcError>> + Send + 'static,
    {
        let route = move |cx: Context, params: Option<&RawValue>| -> HandlerReply {
            Box::pin(answer(cx, params.map(ToOwned::to_owned)))
        };
        self.set_method(name.into(), Box::new(route));
        self
    }

    /// Answers the method of this name always with `result`, at once and also while all handlers are busy
    /// (see [`Handler::immediate_result`]).
    #[must_use]
    pub fn method_immediate(mut self, name: impl Into<String>, result: Box<RawValue>) -> MethodRouter {
        let (name, answer) = (name.into(), result.clone());
        let route = move |_: Context, _: Option<&RawValue>| -> HandlerReply {
            let answer = answer.clone();
            Box::pin(async move { Ok(answer) })
        };
        self.set_method(name.clone(), Box::new(route));
        self.immediate.insert(name, result);
        self
    }

    /// A later route replaces the earlier one of the same name, also one that needed no work.
    fn set_method(&mut self, name: String, route: Route) {
        self.immediate.remove(&name);
        self.methods.insert(name, route);
    }

    /// Hands each `N` to `take`, which must not block (see [`Handler::notification`]). One whose
    /// params do not fit is logged and dropped.
    #[must_use]
    pub fn notification<N>(
        mut self,
        take: impl Fn(Context, N::Params) + Send + Sync + 'static,
    ) -> MethodRouter
    where
        N: Notification<Params: DeserializeOwned>,
    {
        let sink = move |cx: Context, params: Option<&RawValue>| match typed_values::params(params) {
            Ok(params) => take(cx, params),
            Err(reason) => {
                if cx.may_log(LogTopic::Notification) {
                    log_event!(
                        warn, target: "procession::rpc", cx.path, cx.incarnation,
                        "bad notification `{}`, dropped because its params do not fit: {}", N::NAME, one_line(&reason)
                    );
                }
            }
        };
        self.notifications.insert(N::NAME.to_owned(), Box::new(sink));
        self
    }

    /// Hands each notification of this name to `take`, which must not block.
    #[must_use]
    pub fn notification_value(
        mut self,
        name: impl Into<String>,
        take: impl Fn(Context, Option<&RawValue>) + Send + Sync + 'static,
    ) -> MethodRouter {
        self.notifications.insert(name.into(), Box::new(take));
        self
    }

    /// Hands every message without a route to `handler`.
    #[must_use]
    pub fn fallback(mut self, handler: Arc<dyn Handler>) -> MethodRouter {
        self.fallback = Some(handler);
        self
    }

    /// The names of the methods that have a route, in alphabetical order, without those of the fallback.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.methods.keys().map(String::as_str)
    }

    /// Whether this method has a route of its own.
    pub fn has_method(&self, name: &str) -> bool {
        self.methods.contains_key(name)
    }

    /// The names of the notifications that have a route, in alphabetical order.
    pub fn notifications(&self) -> impl Iterator<Item = &str> {
        self.notifications.keys().map(String::as_str)
    }
}

#[async_trait]
impl Handler for MethodRouter {
    /// `true` for a name that has a route as a notification and none as a method.
    fn is_notification(&self, method: &str) -> bool {
        !self.methods.contains_key(method)
            && (self.notifications.contains_key(method)
                || self.fallback.as_ref().is_some_and(|handler| handler.is_notification(method)))
    }

    async fn request(
        &self,
        cx: Context,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Box<RawValue>, RpcError> {
        if let Some(route) = self.methods.get(method) {
            return route(cx, params).await;
        }
        match &self.fallback {
            Some(handler) => handler.request(cx, method, params).await,
            None => Err(RpcError::method_not_found(method)),
        }
    }

    fn may_answer(&self, method: &str) -> bool {
        self.methods.contains_key(method)
            || self.fallback.as_ref().is_some_and(|handler| handler.may_answer(method))
    }

    fn immediate_result(&self, method: &str) -> Option<Box<RawValue>> {
        if self.methods.contains_key(method) {
            return self.immediate.get(method).cloned();
        }
        self.fallback.as_ref()?.immediate_result(method)
    }

    fn notification(&self, cx: Context, method: &str, params: Option<&RawValue>) {
        if let Some(sink) = self.notifications.get(method) {
            return sink(cx, params);
        }
        match &self.fallback {
            Some(handler) => handler.notification(cx, method, params),
            None if tracing::enabled!(target: "procession::rpc", tracing::Level::TRACE)
                && cx.may_log(LogTopic::Notification) =>
            {
                log_event!(
                    trace, target: "procession::rpc", cx.path, cx.incarnation,
                    "no route for notification `{}`", one_line(method)
                );
            }
            None => {}
        }
    }
}

impl fmt::Debug for MethodRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodRouter")
            .field("methods", &self.methods.keys())
            .field("notifications", &self.notifications.keys())
            .field("fallback", &self.fallback.is_some())
            .finish()
    }
}
