//! The bell of a child: what its incarnations wait for wakes no task, it tells the engine where to look.
//!
//! A ring may come late, twice, or for an incarnation that is no more. It carries no meaning but "look": the engine
//! polls whatever lives at that position then.

use std::{
    sync::Arc,
    task::{Wake, Waker},
};

use super::{children::Slot, inbox::Inbox};

struct SlotWaker {
    inbox: Inbox,
    slot: Slot,
}

/// A bell that rings for this position.
pub(crate) fn slot_waker(inbox: Inbox, slot: Slot) -> Waker {
    Waker::from(Arc::new(SlotWaker { inbox, slot }))
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.inbox.check(self.slot);
    }
}
