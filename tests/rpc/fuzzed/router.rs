//! A router of typed methods against any params (C-7): nothing panics, each request has exactly one answer.

use std::{collections::BTreeMap, sync::Arc};

use procession::rpc::{Method, MethodRouter, NoHandler, Notification, Peer, PeerConfig};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, duplex};

macro_rules! echoes {
    ($($method:ident $name:literal $type:ty,)*) => {
        $(
            struct $method;
            impl Method for $method {
                const NAME: &'static str = $name;
                type Params = $type;
                type Output = $type;
            }
        )*
        fn typed(router: MethodRouter) -> MethodRouter {
            router $(.method::<$method, _, _>(|_, params| async move { Ok(params) }))*
        }
        const NAMES: &[&str] = &[$($name,)* "raw", "nowhere"];
    };
}

echoes! {
    Unit "unit" (),
    Text "text" String,
    Pair "pair" (i64, u8),
    Numbers "numbers" Vec<Option<f64>>,
    Shapes "shapes" Vec<Shape>,
    Table "table" BTreeMap<String, Vec<Shape>>,
    Any "any" Value,
    Many "many" Item,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Shape {
    Point,
    Circle { radius: f32 },
    Line(i8, i8),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    name: String,
    #[serde(default)]
    inner: Option<Box<Item>>,
    #[serde(flatten)]
    more: Option<BTreeMap<String, i32>>,
}

struct Told;
impl Notification for Told {
    const NAME: &'static str = "told";
    type Params = Vec<Shape>;
}

/// Each line is the params of one request; its first byte chooses the method.
pub(crate) fn run(data: &[u8]) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let router = typed(MethodRouter::new())
            .method_value("raw", |_, params| async move { Ok(params.unwrap_or_default()) })
            .notification::<Told>(|_, _| {})
            .fallback(Arc::new(NoHandler));
        let ((r, mut far_writer), (w, far_reader)) = (duplex(64 * 1024), duplex(64 * 1024));
        let peer = Peer::spawn(r, w, PeerConfig::default(), Arc::new(router));
        let mut answers = BufReader::new(far_reader).lines();
        for (id, line) in data.split(|b| *b == b'\n').take(64).enumerate() {
            let (choice, params) = line.split_first().unwrap_or((&0, &[]));
            let method = NAMES[usize::from(*choice) % NAMES.len()];
            let params = match serde_json::from_slice::<IgnoredAny>(params) {
                Ok(_) if std::str::from_utf8(params).is_ok() => params.to_vec(),
                _ => serde_json::to_vec(&String::from_utf8_lossy(params)).unwrap(),
            };
            let params = String::from_utf8(params).unwrap();
            let request = format!(
                "{{\"method\":\"told\",\"params\":{params}}}\n{{\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}\n"
            );
            far_writer.write_all(request.as_bytes()).await.unwrap();
            let answer = answers.next_line().await.unwrap().expect("an answer");
            // An answer may repeat what is more than serde makes of it, see `raw`.
            if let Ok(answer) = serde_json::from_str::<Value>(&answer) {
                check(&answer, id, method);
            }
        }
        assert_eq!((peer.stats().panics, peer.stats().requests_open, peer.close_reason()), (0, 0, None));
        drop(far_writer);
        peer.closed().await;
        assert_eq!(answers.next_line().await.unwrap(), None, "one answer for each");
    });
}

fn check(answer: &Value, id: usize, method: &str) {
    assert_eq!(answer["id"], json!(id));
    match answer.get("error") {
        None => assert!(answer.get("result").is_some() && method != "nowhere"),
        Some(error) => {
            assert_eq!(answer.get("result"), None);
            let expected = if method == "nowhere" { -32601 } else { -32602 };
            assert_eq!(error["code"], expected, "{answer}");
        }
    }
}
