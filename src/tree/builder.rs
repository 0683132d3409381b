//! [`TreeBuilder`]: the declaration of a whole tree, in code.

use std::time::Duration;

use ractor::{Actor, ActorCell};

use super::handle::Tree;
use crate::{
    id::{ChildId, Incarnation, TreePath},
    log_event_macro::log_event,
    plugin::PluginHostSpec,
    pool::PoolSpec,
    state::Strategy,
    supervision::{
        AutoShutdown, ChildSpec, EventBus, EventReceiver, Root, SpecError, SpecErrors, SupervisorSpec,
        TreeContext, TreeStartError,
    },
    worker::WorkerSpec,
};

impl Tree {
    /// Begins the declaration of a tree.
    pub fn builder() -> TreeBuilder {
        TreeBuilder::default()
    }
}

/// Declares a tree: strategy, intensity, and the children in start order.
///
/// Mistakes are collected and reported together by [`TreeBuilder::start`], or earlier by
/// [`TreeBuilder::validate`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct TreeBuilder {
    spec: SupervisorSpec,
    seed: u64,
    event_capacity: usize,
    owner: Option<ActorCell>,
    context: Option<TreeContext>,
    /// Settings that were made after [`TreeBuilder::events`] had fixed them.
    set_too_late: Vec<&'static str>,
}

impl Default for TreeBuilder {
    fn default() -> TreeBuilder {
        TreeBuilder {
            spec: SupervisorSpec::one_for_one(),
            seed: 0,
            event_capacity: EventBus::DEFAULT_CAPACITY,
            owner: None,
            context: None,
            set_too_late: Vec::new(),
        }
    }
}

impl TreeBuilder {
    /// Which children of the root restart with one that failed; one-for-one by default.
    pub fn strategy(mut self, strategy: Strategy) -> TreeBuilder {
        self.spec.flags.strategy = strategy;
        self
    }

    /// At most `max_restarts` of the root's children in a sliding `period`; the next one ends the tree.
    /// See [`restart`](crate::restart) for how to choose.
    ///
    /// Without this, under one-for-one, each process worker pays for its own crashes: after 5 failures
    /// in 60 s it pauses for 60 s, health reports it, and the tree goes on. Actors, nested supervisors,
    /// pools and plugin hosts may be restarted 3 times in 5 s together. So **a program whose only work
    /// is one worker needs an intensity**: otherwise its tree does not end by itself, and a service
    /// manager does not learn that the program has stopped working.
    pub fn intensity(mut self, max_restarts: u32, period: Duration) -> TreeBuilder {
        self.spec = self.spec.intensity(max_restarts, period);
        self
    }

    /// Whether the tree ends with its significant children.
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> TreeBuilder {
        self.spec = self.spec.auto_shutdown(auto_shutdown);
        self
    }

    /// Seeds every source of randomness in the tree (jitter): the same seed gives the same delays. 0 by
    /// default.
    ///
    /// Give different seeds to hosts that must not restart their children in lockstep.
    pub fn seed(mut self, seed: u64) -> TreeBuilder {
        self.seed = seed;
        self.check_not_too_late("seed")
    }

    /// How many events a subscriber may be behind before it loses some; 4,096 by default.
    pub fn event_capacity(mut self, events: usize) -> TreeBuilder {
        self.event_capacity = events;
        self.check_not_too_late("event_capacity")
    }

    fn check_not_too_late(mut self, field: &'static str) -> TreeBuilder {
        if self.context.is_some() {
            self.set_too_late.push(field);
        }
        self
    }

    /// The actor that owns the tree: the root is linked to it and ends with it.
    pub fn owner(mut self, owner: ActorCell) -> TreeBuilder {
        self.owner = Some(owner);
        self
    }

    /// Adds a child of any kind after the existing ones.
    pub fn child(mut self, child: ChildSpec) -> TreeBuilder {
        self.spec.children.push(child);
        self
    }

    /// Adds a ractor actor. `make` is called for each incarnation.
    ///
    /// ```
    /// use procession::{ractor::{Actor, ActorProcessingErr, ActorRef}, tree::Tree};
    ///
    /// struct Counter;
    ///
    /// # #[cfg_attr(feature = "async-trait", procession::ractor::async_trait)]
    /// impl Actor for Counter {
    ///     type Msg = u64;
    ///     type State = u64;
    ///     type Arguments = ();
    ///
    ///     async fn pre_start(&self, _: ActorRef<u64>, (): ()) -> Result<u64, ActorProcessingErr> {
    ///         Ok(0)
    ///     }
    ///
    ///     async fn handle(
    ///         &self,
    ///         _: ActorRef<u64>,
    ///         n: u64,
    ///         count: &mut u64,
    ///     ) -> Result<(), ActorProcessingErr> {
    ///         *count += n; // an error, or a panic, ends this incarnation
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tree = Tree::builder().actor("counter", || (Counter, ())).start().await?;
    /// tree.actor::<u64>("counter")?.cast(1)?;
    /// # let _ = tree.kill().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn actor<A, F>(self, id: impl Into<ChildId>, make: F) -> TreeBuilder
    where
        A: Actor,
        F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    {
        self.child(ChildSpec::actor(id, make))
    }

