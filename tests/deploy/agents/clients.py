"""The SDK's own client, driven from plain tests."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import cv2
import numpy as np
from mcp import Client
from mcp_types import CallToolResult, ImageContent, TextContent
from numpy.typing import NDArray

T = TypeVar("T")

TIMEOUT_S = 60.0  # of a whole conversation
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


def talk(server: Any, use: Callable[[Client], Awaitable[T]], mode: str = "auto") -> T:
    """Connect, use, leave; never for ever."""

    async def main() -> T:
        with anyio.fail_after(TIMEOUT_S):
            async with Client(server, mode=mode) as client:
                return await use(client)

    return anyio.run(main)


def call(server: Any, name: str, **arguments: Any) -> CallToolResult:
    """One tool's result."""
    return talk(server, lambda client: client.call_tool(name, arguments))


def fact(result: CallToolResult) -> dict[str, Any]:
    """The record of a result that is no error; the text says the same."""
    assert not result.is_error, text(result)
    assert result.structured_content is not None
    assert json.loads(text(result)) == result.structured_content
    return result.structured_content


def text(result: CallToolResult) -> str:
    return "".join(c.text for c in result.content if isinstance(c, TextContent))


def refusal(result: CallToolResult) -> str:
    """What a refused call says."""
    assert result.is_error
    return text(result)


def image(result: CallToolResult) -> tuple[str, NDArray[np.uint8]]:
    """(MIME type, decoded picture) of a result's one image."""
    (found,) = [c for c in result.content if isinstance(c, ImageContent)]
    return found.mime_type, decoded(found.data)


def decoded(data: str) -> NDArray[np.uint8]:
    raw = np.frombuffer(base64.b64decode(data, validate=True), np.uint8)
    return np.asarray(cv2.imdecode(raw, cv2.IMREAD_UNCHANGED), np.uint8)
