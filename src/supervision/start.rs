//! How a child is started: the [`Start`] trait, what it is given ([`StartContext`]) and what it
//! returns ([`Started`]).

use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use ractor::{Actor, ActorCell, concurrency::JoinHandle};

use super::{
    errors::SpecErrors,
    incarnation_wait_group::IncarnationWaitGroup,
    node::{LiveAttachment, Node},
    panics::catch_panic,
    tree_context::TreeContext,
};
use crate::{
    clock::TreeInstant,
    exit::Exit,
    id::Incarnation,
    restart::{CrashLoop, ExitClass, RestartPolicy},
};

/// Starts the incarnations of a child. One value serves all incarnations of a child.
#[async_trait]
pub trait Start: Send + Sync + fmt::Debug {
    /// Starts an actor, linked to `cx.supervisor`.
    ///
    /// Everything before the first `await` that has to wait runs in the task of the supervisor, as
    /// when one ractor actor spawns another: it must not block. A start that waits for nothing
    /// finishes at once, without a task switch. One that waits goes on in a task of its own and
    /// delays nothing else.
    ///
    /// The future is dropped when the start is cancelled or takes too long. Everything it owns must
    /// then end, and whatever ends later must hold `cx.wait_group` until it has.
    ///
    /// # Errors
    /// The exit of an incarnation whose start failed; [`Exit::Ignored`] if there is nothing to run.
    async fn start(&self, cx: StartContext) -> Result<Started, Exit>;

    /// Waits until an incarnation may start, where concurrent starts are bounded. The returned
    /// permit is dropped when the start is over, whether it succeeded or failed. The
    /// `start_timeout` begins when this has returned. The future is dropped when the start is
    /// cancelled.
    ///
    /// `None`, the default: start at once.
    fn start_permit(&self) -> Option<BoxFuture<'_, StartPermit>> {
        None
    }

    /// The crash loop that a child of this kind pays its own restarts from, where neither its
    /// policy nor its supervisor says who pays ([`BudgetScope`](crate::restart::BudgetScope)). `None`, the
    /// default: the intensity of the supervisor pays.
    fn own_budget(&self) -> Option<CrashLoop> {
        None
    }

    /// What starts the child after this change, for a start that knows changes of this kind (G-13). `None`,
    /// the default: it does not.
    fn changed(&self, _change: &dyn StartModification) -> Option<Arc<dyn Start>> {
        None
    }

    /// Called once, before the first start, with the node of the child.
    fn adopted(&self, _node: &Node) {}

    /// Checks everything that can be checked before a start.
    ///
    /// # Errors
    /// All mistakes, with fields named relative to the child.
    fn validate(&self) -> Result<(), SpecErrors> {
        Ok(())
    }
}

/// A change of a part of a start, such as [`CommandChange`](crate::process::CommandChange).
pub trait StartModification: Any + Send + Sync + fmt::Debug {
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
}

/// See [`Start::start_permit`].
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The permission to start; dropping it gives it back. The default has nothing to give back.
#[derive(Default)]
pub struct StartPermit(
    #[expect(dead_code, reason = "held for its drop")] Option<Box<dyn std::any::Any + Send>>,
);

impl StartPermit {
    /// A permission that ends when `permit` is dropped.
    pub fn new(permit: impl Send + 'static) -> StartPermit {
        StartPermit(Some(Box::new(permit)))
    }
}

impl fmt::Debug for StartPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StartPermit")
    }
}

/// What a start needs to know.
#[derive(Clone, Debug)]
pub struct StartContext {
    /// The child's node.
    pub node: Node,
    /// The number of the incarnation to start.
    pub incarnation: Incarnation,
    /// The actor to link to.
    pub supervisor: ActorCell,
    /// To be held by everything that the incarnation starts.
    pub wait_group: IncarnationWaitGroup,
    /// What all parts of the tree share.
    pub tree: TreeContext,
}

/// How long an exit may wait to be judged without delaying a restart: half of the shortest
/// back-off, or zero where there is none (rule R-1).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JudgementDelay {
    /// After an exit that counts as a success.
    pub(crate) clean: Duration,
    /// After a failure.
    pub(crate) failure: Duration,
}

