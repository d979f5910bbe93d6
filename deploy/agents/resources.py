"""The resources: pictures, masks and twins by address, for clients that read rather than call."""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, cast

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp_types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)
from mcp_types import Resource as ListedResource

from ...twin.errors import EdgeTwinError, InputError
from .backend import Backend
from .images import frame_of, mask_of, twin_of
from .telling import frame_uri, twin_uri

__all__ = ["InThread", "add_resources", "base64_of", "listed"]

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]

_MAX_LISTED = 32  # streams in a list of resources
_MAX_COMPLETIONS = 100  # MCP's own bound
_STREAM = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_ROOT = "edgetwin://streams/{stream}"


def add_resources(server: MCPServer[None], backend: Backend, in_thread: InThread) -> None:
    """Offer the templates of pictures, twins and masks, and complete their parameters."""

    async def read(stream: str, call: Callable[[], Any]) -> Any:
        if not _STREAM.fullmatch(stream):
            raise ResourceNotFoundError("expected a stream's id, from list_streams")
        return await in_thread(lambda: _found(call))

    @server.resource(f"{_ROOT}/frame.jpg", mime_type="image/jpeg")
    async def frame(stream: str) -> bytes:
        """The newest picture of a stream, as the camera gave it."""
        found = await read(stream, lambda: frame_of(backend, stream, overlay=False, ids=[]))
        return bytes(found[1])

    @server.resource(f"{_ROOT}/overlay.jpg", mime_type="image/jpeg")
    async def overlay(stream: str) -> bytes:
        """The newest picture of a stream with every object's outline, id and label."""
        found = await read(stream, lambda: frame_of(backend, stream, overlay=True, ids=[]))
        return bytes(found[1])

    @server.resource(f"{_ROOT}/twin.json", mime_type="application/json")
    async def twin(stream: str) -> str:
        """The newest twin: every object with its mask (COCO RLE), box, depth and motion."""
        return json.dumps(await read(stream, lambda: twin_of(backend, stream)))

    @server.resource(f"{_ROOT}/objects/{{id}}/mask.png", mime_type="image/png")
    async def mask(stream: str, id: str) -> bytes:
        """An object's newest mask: white on black, as large as the frame."""
        if not re.fullmatch(r"[1-9][0-9]{0,9}", id) or int(id) >= 2**31:
            raise ResourceNotFoundError("expected an object's id, from list_objects or ask")
        found = await read(stream, lambda: mask_of(backend, stream, int(id)))
        return bytes(found[1])

    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion | None:
        given = (context.arguments or {}) if context is not None else {}
        call = functools.partial(_completed, backend, argument, given.get("stream", ""))
        return cast("Completion | None", await in_thread(call))

    cast(Any, server).completion()(complete)  # the SDK's decorator has no types


def listed(backend: Backend) -> list[ListedResource]:
    """The picture and the twin of each stream that is there now."""
    found = []
    for status in backend.streams()[:_MAX_LISTED]:
        for name, uri, kind in (
            ("frame", frame_uri(status.id), "image/jpeg"),
            ("overlay", frame_uri(status.id).replace("frame.jpg", "overlay.jpg"), "image/jpeg"),
            ("twin", twin_uri(status.id), "application/json"),
        ):
            found.append(ListedResource(name=f"{status.id} {name}", uri=uri, mime_type=kind))
    return found


def base64_of(data: bytes) -> str:
    """Bytes as MCP carries them."""
    return base64.b64encode(data).decode("ascii")


def _found(call: Callable[[], Any]) -> Any:
    """Run a read; what is not there is told as MCP tells it."""
    try:
        return call()
    except InputError as error:
        raise ResourceNotFoundError(" ".join(str(error).split())[:1000]) from error
    except EdgeTwinError as error:
        raise ResourceError(" ".join(str(error).split())[:1000]) from error


def _completed(backend: Backend, argument: CompletionArgument, stream: str) -> Completion | None:
    """Ids that begin with what was typed."""
    try:
        if argument.name == "stream":
            ids = [status.id for status in backend.streams()]
        elif argument.name == "id" and _STREAM.fullmatch(stream):
            ids = [str(obj.id) for obj in backend.objects(stream)]
        else:
            return None
    except EdgeTwinError:  # nothing to offer; reading it tells why
        return None
    found = [text for text in ids if text.startswith(argument.value)]
    return Completion(
        values=found[:_MAX_COMPLETIONS], total=len(found), has_more=len(found) > _MAX_COMPLETIONS
    )
