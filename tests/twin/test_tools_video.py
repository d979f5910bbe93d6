"""Temporal tools against results worked out by hand: 8 frames/s, 256x256, boxes of 20x20.

The threshold of a motion is ``max(.04 * 362.04, .25 * 28.28) = 14.48`` px.
"""

from __future__ import annotations

from typing import Any

import pytest

from edgetwin.twin.motion import hidden_spans, motion_of, smooth
from edgetwin.twin.tools import run_plan
from edgetwin.twin.window import TwinWindow

from .build import frame, obj, video


def call(window: TwinWindow, tool: str, **arguments: Any) -> Any:
    return run_plan([{"tool": tool, **arguments}], window)[0].value


def ramp(begin: float, end: float, start: int, stop: int, count: int) -> list[float]:
    """``begin`` until frame ``start``, then straight to ``end`` at frame ``stop``."""
    return [
        begin + (end - begin) * min(max((i - start) / (stop - start), 0), 1) for i in range(count)
    ]


def across(begin: float, end: float, start: int, stop: int, count: int = 33) -> list[Any]:
    return [(x, 50) for x in ramp(begin, end, start, stop, count)]


def test_smoothing() -> None:
    assert smooth([]) == []
    assert smooth([1, 9]) == [1, 9]
    assert smooth([0, 50, 0]) == [0, 0, 0]
    assert smooth([0, 10, 20]) == [0, 10, 20]
    assert smooth([0, 0, 90, 0, 0]) == [0, 0, 0, 0, 0]
    assert smooth([90, 0, 0, 0, 90]) == [0, 0, 0, 0, 0]  # jumps at the ends too
    assert smooth([0, 10, 20, 30, 40]) == [0, 10, 20, 30, 40]  # a straight motion is untouched


def test_moved_its_times_and_directions() -> None:
    window = video(
        {
            1: across(40, 120, 8, 16),  # 10 px a frame: over 14.48 two frames after frame 8
            2: across(120, 40, 8, 16),
            3: [(50, y) for y in ramp(40, 120, 8, 16, 33)],
            4: [(50, y) for y in ramp(120, 40, 8, 16, 33)],
            5: across(40, 54, 8, 16),  # 14 px: not over the threshold
            6: across(40, 55, 8, 16),  # 15 px
            7: [(40 + 90 * (i == 12), 50) for i in range(33)],  # one wild frame
        }
    )
    assert call(window, "moved") == [1, 2, 3, 4, 6]
    assert call(window, "still") == [5, 7]
    assert call(window, "moved", direction="right") == [1, 6]
    assert call(window, "moved", direction="left") == [2]
    assert call(window, "moved", direction="down") == [3]
    assert call(window, "moved", direction="up") == [4]
    assert call(window, "moved", direction="toward") == []
    assert call(window, "moved", ids=[6, 5], direction="any") == [6]
    motion = motion_of(window, 1)
    assert motion is not None
    # 40, then 50 at frame 9 and 60 at frame 10; the last 3.6 px begin after frame 15.6
    assert (motion.start_s, motion.end_s) == (10 / 8, 16 / 8)


def test_a_larger_box_must_move_farther() -> None:
    path = across(60, 80, 8, 16)  # 20 px; a box of 100x100 needs 35.4
    assert call(video({1: path}), "moved") == [1]
    assert call(video({1: path}, w=100, h=100), "moved") == []


def test_there_and_back_is_a_motion_without_direction() -> None:
    there = ramp(40, 100, 4, 10, 33)
    back = ramp(0, 60, 18, 24, 33)
    window = video({1: [(a - b, 50) for a, b in zip(there, back, strict=True)]})
    motion = motion_of(window, 1)
    assert motion is not None
    assert (motion.direction, motion.start_s, motion.end_s) == (None, 6 / 8, 24 / 8)
    assert call(window, "moved") == [1]
    assert call(window, "moved", direction="right") == []
    assert call(window, "moved", direction="left") == []


def test_a_motion_to_both_sides_of_where_it_began() -> None:
    xs = [*ramp(50, 60, 2, 4, 8), *ramp(60, 40, 0, 4, 10)]  # never 14.48 from 50, but 20 apart
    motion = motion_of(video({1: [(x, 50) for x in xs]}), 1)
    assert motion is not None
    assert motion.direction is None
    assert motion.start_s == 11 / 8  # 60 - 45 = 15


