"""An agent over MCP: it asks which object is meant, points at it, and follows it.

    python examples/agent_mcp.py examples/affordance.mp4 "what could I drink from?"

There is no language model in here: an agent's own would choose these calls by the tools'
descriptions. The first argument is anything that ``edgetwin mcp`` takes, such as a camera.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp_types import ImageContent


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """One tool's record; what went wrong as an error."""
    result = await client.call_tool(tool, arguments)
    if result.is_error or result.structured_content is None:
        raise SystemExit(f"{tool}: {result.content[0]}")
    record: dict[str, Any] = result.structured_content
    return record


async def main(source: str, question: str) -> None:
    """Ask, point, follow."""
    serve = ["-m", "edgetwin.cli", "mcp", "--live", "--loop", f"cell={source}"]
    async with Client(StdioServerParameters(command=sys.executable, args=serve)) as client:
        for stream in (await call(client, "list_streams"))["streams"]:
            print(f"stream {stream['id']}: {stream['source']}")
        while (await call(client, "list_objects", stream="cell"))["frame_index"] < 4:
            await asyncio.sleep(0.1)  # a few frames more make a better answer
        answer = await call(client, "ask", stream="cell", question=question)
        print(f"{answer['status']}: {answer['ids']} ({answer['rationale']})")
        for found in answer["objects"]:
            place = await call(client, "where", stream="cell", id=found["id"])
            metres = place["position_m"] or "unknown"
            print(f"#{place['id']} {place['label']}: box {place['box_xyxy']}, metres {metres}")
        if not answer["ids"]:
            return
        first = {"stream": "cell", "id": answer["ids"][0]}
        for part in (await client.call_tool("mask", first)).content:
            if isinstance(part, ImageContent):
                Path("mask.png").write_bytes(base64.b64decode(part.data))
                print("mask.png: white where it is")
        for _ in range(3):
            await asyncio.sleep(0.3)
            path = await call(client, "track", **first, seconds=1.0)
            print(f"at {path['to_s']} s: moved {path['moved_px']} px, {path['age_ms']:.0f} ms old")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
