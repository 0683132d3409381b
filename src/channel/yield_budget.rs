//! When the reader lets other tasks run: [`YieldBudget`].

use crate::channel::channel_shared::ChannelShared;

/// Lets other tasks run after 256 messages; each KiB of a message counts as one more.
///
/// The runtime's own budget does not suffice: it ends after 128 reads, and one read may bring tens
/// of thousands of messages.
#[derive(Debug)]
pub(crate) struct YieldBudget<'a> {
    channel: &'a ChannelShared,
    spent: usize,
}

impl YieldBudget<'_> {
    const LIMIT: usize = 256;

    pub(crate) fn new(channel: &ChannelShared) -> YieldBudget<'_> {
        YieldBudget { channel, spent: 0 }
    }

    /// Counts one message of this size, and yields when the budget is spent.
    pub(crate) async fn spend(&mut self, bytes: usize) {
        self.spent += 1 + bytes / 1024;
        if self.spent >= YieldBudget::LIMIT {
            self.spent = 0;
            tokio::task::yield_now().await;
            self.channel.counters.yields.increment();
        }
    }
}
