"""A client made with Python's pygls: starts the language server whose command line it is given, uses it, and stops it.

Its requests have strings for ids. Whatever is not as expected ends it with an error.
"""

import asyncio
import sys

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient


def command(name, *arguments):
    return types.ExecuteCommandParams(command=name, arguments=list(arguments))


async def failure(call):
    try:
        await call
    except JsonRpcException as error:
        return error
    raise AssertionError("this should have failed")


async def start():
    client = LanguageClient("peer", "1")
    await client.start_io(*sys.argv[1:])
    return client


async def main():
    client = await start()
    execute = client.workspace_execute_command_async
    assert (await failure(execute(command("echo")))).code == -32002
    capabilities = types.ClientCapabilities()
    result = await client.initialize_async(types.InitializeParams(capabilities=capabilities))
    assert result.server_info.name == "language_server"
    client.initialized(types.InitializedParams())

    texts = ["plain", "", "a\u2028b\u2029c\r\n\t\x00\"\\", "\U0001f600 é 漢字", "x" * (1 << 20)]
    for text in texts:
        assert await execute(command("echo", text)) == [text]
    many = await asyncio.gather(*(execute(command("echo", n)) for n in range(200)))
    assert many == [[n] for n in range(200)]

    error = await failure(execute(command("fail", 1, "two")))
    assert (error.code, error.message, error.data) == (-32050, "as you wish", [1, "two"]), error
    assert (await failure(execute(command("no such")))).code == -32602

    waiting = asyncio.ensure_future(execute(command("wait")))
    await execute(command("echo"))
    # The id under which the library keeps the only request that is open.
    (open_id,) = client.protocol._request_futures
    assert isinstance(open_id, str), open_id
    client.cancel_request(types.CancelParams(id=open_id))
    assert (await failure(waiting)).code == -32800

    @client.feature(types.WORKSPACE_CONFIGURATION)
    def configuration(params):
        return [{"section": item.section} for item in params.items]

    asked = await execute(command("ask"))
    assert asked == [{"section": "demo"}], asked

    marked = asyncio.get_running_loop().create_future()

    @client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def diagnostics(params):
        marked.set_result(params)

    document = types.TextDocumentItem(uri="file:///x", language_id="text", version=1, text="TODO: \U0001f600\n")
    client.text_document_did_open(types.DidOpenTextDocumentParams(document))
    published = await marked
    assert published.diagnostics[0].range.end == types.Position(0, 8), published

    assert await client.shutdown_async(None) is None
    client.exit(None)
    assert await client._server.wait() == 0
    await client.stop()
    print("all is well")


asyncio.run(asyncio.wait_for(main(), 300))
