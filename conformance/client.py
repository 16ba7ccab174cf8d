"""The Python client of the protocol against a node: HTTP and stdio, both profiles.

    python client.py URL NEXUS_NODE DATA_DIR

URL is a door (door.mjs), which adds the token.
"""

import asyncio
import json
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

try:
    from mcp.client.streamable_http import streamable_http_client as over_http
except ImportError:  # its name before
    from mcp.client.streamable_http import streamablehttp_client as over_http

URL, NEXUS, DIRECTORY = sys.argv[1:4]


def content(result):
    """The structured content, under its name in either version of the client."""
    assert not getattr(result, "isError", getattr(result, "is_error", False)), result
    return getattr(result, "structuredContent", None) or getattr(result, "structured_content", None)


def told(result):
    """The text of an answer, which is there once."""
    assert content(result) is None, result
    assert len(result.content) == 1, result
    return result.content[0].text


async def core(session):
    names = [tool.name for tool in (await session.list_tools()).tools]
    assert names == ["session_start", "remember", "recall", "forget"], names
    written = told(await session.call_tool("remember", {"text": "the python client was here"}))
    memory = written.split()[1].rstrip(",")
    found = told(await session.call_tool("recall", {"query": "python client"}))
    assert memory in [line.split()[0] for line in found.splitlines()], found
    start = told(await session.call_tool("session_start", {}))
    assert memory in start, start
    assert told(await session.call_tool("forget", {"id": memory})).startswith(f"Forgot {memory}")
    return 5


async def graph(session):
    tools = (await session.list_tools()).tools
    assert len(tools) == 9, tools
    entity = {"name": "python", "entityType": "client", "observations": ["validates what it gets"]}
    # The client checks each answer against the output schema.
    await session.call_tool("delete_entities", {"entityNames": ["python"]})
    made = content(await session.call_tool("create_entities", {"entities": [entity]}))
    assert made == {"entities": [entity]}, made
    opened = content(await session.call_tool("open_nodes", {"names": ["python"]}))
    assert opened["entities"] == [entity], opened
    found = content(await session.call_tool("search_nodes", {"query": "gets validates"}))
    assert entity in found["entities"], found
    read = await session.read_resource("memory://knowledge-graph")
    assert entity in json.loads(read.contents[0].text)["entities"]
    content(await session.call_tool("delete_entities", {"entityNames": ["python"]}))
    return 7


async def run(name, transport, calls):
    async with transport as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            welcome = await session.initialize()
            version = getattr(welcome, "protocolVersion", None) or getattr(welcome, "protocol_version", "?")
            done = await calls(session)
            print(f"{name}: {done} calls, {version}")


async def main():
    for path, profile, calls in [("/mcp", "core", core), ("/mcp/graph", "graph", graph)]:
        await run(f"http {profile}", over_http(URL + path), calls)
        arguments = ["--data-dir", DIRECTORY, "mcp", "--no-start", "--profile", profile]
        await run(f"stdio {profile}", stdio_client(StdioServerParameters(command=NEXUS, args=arguments)), calls)


asyncio.run(main())
