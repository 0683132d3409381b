//! The two supervisors that are measured, behind one interface: one of bare ractor without any policy, and
//! one of procession.

use std::{collections::HashMap, sync::Arc, time::Duration};

use procession::internals::{Root, RootOptions};
use procession::{
    state::Strategy,
    supervision::{ChildPolicy, ChildSpec, SupervisorSpec},
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

// ---- the child: tells that it is up, answers ----------------------------------------------------

pub(crate) struct Child(usize, UnboundedSender<(usize, ActorRef<Ping>)>);

pub(crate) struct Ping(RpcReplyPort<usize>);

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Child {
    type Msg = Ping;
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, me: ActorRef<Ping>, (): ()) -> Result<(), ActorProcessingErr> {
        let _ = self.1.send((self.0, me));
        Ok(())
    }
    async fn handle(&self, _: ActorRef<Ping>, ping: Ping, (): &mut ()) -> Result<(), ActorProcessingErr> {
        let _ = ping.0.send(self.0);
        Ok(())
    }
}

// ---- the floor: ractor alone --------------------------------------------------------------------

pub(crate) struct Bare {
    strategy: Strategy,
    up: UnboundedSender<(usize, ActorRef<Ping>)>,
}

pub(crate) struct BareState {
    by_id: HashMap<ractor::ActorId, usize>,
    cells: Vec<ActorCell>,
    joins: Vec<Option<tokio::task::JoinHandle<()>>>,
}

impl Bare {
    async fn spawn_child(&self, i: usize, me: &ActorRef<()>, state: &mut BareState) {
        let (child, join) =
            Child::spawn_linked(None, Child(i, self.up.clone()), (), me.get_cell()).await.unwrap();
        state.by_id.insert(child.get_id(), i);
        if state.cells.len() <= i {
            state.cells.push(child.get_cell());
            state.joins.push(Some(join));
        } else {
            state.cells[i] = child.get_cell();
            state.joins[i] = Some(join);
        }
    }
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Bare {
    type Msg = ();
    type State = BareState;
    type Arguments = usize;
    async fn pre_start(&self, me: ActorRef<()>, n: usize) -> Result<BareState, ActorProcessingErr> {
        let mut state = BareState { by_id: HashMap::new(), cells: Vec::new(), joins: Vec::new() };
        for i in 0..n {
            self.spawn_child(i, &me, &mut state).await;
        }
        Ok(state)
    }
    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<()>,
        event: SupervisionEvent,
        state: &mut BareState,
    ) -> Result<(), ActorProcessingErr> {
        let (SupervisionEvent::ActorTerminated(cell, ..) | SupervisionEvent::ActorFailed(cell, _)) = event
        else {
            return Ok(());
        };
        let Some(i) = state.by_id.remove(&cell.get_id()) else { return Ok(()) };
        let from = match self.strategy {
            Strategy::OneForOne => i..i + 1,
            Strategy::OneForAll => 0..state.cells.len(),
            Strategy::RestForOne => i..state.cells.len(),
        };
        for j in from.clone().rev() {
            if j != i {
                state.by_id.remove(&state.cells[j].get_id());
                state.cells[j].stop(None);
            }
            state.joins[j].take().unwrap().await.unwrap();
        }
        for j in from {
            self.spawn_child(j, &me, state).await;
        }
        Ok(())
    }
}

// ---- both, behind one interface -----------------------------------------------------------------

pub(crate) enum Supervisor {
    Bare(#[expect(dead_code, reason = "kept alive")] ActorRef<()>),
    Procession(#[expect(dead_code, reason = "kept alive")] Root),
}

pub(crate) struct World {
    pub(crate) supervisor: Supervisor,
    up: UnboundedReceiver<(usize, ActorRef<Ping>)>,
    pub(crate) children: Vec<ActorRef<Ping>>,
}

impl World {
    pub(crate) async fn start(ours: bool, strategy: Strategy, n: usize) -> World {
        let (tx, mut up) = unbounded_channel();
        let supervisor = if ours {
            let mut spec = SupervisorSpec::new(strategy).intensity(1_000_000, Duration::from_secs(1));
            let policy = Arc::new(ChildPolicy::actor());
            for i in 0..n {
                let tx = tx.clone();
                let mut child = ChildSpec::actor(format!("c{i}"), move || (Child(i, tx.clone()), ()));
                child.policy = policy.clone();
                spec = spec.child(child);
            }
            Supervisor::Procession(Root::start(spec, RootOptions::default()).await.unwrap())
        } else {
            Supervisor::Bare(Bare::spawn(None, Bare { strategy, up: tx }, n).await.unwrap().0)
        };
        let mut children: Vec<Option<ActorRef<Ping>>> = vec![None; n];
        for _ in 0..n {
            let (i, child) = up.recv().await.unwrap();
            children[i] = Some(child);
        }
        World { supervisor, up, children: children.into_iter().map(Option::unwrap).collect() }
    }

    pub(crate) async fn next(&mut self) -> usize {
        let (i, child) = self.up.recv().await.unwrap();
        self.children[i] = child;
        i
    }

    pub(crate) async fn ping(&self, i: usize) {
        let (tx, rx) = tokio::sync::oneshot::channel();
        self.children[i].cast(Ping(tx.into())).unwrap();
        assert_eq!(rx.await.unwrap(), i);
    }
}
