"""Drives the server with the official Python SDK and prints what it saw as one JSON object.

Usage: drive.py MODE VERSION SERVER WORKSPACE, with MODE as `mcp.Client` takes it and VERSION the revision that must be
agreed on. Every step checks itself; the first one that fails ends the program with its traceback.
"""

import asyncio
import json
import os
import sys
import time

from mcp import Client, StdioServerParameters
from mcp_types import ToolListChangedNotification

MODE, VERSION, SERVER, WORKSPACE = sys.argv[1:5]
INHERITED = ("PATH", "HOME", "LANG", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "CARGO_HOME", "RUSTUP_HOME")


TASK = """version = 1
[[task]]
name = "look"
description = "Looks."
argv = ["true"]
"""


def write_policy():
    folder = os.path.join(os.environ["XDG_CONFIG_HOME"], "cofferdam")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "policy.toml"), "w") as file:
        file.write(TASK)


def text(result):
    return "\n".join(block.text for block in result.content if block.type == "text")


async def right(client, tool, arguments, **options):
    result = await client.call_tool(tool, arguments, **options)
    assert not result.is_error, (tool, text(result))
    assert result.structured_content is not None and text(result), (tool, "tells only one way")
    return result


async def refused(client, tool, arguments):
    result = await client.call_tool(tool, arguments)
    assert result.is_error and len(text(result)) > 10, (tool, result)
    return text(result)


async def drive():
    server = StdioServerParameters(
        command=SERVER,
        args=["serve", "--workspace", WORKSPACE],
        env={name: os.environ[name] for name in INHERITED if name in os.environ},
    )
    seen = {}
    told = asyncio.Event()

    async def on_message(message):
        if isinstance(message, ToolListChangedNotification):
            told.set()

    async with Client(server, mode=MODE, read_timeout_seconds=120, message_handler=on_message) as client:
        assert client.protocol_version == VERSION, client.protocol_version
        assert client.server_info is not None and client.server_info.name == "cofferdam", client.server_info
        seen["instructions"] = len(client.instructions or "")

        tools = (await client.list_tools()).tools
        seen["tools"] = [tool.name for tool in tools]
        for tool in tools:
            assert tool.description and tool.annotations is not None and tool.output_schema is not None, tool.name

        result = await right(client, "read_file", {"path": "greet.py"})
        assert "def greet" in text(result)
        await right(client, "write_file", {"path": "new/note.txt", "content": "from python\n"})
        edit = {"path": "greet.py", "old_string": "Hello", "new_string": "Good day"}
        await right(client, "edit_file", edit)
        result = await right(client, "search_files", {"pattern": "Good day"})
        assert "greet.py" in text(result)
        # The edit broke the suite: a failing test is a result, and names what failed.
        result = await client.call_tool("run_tests", {"runner": "unittest", "path": "tests"})
        assert "test_greets" in text(result), text(result)
        seen["failed"] = result.structured_content["counts"]["failed"]
        await right(client, "edit_file", {"path": "greet.py", "old_string": "Good day", "new_string": "Hello"})
        result = await right(client, "run_tests", {"runner": "unittest", "path": "tests"})
        seen["passed"] = result.structured_content["counts"]["passed"]

        seen["errors"] = [
            await refused(client, "read_file", {"path": "../outside/canary"}),
            await refused(client, "read_file", {"path": "no/such/file"}),
            await refused(client, "read_file", {"paht": "greet.py"}),
            await refused(client, "edit_file", {"path": "greet.py", "old_string": "absent", "new_string": "x"}),
        ]

        # Cancelling: the task is abandoned, which tells the server; it must serve on at once.
        running = asyncio.Event()
        progress = []

        # This run outlasts the time between two pieces of news; a quick one may end before there are any.
        async def on_slow(value, total, message):
            progress.append(message)
            if message and "second" in message:
                running.set()

        slow = {"runner": "unittest", "path": "slow"}
        task = asyncio.create_task(client.call_tool("run_tests", slow, progress_callback=on_slow))
        await asyncio.wait_for(running.wait(), 40)
        task.cancel()
        begun = time.monotonic()
        try:
            await task
        except asyncio.CancelledError:
            pass
        await right(client, "read_file", {"path": "greet.py"})
        seen["after_cancel_seconds"] = round(time.monotonic() - begun, 2)
        seen["progress"] = len(progress)

        # A person adds a task: the client is told without calling, and lists it.
        assert not told.is_set()
        if MODE == "legacy":
            write_policy()
            await asyncio.wait_for(told.wait(), 40)
        else:
            async with client.listen(tools_list_changed=True) as events:
                write_policy()
                await asyncio.wait_for(anext(aiter(events)), 40)
        assert "look" in [tool.name for tool in (await client.list_tools()).tools]
    print(json.dumps(seen))


asyncio.run(drive())
