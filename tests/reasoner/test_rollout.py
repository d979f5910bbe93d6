from __future__ import annotations

import pytest

from edgetwin.reasoner.models.scripted import ScriptedModel
from edgetwin.reasoner.rollout import Budget, Reasoner
from edgetwin.twin.errors import QueryError
from edgetwin.twin.window import TwinWindow

from .conftest import make_object

FIND = (
    '<reason>mugs left of the box</reason><plan>[{"tool":"find","words":["mug"]},'
    '{"tool":"find","words":["box"]},{"tool":"left_of","ids":"$1","of":"$2"}]</plan>'
)


def test_whole_tool_loop(window: TwinWindow) -> None:
    model = ScriptedModel([FIND, "<answer>$3</answer>"])
    answer = Reasoner(model).answer("the mug left of the box?", window)
    assert (answer.status, answer.ids) == ("ok", [1])
    assert answer.rationale == "mugs left of the box"
    assert [step["tool"] for step in answer.plan] == ["find", "find", "left_of"]
    assert answer.results == [[1, 2], [3], [1]]
    assert model.appended == ["<results>[[1,2],[3],[1]]</results>"]
    assert answer.intervals == [(0.0, 1.0)]
    parts = ("prompt", "rationale", "description", "plan", "results", "answer")
    assert answer.tokens["total"] == sum(answer.tokens[part] for part in parts)
    assert answer.tokens["rationale"] == len("<reason>mugs left of the box</reason>")
    assert answer.tokens["answer"] == len("<answer>$3</answer>")
    assert answer.model == {"id": "scripted", "sha256": ""}
    assert answer.transcript == FIND + model.appended[0] + "<answer>$3</answer>"


def test_direct_answer(window: TwinWindow) -> None:
    model = ScriptedModel(["<reason>x</reason><answer>[2]</answer>"])
    answer = Reasoner(model).answer("blue mug", window)
    assert (answer.status, answer.ids, answer.plan) == ("ok", [2], [])


def test_none(window: TwinWindow) -> None:
    plan = '<reason>x</reason><plan>[{"tool":"find","words":["pan"]}]</plan>'
    model = ScriptedModel([plan, "<answer>$1</answer>"])
    answer = Reasoner(model).answer("a pan", window)
    assert (answer.status, answer.ids) == ("none", [])
    assert "no object of the twin fits" in answer.message
    said = ScriptedModel([plan, "<answer>none</answer>"])
    assert Reasoner(said).answer("a pan", window).status == "none"


def test_empty_twin_asks_no_model() -> None:
    model = ScriptedModel([])
    answer = Reasoner(model).answer("the mug", TwinWindow())
    assert answer.status == "none"
    assert model.prompts == []


def test_stale(window: TwinWindow) -> None:
    last = window.last
    assert last is not None
    gone = {**last.objects, 1: make_object(1, "mug", "red", 40, 120).model_copy(
        update={"state": "left", "mask": None}
    )}  # fmt: skip
    window.append(last.model_copy(update={"index": 9, "timestamp_s": 2.0, "objects": gone}))
    model = ScriptedModel(["<reason>x</reason><answer>[1]</answer>"])
    answer = Reasoner(model).answer("the red mug", window)
    assert (answer.status, answer.ids) == ("stale", [1])
    assert answer.intervals == [(0.0, 1.0)]
    assert "visible in the newest frame" in answer.message


def test_token_budget_ends_before_the_plan(window: TwinWindow) -> None:
    model = ScriptedModel([FIND])
    answer = Reasoner(model, budget=Budget(tokens=30)).answer("mug?", window)
    assert (answer.status, answer.ids) == ("error", [])
    assert "30 tokens" in answer.message


def test_token_budget_ends_after_the_plan(window: TwinWindow) -> None:
    model = ScriptedModel([FIND, "<answer>$3</answer>"])
    answer = Reasoner(model, budget=Budget(tokens=len(FIND) + 5)).answer("mug?", window)
    assert (answer.status, answer.ids) == ("partial", [1])
    assert "tokens ended before the answer" in answer.message


