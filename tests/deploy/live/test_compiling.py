"""An answer's plan becomes a rule that stands, or is refused clearly; when it is made anew."""

from __future__ import annotations

from typing import Any

import pytest

from edgetwin.deploy.live.compiling import NoPlanError, Rule, Scene, scene_of, stand, wants_again
from edgetwin.deploy.live.reasons import plan_in_words
from edgetwin.deploy.live.wordings import Condition, Wanted
from edgetwin.twin.tools import DEFAULT_REGISTRY
from edgetwin.twin.window import TwinWindow

from .standings import MOVED, MUG, thing, twin

FIND: dict[str, Any] = {"tool": "find", "words": ["mug"]}


def made(
    plan: list[dict[str, Any]],
    condition: Condition | None = None,
    transcript: str = "",
    **more: Any,
) -> Rule:
    record = {"plan": plan, "transcript": transcript, **more}
    return stand(Wanted("Find the mug.", condition), record, Scene())


def test_a_plan_ends_at_the_step_that_answered() -> None:
    three = [FIND, {"tool": "moved", "ids": "$1"}, {"tool": "count", "ids": "$2"}]
    assert made(three, transcript="…<answer>$2</answer>").plan == three[:2]
    assert made(MOVED, transcript="…<answer>none</answer>").plan == MOVED
    rule = made(MOVED)
    assert rule.timed
    assert rule.kind == "ids"
    assert not made(MUG).timed
    assert made(MUG).words == {"mug"}


def test_a_question_for_times_stands_as_what_happened() -> None:
    when = [FIND, {"tool": "when", "ids": "$1", "event": "moved"}]
    assert made(when).plan == MOVED
    hidden = [FIND, {"tool": "when", "ids": "$1", "event": "hidden"}]
    assert made(hidden).plan == hidden
    assert made(hidden).kind == "intervals"


def test_looks_into_the_pictures_are_left_out_and_said() -> None:
    rule = made([{"tool": "detect", "words": ["mug"]}, {"tool": "moved", "ids": "$1"}])
    assert rule.plan == MOVED
    assert "detect became find" in rule.notes[0]
    with pytest.raises(NoPlanError, match="got zoom as step 2") as refused:
        made([FIND, {"tool": "zoom", "ids": "$1"}])
    assert refused.value.final


def test_a_number_needs_a_condition() -> None:
    count = [FIND, {"tool": "count", "ids": "$1"}]
    with pytest.raises(NoPlanError, match="at which number") as refused:
        made(count)
    assert refused.value.final
    assert made(count, Condition(">", 2.0)).kind == "number"
    with pytest.raises(NoPlanError, match="objects, times or one number, got numbers") as refused:
        made([FIND, {"tool": "size", "ids": "$1"}])
    assert refused.value.final
    with pytest.raises(NoPlanError, match="gives a number"):
        made(MUG, Condition("<", 0.2, "m"))
    assert made(MUG, Condition(">", 2.0)).kind == "ids"
    assert made(MUG, Condition(edge="any")).condition == Condition(edge="any")


@pytest.mark.parametrize(
    "plan",
    [
        [],
        [{"tool": "find"}],
        [{"tool": "moved", "ids": "$2"}],
        [{"tool": "moved", "ids": {"a": 1}}],
    ],
)
def test_what_is_no_plan_is_refused(plan: list[dict[str, Any]]) -> None:
    with pytest.raises(NoPlanError) as refused:
        made(plan, message="the twin holds no objects yet")
    assert not refused.value.final


def test_warnings_of_unknown_words_are_kept() -> None:
    said = (
        "no object of the twin fits; this model set does not know: toaster; its answer may be wrong"
    )
    assert made(MUG, message=said).notes == ("this model set does not know: toaster",)


def test_when_the_reasoner_is_asked_again() -> None:
    window = TwinWindow([twin(0.0, thing(1))])
    scene = scene_of(window)

    def rule(plan: list[dict[str, Any]], scene: Scene = scene) -> Rule:
        return stand(Wanted("Find the mug."), {"plan": plan}, scene)

    question = "tell me when the mug is near the bowl"
    assert wants_again(rule(MUG), question, window, 0) == ""
    assert "#7, which is gone" in wants_again(
        rule([{"tool": "moved", "ids": [7]}]), question, window, 0
    )
    assert wants_again(rule([{"tool": "moved", "ids": [1]}]), question, window, 0) == ""
    assert "three times" in wants_again(rule(MUG), question, window, 3)
    other = TwinWindow([twin(0.0, thing(1), vocabulary=("mug",))])
    assert wants_again(rule(MUG), question, other, 0) == "other words are looked for"
    bowl = TwinWindow([twin(0.0, thing(1), thing(2, label="bowl"))])
    assert wants_again(rule(MUG), question, bowl, 0) == "the first bowl is there"
    spoon = TwinWindow([twin(0.0, thing(1), thing(2, label="spoon"))])
    assert wants_again(rule(MUG), question, spoon, 0) == ""
    guessed = rule(MUG, scene_of(TwinWindow([twin(0.0, thing(2, label="spoon"))])))
    assert wants_again(guessed, "tell me when a cup is there", spoon, 0) == "the first mug is there"


def test_plans_are_told_in_words() -> None:
    assert plan_in_words(MOVED) == "mug that moved"
    chain = [
        {"tool": "find", "words": ["mug", "glass"]},
        {"tool": "attribute", "ids": "$1", "name": "color", "value": "red"},
        {"tool": "find", "words": ["box"]},
        {"tool": "left_of", "ids": "$2", "of": "$3"},
        {"tool": "moved", "ids": "$4", "direction": "toward"},
    ]
    assert plan_in_words(chain) == "red mug or glass left of the box that moved toward the camera"
    assert plan_in_words([]) == "nothing"


def test_every_tool_has_words() -> None:
    values: dict[str, Any] = {"words": ["mug"], "by": "largest", "event": "moved", "k": 2}
    for name, tool in DEFAULT_REGISTRY.items():
        step = {"tool": name} | {
            p.name: "$1" if p.is_ids else values.get(p.name, "x") for p in tool.arguments
        }
        said = plan_in_words([{"tool": "find", "words": ["mug"]}, step])
        assert "mug" in said, name
        assert "_" not in said or name in ("visible_when",), name
