//! Which of the two eras of MCP a server speaks, and the handshake of each: [`McpEra`].

use std::{pin::pin, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

use super::{
    Mcp,
    revisions::{self, INITIALIZED, MISSING_CAPABILITY, STATELESS, UNSUPPORTED_VERSION},
};
use crate::{
    exit::Exit,
    protocol::{ChildIdentity, SessionInfo, handshake_failed},
    rpc::{CallError, CallOptions, Peer, RpcError, Timeout},
    untrusted::{
        ID_BYTES,
        borrowed_json::{display_text, members, text},
        one_line,
    },
};

/// How long a server may be silent after `server/discover` before it gets `initialize` too.
const SILENCE: Duration = Duration::from_secs(2);

/// The two eras of MCP, which differ in how a client and a server find out about each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum McpEra {
    /// Revisions from 2024-11-05 to 2025-11-25: a session begins with `initialize`.
    Initialize,
    /// Revision 2026-07-28: there is no session. Each request says in `_meta` what the client is.
    Stateless,
}

impl McpEra {
    /// The era of a server that agreed on this protocol version
    /// ([`SessionInfo::protocol_version`]); `None` for a version that this client does not know.
    pub fn of_version(version: &str) -> Option<McpEra> {
        if STATELESS.contains(&version) {
            Some(McpEra::Stateless)
        } else if INITIALIZED.contains(&version) {
            Some(McpEra::Initialize)
        } else {
            None
        }
    }
}

/// What the answer to `server/discover` says about the server.
enum Verdict {
    /// It is stateless, and this is what it said.
    Stateless(SessionInfo),
    /// It wants `initialize`, with this version if it has named one.
    Initialize(Option<&'static str>),
}

impl Mcp {
    pub(super) async fn find_era(&self, peer: &Peer, identity: &ChildIdentity) -> Result<SessionInfo, Exit> {
        let before = identity.previous_session.as_deref();
        let before = before.and_then(|session| McpEra::of_version(session.protocol_version.as_deref()?));
        match (self.era, before) {
            (Some(McpEra::Initialize), _) => self.initialize(peer, identity, INITIALIZED[0]).await,
            (Some(McpEra::Stateless), _) => match verdict(identity, self.discover(peer).await)? {
                Verdict::Stateless(session) => self.stateless_session(peer, session),
                Verdict::Initialize(_) => Err(Exit::HandshakeFailed {
                    reason: "it was declared to be a stateless MCP server (2026-07-28), but does not answer \
                             `server/discover` like one; leave its era open to have it found out"
                        .to_owned(),
                }),
            },
            (None, Some(McpEra::Initialize)) if !identity.probe_was_fatal() => {
                // The program may have been replaced by a newer one, which may end at this.
                identity.begin_probe();
                let answer = self.call_initialize(peer, INITIALIZED[0]).await;
                match answer {
                    Err(error) if error_object(&error).is_some() => {
                        match verdict(identity, self.discover(peer).await)? {
                            Verdict::Stateless(session) => self.stateless_session(peer, session),
                            Verdict::Initialize(Some(version)) => {
                                self.initialize(peer, identity, version).await
                            }
                            Verdict::Initialize(None) => Err(handshake_failed(error)),
                        }
                    }
                    answer => initialized(peer, survived(identity, answer)).await,
                }
            }
            (None, Some(McpEra::Initialize)) => self.probe(peer, identity).await,
            (None, _) if identity.probe_was_fatal() => self.initialize(peer, identity, INITIALIZED[0]).await,
            (None, _) => {
                identity.begin_probe();
                self.probe(peer, identity).await
            }
        }
    }

    /// Asks `server/discover`; after a silence, `initialize` too. The first good answer decides.
    async fn probe(&self, peer: &Peer, identity: &ChildIdentity) -> Result<SessionInfo, Exit> {
        let mut discover = pin!(self.discover(peer));
        let first = tokio::time::timeout(SILENCE, &mut discover).await;
        if let Ok(answer) = first {
            return match verdict(identity, answer)? {
                Verdict::Stateless(session) => self.stateless_session(peer, session),
                Verdict::Initialize(version) => {
                    self.initialize(peer, identity, version.unwrap_or(INITIALIZED[0])).await
                }
            };
        }
        let mut initialize = pin!(self.call_initialize(peer, INITIALIZED[0]));
        let mut discovering = true;
        let mut refusal = None;
        loop {
            tokio::select! {
                biased;
                answer = &mut discover, if discovering => {
                    discovering = false;
                    match (verdict(identity, answer)?, refusal.take()) {
                        (Verdict::Stateless(session), _) => return self.stateless_session(peer, session),
                        (Verdict::Initialize(_), Some(error)) => return Err(handshake_failed(error)),
                        (Verdict::Initialize(_), None) => {}
                    }
                }
                answer = &mut initialize, if refusal.is_none() => match answer {
                    Err(error) if discovering && error_object(&error).is_some() => refusal = Some(error),
                    answer => return initialized(peer, survived(identity, answer)).await,
                },
            }
        }
    }

    async fn discover(&self, peer: &Peer) -> Result<Box<RawValue>, CallError> {
        let meta: serde_json::Map<_, _> = self.request_meta(STATELESS[0]).into_iter().collect();
        peer.call_value(
            "server/discover",
            &json!({ "_meta": meta }),
            CallOptions::unannounced(Timeout::Never),
        )
        .await
    }

    async fn call_initialize(&self, peer: &Peer, version: &str) -> Result<Box<RawValue>, CallError> {
        let params = json!({
            "protocolVersion": version,
            "capabilities": self.capabilities,
            "clientInfo": self.client_info,
        });
        peer.call_value("initialize", &params, CallOptions::unannounced(Timeout::Never)).await
    }

