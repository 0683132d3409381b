"""A plugin worker in Python, as docs/PLUGIN-PROTOCOL.md describes it. Copy it and replace the methods.

Each call of the host is a task, so a method may call the host and wait for the answer while other calls
are served. A method that blocks belongs in a thread: `asyncio.to_thread(blocking, params)`."""
import asyncio, inspect, itertools, json, sys, threading

out, sys.stdout = sys.stdout.buffer, sys.stderr  # stdout is the channel, so `print` goes to stderr
loop, ids = asyncio.new_event_loop(), itertools.count(1)  # ids of our own calls and streams
serving, waiting, streams = {}, {}, {}  # the host's calls, our calls, our streams; by id
host_gone = loop.create_future()

class RpcError(Exception):
    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.code = code

def send(**message):
    out.write(json.dumps({"jsonrpc": "2.0", **message}, allow_nan=False).encode() + b"\n")
    out.flush()

async def call(method, params):  # calls the host; returns its answer, or raises its error
    id = next(ids)
    waiting[id] = answer = loop.create_future()
    send(id=id, method=method, params=params)
    await asyncio.wait([answer, host_gone], return_when=asyncio.FIRST_COMPLETED)
    if not answer.done():
        raise RpcError(-32000, "the host has closed the channel")
    return answer.result()

async def stream(channel, request, items):  # sends items, no more than the host has room for
    id = next(ids)
    streams[id] = credit = asyncio.Semaphore(0)
    try:
        params = {"stream": id, "channel": channel, "request": request, "credit": True}
        opened = await call("streams.open", params)
        for _ in range(opened["credit"]):
            credit.release()
        for item in items:
            await credit.acquire()
            if id not in streams:  # the host takes no more
                break
            send(method="streams.emit", params={"stream": id, "item": item})
    finally:
        if streams.pop(id, None):  # the host has not closed it; it may not even have opened it
            send(method="streams.close", params={"stream": id})

async def serve(id, method, params):
    try:
        if method not in METHODS:
            raise RpcError(-32601, f"there is no method {method}")
        result = METHODS[method](params, id)
        send(id=id, result=await result if inspect.isawaitable(result) else result)
    except Exception as error:  # the call fails, the worker goes on
        send(method="log", params={"level": "warn", "message": f"{method} failed", "meta": repr(error)})
        send(id=id, error={"code": getattr(error, "code", -32603), "message": str(error) or repr(error)})

def receive(message):
    id, method, params = message.get("id"), message.get("method"), message.get("params")
    if method is None and id in waiting:
        answer, error = waiting.pop(id), message.get("error")
        answer.set_exception(RpcError(**error)) if error else answer.set_result(message.get("result"))
    elif method == "$/cancelRequest" and params["id"] in serving:
        serving[params["id"]].cancel()
    elif method == "streams.credit" and params["stream"] in streams:
        for _ in range(params["items"]):
            streams[params["stream"]].release()
    elif method == "streams.close" and params["stream"] in streams:
        streams.pop(params["stream"]).release()
    elif method is not None and id is not None:
        serving[id] = loop.create_task(serve(id, method, params))
        serving[id].add_done_callback(lambda _: serving.pop(id))

def closed():  # our stdin: no answer will come, and the host wants us to end
    host_gone.set_result(None)
    while streams:
        streams.popitem()[1].release()
    loop.create_task(shutdown())

def read():
    for line in open(0, "rb", closefd=False):
        loop.call_soon_threadsafe(receive, json.loads(line))
    loop.call_soon_threadsafe(closed)

async def shutdown(params=None, id=None):  # answers the other calls first, then this one, then ends
    if others := [task for other, task in serving.items() if other != id]:
        await asyncio.wait(others, timeout=10)
    loop.call_soon(loop.stop)

METHODS = {
    "initialize": lambda params, id: {"ok": True, "supportedMethods": [*METHODS]},
    "ping": lambda params, id: None,
    "shutdown": shutdown,
    "greet": lambda params, id: f"hello, {params['name']}, says Python",
    "ask": lambda params, id: call(params["method"], params.get("params")),  # asks the host
    "wait": lambda params, id: asyncio.sleep(params["seconds"], "waited"),
    "count": lambda params, id: stream("numbers", id, range(params["to"])),
}
threading.Thread(target=read, daemon=True).start()
loop.run_forever()
