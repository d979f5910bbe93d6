"""The connections of WebRTC viewers: each with its place, its track and its end.

Not covered: sound, data channels, the peer's video, relays (TURN).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import InputError, MissingExtraError
from .broadcast import Ended, Shared
from .overlay import draw, even
from .records import Offer

if TYPE_CHECKING:
    from ..live.stream import LiveStream
    from .state import Serving

__all__ = ["Peers"]

_CONNECT_S = 15.0  # an offer that nobody follows up does not hold its place longer
_CLOCK = 90_000  # ticks a second of RTP video


class Peers:
    """The connections of one server, each with what it holds."""

    def __init__(self) -> None:
        self._open: dict[Any, AsyncExitStack] = {}  # bounded by the places for peers
        self._dropping: set[asyncio.Task[None]] = set()  # at most one for each

    async def answer(
        self, serving: Serving, stream: LiveStream, offer: Offer, overlay: bool, ids: frozenset[int]
    ) -> Offer:
        """Connect to one peer and return this side's description.

        Raises:
            MissingExtraError: without aiortc.
            InputError: if the offer is none, or wants no video.
            BusyError: if there is no place.
        """
        try:
            from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
        except ImportError as error:
            raise MissingExtraError("aiortc", "webrtc") from error
        async with AsyncExitStack() as held:
            held.enter_context(serving.peers.one())
            peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
            held.push_async_callback(peer.close)
            make = draw(overlay, ids)
            shared = await held.enter_async_context(
                serving.shared(stream, ("raw", overlay, ids), lambda m: even(make(m)))
            )
            peer.addTrack(_track(serving, shared, lambda: self._drop_soon(peer)))
            try:
                await peer.setRemoteDescription(RTCSessionDescription(offer.sdp, offer.type))
                await peer.setLocalDescription(await peer.createAnswer())
            except Exception as error:  # aiortc's parsers raise whatever a bad text leads to
                raise InputError(
                    f"expected the SDP of an offer to receive video, got one that "
                    f"{type(error).__name__} refuses: createOffer with a recvonly video"
                ) from error
            found = peer.localDescription
            if "m=video" not in found.sdp:
                raise InputError("expected an offer to receive video, got one without video")
            self._open[peer] = held.pop_all()
        self._follow(peer)
        return Offer(sdp=found.sdp, type=found.type)

    def _follow(self, peer: Any) -> None:
        """Let go of a peer once it has left, or never came."""

        @peer.on("connectionstatechange")  # type: ignore[untyped-decorator]
        async def changed() -> None:
            if peer.connectionState in ("failed", "closed", "disconnected"):
                await self._drop(peer)

        async def came() -> None:
            await asyncio.sleep(_CONNECT_S)
            if peer.connectionState != "connected":
                await self._drop(peer)

        task = asyncio.create_task(came())
        self._open[peer].callback(task.cancel)

    def _drop_soon(self, peer: Any) -> None:
        task = asyncio.create_task(self._drop(peer))
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)

    async def _drop(self, peer: Any) -> None:
        held = self._open.pop(peer, None)
        if held is not None:
            await held.aclose()

    async def close(self) -> None:
        """Close every connection."""
        for peer in list(self._open):
            await self._drop(peer)


def _track(serving: Serving, shared: Shared[NDArray[np.uint8]], ended: Callable[[], None]) -> Any:
    """Return a video track of what is shared; aiortc asks for the next frame when it can send."""
    from aiortc import VideoStreamTrack
    from aiortc.mediastreams import MediaStreamError
    from av import VideoFrame

    class Track(VideoStreamTrack):
        def __init__(self) -> None:
            super().__init__()
            self._seq, self._first = 0, 0.0

        async def recv(self) -> VideoFrame:
            try:
                moment, picture = await shared.after(self._seq)
            except Ended:
                self.stop()
                ended()
                raise MediaStreamError from None
            if self._seq:
                serving.missed(shared.stream, "webrtc", moment.seq - self._seq - 1)
            else:
                self._first = moment.captured_at
            self._seq = moment.seq
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = int((moment.captured_at - self._first) * _CLOCK)
            frame.time_base = Fraction(1, _CLOCK)
            return frame

    return Track()
