"""Semantic, spatial and set tools against results worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from edgetwin.twin.tools import run_plan
from edgetwin.twin.window import TwinWindow

from .build import frame, obj, still_window, video

#  A table from the camera: x right, y down, depth z in metres.
#        1 mug (40,60) z.9   2 red bowl (120,80) z.7   3 Mug (200,60) z.5
#        4 plate (120,200) z.6, wide                   5 ball (44,200) no depth
SCENE = still_window(
    obj(1, "mug", 40, 60, z=0.9, attributes={"color": "blue"}),
    obj(2, "bowl", 120, 80, w=40, h=30, z=0.7, attributes={"color": "Red", "material": "steel"}),
    obj(3, "Mug", 200, 60, z=0.5, attributes={"color": "red"}),
    obj(4, "plate", 120, 200, w=90, h=40, z=0.6),
    obj(5, "ball", 44, 200, w=10, h=10),
)


def call(window: TwinWindow, tool: str, **arguments: Any) -> Any:
    return run_plan([{"tool": tool, **arguments}], window)[0].value


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("find", {"words": ["mug"]}, [1, 3]),
        ("find", {"words": ["BALL ", "plate"]}, [4, 5]),
        ("find", {"words": ["object"]}, [1, 2, 3, 4, 5]),
        ("find", {"words": ["cup", ""]}, []),
        ("find", {"words": []}, []),
        ("attribute", {"name": "color", "value": "red"}, [2, 3]),
        ("attribute", {"name": "Material", "value": "STEEL"}, [2]),
        ("attribute", {"name": "color", "value": "red", "ids": [3, 4]}, [3]),
        ("attribute", {"name": "color", "value": "red", "ids": []}, []),
        # centroids x: 40 120 200 120 44
        ("left_of", {"of": [2]}, [1, 5]),
        ("left_of", {"of": [2, 5]}, [1]),
        ("left_of", {"of": [1]}, []),
        ("left_of", {"of": []}, []),
        ("left_of", {"of": [3], "ids": [1, 3, 4]}, [1, 4]),
        ("right_of", {"of": [1, 2]}, [3]),
        ("right_of", {"of": [5]}, [2, 3, 4]),
        # y: 60 80 60 200 200; equal is neither above nor below
        ("above", {"of": [2]}, [1, 3]),
        ("above", {"of": [1]}, []),
        ("below", {"of": [2]}, [4, 5]),
        ("below", {"of": [1, 4]}, []),
        # depth: .9 .7 .5 .6 -
        ("in_front_of", {"of": [2]}, [3, 4]),
        ("in_front_of", {"of": [2, 4]}, [3]),
        ("behind", {"of": [4]}, [1, 2]),
        ("behind", {"of": [5]}, []),
        ("behind", {"of": [4, 5]}, [1, 2]),
        # to 2: 1 at 82.5, 3 at 82.5, 4 at 120, 5 at 142
        ("nearest", {"to": [4]}, [5]),
        ("nearest", {"to": [2]}, [1]),
        ("nearest", {"to": [2], "k": 2}, [1, 3]),
        ("nearest", {"to": [2], "k": 10**30}, [1, 3, 4, 5]),
        ("nearest", {"to": [2, 3], "ids": [2, 3]}, []),
        ("nearest", {"to": []}, []),
        ("farthest", {"to": [2]}, [5]),
        ("farthest", {"to": [2], "k": 2}, [4, 5]),
        ("farthest", {"to": [2, 5]}, [1]),  # to the closer of both: 1 82.5 (2), 3 82.5, 4 76
        ("extreme", {"by": "largest"}, [4]),
        ("extreme", {"by": "smallest"}, [5]),
        ("extreme", {"by": "leftmost"}, [1]),
        ("extreme", {"by": "rightmost"}, [3]),
        ("extreme", {"by": "highest"}, [1]),
        ("extreme", {"by": "lowest"}, [4]),
        ("extreme", {"by": "closest"}, [3]),
        ("extreme", {"by": "farthest"}, [1]),
        ("extreme", {"by": "closest", "ids": [5]}, []),
        ("extreme", {"by": "largest", "ids": []}, []),
        ("distance", {"a": [2], "b": [4]}, 120),
        ("distance", {"a": [2], "b": [4, 1]}, 82),  # 82.46
        ("distance", {"a": [2], "b": []}, None),
        ("distance", {"a": [2], "b": [4], "space": "metric"}, None),
        ("size", {"ids": [4, 5, 1]}, [3600, 100, 400]),
        ("and", {"a": [3, 1, 2], "b": [2, 3]}, [2, 3]),
        ("or", {"a": [3, 1], "b": [2, 3]}, [1, 2, 3]),
        ("not", {"of": [2, 3]}, [1, 4, 5]),
        ("not", {"of": [2], "ids": [2, 3]}, [3]),
        ("count", {"ids": [2, 2, 3]}, 2),  # an id counts once
        ("count", {"ids": []}, 0),
        ("sort", {"by": "left"}, [1, 5, 2, 4, 3]),
        ("sort", {"by": "left", "descending": True}, [3, 2, 4, 5, 1]),
        ("sort", {"by": "top"}, [1, 3, 2, 4, 5]),
        ("sort", {"by": "size"}, [5, 1, 3, 2, 4]),
        ("sort", {"by": "depth"}, [3, 4, 2, 1, 5]),
        ("sort", {"by": "depth", "descending": True}, [1, 2, 4, 3, 5]),
        ("sort", {"by": "speed", "ids": [3, 1]}, [1, 3]),
        ("nth", {"ids": [4, 2, 1], "k": 2}, [2]),
        ("nth", {"ids": [4, 2, 1], "k": 4}, []),
    ],
)
def test_a_tool_on_the_scene(tool: str, arguments: dict[str, Any], expected: Any) -> None:
    assert call(SCENE, tool, **arguments) == expected


def test_nearest_uses_metres_only_when_all_are_placed() -> None:
    placed = [
        obj(1, x=10, centroid_m=(0.0, 0.0, 1.0)),
        obj(2, x=20, centroid_m=(0.0, 0.0, 3.0)),
        obj(3, x=90, centroid_m=(0.0, 0.3, 1.4)),
    ]
    window = still_window(*placed)
    assert call(window, "nearest", to=[1]) == [3]  # .5 m against 2 m
    assert call(window, "distance", a=[1], b=[3], space="metric") == pytest.approx(0.5)
    mixed = still_window(*placed, obj(4, x=250))
    assert call(mixed, "nearest", to=[1]) == [2]  # 10 px against 80 px
    assert call(mixed, "nearest", to=[1], ids=[2, 3]) == [3]


def test_inside() -> None:
    bowl = obj(1, "bowl", 100, 100, w=60, h=40, z=1.0)  # box 70..130, 80..120
    window = still_window(
        bowl,
        obj(2, x=100, y=100, z=1.11),  # all within, .11 m away
        obj(3, x=100, y=100, z=1.13),  # .13 m away
        obj(4, x=134, y=100, z=1.0),  # 124..144: 6 of 20 columns within
        obj(5, x=126, y=100, z=1.0),  # 116..136: 14 of 20, exactly 70 %
        obj(6, x=100, y=100),  # no depth: the boxes decide
        obj(7, x=100, y=100, w=200, h=200, z=1.0),  # larger
    )
    assert call(window, "inside", of=[1], ids=[1, 2, 3, 4, 5, 6, 7]) == [2, 5, 6]
    assert call(window, "inside", of=[]) == []
    assert 1 in call(window, "inside", of=[7])


def test_inside_with_relative_depth() -> None:
    window = still_window(
        obj(1, "bowl", 100, 100, w=60, h=60, z=10.0, unit="relative"),
        obj(2, x=100, y=100, z=8.0, unit="relative"),  # 20 % of the larger
        obj(3, x=100, y=100, z=7.9, unit="relative"),
    )
    assert call(window, "inside", of=[1]) == [2]


def test_on() -> None:
    table = obj(1, "book", 100, 150, w=80, h=40)  # box 60..140, 130..170; slack 6
    window = still_window(
        table,
        obj(2, x=100, y=125),  # bottom 135
        obj(3, x=100, y=114),  # bottom 124: exactly 15 % over the top
        obj(4, x=100, y=113),  # bottom 123: floats
        obj(5, x=140, y=125),  # 130..150: half of it over the book
        obj(6, x=141, y=125),  # less than half
        obj(7, x=100, y=140),  # wholly within: inside, not on
        obj(8, x=100, y=165),  # bottom 175: below the book's bottom
        obj(9, x=100, y=155, w=20, h=100),  # centroid under the book's
    )
    assert call(window, "on", of=[1]) == [2, 3, 5]
    assert call(window, "on", of=[]) == []


def test_spatial_tools_use_the_last_visible_record() -> None:
    window = TwinWindow(
        [
            frame(0, [obj(1, x=10), obj(2, x=50)]),
            frame(1, [obj(1, x=90), obj(2, x=50)]),
            frame(2, [obj(1, x=90, state="occluded"), obj(2, x=50)]),
        ]
    )
    assert call(window, "right_of", of=[2]) == [1]


def test_sort_by_first_seen_and_speed() -> None:
    window = TwinWindow(
        [frame(i, [obj(1, first_seen=2.0), obj(2, x=50 + 9 * i, first_seen=1.0)]) for i in range(9)]
    )
    assert call(window, "sort", by="first_seen") == [2, 1]
    assert call(window, "sort", by="speed", descending=True) == [2, 1]


def test_one_frame_has_no_events() -> None:
    for tool in ("appeared", "disappeared", "moved", "fastest"):
        assert call(SCENE, tool) == []
    assert call(SCENE, "still") == [1, 2, 3, 4, 5]
    assert call(SCENE, "speed", ids=[1, 2]) == [0, 0]
    assert call(SCENE, "visible_when", ids=[1]) == [(0.0, 0.0)]
    hidden = still_window(obj(1, state="occluded"))
    assert call(hidden, "disappeared") == call(hidden, "appeared") == []


def test_an_empty_window_gives_empty_results() -> None:
    for plan in (
        [{"tool": "find", "words": ["object"]}, {"tool": "nearest", "ids": "$1", "to": "$1"}],
        [{"tool": "still"}, {"tool": "path", "ids": "$1"}, {"tool": "visible_when", "ids": "$1"}],
    ):
        assert all(result.value == [] for result in run_plan(plan, TwinWindow()))


def test_video_helper_keeps_absent_objects_out() -> None:
    window = video({1: [(1, 1), None], 2: [None, (2, 2)]})
    assert [sorted(f.objects) for f in window.frames] == [[1], [2]]
