"""Objects that only an answer knows: found by looking again, not followed by the stream.

A question may find what the stream does not look for; its answer then has the object's box and
mask, and nothing else ever will. The newest of these are kept, so that an agent can point at what
it was just told.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from ...twin import mask as rle
from ...twin.errors import EdgeTwinError, InputError
from ...twin.geometry import box_centroid
from ...twin.schema import ObjectTwin, Rle
from ..live.records import Event, StreamStatus
from .backend import Backend, Now, Picture, Point, Seen

__all__ = ["Remembering"]

_MOST = 256  # objects of newest answers, about 1 kB each


class Remembering:
    """A :class:`~.backend.Backend` in front of another that keeps what answers found."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[str, int], Seen] = OrderedDict()  # at most _MOST

    def streams(self) -> list[StreamStatus]:
        """Every stream as it is now."""
        return self._backend.streams()

    def words(self) -> Sequence[str]:
        """What the detector can be asked for."""
        return self._backend.words()

    def now(self, stream: str) -> Now:
        """The newest twin."""
        return self._backend.now(stream)

    def objects(self, stream: str) -> list[ObjectTwin]:
        """The last record of each object of the window, by id."""
        return self._backend.objects(stream)

    def seen(self, stream: str, object_id: int) -> Seen:
        """The last record of one object, of the window or of an answer."""
        try:
            return self._backend.seen(stream, object_id)
        except InputError:
            with self._lock:
                found = self._held.get((stream, object_id))
            if found is None:
                raise
            return found

    def path(self, stream: str, object_id: int) -> list[Point]:
        """Where one object was seen, oldest first; what an answer found, only once."""
        try:
            return self._backend.path(stream, object_id)
        except InputError:
            with self._lock:
                found = self._held.get((stream, object_id))
            if found is None:
                raise
            return [Point(found.timestamp_s, *found.obj.centroid)]

    def picture(self, stream: str, *, overlay: bool, ids: Sequence[int]) -> Picture:
        """The newest picture."""
        return self._backend.picture(stream, overlay=overlay, ids=ids)

    def ask(self, stream: str, question: str, session: str | None) -> dict[str, Any]:
        """Answer a question, and keep the objects that it names."""
        record = self._backend.ask(stream, question, session)
        for obj in record.get("objects") or ():
            seen = _seen(obj, record)
            if seen is not None:
                with self._lock:
                    self._held[stream, seen.obj.id] = seen
                    self._held.move_to_end((stream, seen.obj.id))
                    while len(self._held) > _MOST:
                        self._held.popitem(last=False)
        return record

    def open_session(self, stream: str) -> str:
        """Begin a conversation."""
        return self._backend.open_session(stream)

    def history(self, stream: str, limit: int) -> list[dict[str, Any]]:
        """One row per object that was ever seen."""
        return self._backend.history(stream, limit)

    def events(self, stream: str | None, after: str | None, limit: int) -> list[Event]:
        """Events of standing questions."""
        return self._backend.events(stream, after, limit)

    def close(self) -> None:
        """Close the backend."""
        self._backend.close()


def _seen(obj: dict[str, Any], record: dict[str, Any]) -> Seen | None:
    """An answer's object as a record of the twin, if it has a mask; None if it breaks the schema."""
    masks = record.get("masks") or {}
    found = masks.get(str(obj["id"]))
    if found is None or record.get("frame_index") is None:
        return None
    try:
        mask = Rle.model_validate(found)
        box = rle.to_box(mask)
        last_seen = float(obj["last_seen"])
        twin = ObjectTwin(
            id=obj["id"],
            semantic_label=obj["label"],
            attributes=obj.get("attributes") or {},
            confidence=0.0,  # an answer does not say; told as None
            mask=mask,
            box_xyxy=box,
            centroid=box_centroid(box),
            area=rle.area(mask),
            first_seen=last_seen,
            last_seen=last_seen,
            origin=obj.get("origin") or "question",
        )
    except (ValidationError, EdgeTwinError, KeyError, TypeError, ValueError):
        return None  # a server of another version; its ids are told all the same
    return Seen(twin, int(record["frame_index"]), last_seen)
