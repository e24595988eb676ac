"""A server of the Model Context Protocol, for ``test_mcp``: run as a script, it speaks by stdio."""

from __future__ import annotations

import sys

from mcp.server.fastmcp import FastMCP

server = FastMCP("sums")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    print("adding", file=sys.stderr)
    return a + b


if __name__ == "__main__":
    server.run(transport="stdio")
