"""Simulated worlds as a live source, with the truth of every frame."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest

from edgetwin.deploy.stream.live import LiveSource
from edgetwin.deploy.stream.spec import Address, parse_address
from edgetwin.distill.sim.live import openers, parse_reel
from edgetwin.distill.sim.scene import scene_for
from edgetwin.distill.sim.truth import SIZE
from edgetwin.twin.errors import SourceError
from edgetwin.twin.frame import Frame

from ..deploy.stream.feeds import Sink, source_threads

pytest.importorskip("mujoco", reason="rendering needs MuJoCo")
ADDRESS = "sim:cell?seed=3000163&seconds=2"


def address(text: str = ADDRESS, fps: float = 10.0, live: bool = True) -> Address:
    return parse_address(text, fps=fps, live=live, openers=openers())


def run(where: Address, count: int) -> list[Frame]:
    sink = Sink()
    source = LiveSource(where, sink, stream_id="sim")
    source.start()
    assert sink.wait_for(count, 30), source.status()
    assert source.stop()
    assert not source_threads("sim")
    return sink.frames


def test_worlds_come_in_real_time_one_after_the_other() -> None:
    assert (address().kind, address().live) == ("simulated", True)
    began = time.monotonic()
    frames = run(address(), 25)
    assert time.monotonic() - began > 2.2  # 25 frames at 10 per second
    assert {f.image_hw3.shape for f in frames} == {(256, 256, 3)}
    ticks = [f.timestamp_s * 10 for f in frames]
    np.testing.assert_allclose(ticks, np.round(ticks), atol=1e-6)
    assert all(a < b for a, b in pairwise(ticks))
    cuts = [
        np.abs(a.image_hw3.astype(int) - b.image_hw3).mean() > 10 and b.timestamp_s > 1.9
        for a, b in pairwise(frames)
    ]
    assert sum(cuts) == 1  # the second world begins at second 2


def test_the_truth_of_a_frame_is_what_the_frame_shows() -> None:
    frames = run(address(live=False), 24)
    reel = parse_reel(ADDRESS.removeprefix("sim:"), fps=10)
    ids: list[set[int]] = []
    for frame in (frames[0], frames[19], frames[23]):
        twin = reel.truth_at(frame.timestamp_s)
        assert twin.index == frame.index
        assert twin.timestamp_s == pytest.approx(frame.timestamp_s)
        number, within_s = reel.place(frame.index)
        world = reel.world(number)
        shot = scene_for(world.tier, world.set_index, SIZE, SIZE).render(world, within_s)
        assert np.array_equal(shot.rgb_hw3, frame.image_hw3)
        for thing in twin.objects.values():
            if thing.state == "visible":
                assert thing.area == int((shot.ids_hw == thing.id - 100 * number).sum())
                assert thing.first_seen <= thing.last_seen == pytest.approx(frame.timestamp_s)
        ids.append(set(twin.objects))
    assert ids[0] & ids[1]
    assert not ids[1] & ids[2]


def test_a_seed_says_everything() -> None:
    first, again = (run(address(live=False), 3) for _ in range(2))
    other = run(address("sim:cell?seed=3000164&seconds=2", live=False), 3)
    for a, b, c in zip(first[:3], again[:3], other[:3], strict=True):
        assert np.array_equal(a.image_hw3, b.image_hw3)
        assert not np.array_equal(a.image_hw3, c.image_hw3)


def test_events_of_a_longer_world_are_told() -> None:
    reel = parse_reel("cell?seed=3000498&seconds=8&events=3", fps=5)
    told = [happening for number in range(3) for happening in reel.happenings(number)]
    assert len(told) >= 3
    assert {began for began, _ in told} <= {0.0, 8.0, 16.0}
    assert all(0 <= event.start_s <= event.end_s <= 8 for _, event in told)


@pytest.mark.parametrize(
    "text",
    [
        "sim:",
        "sim:kitchen",
        "sim:cell?seed=-1",
        "sim:cell?seed=x",
        "sim:cell?seed=1.5",
        "sim:cell?seed=99999999999",
        "sim:cell?seconds=1",
        "sim:cell?seconds=999",
        "sim:cell?events=99",
        "sim:cell?path=/etc/passwd",
    ],
)
def test_what_no_simulation_knows_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="expected sim:cell"):
        address(text)
