"""What the language model reads of the twin: one short line per object, in one of two layouts.

``full``::

    frame 256x256
    1 white plate x128 y180 w90 h40 z95
    2 red mug x120 y88 w34 h40 z71
    3 blue ball x200 y150 w30 h30 z88 moved right toward 1.2-2.4 occluded 2.0-3.1
    time 0.0-4.0

Columns: id, colour, further attributes, label, centre x and y, width and height in whole pixels,
median depth (``z`` whole centimetres; ``r`` 0 nearest to 99 farthest when depth is relative),
then events with times in seconds, one decimal. Letters separate the numbers, so that with one
token per digit nothing is spent on spaces.

``compact`` leaves out the frame's size and the objects' sizes and counts x and y in hundredths of
the frame (0 to 99)::

    1 white plate x50 y70 z95
    3 blue ball x78 y58 z88 moved right toward 1.2-2.4 occluded 2.0-3.1
    time 0.0-4.0

The text is deterministic and made for prefix reuse: the frame's size first, then the objects to
which nothing happened (by id, as first seen, so that jitter does not rewrite them), then the
objects with events (by id, as last seen), the time last. When there are more moments than asked
for, the oldest are left out and counted before the objects with events, in a line such as
``earlier 0.0-12.3: 5 moved, 3 appeared, 1 occluded, 2 gone``.

Labels and attributes are data from outside: they are cleaned (``twin/words.py``) and quoted when
they are not plain words.

Not covered: tracks frame by frame, masks, confidences; the tools have them in full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from .geometry import whole
from .motion import appeared_s, depth_of, disappeared_s, hidden_spans, motion_of
from .schema import FrameTwin, ObjectTwin
from .window import TwinWindow
from .words import clean, clean_label, quoted

__all__ = ["MAX_MOMENTS", "MAX_OBJECTS", "Layout", "describe"]

Layout = Literal["full", "compact"]

MAX_OBJECTS = 64  # about 1,900 tokens: the longest twin that a small model's context should hold
MAX_MOMENTS = 48  # about 500 tokens of events, more than a minute of a busy table
_MAX_EXTRA_ATTRIBUTES = 2
_MAX_OCCLUSIONS = 2
_MAX_CM = 9999
_MAX_SECONDS = 999_999.0
_ANCHORS = 8  # parts of a full window in which still objects keep their text
_GRID = 100  # steps of the compact layout's columns x and y across the frame
_KINDS = ("moved", "appeared", "occluded", "gone")  # in the order of the summary


@dataclass(frozen=True, slots=True)
class _Moment:
    """Something that happened to one object; times in seconds."""

    start_s: float
    end_s: float
    kind: str
    text: str


def describe(
    window: TwinWindow,
    layout: Layout = "full",
    *,
    max_objects: int = MAX_OBJECTS,
    max_moments: int = MAX_MOMENTS,
) -> str:
    """The window as text, ending with a line end.

    ``max_objects`` and ``max_moments`` bound its length. Objects left out are those that are not
    visible at the end, then those of the highest ids; they are counted in a line ``+n more``.
    Moments left out are the oldest; they are summed up in the line ``earlier``.
    """
    frame = window.last
    if frame is None:
        return "frame none\ntime 0.0\n" if layout == "full" else "time 0.0\n"
    ranked = sorted(window.ids(), key=lambda i: (not window.visible_at_end(i), i))
    shown = sorted(ranked[:max_objects])
    column = _columns(layout, frame, _depth_column(window, shown))
    moments = {i: _moments(window, i) for i in shown}
    anchors = _anchors(window)
    old, young = _parted(moments, max_moments)
    lines = [f"frame {frame.width}x{frame.height}"] if layout == "full" else []
    lines += [column(_first(window, i, anchors), "") for i in shown if not moments[i]]
    if old:
        lines.append(_earlier(old))
    for i in shown:
        if moments[i]:
            lines.append(column(window.latest(i), " ".join(m.text for m in young[i])))
    if len(ranked) > len(shown):
        lines.append(f"+{len(ranked) - len(shown)} more")
    start, end = _seconds(window.start_s), _seconds(window.end_s)
    lines.append(f"time {start}" if start == end else f"time {start}-{end}")
    return "\n".join(lines) + "\n"


def _parted(
    moments: dict[int, list[_Moment]], most: int
) -> tuple[list[_Moment], dict[int, list[_Moment]]]:
    """(the oldest moments beyond ``most``, the others by object)."""
    ranked = sorted(
        ((m.start_s, i, place) for i, found in moments.items() for place, m in enumerate(found))
    )
    left_out = {(i, place) for _, i, place in ranked[: max(len(ranked) - most, 0)]}
    old = [moments[i][place] for i, place in sorted(left_out)]
    young = {
        i: [m for place, m in enumerate(found) if (i, place) not in left_out]
        for i, found in moments.items()
    }
    return old, young


def _earlier(old: Sequence[_Moment]) -> str:
    """The summary of moments that are left out."""
    counts = Counter(moment.kind for moment in old)
    told = ", ".join(f"{counts[kind]} {kind}" for kind in _KINDS if counts[kind])
    start, end = min(m.start_s for m in old), max(m.end_s for m in old)
    return f"earlier {_seconds(start)}-{_seconds(end)}: {told}"


def _seconds(time_s: float) -> str:
    return f"{min(time_s, _MAX_SECONDS):.1f}"


def _anchors(window: TwinWindow) -> list[FrameTwin]:
    """Frames that stay where they are while a full window moves on: one in eight parts of it."""
    if len(window) < window.max_frames:
        return []
    stride = max(window.max_frames // _ANCHORS, 1)
    return [frame for frame in window.frames if frame.index % stride == 0]


def _first(window: TwinWindow, object_id: int, anchors: Sequence[FrameTwin]) -> ObjectTwin:
    """The object as first seen: in an anchor if there are any, since a full window loses its
    first frame with every new one."""
    for frame in anchors:
        obj = frame.objects.get(object_id)
        if obj is not None and obj.state == "visible":
            return obj
    track = window.track(object_id)
    return track[0][1] if track else window.latest(object_id)


def _columns(
    layout: Layout, frame: FrameTwin, depth: Callable[[ObjectTwin], str]
) -> Callable[[ObjectTwin, str], str]:
    """How to write an object and its events as one line."""

    def line(obj: ObjectTwin, events: str) -> str:
        x, y = obj.centroid
        columns = [str(obj.id), *_names(obj)]
        if layout == "full":
            x0, y0, x1, y1 = obj.box_xyxy
            columns += [f"x{whole(x)}", f"y{whole(y)}", f"w{whole(x1 - x0)}", f"h{whole(y1 - y0)}"]
        else:
            columns += [f"x{_hundredth(x, frame.width)}", f"y{_hundredth(y, frame.height)}"]
        return " ".join(part for part in (*columns, depth(obj), events) if part)

    return line


def _hundredth(place: float, extent: int) -> int:
    return min(max(int(_GRID * place / extent), 0), _GRID - 1)


def _names(obj: ObjectTwin) -> list[str]:
    colour = clean(obj.attributes.get("color", ""))
    extra = [clean(obj.attributes[key]) for key in sorted(obj.attributes) if key != "color"]
    words = [colour, *extra[:_MAX_EXTRA_ATTRIBUTES], clean_label(obj)]
    return [quoted(word) for word in words if word]


def _depth_column(window: TwinWindow, shown: list[int]) -> Callable[[ObjectTwin], str]:
    """How to write an object's depth: centimetres, or its place between nearest and farthest."""
    relative = [
        obj.depth_stats.p50
        for i in shown
        if (obj := window.latest(i)).depth_stats is not None and obj.depth_stats.unit == "relative"
    ]
    low, high = (min(relative), max(relative)) if relative else (0.0, 0.0)

    def column(obj: ObjectTwin) -> str:
        value = depth_of(obj)
        if value is None:
            return ""
        if obj.depth_stats is not None and obj.depth_stats.unit == "relative":
            share = (value - low) / (high - low) if high > low else 0.5
            return f"r{whole(min(max(share, 0.0), 1.0) * 99)}"
        return f"z{min(max(whole(value * 100), 0), _MAX_CM)}"

    return column


