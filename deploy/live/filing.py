"""What becomes of an event: its picture, its clip, its row in the stream's memory.

All of it happens in threads of its own, bounded in number and on disk.

Not covered: files of events that were forgotten; the shelf removes the oldest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..stream.draw import Caption
from .clips import Scribe, Shelf, Tape, Taped, write_clip, write_picture
from .errors import UnknownError
from .events import EventBook
from .records import Event

__all__ = ["Filing", "Keep", "keeper_of"]

Keep = Callable[[Event], Any]

_PICTURE_WAIT_S = 2.0  # a picture is drawn in milliseconds; its job may wait behind a clip
_LATE_S = 0.3  # the last frame of a clip may still be on its way


class Filing:
    """The files of events.

    Args:
        book: whose events are changed when a file fails.
        shelf: where files lie.
        before_s, after_s: of a clip, around the event.
    """

    def __init__(self, book: EventBook, shelf: Shelf, before_s: float, after_s: float) -> None:
        self._book, self.shelf = book, shelf
        self._before_s, self._after_s = before_s, after_s
        self.scribe = Scribe()
        # Rows are quick and must not wait behind clips.
        self.clerk = Scribe(256, "edgetwin-event-rows")
        self._drawing: dict[str, threading.Event] = {}  # bounded by the scribe's queue

    def file(self, event: Event, tape: Tape, keep: Keep | None) -> Event:
        """Have everything made; the event as it is then, ``clip`` set when there will be one.

        ``keep`` stores an event's record, in place of one of its id.
        """
        caption = Caption(event.question, event.reason, tuple(event.ids))
        newest = tape.between(event.timestamp_s, event.timestamp_s)
        if newest:
            drawn = self._drawing[event.id] = threading.Event()
            if not self.scribe.put(lambda: self._draw(event.id, newest[-1], caption, drawn)):
                del self._drawing[event.id]
        due_s = time.monotonic() + self._after_s + _LATE_S
        at_s = event.timestamp_s
        span = tape.follow(at_s - self._before_s, at_s + self._after_s)
        clip = self.scribe.put(lambda: self._film(event, span(), caption, keep), due_s)
        if not clip:
            span()
        event = self._book.change(event.id, clip=clip) or event
        self.keep(event, keep)
        return event

    def keep(self, event: Event, keep: Keep | None) -> None:
        """Store an event's record, soon."""
        if keep is not None:
            self.clerk.put(lambda: keep(event))

    def close(self, timeout_s: float) -> bool:
        """Do what waits at once, and end; False if a thread did not end in time."""
        until = time.monotonic() + timeout_s
        ended = self.scribe.close(timeout_s)  # a clip that fails changes its event's row
        return self.clerk.close(max(until - time.monotonic(), 0.5), drop=False) and ended

    def counts(self) -> dict[str, int]:
        """Files and rows that found no room, failed, or were removed again."""
        both = (self.scribe, self.clerk)
        return {
            "files_dropped": sum(one.dropped for one in both),
            "files_failed": sum(one.failed for one in both),
            "files_removed": self.shelf.removed,
        }

    def picture(self, event: Event) -> Path:
        """Its JPEG; waits for it a little.

        Raises:
            UnknownError: if it is not there (any more).
        """
        drawing = self._drawing.get(event.id)
        if drawing is not None:
            drawing.wait(_PICTURE_WAIT_S)
        return self._path(event, "jpg", "picture")

    def clip(self, event: Event) -> Path:
        """Its MP4.

        Raises:
            UnknownError: if it is not there yet, or not any more.
        """
        return self._path(event, "mp4", "clip")

    def _draw(self, event_id: str, taped: Taped, caption: Caption, drawn: threading.Event) -> None:
        try:
            write_picture(self.shelf.path(f"{event_id}.jpg"), taped, caption)
        finally:
            self._drawing.pop(event_id, None)
            drawn.set()

    def _film(
        self, event: Event, taped: Sequence[Taped], caption: Caption, keep: Keep | None
    ) -> None:
        try:
            write_clip(self.shelf.path(f"{event.id}.mp4"), taped, caption)
        except BaseException:
            changed = self._book.change(event.id, clip=False)
            if changed is not None:
                self.keep(changed, keep)
            raise
        finally:
            self.shelf.tidy()

    def _path(self, event: Event, ending: str, what: str) -> Path:
        path = self.shelf.folder / f"{event.id}.{ending}"
        if not path.is_file():
            soon = time.time() - event.at < self._before_s + self._after_s + 5
            raise UnknownError(
                f"expected the {what} of {event.id}, got none "
                + ("yet: ask again in some seconds" if soon else "(any more)")
            )
        return path


def keeper_of(stream: Any) -> Keep | None:
    """What stores events of a stream, where it remembers."""
    memory = getattr(stream, "memory", None)
    found: Keep | None = getattr(memory, "record_event", None)
    return found