impl JudgementDelay {
    pub(crate) fn of(policy: &RestartPolicy) -> JudgementDelay {
        let shortest = policy.backoff.delay(1).mul_f64((1.0 - policy.jitter).clamp(0.0, 1.0)) / 2;
        let after = |class| match policy.restart.wants_restart(class) {
            true => shortest,
            false => Duration::ZERO,
        };
        JudgementDelay { clean: after(ExitClass::Clean), failure: after(ExitClass::Failure) }
    }
}

/// A new incarnation: linked, but perhaps not ready yet.
pub struct Started {
    /// The actor.
    pub cell: ActorCell,
    /// Completes when the state of the actor has been dropped.
    pub join: JoinHandle<()>,
    /// Resolves when the incarnation is ready. An error means that it will not become ready: the
    /// actor ends by itself, with the reason as its error. `None`: it is ready already.
    pub ready: Option<Readiness>,
    /// How it is asked to stop.
    pub stop: StopHandle,
    /// Published together with the live incarnation.
    pub attachment: Option<Arc<dyn LiveAttachment>>,
}

/// See [`Started::ready`].
pub type Readiness = Pin<Box<dyn Future<Output = Result<(), ReadinessError>> + Send>>;

/// The incarnation will not become ready; its actor says why when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadinessError;

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started").field("cell", &self.cell).field("ready", &self.ready.is_none()).finish()
    }
}

/// How an actor is asked to stop.
#[derive(Clone)]
pub enum StopHandle {
    /// By ractor's own `stop`: for actors that do not know this crate.
    Actor,
    /// By a request that the actor receives as a message, so that it keeps handling messages while
    /// it stops. The closure is called in the task of the supervisor: it must not block. It is
    /// called again if an earlier deadline is set while the actor stops.
    Request(Arc<dyn Fn(StopRequest) + Send + Sync>),
}

impl StopHandle {
    pub(crate) fn ask(&self, cell: &ActorCell, request: StopRequest) {
        match self {
            StopHandle::Actor => cell.stop(None),
            // It is code of the user, and a panic in it must not end the supervisor that calls it.
            StopHandle::Request(ask) => {
                if catch_panic("the stop request", || ask(request)).is_err() {
                    cell.kill();
                }
            }
        }
    }
}

impl fmt::Debug for StopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopHandle::Actor => "Actor",
            StopHandle::Request(_) => "Request",
        })
    }
}

/// Asks an actor of this crate to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopRequest {
    /// When the actor is killed if it has not ended. `None`: it has as long as it needs.
    pub deadline: Option<TreeInstant>,
}

/// Starts a ractor actor that does not know this crate. It is ready when its `pre_start` has
/// returned.
pub struct ActorStarter<A: Actor, F> {
    make: F,
    _actor: std::marker::PhantomData<fn() -> A>,
}

impl<A: Actor, F: Fn() -> (A, A::Arguments) + Send + Sync> ActorStarter<A, F> {
    /// `make` is called for each incarnation.
    pub fn new(make: F) -> ActorStarter<A, F> {
        ActorStarter { make, _actor: std::marker::PhantomData }
    }
}

impl<A: Actor, F> fmt::Debug for ActorStarter<A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActorStarter<{}>", std::any::type_name::<A>())
    }
}

#[async_trait]
impl<A, F> Start for ActorStarter<A, F>
where
    A: Actor,
    F: Fn() -> (A, A::Arguments) + Send + Sync,
{
    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        let (actor, arguments) = (self.make)();
        let (actor, join) =
            A::spawn_linked(None, actor, arguments, cx.supervisor.clone()).await.map_err(spawn_error)?;
        Ok(Started { cell: actor.get_cell(), join, ready: None, stop: StopHandle::Actor, attachment: None })
    }
}

/// The exit for a failed `pre_start`.
pub(crate) fn spawn_error(error: ractor::SpawnErr) -> Exit {
    match error {
        ractor::SpawnErr::StartupFailed(error) => Exit::from_error(&*error),
        other => Exit::from_error(&other),
    }
}
