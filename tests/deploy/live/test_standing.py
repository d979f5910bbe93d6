"""The desk: questions come, are compiled when there is something to see, and raise events."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from edgetwin.deploy.live.errors import BusyError, UnknownError
from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import Event, StreamSpec
from edgetwin.deploy.live.standing import DeskLimits, StandingDesk
from edgetwin.deploy.live.watches import WatchLimits
from edgetwin.deploy.models import load_models
from edgetwin.twin.errors import InputError, QueryError, ToolError

from .standings import MOVED, MUG, Hub, thing, twin, until

EXAMPLES = Path(__file__).parents[3] / "examples"
MOVES = "Find the mug that moved."
SEES = "Find the mug."
LIMITS = DeskLimits(before_s=0.5, after_s=0.2, watch=WatchLimits(rise=2))


@pytest.fixture
def hub() -> Hub:
    hub = Hub("table", "door")
    hub.plans = {MOVES: MOVED, SEES: MUG}
    return hub


@pytest.fixture
def desk(hub: Hub, tmp_path: Path) -> Iterator[StandingDesk]:
    desk = StandingDesk(hub, folder=tmp_path / "events", limits=LIMITS)
    yield desk
    assert desk.close()
    assert not any(t.name.startswith("edgetwin-stand") for t in threading.enumerate())


def slide(hub: Hub, start_s: float, stream: str = "table") -> None:
    """A mug rests and then moves, each frame looked at before the next."""
    for k in range(12):
        hub.stream(stream).show(twin(start_s + k / 10, thing(1, 20 + max(0, k - 4) * 6)))
        time.sleep(0.01)


# ---- questions and plans


def test_a_question_is_compiled_once_and_raises_its_event(hub: Hub, desk: StandingDesk) -> None:
    hub.stream("table").show(twin(0.0, thing(1, 20)))
    standing = desk.add("table", "tell me when someone moves the mug")
    assert (standing.asked, standing.plan, standing.compiled) == (MOVES, MOVED, 1)
    told: list[Event] = []
    desk.listen(told.append)
    slide(hub, 0.1)
    until(lambda: bool(told))
    (event,) = desk.events("table")
    assert event == told[0]
    assert event.ids == [1]
    assert event.reason == "#1 red mug: mug that moved"
    assert event.objects[0].mask is not None
    assert event.question == "tell me when someone moves the mug"
    assert 0 <= event.delay_ms < 5000
    until(lambda: desk.list()[0].evaluations >= 10)
    assert hub.asked == [MOVES]  # never again
    assert desk.list("table")[0].events == 1
    assert desk.list("door") == []
    assert desk.counts()["evaluation_ms"] > 0


def test_the_plan_is_made_when_there_is_something_to_see(hub: Hub, desk: StandingDesk) -> None:
    standing = desk.add("table", "tell me when you see a mug")
    assert standing.plan == []
    assert "no plan yet" in standing.message
    hub.stream("table").show(twin(0.0))
    until(lambda: desk.list()[0].asked == SEES and hub.stream("table").latest() is not None)
    assert hub.asked == []
    for k in range(1, 30):
        hub.stream("table").show(twin(k / 10, thing(1)))
        time.sleep(0.01)
    until(lambda: len(desk.events()) == 1)  # it came after the question, so it is new
    assert desk.list()[0].compiled == 1


def test_what_holds_already_is_no_event_and_is_said(hub: Hub, desk: StandingDesk) -> None:
    hub.stream("door").show(twin(0.0, thing(1)))
    desk.add("door", "tell me when you see a mug")
    for k in range(5, 12):
        hub.stream("door").show(twin(k / 10, thing(1), *([thing(2, 20)] if k > 7 else [])))
        time.sleep(0.01)
    until(lambda: bool(desk.events()))
    assert [event.ids for event in desk.events()] == [[2]]
    assert "already so when it was asked, which is no event: #1" in desk.list()[0].message


def test_the_reasoner_is_asked_again_only_for_something_new(hub: Hub, desk: StandingDesk) -> None:
    hub.stream("table").show(twin(0.0, thing(1)))
    desk.add("table", "tell me when you see a mug")
    for k in range(1, 10):
        hub.stream("table").show(twin(k / 10, thing(1), thing(2, 20, label="bowl")))
    until(lambda: desk.list()[0].evaluations >= 1)
    assert len(hub.asked) == 1
    words = ("mug", "bowl")
    for k in range(10, 400):
        hub.stream("table").show(twin(k / 10, thing(1), vocabulary=words))
        time.sleep(0.005)
        if len(hub.asked) == 2:
            break
    assert hub.asked == [SEES, SEES]
    assert desk.events() == []  # the same plan goes on: what held still does


def test_what_cannot_stand_fails_clearly(hub: Hub, desk: StandingDesk) -> None:
    hub.plans["How many mugs are there"] = [*MUG, {"tool": "count", "ids": "$1"}]
    hub.stream("table").show(twin(0.0, thing(1)))
    standing = desk.add("table", "How many mugs are there")
    assert standing.state == "failed"
    assert "at which number to tell" in standing.message


@pytest.mark.parametrize(
    ("failure", "asked"),
    [(BusyError("expected room for a question, got none", 0.05), 0), ("expected room, got 1 s", 1)],
)
def test_a_reasoner_that_fails_is_told_and_tried_again(
    failure: Any, asked: int, hub: Hub, desk: StandingDesk
) -> None:
    hub.plans[SEES] = failure
    hub.stream("table").show(twin(0.0, thing(1)))
    standing = desk.add("table", "tell me when you see a mug")
    assert "expected room" in standing.message
    assert standing.compiled == asked
    hub.plans[SEES] = MUG
    for k in range(1, 600):
        hub.stream("table").show(twin(k / 10, thing(1)))
        time.sleep(0.01)
        if desk.list()[0].plan:
            break
    assert desk.list()[0].plan == MUG


def test_add_does_not_wait_for_a_slow_reasoner_for_ever(hub: Hub, tmp_path: Path) -> None:
    desk = StandingDesk(hub, folder=tmp_path, limits=DeskLimits(wait_s=0.05))
    hub.gate.clear()
    hub.stream("table").show(twin(0.0, thing(1)))
    began = time.monotonic()
    assert desk.add("table", "tell me when you see a mug").plan == []
    assert time.monotonic() - began < 2
    hub.gate.set()
    until(lambda: desk.list()[0].plan == MUG)
    assert desk.close()


# ---- bounds


def test_what_is_no_question_or_too_much_is_refused(hub: Hub, tmp_path: Path) -> None:
    desk = StandingDesk(hub, folder=tmp_path, limits=DeskLimits(standing=1))
    with pytest.raises(QueryError):
        desk.add("table", "   ")
    with pytest.raises(UnknownError):
        desk.add("cellar", "tell me when you see a mug")
    with pytest.raises(InputError, match="the operator allowed none"):
        desk.add("table", "tell me when you see a mug", webhook="http://127.0.0.1/")
    first = desk.add("table", "tell me when you see a mug")
    with pytest.raises(BusyError, match="at most 1"):
        desk.add("table", "tell me when you see a bowl")
    desk.remove(first.id)
    with pytest.raises(UnknownError):
        desk.remove(first.id)
    assert hub.stream("table").listeners == []
    assert desk.close()
    with pytest.raises(BusyError) as closing:
        desk.add("table", "tell me when you see a mug")
    assert closing.value.closing
    assert desk.close()


def test_a_stream_that_is_removed_takes_its_questions(hub: Hub, desk: StandingDesk) -> None:
    desk.add("table", "tell me when you see a mug")
    desk.add("door", "tell me when you see a mug")
    stream = hub.stream("table")
    hub.remove("table")
    desk.forget("table")
    assert [s.stream for s in desk.list()] == ["door"]
    assert stream.listeners == []


def test_perception_never_waits_and_what_is_too_much_is_counted(
    hub: Hub, desk: StandingDesk
) -> None:
    hub.stream("table").show(twin(0.0, thing(1, 20)))
    desk.add("table", "tell me when someone moves the mug")
    heard = hub.stream("table").listeners[0]
    slowest = 0.0
    with desk._lock:  # the desk's thread stands still
        for k in range(1, 60):
            hub.stream("table").show(twin(k / 10, thing(1, 20)))
            began = time.perf_counter()
            moment = hub.stream("table").latest()
            assert moment is not None
            heard(moment)
            slowest = max(slowest, time.perf_counter() - began)
        assert desk._ears.skipped > 20
    assert slowest < 0.5


def test_a_listener_that_raises_is_told_no_more(hub: Hub, desk: StandingDesk) -> None:
    def broken(event: Event) -> None:
        raise ValueError("mine")

    heard: list[Event] = []
    desk.listen(broken)
    end = desk.listen(heard.append)
    hub.stream("table").show(twin(0.0))
    desk.add("table", "tell me when you see a mug")
    for k in range(1, 20):
        shown = [thing(n, 10 * n) for n in range(1, 1 + k // 4)]
        hub.stream("table").show(twin(k / 10, *shown))
        time.sleep(0.01)
    until(lambda: len(heard) >= 2)
    assert desk.unheard == 1
    end()
    end()


# ---- files and memory


def test_an_event_has_a_picture_a_clip_and_is_remembered(
    hub: Hub, desk: StandingDesk, tmp_path: Path
) -> None:
    hub.stream("table").show(twin(0.0, thing(1, 20)))
    desk.add("table", "tell me when someone moves the mug")
    slide(hub, 0.1)
    until(lambda: bool(desk.events()))
    event = desk.events()[0]
    assert event.clip
    assert desk.picture(event.id).read_bytes()[:2] == b"\xff\xd8"
    with pytest.raises(UnknownError, match="ask again in some seconds"):
        desk.clip(event.id)
    memory = hub.stream("table").memory
    until(lambda: (tmp_path / "events" / f"{event.id}.mp4").is_file())
    with av.open(str(desk.clip(event.id))) as clip:
        assert clip.streams.video[0].codec_context.name == "h264"
        assert sum(1 for _ in clip.decode(video=0)) >= 5
    until(lambda: event.id in memory.kept)
    later = StandingDesk(hub, folder=tmp_path / "events")  # after a restart
    assert [e.id for e in later.events()] == [event.id]
    assert later.event(event.id).reason == event.reason
    assert later.clip(event.id).is_file()
    assert later.events(after=event.id) == []
    assert later.close()
    with pytest.raises(UnknownError):
        desk.event("../../etc/passwd")


def test_a_plan_that_breaks_a_tool_does_not_stop_the_others(hub: Hub, desk: StandingDesk) -> None:
    hub.plans["Find the spoon."] = ToolError("expected a tool, got none")
    hub.stream("table").show(twin(0.0, thing(1, 20)))
    assert "expected a tool" in desk.add("table", "tell me when you see a spoon").message
    desk.add("table", "tell me when someone moves the mug")
    slide(hub, 0.1)
    until(lambda: bool(desk.events()))


def test_a_broken_hub_is_told_and_the_questions_go_on(hub: Hub, desk: StandingDesk) -> None:
    hub.stream("table").show(twin(0.0, thing(1, 20)))
    assert "KeyError" in desk.add("table", "tell me when you see a fork").message
    desk.add("table", "tell me when someone moves the mug")
    slide(hub, 0.1)
    until(lambda: bool(desk.events()))


def test_a_moment_that_cannot_be_looked_at_is_counted(hub: Hub, desk: StandingDesk) -> None:
    hub.stream("table").show(twin(0.0, thing(1, 20)))
    desk.add("table", "tell me when someone moves the mug")
    picture = np.zeros((0, 0, 3), np.uint8)
    newest = hub.stream("table").latest()
    assert newest is not None
    frame = SimpleNamespace(image_hw3=picture)
    hub.stream("table").listeners[0](replace(newest, frame=frame, twin=twin(0.1, thing(1, 20))))  # type: ignore[arg-type]
    until(lambda: desk.stumbled == 1)
    slide(hub, 0.2)
    until(lambda: bool(desk.events()))


# ---- the real thing


def test_on_a_video_with_the_embedded_models(tmp_path: Path) -> None:
    wishes: dict[str, Any] = {
        "tell me when something appears": {"lamp"},
        "tell me when something disappears": {"teapot"},
        "tell me when there are more than 20 objects": set(),
    }
    with LiveHub(load_models("embedded"), folder=tmp_path) as hub:
        stream = hub.add(StreamSpec(id="video", source=str(EXAMPLES / "temporal.mp4"), live=False))
        ids = {hub.standing.add("video", wish).id: wish for wish in wishes}
        assert stream.source.ended.wait(120)
        until(lambda: stream.queue.counts().in_flight == 0, 60)
        until(lambda: all(s.compiled for s in hub.standing.list()), 30)
        until(lambda: len(hub.standing.events()) >= 2, 30)
        found = {
            wish: {
                o.label for e in hub.standing.events() if ids[e.standing] == wish for o in e.objects
            }
            for wish in wishes
        }
        assert found == wishes
        assert all(s.compiled == 1 for s in hub.standing.list())


def test_a_clip_that_is_looped_brings_its_bottle_in_every_time(tmp_path: Path) -> None:
    """The tracker gives the bottle its old id each time; it came in all the same."""
    with LiveHub(load_models("embedded"), folder=tmp_path) as hub:
        stream = hub.add(
            StreamSpec(id="table", source=str(EXAMPLES / "spatial.mp4"), live=False, loop=True)
        )
        assert stream.wait(0, 30) is not None
        standing = hub.standing.add("table", "Tell me when a bottle comes in")
        assert [step["tool"] for step in standing.plan] == ["find", "appeared"]
        until(lambda: len(hub.standing.events()) >= 2, 60)
        found = hub.standing.events(after="e", limit=2)
        assert {o.label for e in found for o in e.objects} == {"bottle"}
        loops = [int(event.timestamp_s // 4) for event in found]
        assert len(set(loops)) == 2  # one in each
