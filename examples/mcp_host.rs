//! Hosts any MCP server: `cargo run --example mcp_host -- COMMAND ARGS…`
//!
//! The program performs the handshake, lists the server's tools, calls one, kills the server with
//! SIGKILL in mid-call, and shows how that call fails. The next incarnation answers the next call.
//! Wrappers such as `npx` are fine: the server behind a wrapper is killed together with it.

use std::{env, error::Error, process::ExitCode, time::Duration};

use procession::{
    process::Command,
    protocol::Mcp,
    restart::{Backoff, RestartPolicy},
    rpc::{Method, Timeout},
    tree::Tree,
    worker::{WorkerRef, WorkerSpec},
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Servers behind a package runner start slowly the first time.
const PATIENCE: Duration = Duration::from_secs(120);

struct ListTools;

impl Method for ListTools {
    const NAME: &'static str = "tools/list";
    type Params = Value;
    type Output = Tools;
}

#[derive(Deserialize)]
struct Tools {
    tools: Vec<Tool>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool {
    name: String,
    #[serde(default)]
    input_schema: Value,
}

struct CallTool;

impl Method for CallTool {
    const NAME: &'static str = "tools/call";
    type Params = Value;
    type Output = Value;
    const TIMEOUT: Timeout = Timeout::After(Duration::from_secs(30));
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut args = env::args_os().skip(1);
    let Some(program) = args.next() else {
        eprintln!("usage: mcp_host COMMAND ARGS…   (any MCP server that speaks over stdio)");
        return ExitCode::from(2);
    };
    match host(Command::new(program).args(args)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mcp_host: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn host(command: Command) -> Result<(), Box<dyn Error>> {
    let quickly =
        RestartPolicy::permanent().with_backoff(Backoff::Fixed { delay: Duration::from_millis(100) });
    let server = WorkerSpec::new(command).protocol(Mcp::default()).restart(quickly);
    let server = server.handshake_timeout(PATIENCE).start_timeout(2 * PATIENCE);
    // The server is the only work of this program: if it is broken, the program ends and says so.
    let tree = Tree::builder().intensity(3, Duration::from_secs(5)).worker("server", server).start().await?;
    let server = tree.worker("/server")?;
    let pid = server.pid().ok_or("the server has no process")?;
    println!("handshake done: incarnation {}, pid {pid}", server.node().incarnation());

    let tools = server.call::<ListTools>(&json!({})).await?.tools;
    println!(
        "{} tools: {}",
        tools.len(),
        tools.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ")
    );
    let tool = tools.iter().find(|t| t.name == "echo").or(tools.first()).ok_or("the server has no tools")?;
    println!("{} -> {}", tool.name, shorten(&call(&server, tool).await?));

    println!("SIGKILL in mid-call …");
    let mid_call = async {
        // A stopped server cannot answer, so the call is certainly under way when the server is
        // killed.
        let leader = Pid::from_raw(pid.try_into()?).ok_or("no pid")?;
        kill_process_group(leader, Signal::STOP)?;
        let (answer, killed) = tokio::join!(call(&server, tool), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            kill_process(leader, Signal::KILL)
        });
        killed?;
        Ok::<_, Box<dyn Error>>(answer)
    };
    match mid_call.await? {
        Ok(answer) => return Err(format!("a stopped server answered: {answer}").into()),
        Err(error) => println!("the call failed: {error}"),
    }

    let incarnation = server.wait_ready(PATIENCE).await?;
    let pid = server.pid().ok_or("the server has no process")?;
    println!("incarnation {incarnation} is ready, pid {pid}");
    println!("{} -> {}", tool.name, shorten(&call(&server, tool).await?));
    print!("{}", tree.snapshot());
    let exit = tree.shutdown(Duration::from_secs(20)).await;
    println!("the tree has ended: {exit}");
    exit.into_result()?;
    Ok(())
}

async fn call(server: &WorkerRef, tool: &Tool) -> Result<Value, procession::rpc::CallError> {
    server
        .call::<CallTool>(&json!({ "name": tool.name, "arguments": sample_arguments(&tool.input_schema) }))
        .await
}

/// A value for every argument that the tool's schema requires.
fn sample_arguments(schema: &Value) -> Map<String, Value> {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sample = |name: &str| {
        let property = &schema["properties"][name];
        match property["type"].as_str() {
            _ if property["enum"][0] != Value::Null => property["enum"][0].clone(),
            Some("number" | "integer") => json!(1),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => json!("hello"),
        }
    };
    required.iter().filter_map(Value::as_str).map(|name| (name.to_owned(), sample(name))).collect()
}

fn shorten(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
