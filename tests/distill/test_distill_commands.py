"""The commands of a distillation: what they take, what they run, what they say when they cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgetwin.cli import app
from edgetwin.distill.stages.commands import changes_of
from edgetwin.twin.errors import InputError


def said(*words: object) -> str:
    """What a command prints; raises what stopped it."""
    got = CliRunner().invoke(app, [str(word) for word in words])
    if got.exception is not None:
        raise got.exception
    return got.output


def test_changes_are_json_where_they_can_be() -> None:
    got = changes_of(
        ["steps=3", "model.source=stage:sft", "data.pass_rate=[0.1, 0.9]", "judge=null"]
    )
    assert got == {
        "steps": 3, "model.source": "stage:sft", "data.pass_rate": [0.1, 0.9], "judge": None,
    }  # fmt: skip
    assert changes_of(None) == {}
    with pytest.raises(InputError, match="--set steps=20"):
        changes_of(["steps"])


def test_a_stage_runs_once_and_says_what_it_did(tmp_path: Path) -> None:
    line = ["distill", "chains", "smoke", "--work", tmp_path / "work", "--device", "cpu"]
    line += ["--set", "model.source=embedded", "--set", "data.worlds.count=2"]
    line += ["--set", "data.worlds.per_world=4", "--set", "batch=8", "--seed", "3"]
    first = said(*line)
    assert "acceptance" in first
    assert "minutes" in first
    report = json.loads((tmp_path / "work" / "chains" / "report.json").read_text())
    assert report["items"] == 8
    assert "seed: 3" in (tmp_path / "work" / "chains" / "recipe.yaml").read_text()
    assert "was finished with this recipe" in said(*line)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["distill", "teacher", "nonsense"], "smoke"),
        (["distill", "sft", "smoke"], "edgetwin distill chains"),
        (["distill", "grpo", "smoke", "--set", "stepps=3"], "stepps"),
        (["distill", "grpo", "smoke", "--set", "steps"], "--set key=value"),
        (["distill", "reasoner", "smoke", "--set", "steps=3"], "<stage>"),
        (["distill", "ablate", "--only", "everything"], "expected rows among full"),
    ],
)
def test_what_cannot_be_is_told_with_the_next_step(
    tmp_path: Path, words: list[str], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        said(*words, "--work", tmp_path)


def test_a_folder_without_models_is_no_distillation(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="edgetwin distill reasoner"):
        said("eval", "distilled", tmp_path)


def test_estimate_says_memory_without_training() -> None:
    document = json.loads(said("distill", "estimate", "smoke", "--gpus", "1", "--json"))
    assert {"sft", "grpo"} <= {row["stage"] for row in document["stages"]}