    async fn initialize(
        &self,
        peer: &Peer,
        identity: &ChildIdentity,
        version: &str,
    ) -> Result<SessionInfo, Exit> {
        initialized(peer, survived(identity, self.call_initialize(peer, version).await)).await
    }

    /// From now on each request says what the client is.
    fn stateless_session(&self, peer: &Peer, session: SessionInfo) -> Result<SessionInfo, Exit> {
        let version = session.protocol_version.as_deref().unwrap_or(STATELESS[0]);
        let members = self.request_meta(version).into_iter().map(|(name, value)| (name, value.to_string()));
        peer.set_request_meta(members);
        Ok(session)
    }
}

/// Checks the answer to `initialize`, and ends the handshake.
async fn initialized(peer: &Peer, answer: Result<Box<RawValue>, CallError>) -> Result<SessionInfo, Exit> {
    let info = answer.map_err(handshake_failed)?;
    let failed = |reason: String| Exit::HandshakeFailed { reason };
    let [version] = members(&info, ["protocolVersion"]).unwrap_or_default();
    let version = version.and_then(|version| text(version, ID_BYTES)).ok_or_else(|| {
        failed(format!("the answer to `initialize` has no `protocolVersion`: {}", display_text(&info, 400)))
    })?;
    if !INITIALIZED.contains(&version.as_str()) {
        let ours = INITIALIZED.join(", ");
        return Err(failed(format!(
            "the server wants protocol version `{version}`, and this client speaks {ours}"
        )));
    }
    peer.notify_value("notifications/initialized", &()).await.map_err(handshake_failed)?;
    Ok(SessionInfo::from_answer(info))
}

/// What an answer to `server/discover` tells. A server that is to get `initialize` has not survived the probe
/// yet: some refuse the question, and end.
fn verdict(identity: &ChildIdentity, answer: Result<Box<RawValue>, CallError>) -> Result<Verdict, Exit> {
    let answered = is_answer(&answer);
    let verdict = verdict_of(answer);
    if answered && !matches!(verdict, Ok(Verdict::Initialize(_))) {
        identity.end_probe();
    }
    verdict
}

fn verdict_of(answer: Result<Box<RawValue>, CallError>) -> Result<Verdict, Exit> {
    let failed = |reason: String| Exit::HandshakeFailed { reason };
    match answer {
        Ok(result) => {
            let [versions] = members(&result, ["supportedVersions"]).unwrap_or_default();
            match versions.and_then(revisions::newest_common) {
                // Some servers answer anything.
                None => Ok(Verdict::Initialize(None)),
                Some(Err(theirs)) => Err(failed(no_common_version(&theirs))),
                Some(Ok(version)) if STATELESS.contains(&version) => {
                    Ok(Verdict::Stateless(discovered(result, version)))
                }
                Some(Ok(version)) => Ok(Verdict::Initialize(Some(version))),
            }
        }
        Err(error) => match error_object(&error) {
            None => Err(handshake_failed(error)),
            Some(error) if error.code == UNSUPPORTED_VERSION => {
                let supported = error.data.as_deref().and_then(|data| members(data, ["supported"]));
                let common = supported.and_then(|[supported]| revisions::newest_common(supported?));
                match common {
                    Some(Ok(version)) if INITIALIZED.contains(&version) => {
                        Ok(Verdict::Initialize(Some(version)))
                    }
                    Some(Err(theirs)) => Err(failed(no_common_version(&theirs))),
                    // It refuses what it says it speaks, or does not say what it speaks.
                    _ => Err(failed(format!("`server/discover` was refused: {error}"))),
                }
            }
            Some(error) if error.code == MISSING_CAPABILITY => {
                let needed = error.data.as_deref().map(|data| display_text(data, 400)).unwrap_or_default();
                Err(failed(format!(
                    "the server asks for capabilities that this client does not declare \
                     (`Mcp::with_capabilities`): {needed}"
                )))
            }
            Some(_) => Ok(Verdict::Initialize(None)),
        },
    }
}

/// A server that answers `initialize` has survived the probe.
fn survived(
    identity: &ChildIdentity,
    answer: Result<Box<RawValue>, CallError>,
) -> Result<Box<RawValue>, CallError> {
    if is_answer(&answer) {
        identity.end_probe();
    }
    answer
}

fn is_answer(answer: &Result<Box<RawValue>, CallError>) -> bool {
    answer.as_ref().err().is_none_or(|error| error_object(error).is_some())
}

/// The error that the server has answered with.
fn error_object(error: &CallError) -> Option<&RpcError> {
    match error {
        CallError::Remote { error, .. } | CallError::Unattributed { error, .. } => Some(error),
        _ => None,
    }
}

fn no_common_version(theirs: &str) -> String {
    let ours: Vec<&str> = STATELESS.iter().chain(&INITIALIZED).copied().collect();
    format!(
        "no common protocol version: the server speaks {}, this client {}",
        one_line(theirs),
        ours.join(", ")
    )
}

/// What the answer to `server/discover` says of the server. Its name is in `_meta`.
fn discovered(result: Box<RawValue>, version: &str) -> SessionInfo {
    let [meta] = members(&result, ["_meta"]).unwrap_or_default();
    let server = meta.and_then(|meta| members(meta, ["io.modelcontextprotocol/serverInfo"]));
    let server = server.and_then(|[server]| to_raw_value(&json!({ "serverInfo": server? })).ok());
    let server = server.and_then(|server| SessionInfo::from_answer(server).server);
    let mut session = SessionInfo::from_answer(result);
    session.server = server.or(session.server);
    session.protocol_version = Some(version.to_owned());
    session
}