def test_toward_and_away() -> None:
    xs = ramp(40, 100, 8, 16, 33)

    def depths(end: float) -> list[Any]:
        return list(zip(xs, [50.0] * 33, ramp(1.0, end, 8, 16, 33), strict=True))

    window = video({1: depths(0.91), 2: depths(0.93), 3: depths(1.09), 4: depths(1.07)})
    assert call(window, "moved", direction="toward") == [1]
    assert call(window, "moved", direction="away") == [3]
    assert call(window, "moved", direction="right") == [1, 2, 3, 4]


def test_toward_by_the_boxes_scale_without_depth() -> None:
    frames = [
        frame(
            i,
            [
                obj(1, x=40 + 5 * i, w=20 + i, h=20 + i),
                obj(2, x=240 - 5 * i, w=40 - i, h=40 - i),
                obj(3, x=40 + 5 * i),
            ],
        )
        for i in range(17)
    ]
    window = TwinWindow(frames)
    assert call(window, "moved", direction="toward") == [1]
    assert call(window, "moved", direction="away") == [2]


def test_appeared_and_disappeared() -> None:
    here = [(50, 50)]
    window = video(
        {
            1: here * 33,
            2: [None] * 2 + here * 31,  # at .25 s: still the beginning
            3: [None] * 3 + here * 30,  # at .375 s
            4: here * 20,
            5: here * 32 + [obj(5, state="occluded")],
            6: here * 10 + [None] * 10 + here * 13,  # away and back
            7: [None] * 12 + here * 9,
        }
    )
    assert call(window, "appeared") == [3, 7]
    assert call(window, "disappeared") == [4, 5, 7]
    assert call(window, "disappeared", ids=[1, 5]) == [5]
    assert call(window, "first", event="appeared") == [3]
    assert call(window, "last", event="appeared") == [7]
    assert call(window, "first", event="disappeared") == [4]  # 2.375 s; 7 at 2.5 s
    assert call(window, "last", event="disappeared") == [5]
    assert call(window, "first", event="moved") == []
    assert call(window, "visible_when", ids=[6]) == [(0.0, 9 / 8), (20 / 8, 32 / 8)]
    assert call(window, "visible_when", ids=[6, 4]) == [(0.0, 19 / 8), (20 / 8, 32 / 8)]
    assert call(window, "visible_when", ids=[7, 4]) == [(0.0, 20 / 8)]
    assert call(window, "visible_when", ids=[]) == []


def test_the_beginning_is_the_windows_not_the_streams() -> None:
    frames = [frame(i + 80, [obj(1)] if i >= 2 else []) for i in range(9)]
    assert call(TwinWindow(frames), "appeared") == []
    assert call(TwinWindow(frames[:1] + frames[4:]), "appeared") == [1]


def test_speed_is_the_peak_over_half_a_second() -> None:
    window = video(
        {
            1: across(40, 200, 8, 16),  # 20 px a frame for a second: 160 px/s
            2: across(40, 100, 8, 10),  # 60 px within half a second: 120 px/s
            3: across(40, 200, 0, 32),  # 5 px a frame: 40 px/s
            4: [(50, 50)] * 33,
        }
    )
    assert call(window, "speed", ids=[4, 3, 2, 1]) == [0, 40, 120, 160]
    assert call(window, "fastest") == [1]
    assert call(window, "fastest", ids=[2, 3, 4]) == [2]
    assert call(window, "fastest", ids=[4]) == []  # it did not move
    short = video({1: [(40, 50), (60, 50), (80, 50)]})
    assert call(short, "speed", ids=[1]) == [160]  # 40 px in a quarter of a second


def test_path() -> None:
    window = video({1: [(10 * i, 5) for i in range(9)], 2: [(1.5, 2.4)], 3: [(7, 7)] * 2})
    points = [(0, 5), (20, 5), (40, 5), (60, 5), (80, 5)]
    assert call(window, "path", ids=[1]) == points
    assert call(window, "path", ids=[2, 3]) == [(2, 2), (7, 7), (7, 7)]
    assert call(window, "path", ids=[]) == []


