"""The WebSocket: light twins, statuses and events of some streams as they come.

A slow reader skips twins, which are counted, and never an event: one that lets 256 events wait is
told goodbye and can catch up with ``/api/events?after=``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from starlette.websockets import WebSocket, WebSocketDisconnect

from ...twin.errors import EdgeTwinError
from ..live.records import Event
from .broadcast import Ended
from .errors import told
from .overlay import outlines
from .state import Serving, State
from .streams import age_ms

if TYPE_CHECKING:
    from ..live.stream import LiveStream, Moment

__all__ = ["light", "router"]

router = APIRouter()
_STATUS_S = 2.0
_MAX_HEARD = 100  # messages that a reader may send; none is meant
_MAX_STREAMS = 16


class _Goodbye(Exception):
    """The socket is to be closed with a code and a reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def light(moment: Moment) -> str:
    """Return a twin as viewers draw it: boxes and outlines, no masks, statistics or history."""
    twin = moment.twin
    shown = [
        {
            "id": obj.id,
            "label": obj.semantic_label,
            "color": obj.attributes.get("color"),
            "state": obj.state,
            "box_xyxy": [round(edge, 1) for edge in obj.box_xyxy],
            "confidence": round(obj.confidence, 3),
            "mean_depth": None if obj.mean_depth is None else round(obj.mean_depth, 4),
            **({"outline": outlines(obj.mask)} if obj.mask is not None else {}),
        }
        for obj in twin.objects.values()
        if obj.state != "left"
    ]
    return json.dumps(
        {
            "type": "twin",
            "run": moment.run,
            "index": twin.index,
            "timestamp_s": round(twin.timestamp_s, 4),
            "age_ms": age_ms(moment.captured_at),
            "width": twin.width,
            "height": twin.height,
            "objects": shown,
        },
        separators=(",", ":"),
    )[:-1]  # the stream's name follows


@router.websocket("/api/ws")
async def socket(
    websocket: WebSocket,
    serving: State,
    stream: Annotated[list[str] | None, Query(max_length=_MAX_STREAMS)] = None,
) -> None:
    """Send what happens in some streams, or in all that there are."""
    try:
        serving.refuse_when_draining()
        names = stream or [found.id for found in serving.hub.streams()]
        found = [serving.stream(name) for name in dict.fromkeys(names)]
        with serving.sockets.one():
            await websocket.accept()
            await _Reader(websocket, serving, found).run()
    except EdgeTwinError as error:  # before it was accepted
        _, code, message = told(error)
        await websocket.close(1013 if code == "busy" else 1008, message[:100])


class _Reader:
    """One socket: what it was told and what it is still to be told."""

    def __init__(
        self, websocket: WebSocket, serving: Serving, streams: Sequence[LiveStream]
    ) -> None:
        self._websocket, self._serving, self._streams = websocket, serving, streams
        self._sending = asyncio.Lock()
        self._left = len(streams)

    async def run(self) -> None:
        """Send until the reader, the streams or the server go."""
        goodbye, gone = _Goodbye(1000, "removed"), False
        try:
            with self._serving.town.reading([s.id for s in self._streams]) as queue:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._listen())
                    tasks.create_task(self._stopping())
                    tasks.create_task(self._events(queue))
                    for stream in self._streams:
                        tasks.create_task(self._twins(stream))
        except* _Goodbye as group:
            goodbye = next(e for e in _leaves(group) if isinstance(e, _Goodbye))
        except* (WebSocketDisconnect, TimeoutError, RuntimeError, OSError):
            gone = True  # or it reads no more
        if gone:
            return
        with suppress(TimeoutError, RuntimeError, OSError, WebSocketDisconnect):
            await self._send(json.dumps({"type": "bye", "reason": goodbye.reason}))
            await self._websocket.close(goodbye.code, goodbye.reason)

    async def _send(self, text: str) -> None:
        async with self._sending, asyncio.timeout(self._serving.settings.limits.write_s):
            await self._websocket.send_text(text)

    async def _listen(self) -> None:
        for _ in range(_MAX_HEARD):
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect
        raise _Goodbye(1008, "this socket takes no messages")

    async def _stopping(self) -> None:
        await self._serving.draining.wait()
        raise _Goodbye(1001, "stopping")

    async def _events(self, queue: asyncio.Queue[Event | None]) -> None:
        while True:
            event = await queue.get()
            if event is None:
                raise _Goodbye(1013, "too many events wait")
            await self._send(json.dumps({"type": "event", **event.model_dump(mode="json")}))

    async def _twins(self, stream: LiveStream) -> None:
        """Send one stream's status, then its twins, and its status every two seconds."""
        seq, loop = 0, asyncio.get_running_loop()
        tail = f',"stream":{json.dumps(stream.id)}}}'
        async with self._serving.shared(stream, ("light",), light) as shared:
            due = loop.time()
            while True:
                if loop.time() >= due:
                    due = loop.time() + _STATUS_S
                    await self._status(stream)
                try:
                    async with asyncio.timeout_at(due):
                        moment, text = await shared.after(seq)
                except TimeoutError:
                    continue
                except Ended:
                    break
                if seq:
                    self._serving.missed(stream, "socket", moment.seq - seq - 1)
                seq = moment.seq
                await self._send(text + tail)
        self._left -= 1
        await self._send(json.dumps({"type": "removed", "stream": stream.id}))
        if not self._left:
            raise _Goodbye(1000, "removed")

    async def _status(self, stream: LiveStream) -> None:
        status: dict[str, Any] = stream.status().model_dump(mode="json")
        await self._send(json.dumps({"type": "status", "stream": stream.id, **status}))


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
