"""Streams of a hub in this process, for agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...twin.errors import InputError
from ...twin.schema import ObjectTwin
from ...twin.window import TwinWindow
from ..live.errors import UnknownError
from ..live.records import Event, StreamSpec, StreamStatus
from .backend import NotYetError, Now, Picture, Point, Seen
from .pictures import drawn, jpeg_of

if TYPE_CHECKING:
    from ..live.hub import LiveHub
    from ..live.stream import LiveStream, Moment

__all__ = ["HubBackend"]

_FIRST_S = 2.0  # a stream that was just opened may have its first frame by then
_CLOSE_S = 1.0  # an agent that left waits for nothing; what is recorded is written by then


class HubBackend:
    """A :class:`~.backend.Backend` over a hub, which :meth:`close` closes."""

    def __init__(self, hub: LiveHub) -> None:
        self._hub = hub

    def add(self, spec: StreamSpec) -> None:
        """Begin a stream.

        Raises:
            As :meth:`~edgetwin.deploy.live.hub.LiveHub.add`.
        """
        self._hub.add(spec)

    def streams(self) -> list[StreamStatus]:
        """Every stream as it is now."""
        return [stream.status() for stream in self._hub.streams()]

    def words(self) -> Sequence[str]:
        """What the detector can be asked for."""
        return self._hub.words

    def now(self, stream: str) -> Now:
        """The newest twin."""
        moment = self._newest(stream)
        return Now(moment.twin, moment.age_ms())

    def objects(self, stream: str) -> list[ObjectTwin]:
        """The last record of each object of the window, by id."""
        window = self._window(stream)
        return [window.latest(object_id) for object_id in window.ids()]

    def seen(self, stream: str, object_id: int) -> Seen:
        """The last record of one object, visible if the window has such a one."""
        window = self._window(stream)
        _known(window, stream, object_id)
        held = [frame for frame in reversed(window.frames) if object_id in frame.objects]
        visible = [f for f in held if f.objects[object_id].state == "visible"]
        frame = (visible or held)[0]
        return Seen(frame.objects[object_id], frame.index, frame.timestamp_s)

    def path(self, stream: str, object_id: int) -> list[Point]:
        """Where one object was visible in the window, oldest first."""
        window = self._window(stream)
        _known(window, stream, object_id)
        return [
            Point(timestamp_s, *obj.centroid, obj.centroid_m)
            for timestamp_s, obj in window.track(object_id)
        ]

    def picture(self, stream: str, *, overlay: bool, ids: Sequence[int]) -> Picture:
        """The newest picture."""
        moment = self._newest(stream)
        image = moment.frame.image_hw3
        if overlay or ids:
            image = drawn(image, moment.twin, ids)
        jpeg, width, height = jpeg_of(image)
        twin = moment.twin
        return Picture(jpeg, width, height, twin.index, twin.timestamp_s, moment.age_ms())

    def ask(self, stream: str, question: str, session: str | None) -> dict[str, Any]:
        """Answer a question in the hub's language thread; blocks."""
        return self._hub.ask(
            self._stream(stream).id, question, session=session, caller=session or "agents"
        )

    def open_session(self, stream: str) -> str:
        """Begin a conversation."""
        return self._hub.open_session(self._stream(stream).id)

    def history(self, stream: str, limit: int) -> list[dict[str, Any]]:
        """One row per object that was ever seen, the last seen first."""
        memory = self._stream(stream).memory
        if memory is None:
            raise InputError(
                f"expected a stream that is recorded, got {stream}, which is not; list_objects "
                "has what its window holds"
            )
        return memory.objects(limit)

    def events(self, stream: str | None, after: str | None, limit: int) -> list[Event]:
        """The newest events, or the first ones later than ``after``; oldest first."""
        return list(self._hub.standing.events(stream, after, limit))

    def close(self) -> None:
        """Close the hub and its streams."""
        self._hub.close(grace_s=_CLOSE_S)

    def _stream(self, stream: str) -> LiveStream:
        try:
            return self._hub.stream(stream)
        except UnknownError as error:
            known = ", ".join(s.id for s in self._hub.streams()[:32]) or "none"
            raise UnknownError(
                f"expected one of the streams {known}, got {stream}; call list_streams"
            ) from error

    def _newest(self, stream: str) -> Moment:
        found = self._stream(stream)
        moment = found.latest()
        if moment is None and not found.source.ended.is_set():
            moment = found.wait(0, _FIRST_S)
        if moment is None:
            source = found.status().source
            raise NotYetError(
                f"expected a frame of stream {stream}, got none yet: its source is "
                f"{source.state}; call again in a second, list_streams tells how it fares"
            )
        return moment

    def _window(self, stream: str) -> TwinWindow:
        return self._stream(stream).window()


def _known(window: TwinWindow, stream: str, object_id: int) -> None:
    if object_id not in window:
        ids = ", ".join(str(i) for i in window.ids()[-50:]) or "none"
        raise UnknownError(
            f"expected an object that stream {stream} holds ({ids}), got {object_id}; call "
            "list_objects or ask for ids, history for what was there earlier"
        )
