//! Wakers that tell the engine which child to check, instead of waking a task.
//!
//! A wake-up only means "check this child": the engine polls whatever incarnation is there. Late,
//! duplicate or stale wake-ups are harmless.

use std::{
    sync::Arc,
    task::{Wake, Waker},
};

use super::{children::ChildIndex, inbox::InboxSender};

struct ChildWaker {
    inbox: InboxSender,
    index: ChildIndex,
}

/// A waker for this child.
pub(crate) fn child_waker(inbox: InboxSender, index: ChildIndex) -> Waker {
    Waker::from(Arc::new(ChildWaker { inbox, index }))
}

impl Wake for ChildWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.inbox.check(self.index);
    }
}
