//! Who is reached at a place: [`Live`], and what others put beside it and into its snapshot.

use std::{any::Any, fmt, sync::Arc};

use ractor::ActorCell;

use crate::{id::Incarnation, snapshot::WorkerNode, time::At};

/// The live incarnation of a child.
#[derive(Debug)]
pub struct Live {
    /// Its number.
    pub incarnation: Incarnation,
    /// Its actor.
    pub cell: ActorCell,
    /// What the start put beside it, such as a worker's channel.
    pub attachment: Option<Arc<dyn Attachment>>,
}

/// Something that a start publishes together with the live incarnation.
pub trait Attachment: Any + Send + Sync + fmt::Debug {
    /// For downcasts.
    fn as_any(&self) -> &(dyn Any + Send + Sync);
}

/// What a worker tells a snapshot about itself.
pub trait Details: Send + Sync + fmt::Debug {
    /// The present figures. Must not block: reading a file of the kernel's own is all that is acceptable.
    fn worker(&self, now: At) -> WorkerNode;

    /// The last lines that the process of the last incarnation that has ended wrote to stderr; empty if it wrote none.
    fn stderr_tail(&self) -> String {
        String::new()
    }
}
