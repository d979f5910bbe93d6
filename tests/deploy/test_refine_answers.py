"""Answers that look again: a scripted model, the embedded networks, a file and a live ring."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from edgetwin.deploy.refine import RecentFrames, RefineBudget, Refiner
from edgetwin.deploy.stream.source import open_source
from edgetwin.perception import Bundle, Perceiver, load_bundle
from edgetwin.reasoner.models.scripted import ScriptedModel
from edgetwin.reasoner.rollout import Reasoner
from edgetwin.twin.frame import Frame
from edgetwin.twin.window import TwinWindow

VIDEO = Path(__file__).parents[2] / "examples" / "temporal.mp4"
PATIENT = RefineBudget(seconds=60, answer_seconds=60)
REASON = "<reason>a lamp gives light</reason>"
DETECT = REASON + '<plan>[{"tool":"detect","words":["lamp"]},{"tool":"moved","ids":"$1"}]</plan>'
FIND = REASON + '<plan>[{"tool":"find","words":["lamp"]},{"tool":"moved","ids":"$1"}]</plan>'
ANSWER = REASON + "<answer>$2</answer>"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle("embedded", threads=1)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(islice(open_source(VIDEO), 8, 24))


@pytest.fixture
def ring(frames: list[Frame]) -> RecentFrames:
    ring = RecentFrames(max_frames=16)
    for frame in frames:
        ring.push(frame)
    return ring


@pytest.fixture
def boxes(bundle: Bundle, frames: list[Frame]) -> TwinWindow:
    perceiver = Perceiver(bundle, ["box"])
    return TwinWindow(perceiver.observe(frame) for frame in frames)


def reasoner(*replies: str) -> Reasoner:
    return Reasoner(ScriptedModel(replies), vocabulary=["lamp", "box"])


def test_a_planned_detect_gives_masks_of_what_the_stream_never_looked_for(
    bundle: Bundle, boxes: TwinWindow, ring: RecentFrames
) -> None:
    refiner = Refiner(bundle, ring, budget=PATIENT)
    script = reasoner(DETECT, ANSWER)
    answer = script.answer("Which light moved?", boxes, registry=refiner.registry())
    assert answer.status == "ok"
    (lamp,) = answer.ids
    record = boxes.latest(lamp)
    assert (record.semantic_label, record.attributes) == ("lamp", {"color": "black"})
    assert record.mask is not None
    assert record.origin == "detect(lamp)"
    assert len(answer.results[0]) == 2  # of two lamps one moved: the temporal tool is right on both
    assert answer.ms["tools"] > 0
    prompt = script.model.prompts[0][0]  # type: ignore[attr-defined]
    assert "looked for: box\n" in prompt


def test_without_refinement_there_is_no_such_tool_and_find_finds_nothing(
    bundle: Bundle, boxes: TwinWindow, ring: RecentFrames
) -> None:
    refiner = Refiner(bundle, ring, budget=PATIENT)
    off = refiner.registry("off")
    static = reasoner(FIND, ANSWER).answer("Which light moved?", boxes, registry=off)
    assert (static.status, static.ids) == ("none", [])
    refused = reasoner(DETECT, DETECT).answer("Which light moved?", boxes, registry=off)
    assert refused.status == "error"
    assert "detect" in refused.message
    assert "lamp" not in (boxes.vocabulary or ())
    auto = refiner.registry("auto")
    found = reasoner(FIND, ANSWER).answer("Which light moved?", boxes, registry=auto)
    assert found.status == "ok"
    assert boxes.vocabulary == ("box", "lamp")


def test_an_unknown_word_is_told_with_the_answer(
    bundle: Bundle, boxes: TwinWindow, ring: RecentFrames
) -> None:
    refiner = Refiner(bundle, ring, budget=PATIENT)
    plan = DETECT.replace('["lamp"]', '["lamp","quokka"]')
    answer = reasoner(plan, ANSWER).answer("Which?", boxes, registry=refiner.registry())
    assert answer.status == "ok"
    assert "this model set does not know: quokka" in answer.message


def test_a_session_on_a_stream_that_goes_on_keeps_the_id(
    bundle: Bundle, frames: list[Frame]
) -> None:
    ring, window = RecentFrames(max_frames=16), TwinWindow()
    stream = Perceiver(bundle, ["box"])
    refiner = Refiner(bundle, ring, budget=PATIENT, reserve=stream.tracker.reserve)

    def go_on(some: list[Frame]) -> None:
        for frame in some:
            ring.push(frame)
            window.append(stream.observe(frame))

    session = reasoner(DETECT, ANSWER.replace("$2", "$1"), DETECT, ANSWER).session(
        window, refiner.registry()
    )
    go_on(frames[:6])
    first = session.ask("Where is light?")
    assert first.status == "ok"
    go_on(frames[6:])
    refiner.begin()
    second = session.ask("Which light moved?")
    assert second.status == "ok"
    assert set(first.ids) | set(second.ids) <= set(window.ids())
    assert window.latest(first.ids[0]).semantic_label == "lamp"
    assert len(window.track(first.ids[0])) == len(frames)
