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
pub struct EngineArgs {
    /// The supervisor's settings and first children; validated.
    pub spec: SupervisorSpec,
    /// The supervisor's own place.
    pub node: Node,
    /// The supervisor's own token.
    pub token: IncarnationToken,
    /// What the tree shares.
    pub scope: TreeContext,
    /// Told when all required children are ready; dropped if that does not come to be.
    pub ready: Option<oneshot::Sender<()>>,
    /// Told how the supervisor ends, when no child is left; dropped if it is killed.
    pub exit: Option<oneshot::Sender<Exit>>,
    /// Told everything that is published of the children.
    pub observer: Option<Observer>,
}

/// Sees each event of a supervisor's children, in order, when the board has been written and before it is published.
/// Called inside the supervisor actor: it must not block, and must not call the engine.
pub type Observer = Box<dyn FnMut(&IncarnationKey, &EventKind) + Send>;

impl std::fmt::Debug for EngineArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineArgs")
            .field("spec", &self.spec)
            .field("place", &self.node)
            .finish_non_exhaustive()
    }
}