def test_round_budget(window: TwinWindow) -> None:
    model = ScriptedModel([FIND, FIND])
    answer = Reasoner(model, budget=Budget(tokens=1000)).answer("mug?", window)
    assert (answer.status, answer.ids) == ("partial", [1])
    assert "budget of 1 plans" in answer.message
    model = ScriptedModel([FIND, FIND, "<answer>$3</answer>"])
    answer = Reasoner(model, budget=Budget(tokens=1000, rounds=2)).answer("mug?", window)
    assert (answer.status, answer.ids) == ("ok", [1])


def test_time_budget(window: TwinWindow) -> None:
    answer = Reasoner(ScriptedModel([FIND]), budget=Budget(seconds=0.0)).answer("mug?", window)
    assert answer.status == "error"
    assert "budget of 0 s" in answer.message


def test_malformed_plan_is_mended_or_reported(window: TwinWindow) -> None:
    unclosed = '<reason>x</reason><plan>[{"tool":"find","words":["mug"]}'
    model = ScriptedModel([unclosed, "<answer>$1</answer>"])
    answer = Reasoner(model).answer("mugs", window)
    assert (answer.status, answer.ids) == ("ok", [1, 2])
    assert model.appended[0] == "]</plan>"
    assert answer.repairs == 2
    assert answer.transcript.startswith(unclosed + "]</plan><results>")
    strict = Reasoner(ScriptedModel([unclosed]), tolerant=False).answer("mugs", window)
    assert strict.status == "error"
    assert "</plan>" in strict.message
    hopeless = ["<plan>find it</plan>", "<plan>find it now</plan>"]
    answer = Reasoner(ScriptedModel(hopeless)).answer("mugs", window)
    assert (answer.status, answer.repairs) == ("error", 1)
    assert "find it'; asked again, then: expected a plan as a JSON list" in answer.message


def test_tool_error_is_reported(window: TwinWindow) -> None:
    plan = '<reason>x</reason><plan>[{"tool":"left_of","of":"$1"}]</plan>'
    answer = Reasoner(ScriptedModel([plan]), tolerant=False).answer("mugs", window)
    assert answer.status == "error"
    assert "earlier step" in answer.message
    assert answer.plan[0]["tool"] == "left_of"


def test_wrong_reference_and_unknown_id(window: TwinWindow) -> None:
    model = ScriptedModel([FIND, "<answer>$7</answer>"])
    answer = Reasoner(model, tolerant=False).answer("mugs", window)
    assert (answer.status, answer.ids) == ("error", [])
    assert "step that was not run" in answer.message
    model = ScriptedModel(["<reason>x</reason><answer>[9]</answer>"])
    answer = Reasoner(model, tolerant=False).answer("mugs", window)
    assert (answer.status, answer.ids) == ("error", [])


def test_rationale_without_end(window: TwinWindow) -> None:
    model = ScriptedModel(["<reason>hmm</reason>"])
    answer = Reasoner(model, tolerant=False).answer("mugs", window)
    assert answer.status == "error"
    assert "rationale only" in answer.message


def test_unknown_words_warn(window: TwinWindow) -> None:
    plan = '<reason>x</reason><plan>[{"tool":"find","words":["pan"]}]</plan>'
    model = ScriptedModel([plan, "<answer>$1</answer>"], known_words=["near", "where"])
    answer = Reasoner(model).answer("Where is the mug near the zeppelin?", window)
    assert answer.status == "none"
    assert answer.message == (
        "no object of the twin fits; this model set does not know: zeppelin; "
        "its answer may be wrong"
    )


def test_nothing_known_is_none_without_asking(window: TwinWindow) -> None:
    model = ScriptedModel([], known_words=["near"])
    answer = Reasoner(model).answer("Where is the zeppelin?", window)
    assert (answer.status, answer.ids, model.prompts) == ("none", [], [])
    assert "does not know: zeppelin" in answer.message


@pytest.mark.parametrize("query", ["", "  \n", "<>", "x" * 401])
def test_not_a_question(query: str, window: TwinWindow) -> None:
    with pytest.raises(QueryError):
        Reasoner(ScriptedModel([])).answer(query, window)
