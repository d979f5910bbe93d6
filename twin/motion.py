"""What happened to an object over a window: moved, appeared, disappeared, was hidden.

The tools and the text that the model reads share these definitions, so they never disagree.

* *moved*: two smoothed centroids lie farther apart than
  ``max(0.04 * image diagonal, 0.25 * median box diagonal)``. Smoothing is a running median of
  three with Tukey's end-point rule, so a jump of one frame is not a motion.
* *start* of a motion: the first time the centroid is farther than that from where it was first
  seen. *end*: from then on it stays within a quarter of the threshold of its last position.
* *direction*: the larger axis of the net displacement, if that is over the threshold (an object
  that went and came back has moved, but in no direction).
* *toward/away*: a net change of depth of more than 8 % of the first depth; without depth, of
  the box's scale.
* *appeared*: first visible more than 0.3 s after the window begins. *disappeared*: seen in the
  window and not visible in its last frame. Neither exists in a window of one frame.

Not covered: the camera's own motion, which moves everything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .geometry import box_area, box_intersection
from .schema import ObjectTwin
from .window import TwinWindow

__all__ = [
    "Event",
    "Motion",
    "appeared_s",
    "depth_of",
    "disappeared_s",
    "event_s",
    "hidden_behind",
    "hidden_spans",
    "motion_of",
    "nearer",
    "smooth",
    "speed_px_s",
    "visible_spans",
]

Event = Literal["moved", "appeared", "disappeared"]
Track = list[tuple[float, ObjectTwin]]

_IMAGE_FRACTION = 0.04
_BOX_FRACTION = 0.25
_DEPTH_FRACTION = 0.08
_SETTLE_FRACTION = 0.25
_APPEAR_AFTER_S = 0.3
_SPEED_SPAN_S = 0.5
_EPSILON_S = 1e-9


@dataclass(frozen=True, slots=True)
class Motion:
    """One object's motion in a window; times in seconds, directions as seen by the camera."""

    start_s: float
    end_s: float
    direction: Literal["left", "right", "up", "down"] | None
    depth_direction: Literal["toward", "away"] | None


def smooth(values: list[float]) -> list[float]:
    """Running median of three; the ends follow Tukey's rule (kept as they are below four values)."""
    return [float(value) for value in _smoothed(np.array(values, np.float64))]


def _smoothed(values_n: NDArray[np.float64]) -> NDArray[np.float64]:
    """:func:`smooth` along the first axis."""
    count = len(values_n)
    if count < 3:
        return values_n
    smoothed = values_n.copy()
    smoothed[1:-1] = _median3(values_n[:-2], values_n[1:-1], values_n[2:])
    if count > 3:
        for end, one, two in ((0, 1, 2), (-1, -2, -3)):
            beyond = 3 * smoothed[one] - 2 * smoothed[two]
            smoothed[end] = _median3(values_n[end], smoothed[one], beyond)
    return smoothed


def _median3(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))


def depth_of(obj: ObjectTwin) -> float | None:
    """Median depth of an object (metres when metric, else relative), or None if unknown."""
    return obj.depth_stats.p50 if obj.depth_stats is not None else obj.mean_depth


def _smooth_points(track: Track) -> NDArray[np.float64]:
    """Smoothed centroids, (n, 2)."""
    return _smoothed(np.array([obj.centroid for _, obj in track], np.float64).reshape(-1, 2))


def _distances(points_n2: NDArray[np.float64], to: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.hypot(points_n2[:, 0] - to[0], points_n2[:, 1] - to[1]))


