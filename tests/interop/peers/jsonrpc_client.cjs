// A client made with Node's vscode-jsonrpc: starts the language server whose command line it is given, uses it, and
// stops it. Whatever is not as expected ends it with an error.
"use strict";
const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const rpc = require("vscode-jsonrpc/node");

const [program, ...args] = process.argv.slice(2);

function start() {
  const server = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
  const exited = new Promise((resolve) => server.on("exit", (code, signal) => resolve(signal ?? code)));
  const connection = rpc.createMessageConnection(
    new rpc.StreamMessageReader(server.stdout),
    new rpc.StreamMessageWriter(server.stdin),
  );
  connection.listen();
  const run = (command, ...args) =>
    connection.sendRequest("workspace/executeCommand", { command, arguments: args });
  return { server, connection, run, exited };
}

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail("this should have failed");
}

async function main() {
  const { server, connection, run, exited } = start();
  assert.equal((await failure(run("echo"))).code, -32002);
  const { capabilities } = await connection.sendRequest("initialize", {
    processId: process.pid,
    rootUri: null,
    capabilities: {},
  });
  assert.deepEqual(capabilities.executeCommandProvider.commands, ["echo", "fail", "wait", "ask"]);
  await connection.sendNotification("initialized", {});

  const texts = ["plain", "", "a\u2028b\u2029c\r\n\t\u0000\"\\", "😀 é 漢字", "x".repeat(1 << 20)];
  for (const text of texts) assert.deepEqual(await run("echo", text), [text]);
  const many = await Promise.all(Array.from({ length: 500 }, (_, n) => run("echo", n)));
  assert.deepEqual(many, Array.from({ length: 500 }, (_, n) => [n]));

  const failed = await failure(run("fail", 1, { two: [3] }));
  assert.equal(failed.code, -32050);
  assert.equal(failed.message, "as you wish");
  assert.deepEqual(failed.data, [1, { two: [3] }]);
  assert.equal((await failure(connection.sendRequest("no/such"))).code, -32601);
  const unfit = await failure(connection.sendRequest("workspace/executeCommand", { command: 5 }));
  assert.equal(unfit.code, -32602);
  assert.match(unfit.message, /command/);

  const source = new rpc.CancellationTokenSource();
  const waiting = connection.sendRequest(
    "workspace/executeCommand",
    { command: "wait" },
    source.token,
  );
  await run("echo");
  source.cancel();
  assert.equal((await failure(waiting)).code, -32800);

  connection.onRequest("workspace/configuration", ({ items }) => items.map(({ section }) => ({ section })));
  assert.deepEqual(await run("ask"), [{ section: "demo" }]);

  const marked = new Promise((resolve) => {
    connection.onNotification("textDocument/publishDiagnostics", resolve);
  });
  const text = "one\nTODO: 😀\n";
  await connection.sendNotification("textDocument/didOpen", { textDocument: { uri: "file:///x", text } });
  const { uri, diagnostics } = await marked;
  assert.equal(uri, "file:///x");
  assert.deepEqual(diagnostics[0].range.end, { line: 1, character: 8 });
  assert.equal(diagnostics.length, 1);

  // Once in order, and without waiting for the answer to `shutdown`.
  const bye = connection.sendRequest("shutdown");
  await connection.sendNotification("exit");
  assert.equal(await bye, null);
  assert.equal(await exited, 0);

  // One that is told to exit out of order, and one whose client is gone.
  const second = start();
  await second.connection.sendRequest("initialize", { capabilities: {} });
  await second.connection.sendNotification("exit");
  assert.equal(await second.exited, 1);
  const third = start();
  await third.connection.sendRequest("initialize", { capabilities: {} });
  third.server.stdin.end();
  assert.equal(await third.exited, 1);
  console.log("all is well");
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
