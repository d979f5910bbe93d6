"""The agents' tools: typed functions over twin ids, their docstrings are what an agent reads.

All of them only read. Nothing here knows MCP; :mod:`.mcp_server` offers them.
"""

from __future__ import annotations

import math
import time
from typing import Annotated, Literal

from pydantic import Field

from ...twin.errors import InputError
from ...twin.schema import ObjectTwin
from ...twin.tools import spatial
from ...twin.window import TwinWindow
from ...twin.words import matches
from .backend import Backend, Now
from .records import (
    AnswerTold,
    EventList,
    HistoryList,
    ObjectList,
    ObjectNow,
    Place,
    Relate,
    Relation,
    StreamList,
    Track,
)
from .telling import (
    answer_told,
    event_told,
    fresh,
    history_told,
    object_told,
    path_told,
    stream_told,
    thinned,
)
from .words import label_of

__all__ = ["AgentTools", "ObjectId", "StreamId"]

MAX_STREAMS = 32
MAX_WORDS = 200
MAX_EVENTS = 50
MAX_HISTORY = 1000  # objects that are looked through; the memory's own bound
_NEW = "new"

StreamId = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$", description="A stream's id, from list_streams."),
]
ObjectId = Annotated[
    int,
    Field(ge=1, le=2**31 - 1, description="An object's twin id, from list_objects or ask."),
]
Label = Annotated[
    str,
    Field(min_length=1, max_length=64, description="Only objects with this label, such as cup."),
]
Question = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2000,
        description="A question in plain words about objects in the video; it may be implicit, "
        "such as: what could I drink from?",
    ),
]
Session = Annotated[
    str,
    Field(
        max_length=64,
        description="For follow-up questions: 'new' begins a conversation, and the answer's "
        "session continues it. Leave it out for a question on its own.",
    ),
]
_RELATIONS: tuple[Relate, ...] = (
    "left_of",
    "right_of",
    "above",
    "below",
    "in_front_of",
    "behind",
    "inside",
    "on",
)


