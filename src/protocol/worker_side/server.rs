//! [`Server`]: the worker's side of the plugin protocol and of the Language Server Protocol.
//!
//! Owned by a child's `main`. As a plugin worker it answers the handshake with the router's methods,
//! answers `ping`, and drains and ends on `shutdown`; a language server's session is kept in order by
//! its handler. Both end when their host is gone.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use crate::{
    protocol::{
        Lsp, Plugin, Protocol, peer_config,
        worker_side::{
            lsp_handler::LspHandler,
            own_stdio::stdio,
            plugin_handler::{InitializeParams, OnInitialize, PluginHandler},
            server_shutdown_state::ServerShutdownState,
        },
    },
    rpc::{CloseReason, Context, Framing, Handler, MethodRouter, Peer, PeerConfig},
};

/// Why a server has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Served {
    /// The host requested it; every request was answered.
    Shutdown,
    /// The host told a language server to exit without having told it to shut down first. The server
    /// should exit with code 1.
    Aborted,
    /// The host closed the channel, has ended, or broke the protocol.
    Disconnected(CloseReason),
}

/// How long open requests may go on when the host has closed the channel: a worker's default time to drain.
const GRACE: Duration = Duration::from_secs(10);

/// A worker in Rust, served over its own stdin and stdout or over any other streams.
///
/// ```no_run
/// use procession::{protocol::Server, rpc::{Method, MethodRouter}};
///
/// struct Add;
/// impl Method for Add {
///     const NAME: &'static str = "add";
///     type Params = (i64, i64);
///     type Output = i64;
/// }
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> std::io::Result<()> {
///     let router = MethodRouter::new().method::<Add, _, _>(|_, (a, b)| async move { Ok(a + b) });
///     Server::new(router).serve_stdio().await?;
///     Ok(())
/// }
/// ```
#[must_use = "a server does nothing until it serves"]
pub struct Server {
    router: MethodRouter,
    announced: BTreeSet<String>,
    on_initialize: Option<OnInitialize>,
    config: Option<PeerConfig>,
    protocol: Arc<dyn Protocol>,
    is_language_server: bool,
}

impl Server {
    /// A plugin worker with these methods. All of them are announced, and so is `ping`.
    pub fn new(router: MethodRouter) -> Server {
        let mut announced: BTreeSet<String> = router.methods().map(ToOwned::to_owned).collect();
        announced.insert("ping".to_owned());
        let protocol = Arc::new(Plugin::default());
        Server { router, announced, on_initialize: None, config: None, protocol, is_language_server: false }
    }

    /// A language server (Language Server Protocol 3.17) with these methods.
    ///
    /// The router also answers `initialize`, with the server's capabilities; without a route the answer
    /// lists none. The server keeps the order of a session: until `initialize` is answered, all other
    /// requests are refused with −32002 and notifications are dropped; after `shutdown`, requests are
    /// refused with −32600; `exit` ends the server once all open requests have been answered. Nothing
    /// is announced, so the methods below that are about the plugin protocol have no effect.
    ///
    /// ```no_run
    /// use procession::{
    ///     protocol::{Served, Server},
    ///     rpc::{MethodRouter, RpcError},
    /// };
    /// use serde_json::{json, value::to_raw_value};
    ///
    /// #[tokio::main(flavor = "current_thread")]
    /// async fn main() -> std::io::Result<()> {
    ///     let router = MethodRouter::new().method_value("initialize", |_, _params| async {
    ///         let answer = json!({ "capabilities": { "hoverProvider": true } });
    ///         to_raw_value(&answer).map_err(RpcError::internal)
    ///     });
    ///     let served = Server::lsp(router).serve_stdio().await?;
    ///     std::process::exit(i32::from(served != Served::Shutdown));
    /// }
    /// ```
    pub fn lsp(router: MethodRouter) -> Server {
        let protocol = Arc::new(Lsp::default());
        let announced = BTreeSet::new();
        Server { router, announced, on_initialize: None, config: None, protocol, is_language_server: true }
    }

    /// Announces a method that the router's fallback answers, or a notification that the host may send.
    /// (The host's `configChanged` is a request: a method of the router, announced as any other.)
    pub fn announce(mut self, name: impl Into<String>) -> Server {
        self.announced.insert(name.into());
        self
    }

    /// Runs during the handshake; an error refuses the handshake, with that reason. [`Context::peer`]
    /// is the way to the host.
    pub fn on_initialize<F, Fut>(mut self, on_initialize: F) -> Server
    where
        F: Fn(InitializeParams, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.on_initialize = Some(Box::new(move |initialize, cx| Box::pin(on_initialize(initialize, cx))));
        self
    }

    /// How a plugin worker's messages are delimited; by line by default. The host's [`Plugin::framing`]
    /// must be the same.
    pub fn framing(mut self, framing: Framing) -> Server {
        if !self.is_language_server {
            self.protocol = Arc::new(Plugin::default().with_framing(framing));
        }
        self
    }

    /// Other bounds than the defaults. Framing and cancellations remain those of the protocol.
    pub fn config(mut self, config: PeerConfig) -> Server {
        self.config = Some(config);
        self
    }

    /// Serves this process's stdin and stdout until the host requests the end or has ended. Nothing
    /// else may read from stdin or print to stdout. Pipes and sockets are made non-blocking.
    ///
    /// # Errors
    /// When they cannot be used.
    pub async fn serve_stdio(self) -> std::io::Result<Served> {
        let stdio = stdio()?;
        let served = self.serve(stdio.reader, stdio.writer).await;
        if let Some(flushed) = stdio.flushed {
            // Fails only when the helper thread is gone, and then there is nothing left to flush.
            let _ = flushed.await;
        }
        Ok(served)
    }

    /// Serves any pair of streams. On `shutdown` (a language server's: `exit`) all open requests are
    /// answered, and everything is flushed, before this returns; further requests are refused meanwhile (a
    /// plugin worker's with −32000).
    pub async fn serve<R, W>(self, reader: R, writer: W) -> Served
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let mut config = self.config.unwrap_or_default();
        if let Some(wired) = peer_config(&self.protocol) {
            config.framing = wired.framing;
            (config.cancel, config.incoming_cancel) = (wired.cancel, wired.incoming_cancel);
        }
        // A host that does not read is waited for: it decides whether to go on.
        config.write_stall = None;
        config.hold_pending = true;
        let (shutdown_state, mut shutdown_changes) = watch::channel(ServerShutdownState::default());
        let endpoint: Arc<dyn Handler> = if self.is_language_server {
            Arc::new(LspHandler::new(self.router, shutdown_state))
        } else {
            let Server { router, announced, on_initialize, .. } = self;
            Arc::new(PluginHandler { router, announced, on_initialize, shutdown_state })
        };
        let peer = Peer::spawn(reader, writer, config, endpoint);
        let mut served = tokio::select! {
            biased;
            // The sender belongs to the handler, which is dropped with the channel: then the other
            // branch is due.
            Ok(_) = shutdown_changes.wait_for(|shutdown_state| shutdown_state.exit) => Served::Shutdown,
            reason = peer.closed() => Served::Disconnected(reason),
        };
        let drain = async {
            peer.requests_answered().await;
            peer.close_writer().await;
        };
        let mut drain = std::pin::pin!(drain);
        // A plugin's host waits for the answers and then closes the channel; a language server's host
        // does not wait.
        if served == Served::Shutdown && !self.is_language_server {
            let end = tokio::select! {
                biased;
                () = drain.as_mut() => return served,
                end = peer.closed() => end,
            };
            if end != CloseReason::Eof {
                served = Served::Disconnected(end);
            }
        }
        // Closing stdin is also a way to request the end, by a host that still reads. If the host has
        // ended, writes fail, and so do the calls that handlers have made to it.
        peer.fail_calls();
        if matches!(served, Served::Shutdown | Served::Disconnected(CloseReason::Eof)) {
            // Requests that are not done in time are dropped with the peer.
            let _ = tokio::time::timeout(GRACE, drain).await;
        }
        if served == Served::Shutdown && !shutdown_changes.borrow().shutdown {
            served = Served::Aborted;
        }
        peer.close(CloseReason::Requested);
        served
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("announced", &self.announced).finish_non_exhaustive()
    }
}