def _moments(window: TwinWindow, object_id: int) -> list[_Moment]:
    """The key moments of one object in order of time."""
    found: list[_Moment] = []
    if (start := appeared_s(window, object_id)) is not None:
        found.append(_Moment(start, start, "appeared", f"appeared {_seconds(start)}"))
    if (motion := motion_of(window, object_id)) is not None:
        way = [part for part in (motion.direction, motion.depth_direction) if part]
        span = f"{_seconds(motion.start_s)}-{_seconds(motion.end_s)}"
        text = " ".join(["moved", *way, span])
        found.append(_Moment(motion.start_s, motion.end_s, "moved", text))
    hidden = [span for span in hidden_spans(window, object_id) if span[1] > span[0]]
    for start, end in sorted(hidden, key=lambda s: (s[0] - s[1], s[0]))[:_MAX_OCCLUSIONS]:
        text = f"occluded {_seconds(start)}-{_seconds(end)}"
        found.append(_Moment(start, end, "occluded", text))
    last = window.last
    record = last.objects.get(object_id) if last is not None else None
    if record is None or record.state == "left":
        gone = disappeared_s(window, object_id)
        if gone is not None:
            found.append(_Moment(gone, gone, "gone", f"gone {_seconds(gone)}"))
    return sorted(found, key=lambda moment: moment.start_s)
