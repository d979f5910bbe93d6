"""The judge of a recipe: which, from what, and what a recipe may get wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgetwin.distill.judges.choose import judge_of, teacher_chains
from edgetwin.distill.judges.endpoint import EndpointJudge
from edgetwin.distill.judges.local import LocalJudge
from edgetwin.distill.stages.policy import load_policy
from edgetwin.distill.stages.recipe import JudgeChoice, ModelChoice
from edgetwin.tests.reasoner.loopback import said, serving
from edgetwin.twin.errors import InputError, ModelError

from .judged import rollout, text_of

EMBEDDED = ModelChoice(source="embedded")
FEW: dict[str, Any] = {"tasks": 40, "samples": 1, "first": 470_000}


def chains(work: Path, *lines: dict[str, Any]) -> None:
    path = work / "chains" / "chains.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def line(text: str, iou: float = 1.0, **more: Any) -> dict[str, Any]:
    known = {"key": "t", "question": "the red mug", "ending": "answered"}
    return {**known, "text": text, "iou": iou, **more}


def test_an_endpoint_compares_with_the_teachers_chains(tmp_path: Path) -> None:
    chains(tmp_path, line(text_of("Teacher."), 0.9))
    with serving(lambda _: said('{"score": 5}')) as server:
        options = {"model": "tiny", "temperature": 0.1}
        choice = JudgeChoice(kind="endpoint", url=server.url, options=options)
        judge = judge_of(choice, tmp_path)
        assert judge.score([rollout()]) == [0.5]
    assert isinstance(judge, EndpointJudge)
    body = server.asked[0].body
    assert (body["model"], body["temperature"]) == ("tiny", 0.1)
    assert json.loads(body["messages"][1]["content"])["teacher"]["rationale"] == "Teacher."
    assert (tmp_path / "judge" / "scores.sqlite").is_file()


def test_the_best_right_chain_of_a_question_is_the_teachers(tmp_path: Path) -> None:
    assert teacher_chains(tmp_path) == {}
    chains(
        tmp_path,
        line("good", 0.8),
        line("better", 0.9),
        line("worse", 0.85),
        line("low", 0.6, key="u"),
        line("cut", 0.0, key="v", ending="cut"),
        line("other", 1.0, question="the box"),
    )
    assert teacher_chains(tmp_path) == {("t", "the red mug"): "better", ("t", "the box"): "other"}
    (tmp_path / "chains" / "chains.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="line 1"):
        teacher_chains(tmp_path)


def test_a_local_judge_is_calibrated_once(tmp_path: Path) -> None:
    choice = JudgeChoice(kind="local", model=EMBEDDED, options=FEW)
    judge = judge_of(choice, tmp_path)
    assert isinstance(judge, LocalJudge)
    kept = tmp_path / "judge" / "calibration.json"
    before = kept.stat().st_mtime_ns
    teacher = load_policy(EMBEDDED, tmp_path, trained=False)
    again = judge_of(JudgeChoice(kind="local", options=FEW), tmp_path, teacher)
    assert kept.stat().st_mtime_ns == before
    assert again.score([rollout()]) == judge.score([rollout()])
    elsewhere = {**FEW, "calibration": str(kept)}
    third = judge_of(JudgeChoice(kind="local", options=elsewhere), tmp_path / "x", teacher)
    assert third.score([rollout()]) == judge.score([rollout()])
    assert not (tmp_path / "x").exists()


def test_a_teacher_that_has_learnt_nothing_is_refused(tmp_path: Path) -> None:
    scratch = ModelChoice(source="scratch", widths={"num_hidden_layers": 1, "hidden_size": 64})
    few = {"tasks": 40, "samples": 1}
    with pytest.raises(ModelError, match="has learnt the task"):
        judge_of(JudgeChoice(kind="local", model=scratch, options=few), tmp_path)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"kind": "local"}, "expected a model"),
        ({"kind": "endpoint", "options": {"model": "x"}}, "expected url"),
        ({"kind": "endpoint", "url": "http://localhost:1/v1"}, "expected url and options.model"),
        ({"kind": "local", "options": {"temperature": 1}}, "options.temperature"),
        ({"kind": "endpoint", "url": "http://x/v1", "options": {"budget": 1}}, "budget_requests"),
        ({"kind": "endpoint", "options": {"concurrency": 0}}, "options.concurrency"),
    ],
)
def test_what_a_recipe_may_get_wrong(tmp_path: Path, choice: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        judge_of(JudgeChoice.model_validate(choice), tmp_path)
    assert message in str(error.value)
