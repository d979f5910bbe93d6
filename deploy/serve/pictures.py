"""Pictures of a stream: the newest frame, its masks, and video as MJPEG."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Response
from starlette.responses import StreamingResponse

from ...twin import mask as rle
from ..stream.palette import encode_png, palette_index
from .broadcast import Ended
from .overlay import draw, encode_jpeg
from .records import ErrorBody, MasksRecord
from .state import Serving, State, StreamPath, chosen, newest
from .streaming import Going
from .streams import age_ms

if TYPE_CHECKING:
    from ..live.stream import LiveStream, Moment

__all__ = ["Ids", "Overlay", "router"]

router = APIRouter(
    prefix="/api/streams/{id}",
    tags=["pictures"],
    responses={404: {"model": ErrorBody}, 503: {"model": ErrorBody}},
)
Ids = Annotated[
    str,
    Query(pattern=r"^(\d{1,10}(,\d{1,10}){0,63})?$", description="ids of objects, such as 3,4"),
]
Overlay = Annotated[bool, Query(description="outlines and names on it")]
_BOUNDARY = "edgetwinframe"
_REPEAT_S = 2.0  # without a new frame the last one is sent again
_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}, "description": "a JPEG picture"}
}
_PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}, "description": "a palette PNG"}
}


@router.get("/frame.jpg", summary="The newest frame", response_class=Response, responses=_JPEG)
async def frame(
    stream_id: StreamPath, serving: State, overlay: Overlay = False, ids: Ids = ""
) -> Response:
    """Return the newest frame; ``X-Frame-Index`` and ``X-Age-Ms`` say which and how old."""
    moment = newest(serving.stream(stream_id))
    make = draw(overlay, chosen(ids, moment.twin.objects))
    data = await serving.call(lambda: encode_jpeg(make(moment)))
    return Response(data, media_type="image/jpeg", headers=_of(moment))


@router.get("/masks", summary="Masks of the newest frame")
async def masks(stream_id: StreamPath, serving: State, ids: Ids = "") -> MasksRecord:
    """Return the masks of objects in sight as COCO RLE, of all or of some ids."""
    moment = newest(serving.stream(stream_id))
    twin = moment.twin
    wanted = chosen(ids, twin.objects)
    return MasksRecord(
        age_ms=age_ms(moment.captured_at),
        index=twin.index,
        timestamp_s=twin.timestamp_s,
        size=(twin.height, twin.width),
        masks={
            key: obj.mask
            for key, obj in twin.objects.items()
            if obj.mask is not None and (not wanted or key in wanted)
        },
    )


@router.get("/masks.png", summary="Masks as a picture", response_class=Response, responses=_PNG)
async def masks_png(stream_id: StreamPath, serving: State, ids: Ids = "") -> Response:
    """Return masks as a palette PNG whose pixels are object ids (above 254 they wrap)."""
    moment = newest(serving.stream(stream_id))
    wanted = chosen(ids, moment.twin.objects)

    def make() -> bytes:
        twin = moment.twin
        index_hw = np.zeros((twin.height, twin.width), np.uint8)
        for key, obj in sorted(twin.objects.items(), key=lambda item: -item[1].area):
            if obj.mask is not None and (not wanted or key in wanted):
                index_hw[rle.decode(obj.mask)] = palette_index(key)
        return encode_png(index_hw)

    data = await serving.call(make)
    return Response(data, media_type="image/png", headers=_of(moment))


@router.get(
    "/video.mjpeg",
    summary="Video for a picture element",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"multipart/x-mixed-replace": {}}, "description": "JPEGs without end"},
        429: {"model": ErrorBody},
    },
)
async def video(
    stream_id: StreamPath,
    serving: State,
    overlay: Overlay = False,
    ids: Ids = "",
    fps: Annotated[float, Query(gt=0, le=60, description="at most so many a second")] = 30.0,
) -> StreamingResponse:
    """Send frames as they come; a slow viewer gets the newest and misses the ones between.

    ``ids`` that come later are drawn when they are there.
    """
    serving.refuse_when_draining()
    stream = serving.stream(stream_id)
    newest(stream)
    wanted = frozenset(int(part) for part in ids.split(",") if part)
    return Going(
        _parts(serving, stream, overlay, wanted, 1 / fps),
        f"multipart/x-mixed-replace; boundary={_BOUNDARY}",
        serving.viewers.one(),
    )


async def _parts(
    serving: Serving, stream: LiveStream, overlay: bool, ids: frozenset[int], pause_s: float
) -> AsyncGenerator[bytes, None]:
    make = draw(overlay, ids)
    seq, due, part = 0, time.monotonic(), b""
    async with serving.shared(
        stream, ("jpeg", overlay, ids), lambda moment: encode_jpeg(make(moment))
    ) as shared:
        while True:
            try:
                async with asyncio.timeout(_REPEAT_S):
                    moment, data = await shared.after(seq)
            except TimeoutError:
                yield part  # the source is away: proxies and viewers keep what they have
                continue
            except Ended:
                return
            if seq:
                serving.missed(stream, "video", moment.seq - seq - 1)
            seq = moment.seq
            head = {"Content-Type": "image/jpeg", "Content-Length": str(len(data)), **_of(moment)}
            lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
            part = f"--{_BOUNDARY}\r\n{lines}\r\n".encode() + data + b"\r\n"
            yield part
            due = max(due + pause_s, time.monotonic() - pause_s)
            await asyncio.sleep(max(0.0, due - time.monotonic()))


def _of(moment: Moment) -> dict[str, str]:
    return {
        "X-Frame-Index": str(moment.twin.index),
        "X-Timestamp-S": f"{moment.twin.timestamp_s:.3f}",
        "X-Age-Ms": f"{age_ms(moment.captured_at):.1f}",
    }
