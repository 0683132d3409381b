//! What reaches an engine: its channel ([`Posts`]), and how operators use it ([`EngineHandle`]).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    exit::Exit,
    id::{ChildId, Incarnation},
    supervision::{
        errors::RequestError,
        incarnation::{Delivery, bell::Slot},
        machine::{Answer, Count, Key, Request},
        policy::ChildPolicy,
        spec::ChildSpec,
    },
    time::At,
    vocabulary::{ChildKind, State},
};

/// What an actor around an engine must take as a message and hand to [`Engine::message`](super::Engine::message).
#[derive(Debug)]
pub enum EngineMessage {
    /// There is something on the engine's channel.
    Poke,
}

/// Sends a message to the actor around an engine; `false` if the actor takes no messages any more.
pub(super) type Poke = Box<dyn Fn(EngineMessage) -> bool + Send + Sync>;

/// Something on an engine's channel.
pub(super) enum Post {
    /// Look after the incarnation here.
    Ring(Slot),
    /// A start that took its time is over.
    Begun(Box<Delivery>),
    Alarm,
    /// The process of an incarnation has ended at this moment, and its exit, this one as it seems, is judged later.
    Died(Key, At, Box<Exit>),
    Operator(Box<Operator>, oneshot::Sender<Result<Answer, RequestError>>),
    Shutdown {
        deadline: Option<At>,
        kill: bool,
    },
    Count(oneshot::Sender<Count>),
    Which(oneshot::Sender<Vec<Which>>),
    Spec(ChildId, oneshot::Sender<Result<ChildSpec, RequestError>>),
    SetPolicy(ChildId, Box<ChildPolicy>, oneshot::Sender<Result<(), RequestError>>),
}

/// A request with everything that the machine must not know.
#[derive(Debug)]
pub(super) enum Operator {
    Plain(Request),
    Start(ChildSpec),
    Reload(ChildSpec),
}

/// One child in the answer to `which_children`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// The child.
    pub id: ChildId,
    /// What it is.
    pub kind: ChildKind,
    /// What it is doing.
    pub state: State,
    /// Its last incarnation.
    pub incarnation: Incarnation,
}

/// The sending side of an engine's channel.
#[derive(Clone)]
pub(crate) struct Posts(Arc<PostsInner>);

struct PostsInner {
    tx: mpsc::UnboundedSender<Post>,
    poke: Poke,
    /// A poke is on its way: there need not be a second one.
    poked: AtomicBool,
}

impl std::fmt::Debug for Posts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Posts")
    }
}

impl Posts {
    /// The two ends of a new channel. `poke` announces to the actor that there is something on it.
    pub(super) fn new(poke: Poke) -> (Posts, mpsc::UnboundedReceiver<Post>) {
        let (tx, rx) = mpsc::unbounded_channel();
        (Posts(Arc::new(PostsInner { tx, poke, poked: AtomicBool::new(false) })), rx)
    }

    /// Whether the next post is announced: not while the engine reads its channel by itself. Whatever was put there
    /// without an announcement can be read once this has returned.
    pub(super) fn announce(&self, on: bool) {
        self.0.poked.swap(!on, Ordering::AcqRel);
    }

    pub(crate) fn ring(&self, slot: Slot) {
        let _ = self.send(Post::Ring(slot));
    }

    /// What a start has come to; it comes back if there is no engine any more.
    pub(crate) fn deliver(&self, delivery: Box<Delivery>) -> Result<(), Box<Delivery>> {
        match self.send(Post::Begun(delivery)) {
            Err(Post::Begun(delivery)) => Err(delivery),
            _ => Ok(()),
        }
    }

    pub(crate) fn alarm(&self) {
        let _ = self.send(Post::Alarm);
    }

    /// Posts of which nobody hears any more come back.
    fn send(&self, post: Post) -> Result<(), Post> {
        self.0.tx.send(post).map_err(|refused| refused.0)?;
        self.poke();
        Ok(())
    }

    /// Announces that there is something on the channel, unless that is known.
    pub(super) fn poke(&self) {
        if !self.0.poked.swap(true, Ordering::AcqRel) {
            // Refused: the actor is in its `post_stop`, where the engine reads its channel itself, or it is gone.
            (self.0.poke)(EngineMessage::Poke);
        }
    }
}

/// How operators reach an engine. Held by the supervisor's place; works from any task.
#[derive(Debug)]
pub(crate) struct EngineHandle {
    posts: Posts,
}

impl EngineHandle {
    pub(super) fn new(posts: Posts) -> EngineHandle {
        EngineHandle { posts }
    }

    /// Hands a request over now, at the call: requests reach the engine in the order in which they were made, whenever
    /// their answers are awaited.
    fn ask(&self, operator: Operator) -> impl Future<Output = Result<Answer, RequestError>> + Send + use<> {
        let (tx, rx) = oneshot::channel();
        let _ = self.posts.send(Post::Operator(Box::new(operator), tx));
        // An engine that ends drops what it has not answered.
        async { rx.await.unwrap_or(Err(RequestError::ShuttingDown)) }
    }

    /// Performs a request that needs no new declaration.
    pub(crate) fn request(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Answer, RequestError>> + Send + use<> {
        self.ask(Operator::Plain(request))
    }

    pub(crate) fn start_child(
        &self,
        spec: ChildSpec,
    ) -> impl Future<Output = Result<Answer, RequestError>> + Send + use<> {
        self.ask(Operator::Start(spec))
    }

    pub(crate) fn reload_child(
        &self,
        spec: ChildSpec,
    ) -> impl Future<Output = Result<Answer, RequestError>> + Send + use<> {
        self.ask(Operator::Reload(spec))
    }

    pub(crate) async fn set_policy(&self, id: ChildId, policy: ChildPolicy) -> Result<(), RequestError> {
        let (tx, rx) = oneshot::channel();
        let _ = self.posts.send(Post::SetPolicy(id, Box::new(policy), tx));
        rx.await.unwrap_or(Err(RequestError::ShuttingDown))
    }

    pub(crate) async fn count(&self) -> Result<Count, RequestError> {
        let (tx, rx) = oneshot::channel();
        let _ = self.posts.send(Post::Count(tx));
        rx.await.map_err(|_| RequestError::ShuttingDown)
    }

    pub(crate) async fn which(&self) -> Result<Vec<Which>, RequestError> {
        let (tx, rx) = oneshot::channel();
        let _ = self.posts.send(Post::Which(tx));
        rx.await.map_err(|_| RequestError::ShuttingDown)
    }

    pub(crate) async fn child_spec(&self, id: ChildId) -> Result<ChildSpec, RequestError> {
        let (tx, rx) = oneshot::channel();
        let _ = self.posts.send(Post::Spec(id, tx));
        rx.await.unwrap_or(Err(RequestError::ShuttingDown))
    }

    /// The process of an incarnation has ended at this moment. Its exit, this one as it seems, is judged later.
    pub(crate) fn died(&self, key: Key, at: At, exit: Exit) {
        let _ = self.posts.send(Post::Died(key, at, Box::new(exit)));
    }

    /// Asks the supervisor to stop its children and to exit.
    pub(crate) fn shutdown(&self, deadline: Option<At>) {
        let _ = self.posts.send(Post::Shutdown { deadline, kill: false });
    }

    /// As `shutdown`, and no child gets any more time.
    pub(crate) fn kill(&self) {
        let _ = self.posts.send(Post::Shutdown { deadline: None, kill: true });
    }
}
