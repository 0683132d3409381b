//! The inputs of a hostile process that the other files of this folder send.

/// The largest frame of the channels that are tried.
pub(crate) const FRAME: usize = 256 * 1024;

/// Frames without their framing, and how often they are sent.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) frames: Vec<String>,
    pub(crate) times: usize,
}

fn shape(name: &'static str, times: usize, frame: impl Into<String>) -> Shape {
    Shape { name, frames: vec![frame.into()], times }
}

/// `begin`, as many `part`s as fit into a frame, `end`.
pub(crate) fn fill(begin: &str, part: &str, end: &str) -> String {
    let room = FRAME - begin.len() - end.len() - 64;
    format!("{begin}{}{end}", part.repeat(room / part.len()))
}

/// Values that cost a reader who builds them, or complains about them, many times their size.
pub(crate) fn values() -> Vec<(&'static str, String)> {
    let within = |begin: &str, part: &str, end: &str| {
        let text = fill(begin, part, end);
        // Room for what is around it.
        if text.len() + 512 > FRAME { fill_less(begin, part, end) } else { text }
    };
    vec![
        ("a plain text", within("\"", "x", "\"")),
        ("a text of escapes", within("\"", "\\n", "\"")),
        ("a text of surrogate pairs", within("\"", "\\ud83d\\ude00", "\"")),
        ("a text of private characters", within("\"", "\u{e000}", "\"")),
        ("an array of digits", within("[", "1,", "1]")),
        ("an array of empty objects", within("[", "{},", "{}]")),
        ("an array of empty texts", within("[", "\"\",", "\"\"]")),
        ("many small members", within("{", "\"a\":1,", "\"a\":1}")),
        ("a member with a long name", within("{\"", "\\n", "\":1}")),
        ("a deep nest", format!("{}{}", "[".repeat(100), "]".repeat(100))),
        ("a long number", within("", "9", "")),
    ]
}

fn fill_less(begin: &str, part: &str, end: &str) -> String {
    let room = FRAME - begin.len() - end.len() - 1024;
    format!("{begin}{}{end}", part.repeat(room / part.len()))
}

