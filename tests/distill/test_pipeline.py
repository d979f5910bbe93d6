"""A recipe stage by stage: order, what is skipped, resumed and made anew, and the real stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from edgetwin.distill.evaluate.distilled import questions_of
from edgetwin.distill.stages.after import finish, measure_stages
from edgetwin.distill.stages.pipeline import (
    Runner,
    digest_of,
    finished_of,
    inputs_of,
    recipes_of,
    run_recipe,
    run_stage,
    stage_table,
)
from edgetwin.distill.stages.recipe import STAGES, Stage, load_recipe
from edgetwin.twin.errors import InputError

# transformers 5.23 warns of its own deprecated names when a trainer sets them
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")

TINY = {
    "teacher": """
stage: teacher
model: {source: embedded}
data: {worlds: {first: 100000, count: 4, per_world: 4}}
sampling: {group: 2, max_tokens: 64}
rewards: [{name: format}, {name: accuracy}]
steps: 1
prompts: 2
micro_batch: 4
score_every: 100
score_worlds: 1
""",
    "chains": """
stage: chains
model: {source: "stage:teacher"}
data: {worlds: {first: 100100, count: 6, per_world: 6}}
sampling: {group: 1, temperature: 0.0, max_tokens: 96}
batch: 36
""",
    "sft": """
stage: sft
model:
  source: scratch
  widths: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2,
    num_key_value_heads: 1, head_dim: 16}
method: packed
epochs: 2
score_every: 100
score_worlds: 1
options: {compile: false, bfloat16: false}
""",
    "grpo": """
