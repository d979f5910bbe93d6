"""A hub: streams come and go, questions are answered on what is seen now, all of it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgetwin.deploy.live.bounds import HubLimits
from edgetwin.deploy.live.errors import BusyError, UnknownError
from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import StreamSpec
from edgetwin.deploy.models import load_models
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import InputError, SourceError
from edgetwin.twin.schema import Rle

from ..scenes import picture, write_clip
from .taps import RED, Taps, balanced, hub_of, spec, until

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[LiveHub, Taps]]:
    hub, taps = hub_of(tmp_path, RED * 8)
    yield hub, taps
    assert hub.close(2)


def show(hub: LiveHub, taps: Taps, name: str, step: int) -> None:
    before = hub.stream(name).latest()
    until(lambda: name in taps._made)
    taps[name].put(picture(step))
    assert hub.stream(name).wait(before.seq if before else 0, 10) is not None


# ---- streams


def test_streams_come_and_go(hub: tuple[LiveHub, Taps]) -> None:
    live, taps = hub
    live.add(spec("a"))
    second = live.add(StreamSpec(source="tap:b", record=False))
    assert [stream.id for stream in live.streams()] == ["a", "simulated1"]
    assert live.stream("simulated1") is second
    show(live, taps, "a", 0)
    session = live.open_session("a")
    assert live.remove("a")
    with pytest.raises(UnknownError, match="expected a stream \\(simulated1\\), got 'a'"):
        live.stream("a")
    with pytest.raises(UnknownError):
        live.remove("a")
    with pytest.raises(UnknownError):
        live.close_session(session)
    again = live.add(spec("c"))
    assert again in live.streams()
    assert live.ready() == (True, "ready")


def test_an_id_is_given_once(hub: tuple[LiveHub, Taps]) -> None:
    live, _ = hub
    live.add(spec("a"))
    with pytest.raises(InputError, match="'a', which is in use"):
        live.add(spec("a"))
    assert len(live.streams()) == 1


def test_streams_are_bounded(tmp_path: Path) -> None:
    hub, _ = hub_of(tmp_path, limits=HubLimits(streams=2))
    with hub:
        hub.add(spec("a"))
        hub.add(spec("b"))
        with pytest.raises(BusyError, match="fewer than 2 streams"):
            hub.add(spec("c"))
        hub.remove("a")
        hub.add(spec("c"))


def test_what_is_no_source_is_refused_and_leaves_nothing(
    hub: tuple[LiveHub, Taps], tmp_path: Path
) -> None:
    live, _ = hub
    with pytest.raises(SourceError):
        live.add(StreamSpec(id="x", source=str(tmp_path / "none.mp4")))
    assert live.streams() == []


def test_a_file_is_read_to_its_end_without_a_loss(
    hub: tuple[LiveHub, Taps], tmp_path: Path
) -> None:
    live, _ = hub
    clip = write_clip(tmp_path / "clip.mp4", 30)
    stream = live.add(StreamSpec(id="file", source=str(clip)))
    assert stream.source.ended.wait(30)
    until(lambda: stream.counts().processed == 30)
    status = stream.status()
    assert status.frames.model_dump() == {
        "read": 30,
        "processed": 30,
        "in_flight": 0,
        "dropped": {},
    }
    assert stream.memory is not None
    assert stream.memory.sync()
    assert stream.status().stored_frames == 30
    assert {row["label"] for row in stream.memory.history()} == {"box"}


def test_a_damaged_store_is_told_and_the_stream_goes_on(
    hub: tuple[LiveHub, Taps], tmp_path: Path
) -> None:
    live, taps = hub
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "twin.sqlite").write_bytes(b"no database" * 1000)
    stream = live.add(StreamSpec(id="a", source="tap:a"))
    show(live, taps, "a", 0)
    assert stream.memory is None
    assert any(line.startswith("not recording:") for line in stream.status().warnings)
    assert live.ask("a", "what is red?")["ids"] == [1]


# ---- questions


def test_an_answer_says_which_frame_it_is_about_and_how_old_it_is(
    hub: tuple[LiveHub, Taps],
) -> None:
    live, taps = hub
    live.add(spec("a"))
    show(live, taps, "a", 0)
    show(live, taps, "a", 3)
    record = live.ask("a", "what is red?")
    assert (record["status"], record["ids"], record["stream"]) == ("ok", [1], "a")
    assert record["frame_index"] == 1
    assert 0 < record["age_ms"] < 60_000
    mask = rle.decode(Rle.model_validate(record["masks"]["1"]))
    assert mask.sum() == 400
    assert mask[20:40, 16:36].all()
    assert list(live.stream("a").answers) == [record]


def test_frames_that_come_between_questions_are_seen_by_the_next(
    hub: tuple[LiveHub, Taps],
) -> None:
    live, taps = hub
    live.add(spec("a"))
    session = live.open_session("a")
    for step in range(3):
        show(live, taps, "a", step)
        record = live.ask("a", "what is red?", session=session)
        assert record["frame_index"] == step
        assert record["objects"][0]["box_xyxy"][0] == 10 + 2 * step
    assert record["seen"]["frames"] == 3
    (told,) = live.sessions()
    assert (told["id"], told["stream"], told["questions"]) == (session, "a", 3)
    live.close_session(session)
    assert live.sessions() == []


def test_only_sessions_lean_on_earlier_questions(tmp_path: Path) -> None:
    hub, taps = hub_of(tmp_path, RED * 4)
    model: Any = hub.models.reasoner
    model.model.turns = 1
    with hub:
        hub.add(spec("a"))
        show(hub, taps, "a", 0)
        session = hub.open_session("a")
        for asked in (session, None):
            hub.ask("a", "what is red?", session=asked)
            hub.ask("a", "and the one next to it?", session=asked)
    reads = ["".join(texts) for texts in model.model.reads]
    leaning = ["question: what is red?\n<answer>" in text for text in reads]
    assert leaning == [False, True, False, False]


def test_a_clock_that_goes_back_or_another_size_is_another_twin(
    hub: tuple[LiveHub, Taps],
) -> None:
    live, taps = hub
    live.add(spec("a"))
    show(live, taps, "a", 0)
    live.ask("a", "what is red?")
    taps["a"].put(picture(1, width=160))
    until(lambda: live.stream("a").counts().processed == 2)
    record = live.ask("a", "what is red?")
    assert record["frame_index"] == 1
    assert record["intervals"] == [[record["timestamp_s"], record["timestamp_s"]]]


def test_what_the_model_does_is_heard_as_it_comes(hub: tuple[LiveHub, Taps]) -> None:
    live, taps = hub
    live.add(spec("a"))
    show(live, taps, "a", 0)
    heard: list[tuple[str, Any]] = []
    record = live.ask("a", "what is red?", heard=lambda kind, data: heard.append((kind, data)))
    assert heard == [
        ("text", "the red one"),
        ("plan", record["plan"]),
        ("results", record["results"]),
    ]


def test_who_hears_and_breaks_does_not_break_the_answer(hub: tuple[LiveHub, Taps]) -> None:
    live, taps = hub
    live.add(spec("a"))
    show(live, taps, "a", 0)
    calls: list[str] = []

    def broken(kind: str, data: Any) -> None:
        calls.append(kind)
        raise RuntimeError

    assert live.ask("a", "what is red?", heard=broken)["ids"] == [1]
    assert calls == ["text"]


def test_a_plan_is_made_outside_sessions(hub: tuple[LiveHub, Taps]) -> None:
    live, taps = hub
    live.add(spec("a"))
    show(live, taps, "a", 0)
    record = live.plan("a", "what is red?")
    assert record["plan"] == [{"tool": "attribute", "name": "color", "value": "red"}]
    assert live.sessions() == []


def test_a_stream_without_a_frame_is_asked_in_vain_but_not_for_long(
    hub: tuple[LiveHub, Taps],
) -> None:
    live, _ = hub
    live.add(spec("a"))
    record = live.ask("a", "what is red?", budget_s=0.4)
    assert record["status"] == "none"
    assert (record["frame_index"], record["age_ms"], record["masks"]) == (None, None, {})


def test_sessions_are_bounded_end_when_idle_and_belong_to_one_stream(tmp_path: Path) -> None:
    hub, _ = hub_of(tmp_path, limits=HubLimits(sessions=2, session_idle_s=0.2))
    with hub:
        hub.add(spec("a"))
        hub.add(spec("b"))
        first = hub.open_session("a")
        hub.open_session("a")
        with pytest.raises(BusyError, match="fewer than 2 sessions") as refused:
            hub.open_session("a")
        assert refused.value.retry_after_s >= 1
        with pytest.raises(UnknownError, match="about a"):
            hub.ask("b", "what is red?", session=first)
        until(lambda: hub.sessions() == [])
        with pytest.raises(UnknownError, match="idle too long"):
            hub.ask("a", "what is red?", session=first)
        hub.open_session("a")


def test_budgets_are_positive_and_streams_known(hub: tuple[LiveHub, Taps]) -> None:
    live, _ = hub
    live.add(spec("a"))
    with pytest.raises(InputError, match="budget_s above 0"):
        live.ask("a", "what is red?", budget_s=0)
    with pytest.raises(UnknownError):
        live.ask("b", "what is red?")


# ---- the end


def test_closing_ends_every_thread_and_refuses_what_comes(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    hub, taps = hub_of(tmp_path, RED)
    for name in ("a", "b@50", "c@50"):
        hub.add(spec(name))
    show(hub, taps, "a", 0)
    hub.stream("b").wait(0, 10)
    streams = hub.streams()
    assert hub.ask("a", "what is red?")["ids"] == [1]
    assert hub.close(2)
    assert hub.close(2)
    until(lambda: set(threading.enumerate()) <= before)
    assert all(balanced(s.counts()) and not s.counts().in_flight for s in streams)
    assert hub.ready() == (False, "closing")
    with pytest.raises(BusyError, match="closing"):
        hub.add(spec("d"))


def test_streams_that_came_and_went_leave_nothing(tmp_path: Path) -> None:
    hub, _ = hub_of(tmp_path, RED * 40)
    with hub:
        hub.add(spec("steady@50"))
        hub.stream("steady").wait(0, 10)
        before = set(threading.enumerate())
        for round_ in range(40):
            stream = hub.add(StreamSpec(id="a", source=f"tap:a{round_}@50"))
            assert stream.wait(0, 10)
            session = hub.open_session("a")
            assert hub.ask("a", "what is red?", session=session)["ids"] == [1]
            assert hub.remove("a")
        assert hub.sessions() == []
        hub.ask("steady", "what is red?")
        assert list(hub._asking._askers) == [("steady", "look")]
        until(lambda: set(threading.enumerate()) <= before)
        assert set(hub.load()["perception_s"]) == {"steady"}


def test_the_embedded_set_answers_on_a_running_stream(tmp_path: Path) -> None:
    """Real networks, a real language model, follow-ups, and text that is heard token by token."""
    heard: list[tuple[str, Any]] = []
    before = set(threading.enumerate())
    with LiveHub(load_models("embedded"), folder=tmp_path) as hub:
        source = str(EXAMPLES / "affordance.mp4")
        stream = hub.add(StreamSpec(id="table", source=source, live=True, loop=True))
        until(lambda: stream.counts().processed >= 6, 30)
        session = hub.open_session("table")
        record = hub.ask(
            "table",
            "what is the largest object?",
            session=session,
            heard=lambda kind, data: heard.append((kind, data)),
        )
        assert record["status"] == "ok"
        assert set(record["masks"]) == {str(i) for i in record["ids"]}
        assert record["models"]["reasoner"]["id"]
        assert record["age_ms"] > 0
        again = hub.ask("table", "what is left of it?", session=session)
        assert again["status"] in ("ok", "none")
        assert again["frame_index"] >= record["frame_index"]
        assert balanced(stream.counts())
    until(lambda: set(threading.enumerate()) <= before)
    texts = [data for kind, data in heard if kind == "text"]
    assert "".join(texts).strip() == record["rationale"]
    assert len(texts) > 1
    assert ("plan", record["plan"]) in heard