/// Requests and notifications: each of those values as params, ids and names that are too long, too deep a
/// nest.
pub(crate) fn messages(each: &mut dyn FnMut(&Shape)) {
    for (name, value) in values() {
        for (kind, method) in [("hang", "hang"), ("echo", "echo"), ("typed", "typed"), ("unknown", "nothing")]
        {
            let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{value}}}"#);
            let label: &'static str = Box::leak(format!("requests of `{kind}` with {name}").into_boxed_str());
            each(&shape(label, 3, request));
        }
        for method in ["typed", "nothing", "$/cancelRequest"] {
            let notification = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{value}}}"#);
            let label: &'static str =
                Box::leak(format!("notifications of `{method}` with {name}").into_boxed_str());
            each(&shape(label, 2, notification));
        }
        for (kind, message) in [
            ("an id", format!(r#"{{"id":{value},"method":"hang"}}"#)),
            ("an id of an answer", format!(r#"{{"id":{value},"result":1}}"#)),
            ("a method", format!(r#"{{"id":1,"method":{value}}}"#)),
            ("a version", format!(r#"{{"jsonrpc":{value},"id":1,"method":"hang"}}"#)),
            ("an unknown member", format!(r#"{{"id":1,"method":"hang","more":{value}}}"#)),
            ("a cancelled id", format!(r#"{{"method":"$/cancelRequest","params":{{"id":{value}}}}}"#)),
            ("a member beside an id", format!(r#"{{"id":1,"more":{value}}}"#)),
            ("a batch", format!("[{value}]")),
            ("a frame", value.clone()),
            ("a frame that is cut off", value[..value.len() - 1].to_owned()),
        ] {
            let label: &'static str = Box::leak(format!("{kind} that is {name}").into_boxed_str());
            each(&shape(label, 2, message));
        }
    }
    let request = r#"{"id":1,"method":"hang"}"#;
    let with_id = format!(r#"{{"id":"{}","method":"hang"}}"#, "i".repeat(1024));
    for one in [
        shape("many small requests", 3000, request),
        shape("many requests with long ids", 500, with_id.as_str()),
        shape("many small notifications", 3000, r#"{"method":"nothing"}"#),
        shape("many small answers", 3000, r#"{"id":1,"result":1}"#),
        shape("many frames that are no messages", 3000, "{}"),
        shape("many broken frames", 3000, r#"{""#),
        shape("many lines of noise", 3000, "DEBUG noise"),
        shape("a long line of noise", 4, fill("", "noise ", "")),
        shape("batches of digits", 4, fill("[", "1,", "1]")),
        shape("many batches of some digits", 20, format!("[{}1]", "1,".repeat(4000))),
        shape("batches of requests", 8, format!("[{}{request}]", format!("{request},").repeat(4000))),
        shape("batches of large requests", 8, batch_of("echo", 8, 50_000)),
        shape("batches of requests that hang", 8, batch_of("hang", 8, 50_000)),
        shape("batches of batches", 4, fill("[", "[1],", "[1]]")),
        shape("a long name beside an id", 4, fill(r#"{"id":1,""#, "\u{e000}", "\":1}")),
        shape("a long name in a request", 4, fill(r#"{"id":1,"method":"hang",""#, "\\n", "\":1}")),
        shape("a nest that is too deep", 4, fill("", "[", "")),
        shape("objects that nest too deep", 4, fill("", "{\"a\":", "")),
        shape("params that nest too deep", 4, fill(r#"{"id":1,"method":"typed","params":"#, "[", "")),
        shape("a line that never ends", 4, "x".repeat(FRAME) + "no newline"),
    ] {
        each(&one);
    }
}

fn batch_of(method: &str, requests: usize, bytes: usize) -> String {
    let one = format!(r#"{{"id":1,"method":"{method}","params":"{}"}}"#, "x".repeat(bytes));
    format!("[{}]", vec![one; requests].join(","))
}

/// Answers to the first calls.
/// Streams of any number, with names, ids and items of any size.
pub(crate) fn streams(each: &mut dyn FnMut(&Shape)) {
    let open = |id: &str, names: &str| {
        format!(
            r#"{{"id":1,"method":"streams.open","params":{{"stream":{id},"channel":"{names}","scope":"{names}"}}}}"#
        )
    };
    let emit = |id: &str, item: &str| {
        format!(r#"{{"method":"streams.emit","params":{{"stream":{id},"item":{item}}}}}"#)
    };
    let close = |id: &str| {
        let error = format!(r#"{{"code":1,"message":"{}"}}"#, "\n".repeat(20_000));
        format!(r#"{{"method":"streams.close","params":{{"stream":{id},"error":{error}}}}}"#)
    };
    let long = |n: usize| format!("\"{n:01000}\"");
    let names = "n".repeat(512);
    let frames = (0..3_000).map(|n| open(&long(n), &names)).collect();
    each(&Shape { name: "streams of any number with long names", frames, times: 1 });
    let frames = (0..1_000).flat_map(|n| [open(&long(n), &names), close(&long(n))]).collect();
    each(&Shape { name: "streams that fail", frames, times: 1 });
    let frames = (0..64).map(|n| open(&n.to_string(), "c"));
    let frames = frames.chain((0..100_000).map(|n| emit(&(n % 64).to_string(), "1"))).collect();
    each(&Shape { name: "streams of many small items", frames, times: 1 });
    for (name, value) in values() {
        let mut frames: Vec<String> = (0..64).map(|n| open(&n.to_string(), "c")).collect();
        frames.extend((0..64).map(|n| emit(&n.to_string(), &value)));
        frames.extend((0..64).map(|n| emit(&n.to_string(), &value[..1])));
        let label: &'static str = Box::leak(format!("streams of items that are {name}").into_boxed_str());
        each(&Shape { name: label, frames, times: 2 });
    }
}

pub(crate) fn answers(each: &mut dyn FnMut(&Shape)) {
    for (name, value) in values() {
        for (kind, member) in [
            ("results", format!(r#""result":{value}"#)),
            ("errors with data", format!(r#""error":{{"code":1,"message":"no","data":{value}}}"#)),
            ("errors with a message", format!(r#""error":{{"code":1,"message":{value}}}"#)),
            ("errors with a code", format!(r#""error":{{"code":{value},"message":"no"}}"#)),
            ("errors", format!(r#""error":{value}"#)),
            ("results and errors", format!(r#""error":null,"result":{value}"#)),
        ] {
            let frames = (1..=8).map(|id| format!(r#"{{"jsonrpc":"2.0","id":{id},{member}}}"#)).collect();
            let name: &'static str = Box::leak(format!("answers: {kind} that are {name}").into_boxed_str());
            each(&Shape { name, frames, times: 1 });
        }
    }
}