    /// Adds a process worker. It is required at start: the tree does not start without it. For a worker
    /// that may come up later, use `.child(worker.child(id).background())`.
    pub fn worker(self, id: impl Into<ChildId>, worker: WorkerSpec) -> TreeBuilder {
        self.child(worker.child(id))
    }

    /// Adds a pool of processes.
    pub fn pool(self, id: impl Into<ChildId>, pool: PoolSpec) -> TreeBuilder {
        self.child(pool.child(id))
    }

    /// Adds a plugin host.
    pub fn plugins(self, id: impl Into<ChildId>, host: PluginHostSpec) -> TreeBuilder {
        self.child(host.child(id))
    }

    /// Adds a nested supervisor.
    pub fn supervisor(self, id: impl Into<ChildId>, supervisor: SupervisorSpec) -> TreeBuilder {
        self.child(ChildSpec::supervisor(id, supervisor))
    }

    /// Checks the whole declaration.
    ///
    /// # Errors
    /// All mistakes at once, each naming its field (rule S-6).
    pub fn validate(&self) -> Result<(), SpecErrors> {
        let mut errors: Vec<SpecError> = Vec::new();
        for field in &self.set_too_late {
            let problem = "has no effect: it must be set before `TreeBuilder::events` is called".to_owned();
            errors.push(SpecError { field: (*field).to_owned(), problem });
        }
        if self.event_capacity == 0 {
            let problem = "must not be zero".to_owned();
            errors.push(SpecError { field: "event_capacity".to_owned(), problem });
        }
        if let Err(found) = self.spec.validate() {
            errors.extend(found.iter().cloned());
        }
        SpecErrors::check(errors)
    }

    /// A subscription that includes the tree's start. Fixes the seed, the capacity and the epoch:
    /// setting them after this is a mistake.
    pub fn events(&mut self) -> EventReceiver {
        self.context().events()
    }

    /// Starts the tree and returns when all required children are ready. A tree without children starts
    /// too, which is logged: it has nothing to do until children are added to its supervisors.
    ///
    /// Dropping the future before that shuts down, in the background, what has been started.
    ///
    /// # Signals during the start
    ///
    /// Until the first call of [`Tree::run_until_signal`], signals such as `SIGTERM` end the program by
    /// their default action. On Linux the kernel then kills the launched processes, but not *their*
    /// children, unless the program runs under a [`guardian`](crate::guardian()). Programs with a long
    /// start and without a guardian should install a handler first, and use the same handler to the
    /// end, so that no signal is lost in between:
    ///
    /// ```no_run
    /// use procession::tree::Tree;
    /// use tokio::signal::unix::{SignalKind, signal};
    ///
    /// # async fn run(builder: procession::tree::TreeBuilder) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut term = signal(SignalKind::terminate())?; // needs tokio's feature `signal`
    /// let tree = tokio::select! {
    ///     tree = builder.start() => tree?,
    ///     _ = term.recv() => return Ok(()), // processes are killed with their groups, not stopped in order
    /// };
    /// // … work; a signal that comes now is kept …
    /// tokio::select! {
    ///     exit = tree.wait() => exit.into_result()?,
    ///     _ = term.recv() => tree.shutdown(Tree::DEFAULT_DEADLINE).await.into_result()?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TreeStartError`]; nothing is left running then. [`TreeStartError::Runtime`] outside of a tokio
    /// runtime with time enabled; on a runtime without I/O no process can be launched.
    pub async fn start(mut self) -> Result<Tree, TreeStartError> {
        self.validate()?;
        if self.spec.children.is_empty() {
            log_event!(
                info,
                TreePath::root(),
                Incarnation::NONE,
                "the tree has no children: nothing runs until children are added"
            );
        }
        let context = self.context().clone();
        let root = Root::start_in(context, self.spec, self.owner).await?;
        Ok(Tree::new(root))
    }

    fn context(&mut self) -> &TreeContext {
        self.context.get_or_insert_with(|| TreeContext::new(self.seed, self.event_capacity))
    }
}
