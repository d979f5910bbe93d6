"""Video over WebRTC: one offer in, one answer out, then frames with overlays as they come.

Frames are those that MJPEG viewers get, encoded for each peer by aiortc. Only addresses of this
machine are offered; no server elsewhere is asked for others.

Not covered: sound, data channels, the peer's video, relays (TURN).
"""

from __future__ import annotations

from fastapi import APIRouter

from .pictures import Ids, Overlay
from .records import ErrorBody, Offer
from .state import State, StreamPath, newest

__all__ = ["router"]

router = APIRouter(
    prefix="/api/streams/{id}",
    tags=["pictures"],
    responses={
        404: {"model": ErrorBody},
        429: {"model": ErrorBody},
        501: {"model": ErrorBody},
        503: {"model": ErrorBody},
    },
)


@router.post("/webrtc", summary="Video over WebRTC")
async def webrtc(
    stream_id: StreamPath,
    body: Offer,
    serving: State,
    overlay: Overlay = True,
    ids: Ids = "",
) -> Offer:
    """Answer an offer that wants to receive one video."""
    serving.refuse_when_draining()
    stream = serving.stream(stream_id)
    newest(stream)
    wanted = frozenset(int(part) for part in ids.split(",") if part)
    return await serving.webrtc.answer(serving, stream, body, overlay, wanted)