stage: grpo
model: {source: "stage:sft"}
data: {worlds: {first: 100200, count: 4, per_world: 4}}
sampling: {group: 2, max_tokens: 24}
rewards: [{name: format}, {name: accuracy}]
steps: 1
prompts: 2
micro_batch: 4
score_every: 100
score_worlds: 1
""",
}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A set of recipes of a few seconds."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for stage, text in TINY.items():
        (folder / f"{stage}.yaml").write_text(text)
    return folder


class Stages:
    """Stages that note how they were called; ``stop`` is raised in once."""

    def __init__(self, stop: Stage | None = None) -> None:
        self.calls: list[tuple[Stage, bool]] = []
        self.stop = stop

    @property
    def runners(self) -> dict[Stage, Runner]:
        return {stage: self._runner(stage) for stage in STAGES}

    def _runner(self, stage: Stage) -> Runner:
        def run(recipe: Any, work: Path, *, device: str, resume: bool) -> dict[str, float]:
            self.calls.append((stage, resume))
            if self.stop == stage:
                self.stop = None
                raise KeyboardInterrupt
            return {"seed": recipe.seed}

        return run


@pytest.mark.parametrize("name", ["smoke", "ablation"])
def test_sets_of_the_package_are_valid_and_complete(name: str) -> None:
    recipes = recipes_of(name)
    assert tuple(recipes) == STAGES
    digests: dict[Stage, str] = {}
    for stage, recipe in recipes.items():
        digests[stage] = digest_of(recipe, digests)
    assert len(set(digests.values())) == 4
    assert inputs_of(recipes["chains"]) == ("teacher",)
    assert inputs_of(recipes["sft"]) == ("chains",)
    assert inputs_of(recipes["grpo"]) == ("teacher", "sft")  # the teacher judges


def test_changes_are_named_by_stage(tiny: Path) -> None:
    found = recipes_of(tiny, {"grpo.steps": 7, "sft.options.flat": 0.2}, seed=5)
    assert found["grpo"].steps == 7  # type: ignore[union-attr]
    assert found["sft"].options["flat"] == 0.2  # type: ignore[union-attr]
    assert {recipe.seed for recipe in found.values()} == {5}
    with pytest.raises(InputError, match=r"expected <stage>\.<key>"):
        recipes_of(tiny, {"steps": 7})
    (tiny / "teacher.yaml").unlink()
    assert tuple(recipes_of(tiny)) == ("chains", "sft", "grpo")
    with pytest.raises(InputError, match="changes of the stages chains, sft, grpo, got teacher"):
        recipes_of(tiny, {"teacher.steps": 7})
    with pytest.raises(InputError, match="one of ablation"):
        recipes_of(tiny / "nowhere")


def test_digest_follows_what_changes_the_result(tiny: Path) -> None:
    chains = load_recipe(tiny, "chains")
    one = digest_of(chains, {"teacher": "a"})
    assert one == digest_of(chains.model_copy(update={"workers": 4}), {"teacher": "a"})
    assert one == digest_of(chains, {"teacher": "a", "sft": "not read"})
    assert one != digest_of(chains, {"teacher": "b"})
    assert one != digest_of(chains.model_copy(update={"seed": 1}), {"teacher": "a"})
    assert one != digest_of(chains, {"teacher": "a"}, "converted")
    with pytest.raises(InputError, match="run 'edgetwin distill teacher'"):
        digest_of(chains, {})
    model = tiny / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"one")
    sft = load_recipe(tiny, "sft", {"model.source": str(model)})
    before = digest_of(sft, {"chains": "a"})
    (model / "model.safetensors").write_bytes(b"two")
    assert digest_of(sft, {"chains": "a"}) != before  # other weights in the same place


def test_every_stage_once_then_skipped(tiny: Path, tmp_path: Path) -> None:
    stages, work = Stages(), tmp_path / "work"
    first = run_recipe(tiny, work, runners=stages.runners)
    assert [done.stage for done in first] == list(STAGES)
    assert all(done.ran for done in first)
    again = run_recipe(tiny, work, runners=stages.runners)
    assert not any(done.ran for done in again)
    assert [stage for stage, _ in stages.calls] == list(STAGES)
    assert again[3].figures == {"seed": 0.0}
    run_recipe(tiny, work, resume=False, runners=stages.runners)
    assert stages.calls[4:] == [(stage, False) for stage in STAGES]


def test_a_stopped_stage_is_resumed_and_those_before_it_are_not_run(
    tiny: Path, tmp_path: Path
) -> None:
    stages, work = Stages(stop="sft"), tmp_path / "work"
    with pytest.raises(KeyboardInterrupt):
        run_recipe(tiny, work, runners=stages.runners)
    assert finished_of(work, "chains") is not None
    assert finished_of(work, "sft") is None
    run_recipe(tiny, work, runners=stages.runners)
    wanted = [("teacher", False), ("chains", False), ("sft", False), ("sft", True), ("grpo", False)]
    assert stages.calls == wanted


def test_a_changed_recipe_makes_its_stage_and_all_after_it_anew(tiny: Path, tmp_path: Path) -> None:
    stages, work = Stages(), tmp_path / "work"
    run_recipe(tiny, work, runners=stages.runners)
    stages.calls.clear()
    done = run_recipe(tiny, work, changes={"chains.keep_iou": 0.5}, runners=stages.runners)
    assert [one.ran for one in done] == [False, True, True, True]
    assert stages.calls == [("chains", False), ("sft", False), ("grpo", False)]
    stages.calls.clear()
    run_recipe(
        tiny, work, changes={"grpo.steps": 2, "chains.keep_iou": 0.5}, runners=stages.runners
    )
    assert stages.calls == [("grpo", False)]


def test_a_single_stage_wants_what_it_reads(tiny: Path, tmp_path: Path) -> None:
    stages = Stages()
    recipe = load_recipe(tiny, "sft")
    with pytest.raises(InputError, match="run 'edgetwin distill chains' with the same --work"):
        run_stage(recipe, tmp_path, runner=stages.runners["sft"])
    (tmp_path / "chains").mkdir()
    done = {"digest": "d", "seconds": 1, "figures": {}}
    (tmp_path / "chains" / "done.json").write_text(json.dumps(done))
    assert run_stage(recipe, tmp_path, runner=stages.runners["sft"]).ran
    (tmp_path / "sft" / "done.json").write_text("{")  # a torn file is no result
    assert run_stage(recipe, tmp_path, runner=stages.runners["sft"]).ran
    assert stages.calls == [("sft", False), ("sft", True)]


def test_table_has_acceptance_minutes_and_scores(tiny: Path, tmp_path: Path) -> None:
    finished = run_recipe(tiny, tmp_path, runners=Stages().runners)
    (tmp_path / "chains").mkdir(exist_ok=True)
    (tmp_path / "chains" / "report.json").write_text('{"acceptance": 0.9, "kept": 30}')
    group = {"exact": 0.75, "rationale_tokens": 9.0, "generated_tokens": 30.0}
    table = stage_table(tmp_path, finished, {"sft": {"groups": {"all": group}}})
    assert [row[0] for row in table.rows] == list(STAGES)
    assert table.rows[1][3:5] == (0.9, 30)
    assert table.rows[2][5:] == (0.75, 9.0, 30.0)
    assert table.rows[3][5:] == (None, None, None)


def test_the_whole_recipe_with_the_real_stages(tiny: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    work = tmp_path / "work"
    try:
        finished = run_recipe(tiny, work, device="cpu")
        again = run_recipe(tiny, work, device="cpu")
        table = finish(work, again, device="cpu", worlds=1, render=False, export=False)
        scores = json.loads((work / "scores.json").read_text())
        asked = questions_of("val", "cell", 1, render=False)
        cached = measure_stages(work, asked, device="cpu")
    finally:
        torch.set_num_threads(threads)
    assert all(done.ran for done in finished)
    assert not any(done.ran for done in again)
    for stage in ("teacher", "sft", "grpo"):
        assert (work / stage / "model" / "model.safetensors").is_file()
        assert (work / stage / "curve.jsonl").read_text().count("\n") >= 1
        assert (work / stage / "card.md").is_file()
    report = json.loads((work / "chains" / "report.json").read_text())
    assert report["kept"] > 18  # the shipped reasoner answers most of 36
    assert [row[0] for row in table.rows] == list(STAGES)
    assert table.rows[1][4] == report["kept"]
    exact = table.rows[0][5]
    assert isinstance(exact, float)
    assert exact >= 0.5  # the teacher, a step away from the shipped reasoner
    assert cached == scores
