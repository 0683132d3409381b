//! The bell of a child: what its incarnations wait for wakes no task, it tells the engine where to look.
//!
//! A ring may come late, twice, or for an incarnation that is no more. It carries no meaning but "look": the engine
//! polls whatever lives at that position then.

use std::{
    sync::Arc,
    task::{Wake, Waker},
};

use crate::supervision::engine::Posts;

/// A position in an engine's roster. Reused when a child has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(pub(crate) u32);

struct Bell {
    posts: Posts,
    slot: Slot,
}

/// A bell that rings for this position.
pub(crate) fn hang(posts: Posts, slot: Slot) -> Waker {
    Waker::from(Arc::new(Bell { posts, slot }))
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.posts.ring(self.slot);
    }
}
