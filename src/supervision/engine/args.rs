//! What an engine is given at its birth: [`EngineArgs`].

use tokio::sync::oneshot;

use crate::{
    event::EventKind,
    exit::Exit,
    supervision::{
        incarnation_token::IncarnationToken, machine::IncarnationKey, node::Node, spec::SupervisorSpec,
        tree_context::TreeContext,
    },
};

/// What an engine is given at its birth.
pub(crate) struct EngineArgs {
    /// The supervisor's settings and first children; validated.
    pub(crate) spec: SupervisorSpec,
    /// The supervisor's own place.
    pub(crate) node: Node,
    /// The supervisor's own token.
    pub(crate) token: IncarnationToken,
    /// What the tree shares.
    pub(crate) tree: TreeContext,
    /// Told when all required children are ready; dropped if that does not come to be.
    pub(crate) ready: Option<oneshot::Sender<()>>,
    /// Told how the supervisor ends, when no child is left; dropped if it is killed.
    pub(crate) exit: Option<oneshot::Sender<Exit>>,
    /// Told everything that is published of the children.
    pub(crate) observer: Option<Observer>,
}

/// Sees each event of a supervisor's children, in order, when the board has been written and before it is published.
/// Called inside the supervisor actor: it must not block, and must not call the engine.
pub(crate) type Observer = Box<dyn FnMut(&IncarnationKey, &EventKind) + Send>;

impl std::fmt::Debug for EngineArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineArgs")
            .field("spec", &self.spec)
            .field("place", &self.node)
            .finish_non_exhaustive()
    }
}
