//! Wakers that tell the engine which slot to check, instead of waking a task.
//!
//! A wake-up only means "check this slot": the engine polls whatever incarnation is there. Late,
//! duplicate or stale wake-ups are harmless.

use std::{
    sync::Arc,
    task::{Wake, Waker},
};

use super::{children::SlotIndex, inbox::InboxSender};

struct SlotWaker {
    inbox: InboxSender,
    slot: SlotIndex,
}

/// A waker for this slot.
pub(crate) fn slot_waker(inbox: InboxSender, slot: SlotIndex) -> Waker {
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