class AgentTools:
    """The tools over one backend; any thread may call them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def list_streams(self) -> StreamList:
        """List the video streams: call this first, other tools want a stream's id.

        Each has its state (running; stopped: a file that is over, its last twin stays), how old
        its newest frame is (age_ms), and resource URIs of its picture and twin. words are the
        labels that the detector knows; other things are not found.
        """
        streams, words = self._backend.streams(), list(self._backend.words())
        return StreamList(
            streams=[stream_told(status) for status in streams[:MAX_STREAMS]],
            total=len(streams),
            truncated=len(streams) > MAX_STREAMS or len(words) > MAX_WORDS,
            words=[label_of(word) for word in words[:MAX_WORDS]],
        )

    def list_objects(
        self,
        stream: StreamId,
        label: Label | None = None,
        limit: Annotated[int, Field(ge=1, le=50, description="Most objects to return.")] = 25,
    ) -> ObjectList:
        """List the objects that a stream holds now or held lately, visible ones first.

        Use it to see what is there; for a question in words use ask, which also reasons over
        time and space. An id stays with its object while the stream runs, through occlusion too;
        two objects with one label have two ids.
        """
        now = self._backend.now(stream)
        here = now.frame.objects
        held = [here.get(o.id) or _gone(o) for o in self._backend.objects(stream)]
        found = held if label is None else [o for o in held if _is_called(o, label)]
        found = sorted(found, key=lambda o: (o.state != "visible", o.state == "left", o.id))
        note = ""
        if label is not None and not found:
            known = ", ".join(sorted({label_of(o.semantic_label) for o in held})[:20])
            note = f"nothing has this label; labels here: {known or 'none'}"
        return ObjectList(
            **fresh(stream, now),
            objects=[object_told(stream, obj) for obj in found[:limit]],
            total=len(found),
            truncated=len(found) > limit,
            note=note,
        )

    def get_object(self, stream: StreamId, id: ObjectId) -> ObjectNow:
        """Get one object's record: label, attributes such as colour, state, box, depth, speed.

        Use where to point at it, track for where it went, mask for its exact pixels.
        """
        now, obj = self._now(stream, id)
        return ObjectNow(**fresh(stream, now), object=object_told(stream, obj))

    def where(self, stream: StreamId, id: ObjectId) -> Place:
        """Tell where an object is now: its pixel box and, when known, its position in metres.

        position_m is the middle of what is seen of it, size_m its sides, both along the camera's
        axes (x right, y down, z forward). Look at state and unseen_s before acting: a hidden
        object's place is the last one seen.
        """
        now, obj = self._now(stream, id)
        told = object_told(stream, obj)
        unseen = 0.0
        note = ""
        if obj.state != "visible":
            unseen = max(0.0, now.frame.timestamp_s - obj.last_seen)
            note = f"not visible now ({obj.state}): this is where it was last seen"
        return Place(
            **fresh(stream, now),
            **told.model_dump(
                include={
                    "id",
                    "label",
                    "state",
                    "box_xyxy",
                    "centroid",
                    "depth",
                    "depth_unit",
                    "position_m",
                    "size_m",
                    "last_seen_s",
                }
            ),
            frame_size=(now.frame.width, now.frame.height),
            unseen_s=round(unseen, 3),
            note=note,
        )

    def track(
        self,
        stream: StreamId,
        id: ObjectId,
        seconds: Annotated[
            float, Field(gt=0, le=3600, description="How far back from the newest frame.")
        ] = 10.0,
        limit: Annotated[int, Field(ge=2, le=100, description="Most points to return.")] = 30,
    ) -> Track:
        """Tell an object's path over the last seconds: centroid in pixels, metres when known.

        Points are evenly left out beyond limit. The stream keeps a short window in memory; for
        what was there earlier use history. Call it again to follow a moving object.
        """
        now, obj = self._now(stream, id)
        path = self._backend.path(stream, id)
        since = now.frame.timestamp_s - seconds
        inside = [point for point in path if point.timestamp_s >= since]
        note = ""
        if not inside:
            note = "not seen in these seconds: ask for more, or see where for its last place"
        first, last = (inside[0], inside[-1]) if inside else (None, None)
        moved_px, moved_m = 0.0, None
        if first is not None and last is not None:
            moved_px = math.dist((first.x, first.y), (last.x, last.y))
            if first.position_m is not None and last.position_m is not None:
                moved_m = round(math.dist(first.position_m, last.position_m), 4)
        return Track(
            **fresh(stream, now),
            id=id,
            label=label_of(obj.semantic_label),
            state=obj.state,
            points=[path_told(point) for point in thinned(inside, limit)],
            total=len(inside),
            truncated=len(inside) > limit,
            from_s=None if first is None else round(first.timestamp_s, 3),
            to_s=None if last is None else round(last.timestamp_s, 3),
            moved_px=round(moved_px, 1),
            moved_m=moved_m,
            note=note,
        )

    def relate(
        self,
        stream: StreamId,
        a: ObjectId,
        b: Annotated[int, Field(ge=1, le=2**31 - 1, description="The other object's id.")],
    ) -> Relation:
        """Compare two objects' places: distance in pixels and metres, and how a lies to b.

        left_of, right_of, above and below are in the picture; in_front_of means nearer to the
        camera; inside and on compare boxes and depth.
        """
        if a == b:
            raise InputError(f"expected two different objects, got {a} twice; give another b")
        now, first = self._now(stream, a)
        second = self._record(stream, b, now)
        pair = now.frame.model_copy(update={"objects": {a: first, b: second}})
        window = TwinWindow([pair])
        hidden = [str(o.id) for o in (first, second) if o.state != "visible"]
        metres = spatial.distance(window, [a], [b], "metric")
        return Relation(
            **fresh(stream, now),
            a=a,
            b=b,
            a_label=label_of(first.semantic_label),
            b_label=label_of(second.semantic_label),
            distance_px=round(math.dist(first.centroid, second.centroid), 1),
            distance_m=None if metres is None else round(metres, 4),
            relations=[
                name for name in _RELATIONS if getattr(spatial, name)(window, ids=[a], of=[b])
            ],
            note=f"not visible now, last place taken: {', '.join(hidden)}" if hidden else "",
        )

    def ask(
        self, stream: StreamId, question: Question, session: Session | None = None
    ) -> AnswerTold:
        """Ask a question about a stream; the answer is object ids with the reasoning.

        Use it for anything that list_objects does not plainly say: what to use for a purpose,
        which object moved, appeared or hid behind another, the largest, the nearest to something,
        how many. It looks back over the last seconds of video. It runs a small language model: a
        second or so; simple look-ups are faster with the other tools. status none means that
        nothing such is there, error that there is no answer (message says why).
        """
        now = self._backend.now(stream)
        if session == _NEW:
            session = self._backend.open_session(stream)
        record = self._backend.ask(stream, question, session)
        return answer_told(stream, now, record, session)

    def history(
        self,
        stream: StreamId,
        label: Label | None = None,
        since_s: Annotated[
            float | None,
            Field(gt=0, le=30 * 86400, description="Only what was seen in the last seconds."),
        ] = None,
        limit: Annotated[int, Field(ge=1, le=100, description="Most objects.")] = 50,
    ) -> HistoryList:
        """List every object that a stream has ever seen, the last seen first, from its memory.

        Use it for what is no longer there: when something was first and last seen (Unix
        seconds). For what is there now use list_objects; for the path of one use track.
        """
        now = self._backend.now(stream)
        start_at = None if since_s is None else time.time() - since_s
        rows = [
            row
            for row in self._backend.history(stream, MAX_HISTORY)
            if (start_at is None or (row["last_at"] or 0.0) >= start_at)
            and (label is None or matches(str(row["label"]), {label.strip().casefold()}))
        ]
        return HistoryList(
            **fresh(stream, now),
            objects=[history_told(row) for row in rows[:limit]],
            truncated=len(rows) > limit,
            note="" if rows else "nothing was seen, or nothing that fits; ask for more seconds",
        )

    def events(
        self,
        stream: StreamId | None = None,
        after: Annotated[
            str | None, Field(max_length=64, description="next_after of the last call.")
        ] = None,
        limit: Annotated[int, Field(ge=1, le=MAX_EVENTS, description="Most events.")] = 20,
    ) -> EventList:
        """List events of standing questions ("tell me when ..."), oldest first.

        Without after it lists the newest; call it again with next_after for what came since. Standing questions are added by the
        operator, not through these tools.
        """
        now = None if stream is None else self._backend.now(stream)
        found = self._backend.events(stream, after, limit + 1)
        shown = found[-limit:] if after is None else found[:limit]
        told = [event_told(event) for event in shown]
        return EventList(
            events=told,
            truncated=len(found) > limit,
            next_after=told[-1].id if told else after,
            frame_index=None if now is None else now.frame.index,
            age_ms=None if now is None else round(now.age_ms, 1),
        )

    def _now(self, stream: str, object_id: int) -> tuple[Now, ObjectTwin]:
        now = self._backend.now(stream)
        return now, self._record(stream, object_id, now)

    def _record(self, stream: str, object_id: int, now: Now) -> ObjectTwin:
        """The newest record of an object: of the newest frame, else the last of the window."""
        if object_id in now.frame.objects:
            return now.frame.objects[object_id]
        return _gone(self._backend.seen(stream, object_id).obj)


def _is_called(obj: ObjectTwin, label: str) -> bool:
    return matches(obj.semantic_label, {label.strip().casefold()})


def _gone(obj: ObjectTwin) -> ObjectTwin:
    """An object that the newest frame no longer holds is not visible, whatever its record says."""
    left: Literal["left"] = "left"
    return obj if obj.state != "visible" else obj.model_copy(update={"state": left})
