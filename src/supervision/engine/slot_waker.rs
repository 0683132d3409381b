//! Wakers that tell the engine which slot to check, instead of waking a task.
//!
//! A wake-up only means "check this slot": the engine polls whatever incarnation is there. Late,
//! duplicate or stale wake-ups are harmless.

use std::{
    sync::Arc,
    task::{Wake, Waker},
};

use super::{children::Slot, inbox::Inbox};

struct SlotWaker {
    inbox: Inbox,
    slot: Slot,
}

/// A waker for this slot.
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
