//! Methods, handlers and a hand-driven other side for the tests.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use procession::rpc::{Handler, Method, MethodRouter, NoHandler, Notification, Peer, PeerConfig, RequestId};
use serde_json::{Value, json, value::to_raw_value};
use tokio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf, duplex, split,
};

pub struct Echo;
impl Method for Echo {
    const NAME: &'static str = "echo";
    type Params = String;
    type Output = String;
}

pub struct Sleep;
impl Method for Sleep {
    const NAME: &'static str = "sleep";
    type Params = u64;
    type Output = u64;
}

pub struct Mark;
impl Notification for Mark {
    const NAME: &'static str = "mark";
    type Params = u64;
}

/// Echoes and sleeps (milliseconds).
pub fn router() -> MethodRouter {
    MethodRouter::new().method::<Echo, _, _>(|_, text| async move { Ok(text) }).method::<Sleep, _, _>(
        |_, ms| async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(ms)
        },
    )
}

pub fn config(change: impl FnOnce(&mut PeerConfig)) -> PeerConfig {
    let mut config = PeerConfig::default();
    change(&mut config);
    config
}

/// `$/cancelRequest`, out and in.
pub fn with_cancel(config: &mut PeerConfig) {
    config.cancel = Some(Arc::new(|id: &RequestId| {
        Some((Cow::Borrowed("$/cancelRequest"), to_raw_value(&json!({ "id": id })).unwrap()))
    }));
    config.incoming_cancel = Some(Arc::new(|method, params| {
        if method != "$/cancelRequest" {
            return None;
        }
        let params: Value = serde_json::from_str(params?.get()).ok()?;
        RequestId::from_raw(&to_raw_value(&params["id"]).ok()?)
    }));
}

/// The other side of a peer, driven by hand, line by line.
pub struct Wire {
    pub reader: BufReader<ReadHalf<DuplexStream>>,
    pub writer: WriteHalf<DuplexStream>,
}

pub fn peer_on_wire(config: PeerConfig, handler: Arc<dyn Handler>, pipe: usize) -> (Peer, Wire) {
    let (near, far) = duplex(pipe);
    let (r, w) = split(near);
    let (reader, writer) = split(far);
    (Peer::spawn(r, w, config, handler), Wire { reader: BufReader::new(reader), writer })
}

pub fn plain() -> (Peer, Wire) {
    peer_on_wire(PeerConfig::default(), Arc::new(NoHandler), 64 * 1024)
}

impl Wire {
    pub async fn line(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
    }

    pub async fn send(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).await.unwrap();
        self.writer.write_all(b"\n").await.unwrap();
    }

    pub async fn send_json(&mut self, value: Value) {
        self.send(&value.to_string()).await;
    }

    /// Whether nothing comes for a while.
    pub async fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        tokio::time::timeout(Duration::from_secs(1), self.reader.read(&mut byte)).await.is_err()
    }
}

#[derive(Clone, Default)]
pub struct Counter(Arc<AtomicUsize>);

impl Counter {
    pub fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}
