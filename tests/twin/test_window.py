"""The window: bounded, ordered, and indexed by what it holds."""

from __future__ import annotations

import pytest

from edgetwin.twin.errors import InputError, SchemaError
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
