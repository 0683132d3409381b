"""A server on stdin and stdout made with Python's pygls."""

import asyncio

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

server = LanguageServer("peer", "1")
held = []


@server.feature("demo/echo")
def echo(ls, params):
    return params


@server.feature("demo/nothing")
def nothing(ls, params):
    return None


@server.feature("demo/fail")
def fail(ls, params):
    raise JsonRpcException("as you wish", -32050, params)


@server.feature("demo/throw")
def throw(ls, params):
    raise ValueError("by accident")


@server.feature("demo/wait")
async def wait(ls, params):
    ls.protocol.notify("demo/waiting", None)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        ls.protocol.notify("demo/cancelled", None)
        raise


@server.feature("demo/gather")
async def gather(ls, params):
    """Answers when `count` calls are there, the last one first."""
    number, count = params
    answer = asyncio.get_running_loop().create_future()
    held.append((answer, number))
    if len(held) == count:
        for waiting, value in reversed(held):
            waiting.set_result(value)
        held.clear()
    return await answer


@server.feature("demo/note")
def note(ls, params):
    ls.protocol.notify("demo/noted", params)


@server.feature("demo/ask")
async def ask(ls, params):
    method, *rest = params
    try:
        return {"result": await ls.protocol.send_request_async(method, rest)}
    except JsonRpcException as error:
        return {"code": error.code, "message": error.message, "data": error.data}


@server.feature("demo/log")
def log(ls, params):
    ls.window_log_message(types.LogMessageParams(types.MessageType.Warning, params[0]))


server.start_io()
