//! Who takes the streams that plugins open (rule G-5): [`StreamSubscriptions`].
//!
//! They belong to the host's declaration, so that a subscription is valid for all incarnations of the host
//! and of its plugins.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    id::ChildId,
    rpc::{OfferedStream, StreamAcceptor, StreamBacklog, StreamListener},
};

/// Which streams of a host's plugins a subscription takes: those of one channel, of all plugins or of one,
/// with any scope or with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFilter {
    channel: String,
    plugin: Option<ChildId>,
    scope: Option<String>,
}

impl StreamFilter {
    /// All streams of this channel.
    pub fn channel(channel: impl Into<String>) -> StreamFilter {
        StreamFilter { channel: channel.into(), plugin: None, scope: None }
    }

    /// Only those of this plugin.
    #[must_use]
    pub fn plugin(mut self, id: impl Into<ChildId>) -> StreamFilter {
        self.plugin = Some(id.into());
        self
    }

    /// Only those that are opened with this scope.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> StreamFilter {
        self.scope = Some(scope.into());
        self
    }

    fn admits(&self, offered: &OfferedStream<'_>) -> bool {
        self.channel == offered.channel()
            && self.scope.as_deref().is_none_or(|scope| offered.scope() == Some(scope))
            && self.plugin.as_ref().is_none_or(|plugin| offered.path().last().as_ref() == Some(plugin))
    }
}

/// The subscriptions of one host, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct StreamSubscriptions {
    subscriptions: Mutex<Vec<(StreamFilter, StreamBacklog)>>,
}

impl StreamSubscriptions {
    /// Takes the streams that the filter admits, until the receiver is dropped.
    pub(crate) fn subscribe(&self, filter: StreamFilter, streams: usize, items: usize) -> StreamListener {
        let (queue, receiver) = StreamListener::new(streams, items);
        self.alive().push((filter, queue));
        receiver
    }

    /// Those whose receiver exists.
    fn alive(&self) -> MutexGuard<'_, Vec<(StreamFilter, StreamBacklog)>> {
        let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        subscriptions.retain(|(_, queue)| !queue.is_closed());
        subscriptions
    }

    /// The first subscription that admits the stream and has room for it, or the first one without room,
    /// which refuses it as one too many.
    fn taker(&self, offered: &OfferedStream<'_>) -> Option<StreamBacklog> {
        let subscriptions = self.alive();
        let admitting = || subscriptions.iter().filter(|(filter, _)| filter.admits(offered));
        let with_room = admitting().find(|(_, queue)| queue.has_room());
        with_room.or_else(|| admitting().next()).map(|(_, queue)| queue.clone())
    }
}

/// Takes the streams of one plugin: for the subscriptions of its host, and then for the acceptor of its own
/// declaration.
pub(crate) struct PluginStreamAcceptor {
    pub(crate) subscriptions: Arc<StreamSubscriptions>,
    pub(crate) next: Option<Arc<dyn StreamAcceptor>>,
}

impl StreamAcceptor for PluginStreamAcceptor {
    fn open<'a>(&self, offered: OfferedStream<'a>) -> Option<OfferedStream<'a>> {
        let offered = match self.subscriptions.taker(&offered) {
            Some(taker) => taker.open(offered)?,
            None => offered,
        };
        match &self.next {
            Some(next) => next.open(offered),
            None => Some(offered),
        }
    }
}

impl fmt::Debug for PluginStreamAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginStreamAcceptor").finish_non_exhaustive()
    }
}
