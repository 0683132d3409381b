//! Requests of operators, and how children are added.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    Engine,
    changeable_start::{ChangeableStart, NextStartChange},
    child_waker::child_waker,
    children::{EngineChild, IncarnationEntries},
    inbox::OperatorRequest,
};
use crate::{
    id::ChildId,
    log_event_macro::log_event,
    restart::RestartType,
    state::ChildKind,
    supervision::{
        child_policy::{ChildPolicy, StartMode},
        errors::{RequestError, SpecErrors},
        machine::{DefinitionChange, Input, NewChild, OperatorRequestId, Reply, Request},
        node::Node,
        panics::catch_panic,
        spec::{ChildSpec, decide_budget},
        start::{JudgementDelay, Start},
    },
};

impl Engine {
    pub(super) fn operator(
        &mut self,
        operator: OperatorRequest,
        reply: oneshot::Sender<Result<Reply, RequestError>>,
    ) {
        let request = match operator {
            OperatorRequest::Plain(request) => request,
            OperatorRequest::Start(spec) => {
                if self.machine.is_stopping() {
                    let _ = reply.send(Err(RequestError::ShuttingDown));
                    return;
                }
                if let Err(errors) = self.check(&spec) {
                    let _ = reply.send(Err(errors.into()));
                    return;
                }
                let refused = self.machine.child(&spec.id).is_some() || self.is_full();
                // The machine refuses it and gives the reason; nothing must be adopted for it.
                let new = if refused { new_child(&spec, None, 0) } else { self.adopt(spec) };
                Request::StartChild(new)
            }
            OperatorRequest::Reload(spec, when) => {
                if let Err(errors) = self.check(&spec) {
                    let _ = reply.send(Err(errors.into()));
                    return;
                }
                let mut policy = spec.policy.clone();
                decide_budget(&mut policy, &*spec.start, self.machine.flags());
                let id = spec.id.clone();
                // If the machine refuses the reload, the child keeps its start.
                if self.machine.refuses_reload(&id).is_none()
                    && let Some(entry) = self.children.get_mut(&id)
                {
                    entry.definition.change(NextStartChange::Replace(spec.start));
                }
                Request::Reload(id, DefinitionChange::ReplacePolicy(policy), when)
            }
            OperatorRequest::Modify(id, change, when) => {
                let change = NextStartChange::Modify(change);
                let refused = self.machine.refuses_reload(&id);
                match self.children.get_mut(&id) {
                    Some(entry) if refused.is_none() => {
                        let checked = match entry.definition.preview(&change) {
                            Some(start) => check_start(&id, &*start),
                            None => Err(not_changeable(&id)),
                        };
                        if let Err(errors) = checked {
                            let _ = reply.send(Err(errors.into()));
                            return;
                        }
                        entry.definition.change(change);
                    }
                    // The machine gives the reason.
                    _ => {}
                }
                Request::Reload(id, DefinitionChange::KeepPolicy, when)
            }
        };
        self.next_request += 1;
        let id = OperatorRequestId(self.next_request);
        let node = request.ends().and_then(|child| self.children.get(child)).map(|entry| entry.node.clone());
        self.replies.insert(id, (reply, node));
        self.input(Input::Request(id, request));
    }

    /// Changes a child's policy while the child runs.
    pub(super) fn set_policy(
        &mut self,
        id: &ChildId,
        mut policy: Arc<ChildPolicy>,
    ) -> Result<(), RequestError> {
        let mut errors = Vec::new();
        policy.check(id.as_str(), self.machine.flags(), &mut errors);
        SpecErrors::check(errors)?;
        if let Some(entry) = self.children.get(id) {
            decide_budget(&mut policy, &**entry.definition.start(), self.machine.flags());
        }
        let delay = JudgementDelay::of(&policy.restart);
        self.machine.set_policy(id, policy)?;
        if let Some(entry) = self.children.get(id) {
            // The live incarnation is judged by the new policy, too.
            entry.node.set_judgement_delay(delay);
        }
        Ok(())
    }

    fn check(&self, spec: &ChildSpec) -> Result<(), SpecErrors> {
        let mut errors = Vec::new();
        spec.policy.check(spec.id.as_str(), self.machine.flags(), &mut errors);
        spec.check_start(&mut errors);
        SpecErrors::check(errors)
    }

    fn is_full(&self) -> bool {
        self.machine.flags().max_children.is_some_and(|max| self.children.len() >= max)
    }

    /// Adds a child: keeps its start and claims its node.
    pub(super) fn adopt(&mut self, mut spec: ChildSpec) -> NewChild {
        decide_budget(&mut spec.policy, &*spec.start, self.machine.flags());
        let node = self.node.claim(&spec.id, spec.policy.kind);
        if spec.policy.kind == ChildKind::Supervisor && spec.policy.restart.restart == RestartType::Transient
        {
            // S-17
            log_event!(
                warn,
                node.path(),
                node.incarnation(),
                "this supervisor is transient: if it gives up, it stays down and nothing escalates; declare it \
                 permanent unless that is meant"
            );
        }
        node.adopted();
        if let Err(panicked) = catch_panic("`Start::adopted`", || spec.start.adopted(&node)) {
            log_event!(warn, node.path(), node.incarnation(), "{panicked}");
        }
        node.set_on_demand(spec.policy.start == StartMode::OnDemand);
        let new = new_child(&spec, Some(&node), self.tree.seed(node.path()));
        let (start, inbox) = (spec.start, self.inbox.clone());
        self.children.insert(spec.id, |id, index| EngineChild {
            id,
            definition: ChangeableStart::new(start),
            node,
            waker: child_waker(inbox, index),
            incarnations: IncarnationEntries::default(),
        });
        new
    }

    pub(super) fn child_spec(&self, id: ChildId) -> Result<ChildSpec, RequestError> {
        match (self.machine.child(&id), self.children.get(&id)) {
            (Some(child), Some(entry)) => Ok(ChildSpec {
                policy: Arc::new(child.policy.clone()),
                start: entry.definition.start().clone(),
                id,
            }),
            _ => Err(RequestError::NotFound(id)),
        }
    }
}

/// All mistakes that a start finds in itself.
fn check_start(id: &ChildId, start: &dyn Start) -> Result<(), SpecErrors> {
    match catch_panic("`Start::validate`", || start.validate()) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(found)) => {
            let mut errors = Vec::new();
            errors.extend(found.below(&format!("children[{id}]")));
            SpecErrors::check(errors)
        }
        Err(panicked) => Err(SpecErrors::one(format!("children[{id}].start"), panicked.to_string())),
    }
}

fn not_changeable(id: &ChildId) -> SpecErrors {
    let problem = "cannot be changed in part: it has no fixed command; reload it with a new declaration";
    SpecErrors::one(format!("children[{id}].start"), problem.to_owned())
}

fn new_child(spec: &ChildSpec, node: Option<&Node>, seed: u64) -> NewChild {
    NewChild {
        id: spec.id.clone(),
        policy: spec.policy.clone(),
        last_incarnation: node.map(Node::last_started).unwrap_or_default(),
        stopped_by_operator: node.is_some_and(Node::stopped_by_operator),
        has_been_ready: node.is_some_and(Node::has_been_ready),
        seed,
    }
}
