"""Events of standing questions: their making, and the bounded book that keeps them.

Not covered: searching by time or object; the stream's memory does that.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

from ...twin.schema import FrameTwin, ObjectTwin
from ...twin.window import TwinWindow
from .compiling import Rule
from .errors import UnknownError
from .moments import Moment
from .reasons import plan_in_words
from .records import Event, EventObject
from .watches import Watch
from .watching import Held

__all__ = ["EventBook", "EventMemory", "event_objects", "make_event", "new_event_id", "reason_text"]

_MAX_OBJECTS = 16  # objects of one event: their masks are most of its bytes, 1-3 kB each
_MAX_NAMED = 5
_numbers = itertools.count()


def make_event(
    watch: Watch, moment: Moment, window: TwinWindow, held: Held, new: Sequence[int]
) -> Event:
    """The event of what newly holds on a moment, without its files."""
    assert watch.rule is not None
    about = [i for i in held.ids if i in new] or list(held.ids)  # a number is about all of them
    objects = event_objects(about, window)
    at = time.time()
    return Event(
        id=new_event_id(at),
        standing=watch.id,
        stream=watch.stream,
        question=watch.question,
        at=at,
        timestamp_s=moment.twin.timestamp_s,
        frame_index=moment.twin.index,
        ids=[obj.id for obj in objects],
        objects=objects,
        reason=reason_text(watch.rule, held, objects),
        delay_ms=moment.age_ms(),
        delivered="none" if watch.webhook is None else "waiting",
    )


def new_event_id(at: float) -> str:
    """An id that sorts by time, ``e01763762345123-0007``; unique in this process and second."""
    return f"e{round(at * 1000):014d}-{next(_numbers) % 10_000:04d}"


def event_objects(ids: Sequence[int], window: TwinWindow) -> list[EventObject]:
    """The objects as they are now, masks of the newest frame only."""
    frame = window.last
    found = []
    for i in list(ids)[:_MAX_OBJECTS]:
        if i not in window:
            continue
        obj = _now(i, frame) or window.latest(i)
        found.append(
            EventObject(
                id=i,
                label=obj.semantic_label,
                attributes=obj.attributes,
                box_xyxy=obj.box_xyxy,
                mask=obj.mask.model_dump(mode="json") if obj.mask is not None else None,
            )
        )
    return found


def _now(object_id: int, frame: FrameTwin | None) -> ObjectTwin | None:
    """The object's record in the newest frame, if that shows it."""
    obj = frame.objects.get(object_id) if frame is not None else None
    return obj if obj is not None and obj.state == "visible" else None


def reason_text(rule: Rule, held: Held, objects: Sequence[EventObject]) -> str:
    """Why there is an event, in words: the objects and what the plan says of them."""
    what = plan_in_words(rule.plan)
    condition = rule.condition
    if condition is not None and not condition.edge:
        value = "" if held.value is None else f" is {_number(held.value, condition.unit)}"
        return f"{what}{value}: {condition.text}"
    names = [_name(obj) for obj in objects[:_MAX_NAMED]]
    if len(objects) > _MAX_NAMED:
        names.append(f"{len(objects) - _MAX_NAMED} more")
    more = f", {condition.text}" if condition is not None else ""
    return f"{', '.join(names)}: {what}{more}"


def _number(value: float, unit: str) -> str:
    return f"{value:.0%} of the diagonal" if unit == "diagonal" else f"{value:.3g}"


def _name(obj: EventObject) -> str:
    return " ".join(f"#{obj.id} {obj.attributes.get('color', '')} {obj.label}".split())


class EventMemory(Protocol):
    """Where a stream's events are kept: :class:`~.memory.StreamMemory`."""

    def event(self, event_id: str) -> Event | None:
        """One event."""
        ...

    def events(self, after: str | None = None, limit: int = 100) -> Sequence[Event]:
        """The newest, or with ``after`` those that followed."""
        ...


class EventBook:
    """The newest events of all streams, oldest first; safe from any thread.

    Args:
        most: events kept (about 2 kB each with their masks); older ones are forgotten.
    """

    def __init__(self, most: int = 500) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._events: OrderedDict[str, Event] = OrderedDict()

    def add(self, event: Event) -> None:
        """Keep an event."""
        with self._lock:
            self._events[event.id] = event
            while len(self._events) > self._most:
                self._events.popitem(last=False)

    def change(self, event_id: str, **values: Any) -> Event | None:
        """Change what became of an event (clip, delivered); None when it is forgotten."""
        with self._lock:
            event = self._events.get(event_id)
            if event is None:
                return None
            changed = event.model_copy(update=values)
            self._events[event_id] = changed
            return changed

    def get(self, event_id: str, memories: Sequence[EventMemory] = ()) -> Event:
        """One event; those that are forgotten here are looked for in memories.

        Raises:
            UnknownError: if it is not there (any more).
        """
        with self._lock:
            event = self._events.get(event_id)
        for memory in memories:
            event = event or memory.event(event_id)
        if event is None:
            raise UnknownError(f"expected the id of an event, got {event_id[:64]!r}: list events")
        return event

    def list(
        self, stream: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[Event]:
        """The newest events, or with ``after`` the first ones later than it; oldest first."""
        with self._lock:
            found = [
                event
                for event in self._events.values()
                if stream in (None, event.stream) and (after is None or event.id > after)
            ]
        return found[:limit] if after is not None else found[-limit:]

    def with_memories(
        self,
        memories: Sequence[EventMemory],
        stream: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Sequence[Event]:
        """As :meth:`list`, with events that only memories hold: those of earlier runs."""
        found = {event.id: event for memory in memories for event in memory.events(after, limit)}
        found |= {event.id: event for event in self.list(stream, after, limit)}
        ordered = [found[key] for key in sorted(found)]
        return ordered[:limit] if after is not None else ordered[-limit:]
