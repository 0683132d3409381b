// A plugin worker for Node, as docs/PLUGIN-PROTOCOL.md describes it. Copy it and replace the methods.
//
// Each call of the host is an async function, so a method may call the host and wait for the answer while
// other calls are served.
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

console.log = console.error; // stdout is the channel
let lastId = 0; // of our own calls and streams; the host counts its calls by itself
let hostGone = false;
const serving = new Map(); // the host's calls by id: how to cancel them, and when they are answered
const waiting = new Map(); // our calls by id
const streams = new Map(); // our open streams by id

const rpcError = (code, message) => Object.assign(new Error(message), { code });
const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);

// Calls the host; resolves to its answer, or rejects with its error.
async function call(method, params) {
  if (hostGone) throw rpcError(-32000, "the host has closed the channel");
  const id = ++lastId;
  send({ id, method, params });
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

// Sends items to the host, no more than it has room for, until it takes no more.
async function stream(channel, request, items) {
  const id = ++lastId;
  const state = { credit: 0, wake: () => {} };
  let opened;
  streams.set(id, state);
  try {
    opened = await call("streams.open", { stream: id, channel, request, credit: true });
    state.credit += opened.credit;
    for (const item of items) {
      while (state.credit === 0 && streams.has(id)) await new Promise((resolve) => (state.wake = resolve));
      if (!streams.has(id)) break;
      state.credit -= 1;
      send({ method: "streams.emit", params: { stream: id, item } });
    }
  } finally {
    if (streams.delete(id) && opened) send({ method: "streams.close", params: { stream: id } });
  }
}

async function serve(id, method, params, signal) {
  try {
    if (!Object.hasOwn(methods, method)) throw rpcError(-32601, `there is no method ${method}`);
    send({ id, result: (await methods[method](params, id, signal)) ?? null });
  } catch (error) { // the call fails, the worker goes on
    send({ method: "log", params: { level: "warn", message: `${method} failed`, meta: String(error) } });
    send({ id, error: { code: Number.isInteger(error.code) ? error.code : -32603, message: error.message } });
  }
  serving.delete(id);
}

function receive({ id, method, params, result, error }) {
  if (method === undefined) {
    if (error) waiting.get(id)?.reject(rpcError(error.code, error.message));
    else waiting.get(id)?.resolve(result);
    waiting.delete(id);
  } else if (method === "shutdown") end(id);
  else if (method === "$/cancelRequest") serving.get(params.id)?.cancel.abort();
  else if (method.startsWith("streams.")) {
    const state = streams.get(params.stream) ?? { wake: () => {} };
    if (method === "streams.credit") state.credit += params.items;
    else streams.delete(params.stream);
    state.wake();
  } else if (id !== undefined) {
    const cancel = new AbortController();
    serving.set(id, { cancel });
    serving.get(id).answered = serve(id, method, params, cancel.signal);
  }
}

// Lets the host's calls be answered, then answers `shutdown`, if there is one, and ends.
async function end(id) {
  await Promise.race([sleep(10_000), Promise.all([...serving.values()].map((call) => call.answered))]);
  if (id !== undefined) send({ id, result: null });
  process.stdout.write("", () => process.exit(0)); // once all is written
}

const methods = {
  initialize: () => ({ ok: true, supportedMethods: Object.keys(methods) }),
  ping: () => null,
  greet: (params) => `hello, ${params.name}, says Node`,
  ask: (params) => call(params.method, params.params), // asks the host
  wait: (params, id, signal) => sleep(params.seconds * 1000, "waited", { signal }),
  count: (params, id) => stream("numbers", id, Array.from({ length: params.to }, (_, n) => n)),
};
process.stdout.on("error", () => process.exit(1)); // the host has ended
createInterface({ input: process.stdin }).on("line", (line) => receive(JSON.parse(line))).on("close", () => {
  hostGone = true; // no answer will come, and the host wants us to end
  for (const { reject } of waiting.values()) reject(rpcError(-32000, "the host has closed the channel"));
  for (const stream of streams.keys()) receive({ method: "streams.close", params: { stream } });
  end();
});
