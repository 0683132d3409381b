//! What a host is subscribed to at an MCP server, across the server's incarnations: [`McpSubscriptions`].

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::McpList;
use crate::{
    log_event_macro::log_event,
    rpc::{CallError, CallOptions, DetachedPeer, Peer, Timeout},
    untrusted::one_line,
};

/// The first and the longest pause before a subscription that has failed or ended is opened again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a server may take to answer `resources/subscribe`.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Which notifications a host wants of an MCP server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpSubscriptionFilter {
    /// `notifications/tools/list_changed`. Servers with a handshake send these three unasked.
    pub tools_list_changed: bool,
    /// `notifications/prompts/list_changed`.
    pub prompts_list_changed: bool,
    /// `notifications/resources/list_changed`.
    pub resources_list_changed: bool,
    /// `notifications/resources/updated` of the resources with these URIs.
    pub resources: BTreeSet<String>,
}

impl McpSubscriptionFilter {
    /// All three lists.
    pub fn lists() -> McpSubscriptionFilter {
        McpSubscriptionFilter {
            tools_list_changed: true,
            prompts_list_changed: true,
            resources_list_changed: true,
            resources: BTreeSet::new(),
        }
    }

    /// The same and this resource.
    #[must_use]
    pub fn resource(mut self, uri: impl Into<String>) -> McpSubscriptionFilter {
        self.resources.insert(uri.into());
        self
    }

    pub(super) fn has_changes_of(&self, list: McpList) -> bool {
        match list {
            McpList::Tools => self.tools_list_changed,
            McpList::Prompts => self.prompts_list_changed,
            McpList::Resources | McpList::ResourceTemplates => self.resources_list_changed,
        }
    }

    fn is_empty(&self) -> bool {
        *self == McpSubscriptionFilter::default()
    }

    /// As `subscriptions/listen` has it.
    fn to_json(&self) -> Value {
        let lists = [
            ("toolsListChanged", self.tools_list_changed),
            ("promptsListChanged", self.prompts_list_changed),
            ("resourcesListChanged", self.resources_list_changed),
        ];
        let mut filter: serde_json::Map<String, Value> =
            lists.into_iter().filter(|(_, on)| *on).map(|(name, _)| (name.to_owned(), json!(true))).collect();
        if !self.resources.is_empty() {
            filter.insert("resourceSubscriptions".to_owned(), json!(self.resources));
        }
        Value::Object(filter)
    }
}

/// What a host is subscribed to at an MCP server. The subscriptions are opened at each incarnation of the
/// server, and again when the filter changes: by `subscriptions/listen` in the stateless era, by
/// `resources/subscribe` and `resources/unsubscribe` before. The notifications go to the worker's handler.
/// Any of them may be lost while the server is replaced, so read again what matters when an incarnation is
/// ready.
///
/// A server that refuses a subscription, or ends one (by an answer, or by `notifications/cancelled`), is
/// asked again after a pause that doubles from 0.5 s to 60 s. An open subscription counts as use: the server
/// does not become idle. A stateless server may grant less than it was asked for: it says what it grants in
/// `notifications/subscriptions/acknowledged`, which goes to the handler too.
///
/// Cheap to clone; all clones are the same subscriptions. One is for one worker.
#[derive(Clone)]
pub struct McpSubscriptions(Arc<watch::Sender<McpSubscriptionFilter>>);

impl McpSubscriptions {
    /// Subscriptions to this.
    pub fn new(filter: McpSubscriptionFilter) -> McpSubscriptions {
        McpSubscriptions(Arc::new(watch::Sender::new(filter)))
    }

    /// Changes what is subscribed to, from now on.
    pub fn set(&self, filter: McpSubscriptionFilter) {
        self.0.send_if_modified(|current| {
            let changed = *current != filter;
            *current = filter;
            changed
        });
    }

    /// What is subscribed to.
    pub fn filter(&self) -> McpSubscriptionFilter {
        self.0.borrow().clone()
    }

    /// Subscribes at this incarnation, until it is stopped or its channel ends.
    pub(super) fn keep_at(&self, peer: &Peer) {
        let (is_stateless, peer, filter) = (peer.has_request_meta(), peer.detached(), self.0.subscribe());
        tokio::spawn(async move {
            let kept = async {
                if is_stateless { listen(&peer, filter).await } else { subscribe(&peer, filter).await }
            };
            tokio::select! {
                biased;
                _ = peer.closed() => {}
                () = peer.retired() => {}
                () = kept => {}
            }
        });
    }
}

/// The stateless era: one call that stays open. When the filter changes, another one takes its place.
async fn listen(peer: &DetachedPeer, mut filter: watch::Receiver<McpSubscriptionFilter>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let wanted = filter.borrow_and_update().clone();
        if wanted.is_empty() {
            changed(&mut filter).await;
            continue;
        }
        let params = json!({ "notifications": wanted.to_json() });
        let began = Instant::now();
        tokio::select! {
            biased;
            // The call is dropped, which cancels it.
            () = changed(&mut filter) => {
                pause = FIRST_PAUSE;
                continue;
            }
            answer = peer.call("subscriptions/listen", &params, CallOptions::standing()) => {
                if began.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
                let why = answer.err().map_or_else(|| "the server has ended it".to_owned(), |error| error.to_string());
                tell(peer, "its subscription", pause, &why);
            }
        }
        tokio::select! {
            biased;
            () = changed(&mut filter) => pause = FIRST_PAUSE,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

/// The era with a handshake: one request for each resource. Changes of lists come unasked.
async fn subscribe(peer: &DetachedPeer, mut filter: watch::Receiver<McpSubscriptionFilter>) {
    let mut subscribed = BTreeSet::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let wanted = filter.borrow_and_update().resources.clone();
        let unwanted: Vec<String> = subscribed.difference(&wanted).cloned().collect();
        for uri in unwanted {
            // If that fails, notifications may go on coming.
            let _ = ask(peer, "resources/unsubscribe", &uri).await;
            subscribed.remove(&uri);
        }
        let missing: Vec<String> = wanted.difference(&subscribed).cloned().collect();
        let mut failure = None;
        for uri in missing {
            match ask(peer, "resources/subscribe", &uri).await {
                Ok(_) => drop(subscribed.insert(uri)),
                Err(error) => failure = Some((uri, error)),
            }
        }
        let _use = (!subscribed.is_empty()).then(|| peer.standing_use());
        if let Some((uri, error)) = failure {
            tell(peer, &format!("its subscription to `{}`", one_line(&uri)), pause, &error.to_string());
            tokio::select! {
                biased;
                () = changed(&mut filter) => pause = FIRST_PAUSE,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        } else {
            pause = FIRST_PAUSE;
            changed(&mut filter).await;
        }
    }
}

async fn ask(peer: &DetachedPeer, method: &str, uri: &str) -> Result<String, CallError> {
    let options = CallOptions::unannounced(Timeout::After(ANSWER_TIME));
    peer.call(method, &json!({ "uri": uri }), options).await
}

/// Returns when the filter has changed.
async fn changed(filter: &mut watch::Receiver<McpSubscriptionFilter>) {
    if filter.changed().await.is_err() {
        // No handle is left that could change it.
        std::future::pending().await
    }
}

fn tell(peer: &DetachedPeer, what: &str, pause: Duration, why: &str) {
    let (path, incarnation) = peer.whose();
    log_event!(warn, path, incarnation, "{what} is not open, and is asked for again in {pause:?}: {why}");
}

impl PartialEq for McpSubscriptions {
    fn eq(&self, other: &McpSubscriptions) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for McpSubscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("McpSubscriptions").field(&self.filter()).finish()
    }
}
