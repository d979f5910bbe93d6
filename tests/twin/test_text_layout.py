"""The compact layout, and windows with more moments than the text may tell."""

from __future__ import annotations

import itertools
import re

import pytest

from edgetwin.twin.text import MAX_MOMENTS, describe
from edgetwin.twin.window import TwinWindow

from .build import frame, obj, still_window

TOKEN = re.compile(r" ?[A-Za-z]+|\d| |\n|[^\sA-Za-z\d]")


def busy(objects: int = 5) -> TwinWindow:
    """Object i appears in frame 4 i + 4; object 1 slides from frame 10 on; the last one leaves."""
    frames = []
    for t in range(40):
        shown = [obj(9, "box", 200, 128, z=0.5)]
        for i in range(1, objects + 1):
            if t >= 4 * i + 4 and not (i == objects and t > 30):
                x = 20 * i + (3 * max(t - 10, 0) if i == 1 else 0)
                shown.append(obj(i, "mug", x, 50, attributes={"color": "red"}))
        frames.append(frame(t, shown))
    return TwinWindow(frames)


def test_the_form() -> None:
    assert describe(busy(2), "compact") == (
        "9 box x78 y50 z50\n"
        "1 red mug x41 y19 appeared 1.0 moved right 1.9-4.8\n"
        "2 red mug x15 y19 appeared 1.5 gone 3.8\n"
        "time 0.0-4.9\n"
    )


def test_the_grid_ends_at_99_and_at_0() -> None:
    window = still_window(obj(1, x=255.9, y=-3.0), obj(2, x=256.0, y=127.9))
    assert describe(window, "compact") == "1 mug x99 y0\n2 mug x99 y49\ntime 0.0\n"


def test_nothing() -> None:
    assert describe(TwinWindow(), "compact") == "time 0.0\n"


def test_it_costs_a_third_less() -> None:
    window = still_window(*(obj(i, "mug", 9 * i, 100, z=0.8) for i in range(1, 9)))
    full, compact = (len(TOKEN.findall(describe(window, it))) for it in ("full", "compact"))  # type: ignore[arg-type]
    assert compact <= 0.67 * full


@pytest.mark.parametrize("layout", ["full", "compact"])
def test_the_oldest_moments_are_summed_up(layout: str) -> None:
    window = busy(4)
    told = describe(window, layout, max_moments=3).splitlines()  # type: ignore[arg-type]
    assert "earlier 1.0-4.8: 1 moved, 2 appeared" in told
    events = [re.sub(r"^.*? y\d+( w\d+ h\d+)?", "", line) for line in told if "mug" in line]
    assert events == ["", "", " appeared 2.0", " appeared 2.5 gone 3.8"]
    everything = describe(window, layout, max_moments=0)  # type: ignore[arg-type]
    assert "earlier 1.0-4.8: 1 moved, 4 appeared, 1 gone\n" in everything
    assert describe(window, layout, max_moments=6) == describe(window, layout)  # type: ignore[arg-type]


def test_moments_left_out_do_not_touch_what_stands_before_them() -> None:
    whole, cut = (describe(busy(), "compact", max_moments=n) for n in (MAX_MOMENTS, 2))
    assert whole.splitlines()[0] == cut.splitlines()[0] == "9 box x78 y50 z50"
    assert cut.splitlines()[1].startswith("earlier ")
    # an object whose moments are all left out still stands where it was last seen
    assert "1 red mug x41 y19\n" in cut


def test_a_full_window_keeps_its_text_while_its_first_frame_goes() -> None:
    window = TwinWindow([frame(t, [obj(1, x=50 + t % 3)]) for t in range(40)], max_frames=40)
    texts = []
    for t in range(40, 60):
        window.append(frame(t, [obj(1, x=50 + t % 3)]))
        texts.append(describe(window).splitlines()[1])
    changes = sum(a != b for a, b in itertools.pairwise(texts))
    assert changes <= 20 // (40 // 8)
