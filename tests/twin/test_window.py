"""The window: bounded, ordered, and indexed by what it holds."""

from __future__ import annotations

from typing import Any

import pytest

from edgetwin.twin.errors import InputError, SchemaError
from edgetwin.twin.motion import motion_of
from edgetwin.twin.schema import Rle
from edgetwin.twin.window import TwinWindow

from .build import frame, obj


def test_an_empty_window() -> None:
    window = TwinWindow()
    assert (len(window), window.ids(), window.frames, window.last) == (0, [], (), None)
    assert (window.start_s, window.end_s) == (0.0, 0.0)


def test_records_by_id() -> None:
    frames = [
        frame(0, [obj(3, x=1), obj(1, x=5)]),
        frame(1, [obj(3, x=2)]),
        frame(2, [obj(3, x=2, state="occluded")]),
        frame(3, [obj(9, state="occluded")]),
    ]
    window = TwinWindow(frames)
    assert window.ids() == [1, 3, 9]
    assert 3 in window
    assert 2 not in window
    assert window.latest(3).centroid == (2, 50)
    assert window.latest(3).state == "visible"
    assert window.latest(9).state == "occluded"  # never visible: the last there is
    assert [(t, o.centroid[0]) for t, o in window.track(3)] == [(0.0, 1), (0.125, 2)]
    assert window.track(9) == []
    assert window.last == frames[3]
    assert (window.start_s, window.end_s) == (0.0, 0.375)
    assert not window.visible_at_end(3)
    with pytest.raises(InputError, match=r"expected an id of the window \[1, 3, 9\], got 2"):
        window.latest(2)
    with pytest.raises(InputError, match="got 2"):
        window.track(2)


def test_the_bound_evicts_frames_and_their_records() -> None:
    window = TwinWindow(max_frames=2)
    for index in range(100):
        window.append(frame(index, [obj(1, x=index), obj(index + 2)]))
    assert [f.index for f in window.frames] == [98, 99]
    assert window.ids() == [1, 100, 101]
    assert [o.centroid[0] for _, o in window.track(1)] == [98, 99]
    assert len(window._records) == len(window._tracks) == 3


def test_eviction_of_an_occluded_record() -> None:
    window = TwinWindow(max_frames=1)
    window.append(frame(0, [obj(1)]))
    window.append(frame(1, [obj(1, state="occluded")]))
    assert window.track(1) == []
    window.append(frame(2, []))
    assert window.ids() == []


def test_frames_must_be_in_order() -> None:
    window = TwinWindow([frame(4, [])])
    window.append(frame(4, []))  # the same time is allowed
    with pytest.raises(SchemaError, match=r"at least 0\.5, got 0\.375"):
        window.append(frame(3, []))
    with pytest.raises(InputError, match="max_frames"):
        TwinWindow(max_frames=0)


def test_amending_adds_and_replaces_and_keeps_the_indexes_right() -> None:
    window = TwinWindow([frame(k, [obj(1, x=10)], vocabulary=("mug",)) for k in range(3)])
    lamp = {k: [obj(7, "lamp", x=50 + 60 * k, origin="detect(lamp)")] for k in range(3)}
    changed = window.amend(lamp, ["lamp", "mug"])
    assert [f.index for f in changed] == [0, 1, 2]
    assert window.frames == tuple(changed)
    assert window.ids() == [1, 7]
    assert window.vocabulary == ("mug", "lamp")
    assert [o.centroid[0] for _, o in window.track(7)] == [50, 110, 170]
    assert window.latest(7).origin == "detect(lamp)"
    motion = motion_of(window, 7)
    assert motion is not None
    assert motion.direction == "right"
    # what was visible in the middle is hidden there now; the other object keeps its records
    window.amend({1: [obj(7, "lamp", x=110, state="occluded")]})
    assert [t for t, _ in window.track(7)] == [0.0, 0.25]
    assert window.vocabulary == ("mug", "lamp")
    assert len(window.track(1)) == 3
    fresh = TwinWindow(window.frames)
    assert (fresh._records, fresh._tracks) == (window._records, window._tracks)


def test_amended_records_are_evicted_like_others() -> None:
    window = TwinWindow([frame(k, []) for k in range(3)], max_frames=3)
    window.amend({0: [obj(2)], 2: [obj(2), obj(3, state="left")]})
    assert (window.ids(), window.vocabulary) == ([2, 3], None)
    for index in range(3, 5):
        window.append(frame(index, []))
    assert len(window.track(2)) == 1
    window.append(frame(5, []))
    assert (window.ids(), window._records, window._tracks) == ([], {}, {})


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({9: [obj(5)]}, r"index of a frame of the window \(0 to 1\), got 9; it may have been"),
        ({0: [obj(5), obj(5)]}, "one record per id for frame 0, got 5 twice"),
        ({1: [obj(5, mask=Rle(size=(8, 9), counts="0"))]}, "256x256, for id 5, got one of 8x9"),
        ({1: [obj(5, x=400)]}, r"box that meets frame 1, 256x256, for id 5"),
    ],
)
def test_a_wrong_amendment_changes_nothing(objects: dict[int, list[Any]], message: str) -> None:
    window = TwinWindow([frame(0, [obj(1)]), frame(1, [])])
    before = window.frames
    with pytest.raises(InputError, match=message):
        window.amend({0: [obj(8)]} | objects)
    assert window.frames == before
    assert window.ids() == [1]
    with pytest.raises(InputError, match="it is empty"):
        TwinWindow().amend({0: []})
