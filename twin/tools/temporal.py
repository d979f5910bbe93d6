"""Tools on what happened over the window; the definitions are those of ``twin/motion.py``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from ..geometry import whole
from ..motion import (
    Event,
    appeared_s,
    disappeared_s,
    event_s,
    hidden_behind,
    hidden_spans,
    motion_of,
    speed_px_s,
    visible_spans,
)
from ..window import TwinWindow
from .base import Ids, Intervals, Numbers, Points

__all__ = [
    "after",
    "appeared",
    "before",
    "disappeared",
    "during",
    "fastest",
    "first",
    "last",
    "moved",
    "occluded_by",
    "path",
    "speed",
    "still",
    "visible_when",
    "when",
]

_PATH_POINTS = 5  # key positions of one object


def _all(window: TwinWindow, ids: list[int] | None) -> list[int]:
    return window.ids() if ids is None else ids


def appeared(window: TwinWindow, ids: Ids | None = None) -> Ids:
    """Ids first visible more than 0.3 s after the window begins."""
    return sorted(i for i in _all(window, ids) if appeared_s(window, i) is not None)


def disappeared(window: TwinWindow, *, ids: Ids | None = None) -> Ids:
    """Ids that were visible and are not in the last frame."""
    return sorted(i for i in _all(window, ids) if disappeared_s(window, i) is not None)


def moved(
    window: TwinWindow,
    *,
    ids: Ids | None = None,
    direction: Literal["any", "left", "right", "up", "down", "toward", "away"] = "any",
) -> Ids:
    """Ids that moved, in net direction: image left/right/up/down, or toward/away from the camera."""
    found = []
    for i in _all(window, ids):
        motion = motion_of(window, i)
        if motion is not None and direction in ("any", motion.direction, motion.depth_direction):
            found.append(i)
    return sorted(found)


def still(window: TwinWindow, *, ids: Ids | None = None) -> Ids:
    """Ids that did not move."""
    return sorted(i for i in _all(window, ids) if motion_of(window, i) is None)


def speed(window: TwinWindow, ids: Ids) -> Numbers:
    """Peak speed of each id in whole pixels per second, in the order given."""
    return [whole(speed_px_s(window, i)) for i in ids]


def fastest(window: TwinWindow, *, ids: Ids | None = None) -> Ids:
    """The one id of those that moved with the largest peak speed."""
    ranked = [(-speed_px_s(window, i), i) for i in moved(window, ids=ids)]
    return [min(ranked)[1]] if ranked else []


def path(window: TwinWindow, ids: Ids) -> Points:
    """Up to five centroids in pixels per id, evenly spaced, oldest first, ids in the order given."""
    points: list[tuple[float, float]] = []
    for i in ids:
        track = window.track(i)
        count = min(_PATH_POINTS, len(track))
        picks = [k * (len(track) - 1) // max(count - 1, 1) for k in range(count)]
        points += [(whole(x), whole(y)) for x, y in (track[k][1].centroid for k in picks)]
    return points


def _events(window: TwinWindow, ids: list[int], event: Event) -> list[tuple[float, int]]:
    return [(time, i) for i in ids if (time := event_s(window, i, event)) is not None]


def before(window: TwinWindow, *, ids: Ids | None = None, of: Ids, event: Event) -> Ids:
    """Ids to which the event happened before it happened to any of of."""
    times = [time for time, _ in _events(window, of, event)]
    found = _events(window, _all(window, ids), event) if times else []
    return sorted(i for time, i in found if i not in of and time < min(times))


def after(window: TwinWindow, *, ids: Ids | None = None, of: Ids, event: Event) -> Ids:
    """Ids to which the event happened after it happened to all of of."""
    times = [time for time, _ in _events(window, of, event)]
    found = _events(window, _all(window, ids), event) if times else []
    return sorted(i for time, i in found if i not in of and time > max(times))


def during(window: TwinWindow, *, ids: Ids | None = None, of: Ids) -> Ids:
    """Ids that moved while any of of moved."""
    spans = [motion for j in of if (motion := motion_of(window, j)) is not None]
    found = []
    for i in _all(window, ids):
        motion = motion_of(window, i)
        if (
            i not in of
            and motion is not None
            and any(motion.start_s <= s.end_s and s.start_s <= motion.end_s for s in spans)
        ):
            found.append(i)
    return sorted(found)


def occluded_by(window: TwinWindow, *, ids: Ids | None = None, by: Ids) -> Ids:
    """Ids that were hidden for a while behind any of by."""
    return sorted(i for i in _all(window, ids) if hidden_behind(window, i, by))


def first(window: TwinWindow, *, ids: Ids | None = None, event: Event) -> Ids:
    """The one id to which the event happened first."""
    found = _events(window, _all(window, ids), event)
    return [min(found)[1]] if found else []


def last(window: TwinWindow, *, ids: Ids | None = None, event: Event) -> Ids:
    """The one id to which the event happened last."""
    found = [(-time, i) for time, i in _events(window, _all(window, ids), event)]
    return [min(found)[1]] if found else []


def visible_when(window: TwinWindow, ids: Ids) -> Intervals:
    """Times [start, end] in seconds during which any of the ids is visible."""
    return _merged(span for i in ids for span in visible_spans(window, i))


def when(
    window: TwinWindow,
    ids: Ids,
    event: Literal["moved", "appeared", "disappeared", "visible", "hidden"],
) -> Intervals:
    """Times [start, end] in seconds at which the event happened to any of the ids."""
    return _merged(span for i in ids for span in _spans(window, i, event))


def _spans(window: TwinWindow, object_id: int, event: str) -> list[tuple[float, float]]:
    """Times of one object's event; what happens at once begins and ends at the same time."""
    if event == "visible":
        return visible_spans(window, object_id)
    if event == "hidden":
        return hidden_spans(window, object_id)
    if event == "moved":
        motion = motion_of(window, object_id)
        return [] if motion is None else [(motion.start_s, motion.end_s)]
    found = appeared_s if event == "appeared" else disappeared_s
    time = found(window, object_id)
    return [] if time is None else [(time, time)]


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans in order of time, those that touch joined."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
