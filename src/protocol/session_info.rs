//! What the two sides of a handshake and of a stop exchange: [`ChildIdentity`], [`SessionInfo`],
//! [`StopReply`].

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use serde_json::value::RawValue;

use crate::{
    id::{Incarnation, TreePath},
    untrusted::{
        ID_BYTES, LINE_BYTES,
        borrowed_json::{display_text, members, text},
    },
};

/// How much of an answer to a handshake is kept, and how much of the capabilities in it.
const KEPT_BYTES: usize = 128 * 1024;
/// How many announced methods are kept, and how many bytes their names may have together.
pub(super) const MAX_METHODS: usize = 4096;
pub(super) const MAX_METHOD_BYTES: usize = 256 * 1024;

/// The name and version of a program: of a child, as it says itself, or of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgramInfo {
    /// Its name.
    pub name: String,
    /// Its version, if it has said one.
    pub version: Option<String>,
}

impl ProgramInfo {
    /// A program with this name and version.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> ProgramInfo {
        ProgramInfo { name: name.into(), version: Some(version.into()) }
    }
}

/// The child's identity, for the handshake.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildIdentity {
    /// Its path in the tree.
    pub path: TreePath,
    /// Which incarnation this is.
    pub incarnation: Incarnation,
    /// Its process id, where it is a process.
    pub pid: Option<u32>,
    /// The program that is its host, if it has a plugin host
    /// ([`PluginHostSpec::host_info`](crate::plugin::PluginHostSpec::host_info)).
    pub host: Option<Arc<ProgramInfo>>,
    /// What the last incarnation before this one said of itself in its handshake. It may have run another
    /// program.
    pub previous_session: Option<Arc<SessionInfo>>,
    probe: Arc<ProbeState>,
}

/// Whether the program is being asked something that may end it, and whether its channel has ended.
///
/// Both are in one value, because the end of the channel is noticed on another thread than the handshake. If
/// the channel has ended outside of a probe, the incarnation gets no more calls, so no probe may begin that
/// would lead to another launch of it.
#[derive(Debug, Default)]
pub(crate) struct ProbeState {
    flags: AtomicU8,
    was_fatal: bool,
}

const UNDER_WAY: u8 = 1;
const CHANNEL_ENDED: u8 = 2;

impl ProbeState {
    /// The state of the launch after one whose probe was fatal.
    pub(crate) fn after_fatal_probe() -> ProbeState {
        ProbeState { flags: AtomicU8::new(0), was_fatal: true }
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.flags.load(Ordering::Acquire) & UNDER_WAY != 0
    }

    fn begin(&self) {
        let begun = |flags| (flags & CHANNEL_ENDED == 0 && !self.was_fatal).then_some(flags | UNDER_WAY);
        let _ = self.flags.fetch_update(Ordering::AcqRel, Ordering::Acquire, begun);
    }

    /// Whatever was asked is over. Returns whether the channel has ended by now.
    pub(crate) fn end(&self) -> bool {
        self.flags.fetch_and(!UNDER_WAY, Ordering::AcqRel) & CHANNEL_ENDED != 0
    }

    /// The channel has ended. Returns whether that happened during the probe.
    pub(crate) fn channel_ended(&self) -> bool {
        self.flags.fetch_or(CHANNEL_ENDED, Ordering::AcqRel) & UNDER_WAY != 0
    }
}

impl ChildIdentity {
    /// A child that is not a process of this system, or whose process id is irrelevant.
    pub fn new(path: TreePath, incarnation: Incarnation) -> ChildIdentity {
        ChildIdentity {
            path,
            incarnation,
            pid: None,
            host: None,
            previous_session: None,
            probe: Arc::default(),
        }
    }

    /// The program is about to be asked something that an older one may not survive. If its process or its
    /// channel ends before [`end_probe`](ChildIdentity::end_probe), the process is reaped and launched once
    /// more in the same incarnation, with [`probe_was_fatal`](ChildIdentity::probe_was_fatal). That is no
    /// crash and no failed start (rule W-10). A probe ends with the handshake at the latest. After a fatal
    /// one, and once the channel has ended, this has no effect.
    pub fn begin_probe(&self) {
        self.probe.begin();
    }

    /// The program has survived the probe.
    pub fn end_probe(&self) {
        self.probe.end();
    }

    /// Whether the process before this one, of the same incarnation, ended during a probe.
    pub fn probe_was_fatal(&self) -> bool {
        self.probe.was_fatal
    }

    pub(crate) fn with_probe(mut self, probe: Arc<ProbeState>) -> ChildIdentity {
        self.probe = probe;
        self
    }

    /// The same with a process id.
    #[must_use]
    pub fn with_pid(mut self, pid: u32) -> ChildIdentity {
        self.pid = Some(pid);
        self
    }

    /// The same with a host.
    #[must_use]
    pub fn with_host(mut self, host: Arc<ProgramInfo>) -> ChildIdentity {
        self.host = Some(host);
        self
    }
}

