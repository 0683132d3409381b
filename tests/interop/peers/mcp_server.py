"""A server on stdin and stdout made with Python's MCP SDK, which speaks both eras."""

from mcp.server import MCPServer

server = MCPServer("peer")


@server.tool()
def echo(text: str) -> str:
    return text


server.run("stdio")
