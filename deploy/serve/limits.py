"""What one request, or one kind of them, may take: layers and counters, each with a bound.

Not covered: headers that dribble in and answers that nobody reads; those are seen only below
ASGI, see :mod:`~edgetwin.deploy.serve.server`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..live.errors import BusyError
from .errors import refusal

__all__ = ["BodyLimit", "Slots"]


class Slots:
    """A number of places; who comes when all are taken is refused, not kept waiting."""

    def __init__(self, what: str, most: int, retry_after_s: float = 1.0) -> None:
        self._what, self.most, self._retry_after_s = what, most, retry_after_s
        self.used = 0
        self.refused = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            BusyError: if there is none.
        """
        if self.used >= self.most:
            self.refused += 1
            raise BusyError(
                f"expected at most {self.most} {self._what} at a time, got one more: try again "
                "in a moment",
                retry_after_s=self._retry_after_s,
            )
        self.used += 1
        try:
            yield
        finally:
            self.used -= 1


class BodyLimit:
    """ASGI layer that reads a request's body before anyone works on it, so much and so long.

    What is counted is what comes, not what ``Content-Length`` promises.
    """

    def __init__(self, app: ASGIApp, most_bytes: int, most_s: float) -> None:
        self._app, self._most_bytes, self._most_s = app, most_bytes, most_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body read, or refuse it with 413, 408 or 400."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > self._most_bytes:
            return await self._too_large(scope, receive, send)
        body = bytearray()
        try:
            async with asyncio.timeout(self._most_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self._most_bytes:
                        return await self._too_large(scope, receive, send)
        except TimeoutError:
            message_text = f"expected the whole body within {self._most_s:g} s"
            return await refusal(scope, receive, send, 408, "too_slow", message_text, close=True)
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        return await self._app(scope, replay, send)

    async def _too_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = f"expected a body of at most {self._most_bytes} bytes, got more"
        # The rest of the body is not read.
        await refusal(scope, receive, send, 413, "too_large", message, close=True)
