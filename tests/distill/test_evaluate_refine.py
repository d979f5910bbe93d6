"""The measurement of refinement: what is asked, the planner's scenes, and scores on a real clip."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetwin.deploy.refine import Eyes
from edgetwin.deploy.stream.source import open_source
from edgetwin.distill.evaluate.refine import (
    POLICIES,
    Clip,
    answered,
    asked_of,
    level_table,
    nouns_of,
    refine_figures,
    refine_table,
)
from edgetwin.distill.evaluate.refine_planner import PlannerFigures, Scene, planner_figures
from edgetwin.distill.evaluate.remembered import RememberingEyes
from edgetwin.distill.evaluate.worlds import RenderedWorld
from edgetwin.distill.sim.questions import Question
from edgetwin.perception import Perceiver, load_bundle
from edgetwin.reasoner.models.scripted import ScriptedModel
from edgetwin.reasoner.rollout import Reasoner
from edgetwin.tests.twin.build import frame, obj
from edgetwin.twin.frame import Frame
from edgetwin.twin.window import TwinWindow

VIDEO = Path(__file__).parents[2] / "examples" / "temporal.mp4"
KNOWN = ("mug", "bowl", "lamp", "box", "pan")


def question(plan: list[dict[str, Any]], ids: tuple[int, ...] = (), level: int = 1) -> Question:
    return Question(
        text="Which one is it?", category="semantic", level=level, form="question", families=(),
        skeleton="", plan=plan, results="[]", answer_ref=f"${len(plan)}", ids=ids, rationale="",
        wording="seen", composition="seen",
    )  # type: ignore[arg-type]  # fmt: skip


def find(*words: str) -> dict[str, Any]:
    return {"tool": "find", "words": list(words)}


TRUTH = TwinWindow(
    frame(k, [obj(2, "mug", x=50), obj(5, "lamp", x=120 + 10 * k), obj(7, "pan", x=200)])
    for k in range(4)
)


def test_nouns_are_those_that_the_program_looks_for_and_the_set_knows() -> None:
    plan = [find("mug", "object"), find("lamp", "quokka", "mug"), {"tool": "count", "ids": "$1"}]
    assert nouns_of(question(plan), KNOWN) == ("mug", "lamp")
    assert nouns_of(question([find("object")]), KNOWN) == ()


def test_what_is_missing_is_in_the_scene_and_some_is_never_all() -> None:
    questions = [
        question([find("mug")]),
        question([find("object")]),  # needs no noun
        question([find("bowl")]),  # not in the scene: the static twin lacks nothing
        question([find("mug", "bowl"), find("lamp")]),
    ]
    asked = asked_of(questions, TRUTH, 7, KNOWN)
    assert asked == asked_of(questions, TRUTH, 7, KNOWN)
    assert [(one.question, one.kind) for one in asked] == [
        (questions[0], "all"), (questions[3], "all"), (questions[3], "some"),
    ]  # fmt: skip
    assert asked[1].missing == ("bowl", "lamp", "mug")
    for seed in range(20):
        some = asked_of(questions, TRUTH, seed, KNOWN)[2]
        assert {"mug", "lamp"} & set(some.missing)
        assert len(some.missing) < 3
        assert set(some.words) | set(some.missing) == set(KNOWN)
        assert not set(some.words) & set(some.missing)


def test_a_scene_shows_a_part_and_brings_in_the_rest_as_a_refiner_would() -> None:
    scene = Scene(TRUTH, ["pan", "bowl"])
    assert scene.window.ids() == [7]
    assert list(scene.window.vocabulary or ()) == ["bowl", "pan"]
    assert scene.names == {7: 7, 2: 8, 5: 9}
    plan = [{"tool": "detect", "words": ["lamp"]}, {"tool": "moved", "ids": "$1"}]
    assert [r.value for r in scene.registry().run_plan(plan, scene.window)] == [[9], [9]]
    assert list(scene.window.vocabulary or ()) == ["bowl", "pan", "lamp"]
    assert scene.window.ids() == [7, 9]
    again = scene.registry().run_plan([{"tool": "detect", "words": ["lamp", "mug"]}], scene.window)
    assert again[0].value == [8, 9]


def test_the_planner_is_judged_on_what_it_plans_and_answers() -> None:
    reason = "<reason>x</reason>"
    say = [
        reason + '<plan>[{"tool":"%s","words":["lamp"]}]</plan>' % tool for tool in  # noqa: UP031
        ("find", "detect", "detect")
    ]  # fmt: skip
    replies = [text for plan in say for text in (plan, reason + "<answer>$1</answer>")]
    reasoner = Reasoner(ScriptedModel(replies), vocabulary=KNOWN)
    figures = PlannerFigures()
    asked = asked_of([question([find("lamp")], (5,))], TRUTH, 1, KNOWN)
    planner_figures(figures, reasoner, TRUTH, asked, KNOWN, 1)
    assert figures.as_dict() == {
        "its nouns missing, static": {"count": 1, "exact": 0.0, "detects": 0.0},
        "its nouns missing, detect offered": {"count": 1, "exact": 1.0, "detects": 1.0},
        "other nouns missing": {"count": 1, "exact": 1.0, "detects": 1.0},
    }


@pytest.fixture(scope="module")
def clip() -> tuple[RenderedWorld, RememberingEyes]:
    """Frames of an example; what is perceived with every word stands for the truth."""
    bundle = load_bundle("embedded", threads=1)
    frames = list(islice(open_source(VIDEO), 10, 18))
    perceiver = Perceiver(bundle)
    truth = TwinWindow(perceiver.observe(f) for f in frames)
    rgb = np.stack([f.image_hw3 for f in frames])
    world = RenderedWorld(3, rgb, np.zeros((len(rgb), 1, 1), np.float16), truth)
    return world, RememberingEyes(bundle)


def test_remembering_changes_nothing(clip: tuple[RenderedWorld, RememberingEyes]) -> None:
    world, eyes = clip
    frames = [
        Frame(t.index, t.timestamp_s, image)
        for t, image in zip(world.window.frames, world.rgb_thw3, strict=True)
    ]
    words = ["pan", "lamp"]
    plain = Eyes(eyes.bundle).perceiver(words)
    true = [plain.observe(f) for f in frames]
    assert [eyes.perceiver(words).observe(frames[0])] == true[:1]
    for _ in range(2):
        again = eyes.perceiver(words)
        assert [again.observe(f) for f in frames] == true
    turned = eyes.perceiver(words[::-1])  # the same words: looked up, under their own order
    assert [t.objects for t in map(turned.observe, frames)] == [t.objects for t in true]
    # after other frames the same frame is another matter: nothing is mixed up
    late = eyes.perceiver(words)
    assert late.observe(frames[3]).objects == plain_first(eyes, words, frames[3])


def plain_first(eyes: RememberingEyes, words: list[str], one: Frame) -> Any:
    return Eyes(eyes.bundle).perceiver(words).observe(one).objects


def test_policies_are_scored_as_they_deserve(clip: tuple[RenderedWorld, RememberingEyes]) -> None:
    world, eyes = clip
    lamps = tuple(i for i in world.window.ids() if world.window.latest(i).semantic_label == "lamp")
    assert lamps
    known = tuple(eyes.bundle.words.nouns)
    (one,) = asked_of([question([find("lamp")], lamps)], world.window, 3, known)
    reason = "<reason>x</reason>"
    answer = reason + "<answer>$1</answer>"
    plan = reason + '<plan>[{"tool":"%s","words":["lamp"]}]</plan>'
    replies = {
        "static": "find", "detect planned": "detect", "find looks": "find", "full": "find",
    }  # fmt: skip
    here = Clip.of(world, eyes)
    found = []
    for policy in POLICIES:
        said = [plan % replies[policy], answer] if policy in replies else []
        reasoner = Reasoner(ScriptedModel(said), vocabulary=known)
        found.append(answered(here, one, policy, reasoner))
    by_policy = {one.policy: one for one in found}
    assert (by_policy["static"].exact, by_policy["static"].j) == (False, 0.0)
    for policy in ("detect planned", "find looks", "program"):
        right = by_policy[policy]
        assert right.exact
        assert right.j > 0.95
        assert (right.calls, right.frames) == (1, 8)
        assert right.planned == (policy != "find looks")
    assert by_policy["full"].exact
    assert by_policy["full"].calls == 0
    figures = refine_figures(found)
    assert figures["static"]["all nouns missing"]["exact"] == 0
    assert figures["find looks"]["level 1"]["count"] == 1
    assert len(refine_table(found, "here").rows) == 2 * len(POLICIES)
    assert level_table(found, "here").rows[2][2] == 1.0


def test_a_wrong_amount_of_randomness_would_show() -> None:
    """What is asked depends on the world's seed, not on the interpreter's."""
    random.seed(1)
    first = asked_of([question([find("mug", "lamp", "pan")])], TRUTH, 11, KNOWN)
    random.seed(2)
    assert asked_of([question([find("mug", "lamp", "pan")])], TRUTH, 11, KNOWN) == first
