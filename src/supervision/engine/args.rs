//! What an engine is created from: [`EngineArgs`].

use tokio::sync::oneshot;

use crate::{
    event::EventKind,
    exit::Exit,
    supervision::{
        incarnation_wait_group::IncarnationWaitGroup, machine::IncarnationKey, node::Node,
        spec::SupervisorSpec, tree_context::TreeContext,
    },
};

/// What an engine is created from.
pub(crate) struct EngineArgs {
    /// The supervisor's settings and first children; validated.
    pub(crate) spec: SupervisorSpec,
    /// The supervisor's own node.
    pub(crate) node: Node,
    /// The supervisor's own wait group.
    pub(crate) wait_group: IncarnationWaitGroup,
    /// What the tree shares.
    pub(crate) tree: TreeContext,
    /// Notified when all required children are ready; dropped if that does not happen.
    pub(crate) ready: Option<oneshot::Sender<()>>,
    /// Receives the exit of the supervisor when no child is left; dropped if the supervisor is
    /// killed.
    pub(crate) exit: Option<oneshot::Sender<Exit>>,
    /// Receives every event about the children before it is published.
    pub(crate) observer: Option<Observer>,
}

/// Receives each event of a supervisor's children, in order, after the node status has been written
/// and before the event is published. It is called inside the supervisor actor: it must not block,
/// and must not call the engine.
pub(crate) type Observer = Box<dyn FnMut(&IncarnationKey, &EventKind) + Send>;

impl std::fmt::Debug for EngineArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineArgs")
            .field("spec", &self.spec)
            .field("place", &self.node)
            .finish_non_exhaustive()
    }
}
