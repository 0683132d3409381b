//! What every host of an MCP server does: [`McpClient`] lists what the server has, and calls its tools.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::{json, value::RawValue};
use tokio::time::Instant;

use super::worker_ref::WorkerRef;
use crate::{
    id::Incarnation,
    protocol::{McpList, McpListCache},
    rpc::{CallError, CallOptions, Peer, Timeout, error_codes},
    state::{ChildState, DownReason},
    untrusted::{
        ID_BYTES,
        borrowed_json::{display_text, elements, members, text},
    },
};

/// How many pages a list may have, how many items, and how many bytes they may have together.
const MAX_PAGES: usize = 1000;
const MAX_ITEMS: usize = 100_000;
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// How often a list is asked for from its beginning, if its server is replaced meanwhile.
const ATTEMPTS: u32 = 3;

/// Lists what an MCP server has, and calls its tools. Cheap to clone. For everything else, call the
/// [`WorkerRef`] by the names of the methods: this is no SDK.
///
/// ```no_run
/// # async fn example(tree: procession::tree::Tree) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use procession::{protocol::{McpList, McpListCache}, worker::{McpClient, McpToolResult}};
///
/// // The same cache as in `Mcp::with_list_cache`.
/// # let cache = McpListCache::new();
/// let client = McpClient::new(tree.worker("/files")?).with_cache(cache);
/// let tools = client.list(McpList::Tools, Duration::from_secs(10)).await?;
/// println!("{} tools", tools.items.len());
/// let arguments = serde_json::json!({ "path": "/srv" });
/// match client.call_tool("list_directory", &arguments, Duration::from_secs(60)).await? {
///     McpToolResult::Complete(result) => println!("{result}"),
///     McpToolResult::Failed(result) => println!("the tool says that it failed: {result}"),
///     other => println!("{other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct McpClient {
    worker: WorkerRef,
    cache: McpListCache,
}

/// A list of a server, with all of its pages.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct McpListing {
    /// The items, as the server has written them.
    pub items: Arc<[Box<RawValue>]>,
    /// The incarnation that gave them.
    pub incarnation: Incarnation,
    /// Where they come from.
    pub source: McpListSource,
}

/// Where a list comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum McpListSource {
    /// The server was asked.
    Server,
    /// It was asked before, and the answer is still good.
    Cache,
    /// The server is idle, and was not started for this: it is the last good answer of its last incarnation.
    CacheWhileIdle,
}

/// What the call of a tool has come to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum McpToolResult {
    /// The result of the tool.
    Complete(Box<RawValue>),
    /// The tool says that it has failed (`isError`). The call itself went well.
    Failed(Box<RawValue>),
    /// The server needs more input, and has done nothing final yet: call again with the same params,
    /// `inputResponses` and the `requestState` of this result.
    InputRequired(Box<RawValue>),
}

impl McpClient {
    /// A client of this worker, without a cache that the worker's protocol keeps true.
    pub fn new(worker: WorkerRef) -> McpClient {
        McpClient { worker, cache: McpListCache::new() }
    }

    /// The same with the cache that the worker's protocol has
    /// ([`Mcp::with_list_cache`](crate::protocol::Mcp::with_list_cache)).
    #[must_use]
    pub fn with_cache(mut self, cache: McpListCache) -> McpClient {
        self.cache = cache;
        self
    }

    /// The worker.
    pub fn worker(&self) -> &WorkerRef {
        &self.worker
    }

