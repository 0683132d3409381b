//! The lists of one MCP server, kept for as long as they are good: [`McpListCache`].

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{id::Incarnation, protocol::SessionInfo, untrusted::borrowed_json::members};

/// A list that an MCP server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum McpList {
    /// `tools/list`
    Tools,
    /// `prompts/list`
    Prompts,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    ResourceTemplates,
}

impl McpList {
    const ALL: [McpList; 4] =
        [McpList::Tools, McpList::Prompts, McpList::Resources, McpList::ResourceTemplates];

    /// The method that asks for it.
    pub fn method(self) -> &'static str {
        match self {
            McpList::Tools => "tools/list",
            McpList::Prompts => "prompts/list",
            McpList::Resources => "resources/list",
            McpList::ResourceTemplates => "resources/templates/list",
        }
    }

    /// The member of the result that holds the items.
    pub fn member(self) -> &'static str {
        match self {
            McpList::Tools => "tools",
            McpList::Prompts => "prompts",
            McpList::Resources => "resources",
            McpList::ResourceTemplates => "resourceTemplates",
        }
    }

    /// The capability that goes with it, which is a part of the name of the notification of a change.
    fn capability(self) -> &'static str {
        match self {
            McpList::Tools => "tools",
            McpList::Prompts => "prompts",
            McpList::Resources | McpList::ResourceTemplates => "resources",
        }
    }
}

/// A list as one incarnation has given it.
#[derive(Clone, Debug)]
pub(crate) struct CachedList {
    pub(crate) items: Arc<[Box<RawValue>]>,
    pub(crate) incarnation: Incarnation,
    /// Until when the server allows to take it for fresh; `None` until it says that the list has changed.
    pub(crate) fresh_until: Option<Instant>,
}

impl CachedList {
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh_until.is_none_or(|until| Instant::now() < until)
    }
}

#[derive(Debug, Default)]
struct KeptList {
    /// Counts the changes that the server has told of.
    changes: u64,
    /// The server tells of changes.
    is_told: bool,
    cached: Option<CachedList>,
}

/// The lists of one MCP server (tools, prompts, resources and their templates), kept for as long as they are
/// good: per incarnation, for the time that the server allows (`ttlMs`), and until it says that they have
/// changed. A list without `ttlMs` is kept only if the server tells of changes: if it has declared
/// `listChanged`, and, in the stateless era, changes of that list are
/// [subscribed to](super::McpSubscriptions).
///
/// One is for one worker: its protocol gets it by [`Mcp::with_list_cache`](super::Mcp::with_list_cache), and
/// its callers read it through a [`McpClient`](crate::worker::McpClient). Cheap to clone; all clones are the
/// same.
#[derive(Clone, Default)]
pub struct McpListCache(Arc<Mutex<[KeptList; 4]>>);

impl McpListCache {
    /// An empty cache.
    pub fn new() -> McpListCache {
        McpListCache::default()
    }

    fn lists(&self) -> MutexGuard<'_, [KeptList; 4]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handshake is done. `subscribed`: changes of these lists come, in an era in which they are asked for.
    pub(super) fn session_began(&self, session: &SessionInfo, subscribed: impl Fn(McpList) -> bool) {
        let declared = |list: McpList| {
            let [of_list] = members(session.capabilities.as_deref()?, [list.capability()])?;
            let [declared] = members(of_list?, ["listChanged"])?;
            Some(declared?.get() == "true")
        };
        for (kept, list) in self.lists().iter_mut().zip(McpList::ALL) {
            kept.is_told = declared(list) == Some(true) && subscribed(list);
        }
    }

    /// A notification of the server.
    pub(super) fn notified(&self, method: &str) {
        let changed =
            method.strip_prefix("notifications/").and_then(|rest| rest.strip_suffix("/list_changed"));
        let Some(changed) = changed else { return };
        for (kept, list) in self.lists().iter_mut().zip(McpList::ALL) {
            if list.capability() == changed {
                kept.changes += 1;
                kept.cached = None;
            }
        }
    }

    pub(crate) fn get(&self, list: McpList) -> Option<CachedList> {
        self.lists()[list as usize].cached.clone()
    }

    /// How many changes of the list the server has told of.
    pub(crate) fn changes(&self, list: McpList) -> u64 {
        self.lists()[list as usize].changes
    }

    /// Keeps a list that was asked for when there had been so many changes, unless there has been another one
    /// since then, or it is not good for any time. `ttl` is the shortest of its pages, if they have one.
    pub(crate) fn keep(
        &self,
        list: McpList,
        changes: u64,
        (incarnation, items): (Incarnation, Arc<[Box<RawValue>]>),
        ttl: Option<Duration>,
    ) {
        let mut lists = self.lists();
        let kept = &mut lists[list as usize];
        let is_good = ttl.map_or(kept.is_told, |ttl| !ttl.is_zero());
        if kept.changes == changes {
            let fresh_until = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
            kept.cached = is_good.then_some(CachedList { items, incarnation, fresh_until });
        }
    }
}

impl PartialEq for McpListCache {
    fn eq(&self, other: &McpListCache) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for McpListCache {
    /// Without the lists, which may be long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpListCache").finish_non_exhaustive()
    }
}
