//! The host's observer: keeps the hosted plugins up to date with the engine's events and derives the events
//! for users.

use std::sync::Arc;

use super::{
    event::{PluginEvent, PluginEventKind},
    hosted_plugins::{HostedPlugins, OngoingOperation},
};
use crate::{
    clock::Clock,
    event::{EventKind, ExitConsequence},
    exit::Exit,
    state::ChildState,
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
                // Kept because its node is removed too.
                entry.last = host.child(&key.child).map(|node| Box::new(node.snapshot()));
                // A temporary plugin has ended. In other cases the operation under way updates the
                // entry.
                if matches!(entry.ongoing, OngoingOperation::Supervised) {
                    table.finish_operation(&key.child);
                }
            }
            EventKind::State { to: ChildState::Ready, .. } => {
                let mut events = vec![PluginEventKind::Ready];
                if std::mem::take(&mut entry.crashed) {
                    events.push(PluginEventKind::Restarted);
                }
                return events;
            }
            // If it is started again, an operator did it: that is no restart after a crash.
            EventKind::State { to: ChildState::Stopping | ChildState::Down { .. }, .. } => {
                entry.crashed = false
            }
            EventKind::Exited { exit, then } => {
                entry.last_exit = Some(exit.clone());
                let crash = is_crash(exit, then);
                entry.crashed |= crash;
                if crash {
                    entry.last_crash = Some(host.clock().now());
                }
                let gave_up = match then {
                    ExitConsequence::GiveUp { why } | ExitConsequence::Escalate { why } => Some(why.clone()),
                    _ => None,
                };
                let crashed = crash.then(|| crashed(exit, then));
                let gave_up = gave_up.map(|why| PluginEventKind::GaveUp { why });
                return crashed.into_iter().chain(gave_up).collect();
            }
            _ => {}
        }
        Vec::new()
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
    let delay = match then {
        ExitConsequence::Restart { delay, .. } | ExitConsequence::CoolOff { delay } => Some(*delay),
        _ => None,
    };
    PluginEventKind::Crashed { code, signal, exit: exit.clone(), will_restart: delay.is_some(), delay }
}
