// A server on stdin and stdout made with Node's vscode-jsonrpc. It speaks the life cycle of a language server.
"use strict";
const rpc = require("vscode-jsonrpc/node");

const connection = rpc.createMessageConnection(
  new rpc.StreamMessageReader(process.stdin),
  new rpc.StreamMessageWriter(process.stdout),
);
let shutdown = false;
connection.onRequest("initialize", () => ({ capabilities: {} }));
connection.onRequest("shutdown", () => {
  shutdown = true;
  return null;
});
connection.onNotification("exit", () => process.exit(shutdown ? 0 : 1));

// The arguments of the call, without the token that the library adds.
connection.onRequest("demo/echo", (...args) => args.slice(0, -1));
connection.onRequest("demo/nothing", () => undefined);
connection.onRequest("demo/fail", (...args) => {
  throw new rpc.ResponseError(-32050, "as you wish", args.slice(0, -1));
});
connection.onRequest("demo/throw", () => {
  throw new Error("by accident");
});
connection.onRequest("demo/wait", (token) => {
  void connection.sendNotification("demo/waiting");
  return new Promise((_, reject) => {
    token.onCancellationRequested(() => {
      void connection.sendNotification("demo/cancelled");
      reject(new rpc.ResponseError(-32800, "cancelled"));
    });
  });
});

// Answers when `count` calls are there, the last one first.
let held = [];
connection.onRequest("demo/gather", (number, count) => {
  return new Promise((resolve) => {
    held.push(() => resolve(number));
    if (held.length === count) {
      for (const answer of held.reverse()) answer();
      held = [];
    }
  });
});

connection.onNotification("demo/note", (text) => connection.sendNotification("demo/noted", text));
connection.onRequest("demo/ask", async (method, ...args) => {
  try {
    return { result: await connection.sendRequest(method, ...args.slice(0, -1)) };
  } catch (error) {
    return { code: error.code, message: error.message, data: error.data };
  }
});
// Gives up a request of its own and tells what became of it.
connection.onRequest("demo/askAndCancel", async (method) => {
  const source = new rpc.CancellationTokenSource();
  const asked = connection.sendRequest(method, source.token);
  setTimeout(() => source.cancel(), 50);
  try {
    return { result: await asked };
  } catch (error) {
    return { code: error.code };
  }
});
connection.listen();
