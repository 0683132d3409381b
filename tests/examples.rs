//! The examples are documentation: they run, and say what they promise to say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// `cargo test` builds the examples beside the tests; a single test target that is asked for does not.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().parent().unwrap().join("examples").join(name);
    if !path.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo).args(["build", "--quiet", "--examples"]).status().unwrap();
        assert!(status.success() && path.exists(), "the examples cannot be built");
    }
    path
}

fn run(name: &str, args: &[&str]) -> (Output, String) {
    let output = Command::new(example(name)).args(args).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

/// Each of `expected` occurs, in this order.
fn assert_tells(text: &str, expected: &[&str]) {
    let mut rest = text;
    for phrase in expected {
        let at =
            rest.find(phrase).unwrap_or_else(|| panic!("`{phrase}` is missing, or too early, in:\n{text}"));
        rest = &rest[at + phrase.len()..];
    }
}

#[test]
fn cascading_restarts_tells_its_story_and_leaves_nothing() {
    // S-11, S-17, T-3, L-7, G-3
    let (output, text) = run("cascading_restarts", &[]);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_tells(
        &text,
        &[
            "=== A tree of three",
            "team red says: homework: done",
            "plugin weather says: hello, tree",
            "the audit actor has noted 2 host calls",
            "/ #1",
            "├─ audit #1",
            "├─ agents #1",
            "└─ plugins #1",
            "=== SIGKILL to the worker of team green",
            "team green says: homework: done",
            "/agents/green #1 ended: killed by SIGKILL; restart now (failure 1)",
            "/agents/green #2 starting -> ready",
            "red #1",
            "green #2",
            "blue #1",
            "spelling #1",
            "4 of 5 processes have kept their pids",
            "=== Twice more",
            "/agents/green #3 ended: killed by SIGKILL; supervisor gives up: more than 2 restarts in 60s",
            "/agents #1 ended: gave up on `green` (more than 2 restarts in 60s): killed by SIGKILL; restart now",
            "rest-for-one restart because of `agents`",
            "/plugins #1 stops its children: stopped on request",
            "/agents #2 starting -> ready",
            "/plugins #2 starting -> ready",
            "├─ audit #1",
            "├─ agents #2",
            "└─ plugins #2",
            "untouched, it still knows of 2 calls",
            "=== And three times more",
            "supervisor gives up: more than 1 restart in 60s",
            "/ #1 stops its children: gave up on `agents`",
            "the causal chain:",
            "gave up on `agents`: more than 1 restart in 60s",
            "gave up on `green`: more than 2 restarts in 60s",
            "killed by SIGKILL",
            "processes left: 0",
        ],
    );
}

#[test]
fn cascade_in_memory_tells_its_story() {
    // S-11, S-17
    let (output, text) = run("cascade_in_memory", &[]);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_tells(
        &text,
        &[
            "the stock has counted to 2",
            "the stock goes on counting: 3",
            "stock #1",
            "till #2",
            "display #2",
            "the stock starts from zero again: 1",
            "shop #2",
            "stock #2",
            "till #3",
            "the tree has ended:",
            "gave up on `shop`: more than 1 restart in 10s",
            "gave up on `till`: more than 1 restart in 10s",
            "actor failed: out of paper",
        ],
    );
}

#[test]
fn plugin_host_stays_up_and_gives_an_account() {
    // G-3, G-4, G-5, G-6, G-9, W-3
    let (output, text) = run("plugin_host", &[]);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let missing = |plugin: &str| text.contains(&format!("going on without the plugin `{plugin}`"));
    let plugins: Vec<&str> =
        ["rust", "python", "node"].into_iter().filter(|plugin| !missing(plugin)).collect();
    for asking in &plugins {
        for (asked, language) in [("rust", "Rust"), ("python", "Python"), ("node", "Node")] {
            let answer = format!("{asking} asks {asked}: hello, {asking}, says {language}\n");
            assert_eq!(text.contains(&answer), plugins.contains(&asked), "{answer}{text}");
        }
    }
    let (all, calls) = (plugins.len(), plugins.len() * plugins.len() * 2 + plugins.len() * 4);
    // The round, the 50 pairs, and nine others.
    let (calls, failures) = (calls + 1 + 100 + 9, 7);
    for plugin in &plugins {
        assert!(text.contains(&format!("{plugin} sends 1000 items (closed), and answers null")), "{text}");
    }
    assert_tells(
        &text,
        &[
            "rust #1 is ready",
            "once around: hello, the whole round, says Rust",
            "of 50 calls at once, 50 are answered",
            "a plugin may not stop the service: `ask` failed: capability denied",
            "the caller of `crash`: `crash` was lost because its worker ended: failed with exit code 3",
            "the caller of `wait`: `wait` was lost because its worker ended: failed with exit code 3",
            "rust #1 has crashed, and will be restarted: true (failed with exit code 3)",
            "rust #2 is ready",
            "it has sent 10 items (the stream was lost because its worker ended: failed with exit code 3",
            "its call: `count` was lost because its worker ended: failed with exit code 3",
            "rust #2 has crashed, and will be restarted: true (failed with exit code 3)",
            "rust #3 is ready",
            "a slow call: `wait` was not answered within 200ms",
            "its plugin goes on: hello, service, says Rust",
            "`hang` was lost because its worker ended: unresponsive: 3 pings",
            "rust #4 is ready",
            "it has written 20000 log messages",
            &format!("meanwhile, {all} of {all} plugins have answered"),
            "left out of the log: true",
            "256 messages are kept",
            "rust #4: hello, service, says Rust",
            "the service has ended: stopped on request",
            &format!("calls      {calls:>3}"),
            &format!("answers    {:>3}", calls - failures),
            "1  answered with an error",
            "1  not answered in time",
            "5  the plugin has ended",
            &format!("streams      {}", all + 1),
            &format!("  closed     {all}"),
            "  lost       1",
            "restarts     3",
        ],
    );
}

#[test]
fn mcp_host_says_how_to_use_it_and_what_is_wrong() {
    let (output, _) = run("mcp_host", &[]);
    assert_eq!(output.status.code(), Some(2));
    let (output, _) = run("mcp_host", &["no-such-mcp-server-anywhere"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("no-such-mcp-server-anywhere") && errors.contains("never started"), "{errors}");
    assert_eq!(output.status.code(), Some(1));
}
