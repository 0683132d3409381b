//! The host's observer: keeps the hosted plugins up to date with the engine's events and derives the events
//! for users.

use std::{sync::Arc, time::Duration};

use super::{
    event::{PluginEvent, PluginEventKind, RestartReason},
    hosted_plugins::{HostedPlugin, HostedPlugins, OngoingOperation},
};
use crate::{
    clock::Clock,
    event::{EventKind, ExitConsequence, StartReason},
    exit::Exit,
    id::Incarnation,
    state::{ChildState, DownReason},
    supervision::{Node, engine::Observer, machine::IncarnationKey},
};

/// An observer that updates the hosted plugins and derives [`PluginEvent`]s (rule G-11).
pub(crate) fn observer(hosted: Arc<HostedPlugins>, host: Node, clock: Clock) -> Observer {
    Box::new(move |key, kind| {
        for kind in hosted.observe(key, kind, &host) {
            let (plugin, incarnation) = (key.child.clone(), key.incarnation);
            hosted.publish(PluginEvent { at: clock.now(), plugin, incarnation, kind });
        }
    })
}

impl HostedPlugins {
    fn observe(&self, key: &IncarnationKey, kind: &EventKind, host: &Node) -> Vec<PluginEventKind> {
        let mut table = self.table();
        let Some(entry) = table.plugins.get_mut(&key.child) else { return Vec::new() };
        match kind {
            EventKind::Added => entry.in_table = true,
            EventKind::Removed => {
                entry.in_table = false;
                entry.take_accepted_changes();
                // Kept because its node is removed too.
                entry.last = host.child(&key.child).map(|node| Box::new(node.snapshot()));
                // A temporary plugin has ended. In other cases the operation under way updates the
                // entry.
                if matches!(entry.ongoing, OngoingOperation::Supervised) {
                    table.finish_operation(&key.child);
                }
            }
            EventKind::State { to: ChildState::Starting, reason: Some(reason), .. } => {
                let begun = entry.last_start.begins(*reason);
                if begun == StartReason::Demand {
                    return vec![PluginEventKind::StartedOnDemand];
                }
            }
            EventKind::State { to: ChildState::Ready, .. } => {
                entry.incarnation_is_ready(key.incarnation);
                let restarted = entry.last_start.restart_reason();
                let restarted = restarted.map(|why| PluginEventKind::Restarted { why });
                return [PluginEventKind::Ready].into_iter().chain(restarted).collect();
            }
            EventKind::State { to: ChildState::Down { why: DownReason::Idle }, .. } => {
                return vec![PluginEventKind::Idle];
            }
            EventKind::State { to: ChildState::Down { why: DownReason::Stopped }, .. } => {
                let by_operator = |node: Node| node.stopped_by_operator();
                if entry.stopped || host.child(&key.child).is_some_and(by_operator) {
                    entry.last_start.forget();
                    return vec![PluginEventKind::Stopped];
                }
            }
            EventKind::Replaced { from, why, reason } => {
                entry.incarnation_is_ready(key.incarnation);
                let replaced = PluginEventKind::Replaced { from: *from, why: *why };
                let restarted = RestartReason::of(*reason, None);
                let restarted = restarted.map(|why| PluginEventKind::Restarted { why });
                return [replaced].into_iter().chain(restarted).collect();
            }
            EventKind::Exited { exit, then } => {
                entry.incarnation_has_ended(key.incarnation, then);
                // A spare or a successor that ends says nothing of the incarnation that it stands beside.
                if host.child(&key.child).is_some_and(|node| key.incarnation > node.incarnation()) {
                    return Vec::new();
                }
                entry.last_exit = Some(exit.clone());
                let crash = is_crash(exit, then);
                if let ExitConsequence::Restart { .. } | ExitConsequence::CoolOff { .. } = then {
                    entry.last_start.follows(exit);
                }
                if crash {
                    entry.last_crash = Some(host.clock().now());
                }
                let gave_up = match then {
                    ExitConsequence::GiveUp { why } | ExitConsequence::Escalate { why } => Some(why.clone()),
                    _ => None,
                };
                let ended = match then {
                    _ if crash => Some(crashed(exit, then)),
                    ExitConsequence::Nothing => None,
                    then => {
                        let will_restart = delay_of(then).is_some();
                        Some(PluginEventKind::Ended { exit: exit.clone(), will_restart })
                    }
                };
                let gave_up = gave_up.map(|why| PluginEventKind::GaveUp { why });
                return ended.into_iter().chain(gave_up).collect();
            }
            _ => {}
        }
        Vec::new()
    }
}

impl HostedPlugin {
    /// The declaration of this incarnation is in force from now on.
    fn incarnation_is_ready(&mut self, incarnation: Incarnation) {
        if let Some(prepared) = self.history.started.of(incarnation) {
            self.requested.made(prepared.change);
            self.prepared = Some(prepared);
        }
    }

    /// If it had a newer declaration than the one in force, that is taken back.
    fn incarnation_has_ended(&mut self, incarnation: Incarnation, then: &ExitConsequence) {
        let (Some(ended), Some(in_force)) = (self.history.started.of(incarnation), &self.prepared) else {
            return;
        };
        if *then != ExitConsequence::Nothing && ended.change > in_force.change {
            self.requested.reject(ended.change);
        }
    }
}

fn is_crash(exit: &Exit, then: &ExitConsequence) -> bool {
    let event = crate::event::Event {
        seq: 0,
        at: crate::clock::TreeInstant::EPOCH,
        path: crate::id::TreePath::root(),
        incarnation: crate::id::Incarnation::NONE,
        kind: EventKind::Exited { exit: exit.clone(), then: then.clone() },
    };
    event.is_crash()
}

fn crashed(exit: &Exit, then: &ExitConsequence) -> PluginEventKind {
    let how = match exit {
        Exit::EndedBeforeReady { how, .. } => how,
        other => other,
    };
    let (code, signal) = match how {
        Exit::Failed { code } | Exit::Clean { code } => (Some(*code), None),
        Exit::Signalled { signal, .. } => (None, Some(*signal)),
        _ => (None, None),
    };
    let delay = delay_of(then);
    PluginEventKind::Crashed { code, signal, exit: exit.clone(), will_restart: delay.is_some(), delay }
}

/// After how long it will be restarted, if it will.
fn delay_of(then: &ExitConsequence) -> Option<Duration> {
    match then {
        ExitConsequence::Restart { delay, .. } | ExitConsequence::CoolOff { delay } => Some(*delay),
        ExitConsequence::Restore => Some(Duration::ZERO),
        _ => None,
    }
}
