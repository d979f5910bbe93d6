"""The recipes for Qwen3: the paper's numbers, checked parts, pinned checkpoints, 24 GB."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
yaml = pytest.importorskip("yaml")

from edgetwin.distill.judges.endpoint import EndpointOptions  # noqa: E402
from edgetwin.distill.rewards.choose import REWARDS  # noqa: E402
from edgetwin.distill.stages.estimate import estimate_set  # noqa: E402
from edgetwin.distill.stages.launch import batch_problem  # noqa: E402
from edgetwin.distill.stages.policy import load_policy  # noqa: E402
from edgetwin.distill.stages.recipe import (  # noqa: E402
    RECIPES,
    STAGES,
    ModelChoice,
    Stage,
    load_recipe,
    write_recipe,
)
from edgetwin.distill.stages.shapes import QWEN3  # noqa: E402
from edgetwin.twin.errors import ModelError  # noqa: E402

SETS = ("qwen3-0.6b", "qwen3-1.7b", "qwen3-8b")
EVERY = [(name, stage) for name in SETS for stage in STAGES]


@pytest.mark.parametrize(("name", "stage"), EVERY)
def test_a_recipe_is_read_and_written_with_its_defaults(
    name: str, stage: Stage, tmp_path: Path
) -> None:
    recipe = load_recipe(name, stage)
    write_recipe(recipe, tmp_path / "written.yaml")
    assert load_recipe(tmp_path / "written.yaml", stage) == recipe


@pytest.mark.parametrize("name", SETS)
def test_the_papers_numbers(name: str) -> None:
    """FastReasonSeg, section 4."""
    made: dict[str, Any] = {stage: load_recipe(name, stage) for stage in STAGES}
    for stage in ("teacher", "sft", "grpo"):
        model = made[stage].model
        assert (model.lora.r, model.lora.alpha, model.dtype) == (64, 128, "fp16")
        assert batch_problem(made[stage], 8) == ""
    for stage in ("teacher", "grpo"):
        recipe, choice = made[stage], made[stage].optimiser
        assert (choice.learning_rate, choice.warmup, choice.schedule) == (4e-5, 0.1, "cosine")
        assert recipe.prompts * recipe.sampling.group == 512
        assert recipe.micro_batch * 8 * 64 == 512  # 8 GPUs, 64 accumulated
    sft = made["sft"]
    assert (sft.optimiser.learning_rate, sft.optimiser.weight_decay) == (5e-5, 0.01)
    assert (sft.epochs, sft.batch) == (3, 512)
    assert made["chains"].keep_iou == 0.7
    weights = {reward.name: reward.weight for reward in made["grpo"].rewards}
    assert weights == {"format": 1, "accuracy": 1, "judged": 0.5, "guards": 1}
    assert {reward.name for reward in made["teacher"].rewards} == {"format", "accuracy", "guards"}
    judge = EndpointOptions.model_validate(made["grpo"].judge.options)
    assert (judge.temperature, judge.max_tokens) == (0.3, 512)
    assert judge.budget_requests is not None
    assert judge.budget_requests >= made["grpo"].steps * 512


@pytest.mark.parametrize("name", SETS)
def test_stages_hang_together(name: str) -> None:
    made: dict[str, Any] = {stage: load_recipe(name, stage) for stage in STAGES}
    assert made["chains"].model.source == "stage:teacher"
    assert made["sft"].chains == "stage:chains"
    assert made["grpo"].model.source == "stage:sft"
    assert len({(made[s].model.style, made[s].model.layout) for s in STAGES}) == 1
    asked = {s: made[s].sampling.max_tokens for s in ("teacher", "chains", "grpo")}
    assert len(set(asked.values())) == 1
    assert {r.name for s in ("teacher", "grpo") for r in made[s].rewards} <= set(REWARDS)
    worlds = [made[s].data.worlds for s in ("teacher", "grpo")]
    assert worlds[0].first + worlds[0].count <= worlds[1].first, "GRPO asks what chains taught"


@pytest.mark.parametrize("name", SETS)
def test_checkpoints_are_pinned_and_known(name: str) -> None:
    size = name.partition("-")[2].upper()
    for stage, wanted in (("teacher", "8B"), ("sft", size)):
        model, _, commit = load_recipe(name, stage).model.source.partition("@")
        assert model == f"Qwen/Qwen3-{wanted}"
        assert model in QWEN3
        assert re.fullmatch(r"[0-9a-f]{40}", commit)


def test_a_checkpoint_without_a_commit_is_refused_with_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="named with its commit"):
        load_policy(ModelChoice(source="Qwen/Qwen3-0.6B"), tmp_path)


def test_one_teacher_for_all_sets() -> None:
    teachers = [load_recipe(name, "teacher") for name in SETS]
    assert teachers[0] == teachers[1] == teachers[2]


@pytest.mark.parametrize(("name", "stage"), EVERY)
def test_every_number_says_where_it_comes_from(name: str, stage: Stage) -> None:
    """Numbers in the body of a recipe have a comment, except seeds of worlds and book-keeping."""
    text = (RECIPES / name / f"{stage}.yaml").read_text()
    assert text.startswith("# FastReasonSeg")
    free = ("worlds:", "save_every", "score_every", "source:", "url:", "model: gpt")
    for line in text.splitlines():
        if line.lstrip().startswith("#") or any(word in line for word in free):
            continue
        body, _, comment = line.partition("#")
        if re.search(r"\d", body.replace("fp16", "")):
            assert comment.strip(), f"no source for: {line}"


@pytest.mark.parametrize("name", SETS)
def test_the_papers_gpus_are_enough(name: str) -> None:
    found = {(one.stage, one.launch): one for one in estimate_set(name, gpus=8)}
    assert found["teacher", "ddp"].fits(24)
    assert found["chains", "ddp"].fits(24)
    assert found["grpo", "ddp"].fits(24)
    # The 8B with whole gradients on every GPU is just above; divided they fit.
    assert found["sft", "zero2"].fits(24)
