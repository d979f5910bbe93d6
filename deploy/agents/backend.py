"""What the agents' tools read: one protocol in front of a hub here or a server elsewhere.

Both give records of the twin as they are; cleaning words and bounding what is told is done once,
by the tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...twin.errors import EdgeTwinError
from ...twin.schema import FrameTwin, ObjectTwin
from ..live.records import Event, StreamStatus

__all__ = ["Backend", "NotYetError", "Now", "Picture", "Point", "Seen"]


class NotYetError(EdgeTwinError):
    """A stream has no frame yet, or none any more that can be shown."""


@dataclass(frozen=True, slots=True)
class Now:
    """The newest twin of a stream; ``age_ms`` since its frame was taken."""

    frame: FrameTwin
    age_ms: float


@dataclass(frozen=True, slots=True)
class Seen:
    """The last record of an object in the window that has its mask, and when that was."""

    obj: ObjectTwin
    frame_index: int
    timestamp_s: float


@dataclass(frozen=True, slots=True)
class Point:
    """Where an object was: pixels, and metres in camera axes where known."""

    timestamp_s: float
    x: float
    y: float
    position_m: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG of a frame; ``width`` and ``height`` are of the drawn picture."""

    jpeg: bytes
    width: int
    height: int
    frame_index: int
    timestamp_s: float | None
    age_ms: float


class Backend(Protocol):
    """Where streams and answers come from. All methods may be called from several threads.

    Raises (all of them):
        InputError: for a stream, object or session that is not there.
        NotYetError: for a stream without a frame.
        EdgeTwinError: when busy or out of reach; the message says what to do.
    """

    def streams(self) -> list[StreamStatus]:
        """Every stream as it is now."""

    def words(self) -> Sequence[str]:
        """What the detector can be asked for."""

    def now(self, stream: str) -> Now:
        """The newest twin."""

    def objects(self, stream: str) -> list[ObjectTwin]:
        """The last record of each object of the window, by id."""

    def seen(self, stream: str, object_id: int) -> Seen:
        """The last record of one object, with its mask if the window has one."""

    def path(self, stream: str, object_id: int) -> list[Point]:
        """Where one object was seen in the window, oldest first."""

    def picture(self, stream: str, *, overlay: bool, ids: Sequence[int]) -> Picture:
        """The newest picture; ``overlay`` draws the objects, ``ids`` strongly."""

    def ask(self, stream: str, question: str, session: str | None) -> dict[str, Any]:
        """Answer a question; blocks."""

    def open_session(self, stream: str) -> str:
        """Begin a conversation; returns its id."""

    def history(self, stream: str, limit: int) -> list[dict[str, Any]]:
        """One row per object that was ever seen, the last seen first: run, id, label, first_at
        and last_at (Unix seconds)."""

    def events(self, stream: str | None, after: str | None, limit: int) -> list[Event]:
        """The newest events, or the first ones later than ``after``; oldest first."""

    def close(self) -> None:
        """Let go of everything, at once; questions that wait end with an error."""