def _threshold_px(window: TwinWindow, track: Track) -> float:
    frame = window.last
    image = math.hypot(frame.width, frame.height) if frame is not None else 0.0
    boxes = np.array([obj.box_xyxy for _, obj in track], np.float64)
    diagonals = np.sort(np.hypot(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]))
    return max(_IMAGE_FRACTION * image, _BOX_FRACTION * float(diagonals[len(diagonals) // 2]))


def _first_crossing(points_n2: NDArray[np.float64], threshold: float) -> int | None:
    """Index at which the points first lie farther apart than the threshold.

    Measured from the first point; only if none is that far from it, between any two.
    """
    far = np.flatnonzero(_distances(points_n2, points_n2[0]) > threshold)
    if far.size:
        return int(far[0])
    if math.hypot(*np.ptp(points_n2, axis=0)) <= threshold:
        return None
    for index in range(1, len(points_n2)):
        if (_distances(points_n2[:index], points_n2[index]) > threshold).any():
            return index
    return None


def _axis(dx: float, dy: float) -> Literal["left", "right", "up", "down"]:
    if abs(dx) >= abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"


def _depth_direction(track: Track) -> Literal["toward", "away"] | None:
    depths = [depth for _, obj in track if (depth := depth_of(obj)) is not None]
    if len(depths) >= 2:
        depths = smooth(depths)
        first, last = depths[0], depths[-1]
    else:  # a box that grows comes nearer: compare inverse scales
        scales = smooth([math.sqrt(box_area(obj.box_xyxy)) for _, obj in track])
        first, last = scales[-1], scales[0]
    change = last - first
    if abs(change) <= _DEPTH_FRACTION * abs(first):
        return None
    return "away" if change > 0 else "toward"


def motion_of(window: TwinWindow, object_id: int) -> Motion | None:
    """The object's motion, or None if it stayed where it was (or was seen only once)."""
    track = window.track(object_id)
    if len(track) < 2:
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # a record may hold any finite number
        return _motion(window, track)


def _motion(window: TwinWindow, track: Track) -> Motion | None:
    points = _smooth_points(track)
    threshold = _threshold_px(window, track)
    crossing = _first_crossing(points, threshold)
    if crossing is None:
        return None
    away = np.flatnonzero(_distances(points, points[-1]) > _SETTLE_FRACTION * threshold)
    settled = max(crossing, int(away[-1]) + 1 if away.size else 0)
    dx, dy = (float(step) for step in points[-1] - points[0])
    return Motion(
        start_s=track[crossing][0],
        end_s=track[settled][0],
        direction=_axis(dx, dy) if math.hypot(dx, dy) > threshold else None,
        depth_direction=_depth_direction(track),
    )


def speed_px_s(window: TwinWindow, object_id: int) -> float:
    """Peak speed in pixels per second: the largest displacement over any half second.

    A track shorter than half a second is measured from end to end; one sight gives 0.
    """
    track = window.track(object_id)
    times = [time for time, _ in track]
    with np.errstate(over="ignore", invalid="ignore"):
        points = _smooth_points(track).tolist()
    best, end = 0.0, 0
    for start in range(len(points) - 1):
        end = max(end, start + 1)
        while end < len(points) - 1 and times[end] - times[start] < _SPEED_SPAN_S - _EPSILON_S:
            end += 1
        elapsed = times[end] - times[start]
        full = elapsed >= _SPEED_SPAN_S - _EPSILON_S
        if elapsed > 0 and (full or start == 0):
            best = max(best, math.dist(points[start], points[end]) / elapsed)
    return best


def appeared_s(window: TwinWindow, object_id: int) -> float | None:
    """When the object was first visible, if that is over 0.3 s after the window begins."""
    track = window.track(object_id)
    if not track or track[0][0] <= window.start_s + _APPEAR_AFTER_S + _EPSILON_S:
        return None
    return track[0][0]


def disappeared_s(window: TwinWindow, object_id: int) -> float | None:
    """When the object was last visible, if it is not visible in the window's last frame."""
    track = window.track(object_id)
    if not track or window.visible_at_end(object_id):
        return None
    return track[-1][0]


def event_s(window: TwinWindow, object_id: int, event: Event) -> float | None:
    """When the event happened to the object, in seconds, or None if it did not."""
    if event == "moved":
        motion = motion_of(window, object_id)
        return None if motion is None else motion.start_s
    if event == "appeared":
        return appeared_s(window, object_id)
    return disappeared_s(window, object_id)


def visible_spans(window: TwinWindow, object_id: int) -> list[tuple[float, float]]:
    """(first, last) time in seconds of every unbroken run of frames that show the object."""
    spans: list[tuple[float, float]] = []
    open_span = False
    for frame in window.frames:
        obj = frame.objects.get(object_id)
        if obj is None or obj.state != "visible":
            open_span = False
        elif open_span:
            spans[-1] = (spans[-1][0], frame.timestamp_s)
        else:
            spans.append((frame.timestamp_s, frame.timestamp_s))
            open_span = True
    return spans


def _hidden_runs(window: TwinWindow, object_id: int) -> list[list[int]]:
    """Frame indices of each run that hides the object: marked occluded, or absent and back."""
    runs: list[list[int]] = []
    run: list[int] = []
    marked = False
    seen = False
    for index, frame in enumerate(window.frames):
        obj = frame.objects.get(object_id)
        if obj is not None and obj.state != "occluded":
            if run and (marked or obj.state == "visible"):
                runs.append(run)
            run, marked = [], False
            seen = seen or obj.state == "visible"
        elif obj is not None or seen:
            run.append(index)
            marked = marked or obj is not None
    if run and marked:
        runs.append(run)
    return runs


def hidden_spans(window: TwinWindow, object_id: int) -> list[tuple[float, float]]:
    """(first, last) time in seconds of every run of frames in which the object is hidden.

    Hidden means marked occluded, or absent from the twin and visible again later.
    """
    frames = window.frames
    return [
        (frames[run[0]].timestamp_s, frames[run[-1]].timestamp_s)
        for run in _hidden_runs(window, object_id)
    ]


def nearer(front: ObjectTwin, back: ObjectTwin) -> bool:
    """Whether ``front`` is nearer to the camera: by depth, or by a lower bottom edge without."""
    front_depth, back_depth = depth_of(front), depth_of(back)
    if front_depth is not None and back_depth is not None:
        return front_depth < back_depth
    return front.box_xyxy[3] > back.box_xyxy[3]


def hidden_behind(window: TwinWindow, object_id: int, others: list[int]) -> bool:
    """Whether any of ``others`` covers the object's last seen box while it is hidden."""
    frames = window.frames
    for run in _hidden_runs(window, object_id):
        before = [r for f in frames[: run[0]] if (r := f.objects.get(object_id)) is not None]
        last = before[-1] if before else frames[run[0]].objects[object_id]
        for index in run:
            for other in others:
                cover = frames[index].objects.get(other)
                if (
                    other != object_id
                    and cover is not None
                    and cover.state == "visible"
                    and box_intersection(cover.box_xyxy, last.box_xyxy) > 0
                    and nearer(cover, last)
                ):
                    return True
    return False