@pytest.fixture
def three() -> TwinWindow:
    """1 moves in 1.25..2 s, 2 in 1.75..2.5 s, 3 in 3.25..4 s; 4 stays."""
    return video(
        {
            1: across(40, 120, 8, 16),
            2: across(40, 120, 12, 20),
            3: across(40, 120, 24, 32),
            4: [(50, 50)] * 33,
        }
    )


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("before", {"of": [2], "event": "moved"}, [1]),
        ("before", {"of": [3], "event": "moved"}, [1, 2]),
        ("before", {"of": [3, 2], "event": "moved"}, [1]),
        ("before", {"of": [4], "event": "moved"}, []),
        ("before", {"of": [4, 3], "event": "moved"}, [1, 2]),
        ("before", {"of": [], "event": "moved"}, []),
        ("before", {"of": [3], "ids": [2, 4], "event": "moved"}, [2]),
        ("after", {"of": [1], "event": "moved"}, [2, 3]),
        ("after", {"of": [1, 2], "event": "moved"}, [3]),
        ("after", {"of": [3], "event": "moved"}, []),
        ("after", {"of": [1], "event": "appeared"}, []),
        ("during", {"of": [1]}, [2]),
        ("during", {"of": [2]}, [1]),
        ("during", {"of": [3]}, []),
        ("during", {"of": [1, 2]}, []),
        ("during", {"of": []}, []),
        ("first", {"event": "moved"}, [1]),
        ("last", {"event": "moved"}, [3]),
        ("last", {"event": "moved", "ids": [1, 2, 4]}, [2]),
    ],
)
def test_orders_of_events(
    three: TwinWindow, tool: str, arguments: dict[str, Any], expected: list[int]
) -> None:
    assert call(three, tool, **arguments) == expected


def test_occluded_by() -> None:
    ball = [obj(1, "ball", 100, 100, z=1.0)]
    marked = [obj(1, "ball", 100, 100, z=1.0, state="occluded")]
    window = video(
        {
            1: ball * 4 + marked * 4,  # hidden to the end
            2: [(200, 200, 1.0)] * 3 + [None] * 3 + [(200, 200, 1.0)] * 2,  # missing, then back
            3: [(40, 200, 1.0)] * 4,  # gone for good: not hidden
            10: [(100, 100, 0.5)] * 8,  # covers 1, nearer
            11: [(105, 105, 1.5)] * 8,  # covers 1, farther
            12: [(150, 100, 0.5)] * 8,  # nearer, elsewhere
            13: [(0, 0, 0.5)] * 3 + [(205, 205, 0.5)] * 2 + [(0, 0, 0.5)] * 3,  # passes over 2
            14: [(40, 200, 0.5)] * 8,
        }
    )
    assert call(window, "occluded_by", by=[10]) == [1]
    assert call(window, "occluded_by", by=[11]) == []
    assert call(window, "occluded_by", by=[12]) == []
    assert call(window, "occluded_by", by=[13]) == [2]
    assert call(window, "occluded_by", by=[14]) == []
    assert call(window, "occluded_by", by=[10, 13]) == [1, 2]
    assert call(window, "occluded_by", ids=[2], by=[10, 13]) == [2]
    assert call(window, "occluded_by", by=[]) == []
    assert hidden_spans(window, 1) == [(4 / 8, 7 / 8)]
    assert hidden_spans(window, 2) == [(3 / 8, 5 / 8)]
    assert hidden_spans(window, 3) == []


def test_occluded_by_without_depth_asks_which_stands_lower() -> None:
    hidden = [obj(1, y=100, state="occluded")]
    window = video(
        {1: [(50, 100), *hidden, *hidden], 2: [(50, 105)] * 3, 3: [(50, 95)] * 3, 4: [None] * 3}
    )
    assert call(window, "occluded_by", by=[2]) == [1]
    assert call(window, "occluded_by", by=[3]) == []


def test_an_object_that_is_hidden_from_the_beginning() -> None:
    window = video({1: [obj(1, state="occluded")] * 3, 2: [(50, 55, 0.5)] * 3})
    assert call(window, "occluded_by", by=[2]) == [1]
    assert call(window, "disappeared") == []
    assert call(window, "visible_when", ids=[1]) == []
    assert call(window, "path", ids=[1]) == []
