"""What the language model reads of the twin: one short line per object.

::

    frame 256x256
    1 white plate x128 y180 w90 h40 z95
    2 red mug x120 y88 w34 h40 z71
    3 blue ball x200 y150 w30 h30 z88 moved right toward 1.2-2.4 occluded 2.0-3.1
    time 0.0-4.0

Columns: id, colour, further attributes, label, centre x and y, width and height in whole pixels,
median depth (``z`` whole centimetres; ``r`` 0 nearest to 99 farthest when depth is relative),
then events with times in seconds, one decimal. Letters separate the numbers, so that with one
token per digit nothing is spent on spaces.

The text is deterministic and made for prefix reuse: the frame's size first, then the objects to
which nothing happened (by id, as first seen, so that jitter does not rewrite them), then the
objects with events (by id, as last seen), the time last.

Labels and attributes are data from outside: they are cleaned (``twin/words.py``) and quoted when
they are not plain words.

Not covered: tracks frame by frame, masks, confidences; the tools have them in full.
"""

from __future__ import annotations

from collections.abc import Callable

from .geometry import whole
from .motion import appeared_s, depth_of, disappeared_s, hidden_spans, motion_of
from .schema import ObjectTwin
from .window import TwinWindow
from .words import clean, clean_label, quoted

__all__ = ["MAX_OBJECTS", "describe"]

MAX_OBJECTS = 64  # about 1,900 tokens: the longest twin that a small model's context should hold
_MAX_EXTRA_ATTRIBUTES = 2
_MAX_OCCLUSIONS = 2
_MAX_CM = 9999
_MAX_SECONDS = 999_999.0


def describe(window: TwinWindow, max_objects: int = MAX_OBJECTS) -> str:
    """The window as text, ending with a line end; ``max_objects`` bounds its length.

    Objects left out are those that are not visible at the end, then those of the highest ids;
    they are counted in a line ``+n more``.
    """
    frame = window.last
    if frame is None:
        return "frame none\ntime 0.0\n"
    ranked = sorted(window.ids(), key=lambda i: (not window.visible_at_end(i), i))
    shown = sorted(ranked[:max_objects])
    depth = _depth_column(window, shown)
    events = {i: _events(window, i) for i in shown}
    lines = [f"frame {frame.width}x{frame.height}"]
    lines += [_line(_first(window, i), depth, "") for i in shown if not events[i]]
    lines += [_line(window.latest(i), depth, events[i]) for i in shown if events[i]]
    if len(ranked) > len(shown):
        lines.append(f"+{len(ranked) - len(shown)} more")
    start, end = _seconds(window.start_s), _seconds(window.end_s)
    lines.append(f"time {start}" if start == end else f"time {start}-{end}")
    return "\n".join(lines) + "\n"


def _seconds(time_s: float) -> str:
    return f"{min(time_s, _MAX_SECONDS):.1f}"


def _first(window: TwinWindow, object_id: int) -> ObjectTwin:
    track = window.track(object_id)
    return track[0][1] if track else window.latest(object_id)


def _line(obj: ObjectTwin, depth: Callable[[ObjectTwin], str], events: str) -> str:
    x0, y0, x1, y1 = obj.box_xyxy
    x, y = obj.centroid
    columns = [str(obj.id), *_names(obj)]
    columns += [f"x{whole(x)}", f"y{whole(y)}", f"w{whole(x1 - x0)}", f"h{whole(y1 - y0)}"]
    return " ".join(part for part in (*columns, depth(obj), events) if part)


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


def _events(window: TwinWindow, object_id: int) -> str:
    """The key moments of one object in order of time, or an empty text."""
    moments: list[tuple[float, str]] = []
    if (start := appeared_s(window, object_id)) is not None:
        moments.append((start, f"appeared {_seconds(start)}"))
    if (motion := motion_of(window, object_id)) is not None:
        way = [part for part in (motion.direction, motion.depth_direction) if part]
        span = f"{_seconds(motion.start_s)}-{_seconds(motion.end_s)}"
        moments.append((motion.start_s, " ".join(["moved", *way, span])))
    hidden = [span for span in hidden_spans(window, object_id) if span[1] > span[0]]
    for start, end in sorted(hidden, key=lambda s: (s[0] - s[1], s[0]))[:_MAX_OCCLUSIONS]:
        moments.append((start, f"occluded {_seconds(start)}-{_seconds(end)}"))
    last = window.last
    record = last.objects.get(object_id) if last is not None else None
    if record is None or record.state == "left":
        gone = disappeared_s(window, object_id)
        if gone is not None:
            moments.append((gone, f"gone {_seconds(gone)}"))
    return " ".join(text for _, text in sorted(moments, key=lambda moment: moment[0]))
