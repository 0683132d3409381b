//! [`ActorChildRef`]: the typed address of an actor child, good for all its incarnations.

use std::{fmt, marker::PhantomData, time::Duration};

use ractor::{ActorRef, Message, RpcReplyPort};

use super::{
    errors::{RequestError, Unavailable},
    node::Node,
};
use crate::{
    id::{Incarnation, TreePath},
    state::ChildState,
};

/// Sends messages of type `M` to the live incarnation of a child. Cheap to clone, usable from any
/// task.
///
/// A message goes to the incarnation that is ready at that moment, without asking a supervisor. If
/// there is none, sending fails at once with [`Unavailable`]; [`ActorChildRef::wait_ready`] waits
/// instead.
pub struct ActorChildRef<M> {
    node: Node,
    message: PhantomData<fn(M)>,
}

/// Why a message to a child was not delivered, or not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no live incarnation. The message was not sent.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The child takes messages of another type. The message was not sent.
    #[error("`{0}` does not accept messages of this type")]
    WrongType(TreePath),
    /// The child ended, or dropped the reply port, before it answered.
    #[error("`{0}` ended, or dropped the message, without answering")]
    NoAnswer(TreePath),
    /// The answer did not come in time.
    #[error("`{path}` did not answer within {after:?}")]
    Timeout {
        /// The child.
        path: TreePath,
        /// The bound.
        after: Duration,
    },
}

impl SendError {
    /// Whether the message was certainly not handled, so that it may be sent again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, SendError::Unavailable(unavailable) if unavailable.is_retryable())
    }

    /// Whether the message was wrong for this child, so that it fails however often it is sent.
    pub fn is_misuse(&self) -> bool {
        matches!(self, SendError::WrongType(_))
    }
}

impl<M: Message> ActorChildRef<M> {
    pub(crate) fn new(node: Node) -> ActorChildRef<M> {
        ActorChildRef { node, message: PhantomData }
    }

    /// Where the child is in the tree.
    pub fn path(&self) -> &TreePath {
        self.node.path()
    }

    /// What the child is doing.
    pub fn state(&self) -> ChildState {
        self.node.state()
    }

    /// The child's node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The live incarnation and its actor.
    ///
    /// # Errors
    /// [`SendError::Unavailable`] or [`SendError::WrongType`].
    pub fn actor(&self) -> Result<(Incarnation, ActorRef<M>), SendError> {
        match &*self.node.load_live() {
            None => Err(self.node.unavailable().into()),
            Some(live) if live.cell.is_message_type_of::<M>() == Some(false) => {
                Err(SendError::WrongType(self.node.path().clone()))
            }
            Some(live) => Ok((live.incarnation, live.cell.clone().into())),
        }
    }

    /// Sends a message and returns the incarnation it went to.
    ///
    /// # Errors
    /// [`SendError::Unavailable`] or [`SendError::WrongType`]; the message was not sent then.
    pub fn cast(&self, message: M) -> Result<Incarnation, SendError> {
        let (incarnation, actor) = self.actor()?;
        match actor.send_message(message) {
            Ok(()) => Ok(incarnation),
            Err(_) => Err(self.node.unavailable().into()),
        }
    }

    /// Sends a message with a reply port and waits for the answer for at most `timeout`.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn call<T: Send + 'static>(
        &self,
        message: impl FnOnce(RpcReplyPort<T>) -> M,
        timeout: Duration,
    ) -> Result<T, SendError> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        self.cast(message(tx.into()))?;
        match tokio::time::timeout(timeout, rx).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(SendError::NoAnswer(self.node.path().clone())),
            Err(_) => Err(SendError::Timeout { path: self.node.path().clone(), after: timeout }),
        }
    }

    /// Waits until an incarnation is ready, for at most `deadline`, and returns its number.
    ///
    /// # Errors
    /// [`Unavailable`] at the deadline, or at once when nothing is going to start the child.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<Incarnation, Unavailable> {
        match tokio::time::timeout(deadline, self.node.wait_ready()).await {
            Ok(live) => Ok(live?.incarnation),
            Err(_) => Err(self.node.unavailable()),
        }
    }

    /// Asks the supervisor to restart the child, in whatever state it is (rule R-8).
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn restart(&self) -> Result<Incarnation, RequestError> {
        self.node.restart().await
    }

    /// Asks the supervisor to stop the child, and returns when nothing of it is left.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn stop(&self) -> Result<(), RequestError> {
        self.node.stop().await
    }
}

impl<M> Clone for ActorChildRef<M> {
    fn clone(&self) -> Self {
        ActorChildRef { node: self.node.clone(), message: PhantomData }
    }
}

impl<M> fmt::Debug for ActorChildRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActorChildRef").field(&self.node).finish()
    }
}
