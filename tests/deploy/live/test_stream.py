"""One stream: moments, runs, listeners, and what goes wrong with a frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.moments import Moment
from edgetwin.deploy.live.records import StreamSpec
from edgetwin.deploy.live.stream import LiveStream
from edgetwin.deploy.models import load_models
from edgetwin.perception.perceiver import Perceiver
from edgetwin.twin.errors import InputError
from edgetwin.twin.frame import Frame

from ..scenes import picture, write_clip
from .taps import Slow, Tap, balanced, hub_of, spec, until


class Room:
    """A hub with one stream whose perceivers are written down."""

    def __init__(self, folder: Path) -> None:
        self.made: list[Slow] = []
        self.hub, self.taps = hub_of(folder, observe=self._make)
        self.stream = self.hub.add(spec("a"))
        until(lambda: "a" in self.taps._made)

    def _make(self, words: object) -> Slow:
        self.made.append(Slow())
        return self.made[-1]

    def show(self, *steps: int, width: int = 128) -> Moment:
        """Perceive pictures one after the other; the newest moment."""
        seen: Moment | None = None
        for step in steps:
            before = self.stream.latest()
            tap: Tap = self.taps["a"]
            tap.put(picture(step, width=width))
            seen = self.stream.wait(before.seq if before else 0, 10)
        assert seen is not None
        return seen


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    assert room.hub.close(2)


def test_a_moment_is_a_frame_with_its_twin_and_its_time(room: Room) -> None:
    began, moment = time.time(), room.show(0)
    assert (moment.seq, moment.run) == (1, 0)
    assert moment.twin.index == moment.frame.index == 0
    assert moment.twin.objects[1].box_xyxy == (10, 20, 30, 40)
    assert np.array_equal(moment.frame.image_hw3, picture(0))
    assert 0 <= moment.age_ms() < 5000
    assert abs(moment.at - began) < 5
    status = room.stream.status()
    assert (status.frame_index, status.objects, status.width, status.height) == (0, 2, 128, 96)
    assert status.age_ms is not None
    assert status.frames.processed == 1
    assert status.source.state == "running"


def test_waiting_gives_what_is_newer_or_nothing_in_time(room: Room) -> None:
    assert room.stream.latest() is None
    assert room.stream.wait(0, 0.05) is None
    first = room.show(0)
    assert room.stream.wait(first.seq, 0.05) is None
    found: list[Moment | None] = []
    waiting = threading.Thread(target=lambda: found.append(room.stream.wait(first.seq, 10)))
    waiting.start()
    room.show(1)
    waiting.join(10)
    assert found[0] is not None
    assert found[0].seq == 2


def test_windows_are_the_callers_own(room: Room) -> None:
    room.show(0, 1, 2)
    window = room.stream.window()
    assert [frame.index for frame in window.frames] == [0, 1, 2]
    room.show(3)
    assert len(window) == 3
    assert [seen.seq for seen in room.stream.after(2)] == [3, 4]
    assert [m.twin.index for m in room.stream.recent_moments(60)] == [0, 1, 2, 3]
    assert room.stream.recent.held([0, 3, 9]) == [0, 3]


def test_another_size_begins_a_new_run_with_a_new_perceiver(room: Room) -> None:
    room.show(0, 1)
    moment = room.show(2, width=160)
    assert (moment.run, moment.twin.width) == (1, 160)
    assert [frame.index for frame in room.stream.window().frames] == [2]
    assert [m.run for m in room.stream.recent_moments(60)] == [1]
    assert len(room.made) == 2
    assert all(len(perceiver.sizes) == 1 for perceiver in room.made)
    assert "size 1" in room.stream.status().warnings[-1]


def test_a_frame_that_fails_is_counted_and_the_perceiver_made_anew(room: Room) -> None:
    room.show(0)
    room.made[0].fails = {1, 2}
    room.taps["a"].put(picture(1))
    until(lambda: room.stream.counts().dropped == {"failed": 1})
    moment = room.show(2, 3)
    assert len(room.made) == 2
    assert (moment.twin.index, moment.run) == (3, 0)
    assert [frame.index for frame in room.stream.window().frames] == [0, 2, 3]
    assert room.stream.status().warnings == [
        "frames that could not be perceived: 1, the newest 1: ValueError",
        "perceived anew after a break: failed 1; objects have new ids since",
    ]
    assert balanced(room.stream.counts())


def test_a_listener_that_raises_is_told_no_more_and_the_others_are(room: Room) -> None:
    heard: list[int] = []

    def broken(moment: Moment) -> None:
        raise RuntimeError("broken")

    room.stream.listen(broken)
    unlisten = room.stream.listen(lambda moment: heard.append(moment.seq))
    room.show(0, 1)
    until(lambda: heard == [1, 2])
    assert room.stream.listeners.failed == 1
    assert any("RuntimeError in" in line for line in room.stream.status().warnings)
    (cost,) = room.stream.listeners.costs()
    assert cost["calls"] == 2
    assert cost["max_ms"] >= cost["mean_ms"] >= 0
    unlisten()
    unlisten()
    room.show(2)
    assert heard == [1, 2]


def test_listeners_that_take_long_are_told_of(room: Room) -> None:
    def sluggish(moment: Moment) -> None:
        time.sleep(0.021)

    room.stream.listen(sluggish)
    room.show(*range(30))
    until(
        lambda: any("viewers and watchers take" in line for line in room.stream.status().warnings)
    )
    (cost,) = room.hub.load()["listeners"]["a"]
    assert "sluggish" in cost["name"]
    assert cost["mean_ms"] >= 20


def test_what_viewers_miss_is_counted(room: Room) -> None:
    room.stream.skip()
    room.stream.skip(4)
    assert room.stream.status().skipped == 5


def test_stopping_is_legal_twice_and_lets_waiters_go(room: Room) -> None:
    room.show(0)
    found: list[Moment | None] = [None]
    waiting = threading.Thread(target=lambda: found.append(room.stream.wait(9, 60)))
    waiting.start()
    assert room.stream.stop()
    assert room.stream.stop()
    waiting.join(5)
    assert not waiting.is_alive()
    assert room.stream.latest() is not None
    assert room.stream.status().source.state == "stopped"
    assert balanced(room.stream.counts())


# ---- the embedded set


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "squares.mp4", 12)


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[LiveHub]:
    with LiveHub(load_models("embedded"), folder=tmp_path) as hub:
        yield hub


def perceiver(stream: LiveStream) -> Perceiver:
    found = stream.sight.observer
    assert isinstance(found, Perceiver)
    return found


def test_perceivers_of_streams_share_the_networks(embedded: LiveHub, clip: Path) -> None:
    one, two = (
        embedded.add(StreamSpec(id=name, source=str(clip), words=words))
        for name, words in (("one", None), ("two", ["mug"]))
    )
    for stream in (one, two):
        assert stream.source.ended.wait(30)
        until(lambda: stream.counts().processed == 12, 30)  # noqa: B023
        assert stream.counts().read == 12
    first, second = perceiver(one), perceiver(two)
    assert first is not second
    assert first.detector is second.detector
    assert first._senses.segmenter is second._senses.segmenter
    assert first._senses.depth is second._senses.depth
    assert first.tracker is not second.tracker
    assert one.window().vocabulary is None
    assert two.window().vocabulary == ("mug",)


def test_words_that_the_set_does_not_know_are_told_and_refused_where_it_knows_none(
    embedded: LiveHub, clip: Path
) -> None:
    stream = embedded.add(StreamSpec(id="one", source=str(clip), words=["mug", "zeppelin"]))
    assert "the set does not know: zeppelin" in stream.status().warnings
    with pytest.raises(InputError, match="got zeppelin"):
        embedded.add(StreamSpec(id="two", source=str(clip), words=["zeppelin"]))
    assert [s.id for s in embedded.streams()] == ["one"]


def test_ids_are_never_given_twice_where_a_perceiver_is_made_anew(
    embedded: LiveHub, clip: Path
) -> None:
    stream = embedded.add(StreamSpec(id="one", source=str(clip)))
    until(lambda: stream.counts().processed == 12, 30)
    sight, old = stream.sight, perceiver(stream)
    first = sight.reserve(3)
    sight.observe(Frame(99, 0.0, picture()))  # the clock goes back
    assert perceiver(stream) is not old
    assert sight.run == 1
    assert sight.reserve(1) >= first + 3


def test_the_twins_of_a_stream_are_those_of_the_perceiver_alone(
    embedded: LiveHub, clip: Path
) -> None:
    """Another stream in between changes nothing."""
    from edgetwin.deploy.stream.source import open_source

    alone = load_models("embedded").perceiver
    wanted = [alone.observe(frame) for frame in open_source(clip)]
    streams = [embedded.add(StreamSpec(id=name, source=str(clip))) for name in ("one", "two")]
    for stream in streams:
        until(lambda: stream.counts().processed == 12, 30)  # noqa: B023
        got = stream.window().frames
        assert [t.objects for t in got] == [t.objects for t in wanted]