/// What the handshake found out about one incarnation.
///
/// A worker keeps it ([`WorkerRef::session`](crate::worker::WorkerRef::session)), within bounds: an
/// answer or capabilities of more than 128 KiB are left out, and so are more than 4,096 methods or more
/// than 256 KiB of their names; longer texts are cut.
#[derive(Clone, Debug, Default)]
pub struct SessionInfo {
    /// The methods that the child announced; calls to other methods are refused without being sent.
    /// `None` if the child does not announce methods.
    pub methods: Option<BTreeSet<String>>,
    /// The child's description of itself, as it was sent.
    pub info: Option<Box<RawValue>>,
    /// The child's program.
    pub server: Option<ProgramInfo>,
    /// The version of the protocol that the two sides have agreed on, if they have.
    pub protocol_version: Option<String>,
    /// What the child can do, as it was sent.
    pub capabilities: Option<Box<RawValue>>,
    /// How the child is to be used, for people and for language models.
    pub instructions: Option<String>,
    /// Whether any part was cut or left out, because it was too long to be kept.
    pub truncated: bool,
}

impl SessionInfo {
    /// What an answer to `initialize` says in the members that MCP, language servers and plugins have in
    /// common: `serverInfo` with `name` and `version`, `protocolVersion`, `capabilities`, `instructions`.
    /// A member of another type is ignored.
    pub fn from_answer(answer: Box<RawValue>) -> SessionInfo {
        let names = ["serverInfo", "protocolVersion", "capabilities", "instructions"];
        let [server, version, capabilities, instructions] = members(&answer, names).unwrap_or_default();
        let server = server.and_then(|server| members(server, ["name", "version"]));
        let server = server.and_then(|[name, version]| {
            let version = version.and_then(|version| text(version, ID_BYTES));
            Some(ProgramInfo { name: text(name?, ID_BYTES)?, version })
        });
        let instructions = instructions.filter(|text| text.get().starts_with('"'));
        let truncated = instructions.is_some_and(|text| text.get().len() > LINE_BYTES + 2)
            || capabilities.is_some_and(|capabilities| capabilities.get().len() > KEPT_BYTES);
        SessionInfo {
            methods: None,
            server,
            protocol_version: version.and_then(|version| text(version, ID_BYTES)),
            capabilities: capabilities
                .filter(|capabilities| capabilities.get().len() <= KEPT_BYTES)
                .map(ToOwned::to_owned),
            instructions: instructions.map(|instructions| display_text(instructions, LINE_BYTES)),
            info: Some(answer),
            truncated,
        }
    }

    /// The same with these announced methods.
    #[must_use]
    pub fn with_methods(mut self, methods: Option<BTreeSet<String>>) -> SessionInfo {
        self.methods = methods;
        self
    }

    /// What is kept of it. A protocol of the user may have made it, without any bound.
    pub(crate) fn into_bounded(mut self) -> SessionInfo {
        let is_long = |raw: &mut Box<RawValue>| raw.get().len() > KEPT_BYTES;
        let many = |methods: &mut BTreeSet<String>| {
            let bytes: usize = methods.iter().map(String::len).sum();
            methods.len() > MAX_METHODS || bytes > MAX_METHOD_BYTES
        };
        let left_out = self.info.take_if(is_long).is_some()
            | self.capabilities.take_if(is_long).is_some()
            | self.methods.take_if(many).is_some();
        self.truncated |= left_out;
        if let Some(server) = &mut self.server {
            self.truncated |= cut(&mut server.name, ID_BYTES);
            self.truncated |= server.version.as_mut().is_some_and(|version| cut(version, ID_BYTES));
        }
        self.truncated |= self.protocol_version.as_mut().is_some_and(|version| cut(version, ID_BYTES));
        self.truncated |= self.instructions.as_mut().is_some_and(|text| cut(text, LINE_BYTES));
        self
    }
}

/// Cuts a text that is much longer than this; a note of what is left out may follow the allowed part.
fn cut(text: &mut String, bytes: usize) -> bool {
    const NOTE: usize = 64;
    if text.len() <= bytes + NOTE {
        return false;
    }
    let end = (0..=bytes).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.truncate(end);
    text.shrink_to_fit();
    true
}

/// The outcome of the request to end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReply {
    /// The child was told and is ending by itself; it gets its whole time to drain (P-9).
    Acknowledged,
    /// The child is told by closing its stdin.
    CloseStdin,
    /// The child could not be told, or refused.
    Failed {
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_put_off_only_during_a_probe_and_no_probe_begins_after_an_end() {
        // W-10
        let probe = ProbeState::default();
        probe.begin();
        assert!(probe.is_under_way() && probe.channel_ended());
        assert!(probe.end(), "the end that was put off is told");
        assert!(!probe.is_under_way());

        let probe = ProbeState::default();
        probe.begin();
        assert!(!probe.end() && !probe.channel_ended());
        probe.begin();
        assert!(!probe.is_under_way(), "the incarnation gets no more calls");

        let probe = ProbeState::after_fatal_probe();
        probe.begin();
        assert!(!probe.is_under_way(), "a second launch is the last one");
    }
}