    /// A whole list, from the cache while that is good, else page by page from one incarnation of the server,
    /// within this time. A server that is idle is asked only if nothing of its list is kept.
    ///
    /// # Errors
    /// Those of a call. A list of more than 1,000 pages, 100,000 items or 16 MiB is
    /// [`CallError::InvalidResult`].
    pub async fn list(&self, list: McpList, timeout: Duration) -> Result<McpListing, CallError> {
        let deadline = Instant::now().checked_add(timeout);
        let mut attempt = 0;
        loop {
            attempt += 1;
            if let Some(listing) = self.kept(list) {
                return Ok(listing);
            }
            let left = || deadline.map_or(timeout, |at| at.saturating_duration_since(Instant::now()));
            let (incarnation, peer) = match self.worker.peer() {
                Ok(live) => live,
                Err(_) => {
                    let ready = self.worker.wait_ready(left()).await;
                    match ready.and_then(|_| self.worker.peer()) {
                        Ok(live) => live,
                        Err(down) => {
                            let (method, path) = (list.method().to_owned(), down.path);
                            let (state, retry_after) = (down.state, down.retry_after);
                            return Err(CallError::Unavailable { method, path, state, retry_after });
                        }
                    }
                }
            };
            match self.pages(list, incarnation, &peer, left).await {
                Ok(listing) => return Ok(listing),
                Err(error) => {
                    let is_lost = matches!(error, CallError::WorkerLost { .. } | CallError::Closed { .. });
                    // A cursor that is no longer good: the list has changed.
                    let is_stale = error.remote().is_some_and(|e| e.code == error_codes::INVALID_PARAMS);
                    if !(is_lost || is_stale) || attempt >= ATTEMPTS || left().is_zero() {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// What is kept of a list, if it is good.
    fn kept(&self, list: McpList) -> Option<McpListing> {
        let cached = self.cache.get(list)?;
        let source = match self.worker.peer() {
            Ok((live, _)) if live == cached.incarnation && cached.is_fresh() => McpListSource::Cache,
            Err(down) if down.state == ChildState::down(DownReason::Idle) => McpListSource::CacheWhileIdle,
            _ => return None,
        };
        Some(McpListing { items: cached.items, incarnation: cached.incarnation, source })
    }

    async fn pages(
        &self,
        list: McpList,
        incarnation: Incarnation,
        peer: &Peer,
        left: impl Fn() -> Duration,
    ) -> Result<McpListing, CallError> {
        let method = list.method();
        let invalid =
            |reason: &str| CallError::InvalidResult { method: method.to_owned(), reason: reason.to_owned() };
        let changes = self.cache.changes(list);
        let (mut items, mut bytes, mut ttl) = (Vec::new(), 0, None::<Duration>);
        let mut cursor: Option<Box<RawValue>> = None;
        for _ in 0..MAX_PAGES {
            let left = left();
            let timeout = if left.is_zero() { Duration::from_nanos(1) } else { left };
            let params = cursor.as_ref().map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor }));
            let options = CallOptions::timeout(Timeout::After(timeout));
            let page = peer.call_value(method, &params, options).await?;
            let [of_page, next, of_ttl] = members(&page, [list.member(), "nextCursor", "ttlMs"])
                .ok_or_else(|| invalid("the result is no object"))?;
            let of_page = of_page.ok_or_else(|| invalid("the result has no list"))?;
            let all = elements(of_page, |item| {
                bytes += item.get().len();
                let fits = bytes <= MAX_BYTES && items.len() < MAX_ITEMS;
                if fits {
                    items.push(item.to_owned());
                }
                fits
            });
            match all {
                None => return Err(invalid("its list is no array")),
                Some(false) => return Err(invalid("the list is longer than 100,000 items or 16 MiB")),
                Some(true) => {}
            }
            // A negative one means zero.
            let of_ttl = of_ttl.and_then(|ttl| ttl.get().parse::<f64>().ok());
            let of_ttl = of_ttl.map(|millis| Duration::from_secs_f64(millis.clamp(0.0, 1e12) / 1e3));
            ttl = match (ttl, of_ttl) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            match next.filter(|next| next.get() != "null") {
                None => {
                    let items: Arc<[Box<RawValue>]> = items.into();
                    self.cache.keep(list, changes, (incarnation, items.clone()), ttl);
                    return Ok(McpListing { items, incarnation, source: McpListSource::Server });
                }
                Some(next) if cursor.as_ref().is_some_and(|cursor| cursor.get() == next.get()) => {
                    return Err(invalid("a page names itself as the next one"));
                }
                Some(next) => cursor = Some(next.to_owned()),
            }
        }
        Err(invalid("the list has more than 1,000 pages"))
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// Those of a call. A tool that fails is no error of the call: [`McpToolResult::Failed`]. A result of an
    /// unknown `resultType` is [`CallError::InvalidResult`].
    pub async fn call_tool<A: Serialize + Sync + ?Sized>(
        &self,
        name: &str,
        arguments: &A,
        options: impl Into<CallOptions>,
    ) -> Result<McpToolResult, CallError> {
        #[derive(Serialize)]
        struct ToolCallParams<'a, A: ?Sized> {
            name: &'a str,
            arguments: &'a A,
        }
        const METHOD: &str = "tools/call";
        let result = self.worker.call_value(METHOD, &ToolCallParams { name, arguments }, options).await?;
        let [kind, is_error] = members(&result, ["resultType", "isError"]).unwrap_or_default();
        match kind.map(|kind| text(kind, ID_BYTES).unwrap_or_else(|| display_text(kind, ID_BYTES))).as_deref()
        {
            Some("input_required") => Ok(McpToolResult::InputRequired(result)),
            None | Some("complete") if is_error.is_some_and(|is_error| is_error.get() == "true") => {
                Ok(McpToolResult::Failed(result))
            }
            None | Some("complete") => Ok(McpToolResult::Complete(result)),
            Some(other) => {
                let reason = format!("its `resultType` is unknown: {other}");
                Err(CallError::InvalidResult { method: METHOD.to_owned(), reason })
            }
        }
    }
}
