"""Answers that go on while they are sent: their place, their end, their client's leaving."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractContextManager, aclosing, nullcontext

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

__all__ = ["Going"]


class Going(StreamingResponse):
    """A streamed answer that holds ``place`` while it goes on.

    A client that leaves ends it at once, even while there is nothing to send.
    """

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        media_type: str,
        place: AbstractContextManager[None] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(parts, media_type=media_type, headers=headers)
        self._parts = parts
        self._place = place or nullcontext()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until there is no more or nobody reads.

        Raises:
            BusyError: before anything is sent, if there is no place.
        """
        with self._place:
            async with aclosing(self._parts), anyio.create_task_group() as tasks:

                async def left() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    tasks.cancel_scope.cancel()

                tasks.start_soon(left)
                await self.stream_response(send)
                tasks.cancel_scope.cancel()
