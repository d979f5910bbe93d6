"""The tool ``when`` against times worked out by hand: 8 frames/s, boxes of 20x20 px."""

from __future__ import annotations

from typing import Any

import pytest

from edgetwin.twin.errors import ToolError
from edgetwin.twin.tools import render_results, run_plan
from edgetwin.twin.window import TwinWindow

from .build import frame, obj, still_window, video


def when(window: TwinWindow, ids: list[int], event: str) -> Any:
    return run_plan([{"tool": "when", "ids": ids, "event": event}], window)[0].value


@pytest.fixture
def window() -> TwinWindow:
    here = [(50, 50)]
    slide = [(40 + 10 * min(max(i - 8, 0), 8), 50) for i in range(33)]
    return video(
        {
            1: slide,  # over the 14.48 px two frames after frame 8
            2: here * 33,
            3: [None] * 12 + here * 21,
            4: here * 20,
            5: here * 10 + [None] * 10 + here * 13,
        }
    )


def test_moved(window: TwinWindow) -> None:
    ((start, end),) = when(window, [1], "moved")
    assert (start, end) == (10 / 8, pytest.approx(16 / 8, abs=0.13))
    assert when(window, [2], "moved") == []


def test_what_happens_at_once_begins_and_ends_at_once(window: TwinWindow) -> None:
    assert when(window, [3], "appeared") == [(1.5, 1.5)]
    assert when(window, [4], "disappeared") == [(19 / 8, 19 / 8)]
    assert when(window, [3, 4], "appeared") == [(1.5, 1.5)]
    assert when(window, [2], "appeared") == when(window, [2], "disappeared") == []


def test_visible_and_hidden(window: TwinWindow) -> None:
    assert when(window, [5], "visible") == [(0.0, 9 / 8), (20 / 8, 4.0)]
    assert when(window, [5], "hidden") == [(10 / 8, 19 / 8)]
    assert when(window, [2], "hidden") == []


def test_spans_of_several_objects_are_joined(window: TwinWindow) -> None:
    assert when(window, [5, 4], "visible") == [(0.0, 19 / 8), (20 / 8, 4.0)]
    assert when(window, [], "visible") == []


def test_a_picture_and_how_it_reads(window: TwinWindow) -> None:
    assert when(still_window(obj(1)), [1], "visible") == [(0.0, 0.0)]
    assert when(TwinWindow([frame(0, [obj(1, state="occluded")])]), [1], "moved") == []
    plan = [{"tool": "when", "ids": [5], "event": "visible"}]
    assert render_results(run_plan(plan, window)) == "[[[0,1.1],[2.5,4]]]"


def test_only_known_events(window: TwinWindow) -> None:
    with pytest.raises(ToolError, match=r"expected event to be one of moved\|appeared"):
        when(window, [1], "danced")
    with pytest.raises(ToolError, match="expected the argument event, got none"):
        run_plan([{"tool": "when", "ids": [1]}], window)
