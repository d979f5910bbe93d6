# ruff: noqa: E402
"""What must not change a GRPO run: inserted tokens, accumulation, a kill; and what must stop it.

The same of supervised training is in test_stage_sft.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
for name in ("trl", "datasets", "yaml"):
    pytest.importorskip(name)

from safetensors.torch import load_file

from edgetwin.distill.stages.grpo import Asker, run_grpo, trainer_of
from edgetwin.distill.stages.policy import load_policy, prompt_ids
from edgetwin.distill.stages.recipe import GrpoRecipe
from edgetwin.distill.stages.watch import Watch
from edgetwin.distill.tasks.worlds import tasks_of
from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.twin.errors import TrainingError

# TRL and PEFT pass on names that transformers has replaced.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")

TIMES = {"seconds", "step_time"}


def recipe_of(**changes: Any) -> GrpoRecipe:
    record: dict[str, Any] = {
        "stage": "grpo",
        "model": {"source": "embedded"},
        "data": {"worlds": {"first": 60, "count": 3, "per_world": 2, "levels": [3, 4]}},
        "sampling": {"group": 4, "temperature": 1.6, "max_tokens": 48},
        "rewards": [{"name": "format"}, {"name": "accuracy"}],
        "optimiser": {"learning_rate": 1e-4, "warmup": 0.0, "schedule": "constant"},
        "steps": 2,
        "prompts": 2,
        "micro_batch": 8,
        "save_every": 2,
        "score_every": 1000,
        "score_worlds": 1,
    }
    return GrpoRecipe.model_validate({**record, **changes})


def trainer_on(recipe: GrpoRecipe, work: Path) -> tuple[Any, Asker]:
    """A trainer whose rewards differ within every group, so that every row has a gradient."""
    policy = load_policy(recipe.model, work)
    asker = Asker(recipe, policy, tasks_of(recipe.data, recipe.seed))
    asker.watch = Watch(work / "grpo", "grpo")
    trainer = trainer_of(recipe, policy, asker, work / "grpo", work, "cpu")
    trainer.reward_funcs = [lambda prompts, **_: [float(i % 2) for i in range(len(prompts))]]
    return trainer, asker


def lines(work: Path) -> list[dict[str, Any]]:
    text = (work / "grpo" / "curve.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def weights(work: Path) -> dict[str, Any]:
    return load_file(work / "grpo" / "model" / "model.safetensors")


def test_exactly_the_models_own_tokens_enter_the_loss(tmp_path: Path) -> None:
    trainer, asker = trainer_on(recipe_of(steps=1), tmp_path)
    ask, heard = trainer._get_per_token_logps_and_entropies, list[Any]()

    def spy(model: Any, ids: Any, mask: Any, after: int, *rest: Any, **more: Any) -> Any:
        found = ask(model, ids, mask, after, *rest, **more)
        if found[0].requires_grad:
            found[0].retain_grad()
            heard.append((ids[:, -after:], mask[:, -after:], found[0]))
        return found

    trainer._get_per_token_logps_and_entropies = spy
    trainer.train()
    ((ids, mask, logps),) = heard
    rollouts = {r.completion_ids: r for r in asker.last}
    inserted = own = entered = 0
    for row, there, grads in zip(ids, mask.bool(), logps.grad, strict=True):
        rollout = rollouts[tuple(row[there].tolist())]
        assert (grads[there] != 0).int().tolist() == list(rollout.env_mask)
        assert not grads[~there].any()
        own += sum(rollout.env_mask)
        inserted += len(rollout.env_mask) - sum(rollout.env_mask)
        entered += int((grads != 0).sum())
        assert rollout.tokens["own"] == sum(rollout.env_mask)
    assert entered == own > 0
    assert inserted > 0  # or the test says nothing


def test_accumulation_equals_a_larger_batch(tmp_path: Path) -> None:
    start = load_file(EMBEDDED / "model.safetensors")
    found = []
    for micro in (8, 2):
        work = tmp_path / str(micro)
        trainer, _ = trainer_on(recipe_of(micro_batch=micro), work)
        watch = Watch(work / "grpo", "grpo").attach(trainer)
        trainer.train()
        watch.close()
        found.append((lines(work), trainer.model.state_dict()))
    (one, whole), (two, parts) = found
    assert [row["grad_norm"] for row in one] == pytest.approx(
        [row["grad_norm"] for row in two], rel=1e-3, abs=1e-6
    )
    assert one[0]["grad_norm"] > 0.01
    moved = apart = 0.0
    for name, tensor in start.items():
        if tensor.ndim == 2 and name in whole:
            moved += float((whole[name] - tensor.float()).abs().sum())
            apart += float((whole[name] - parts[name]).abs().sum())
    assert moved > 0
    assert apart < 0.01 * moved


def command(work: Path, recipe: GrpoRecipe) -> list[str]:
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from edgetwin.distill.stages.grpo import run_grpo\n"
        "from edgetwin.distill.stages.recipe import GrpoRecipe\n"
        "recipe = GrpoRecipe.model_validate_json(sys.argv[2])\n"
        "run_grpo(recipe, Path(sys.argv[1]), device='cpu')\n"
    )
    return [sys.executable, "-c", code, str(work), recipe.model_dump_json()]


def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    recipe = recipe_of(steps=4)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    torch.set_num_threads(1)
    run_grpo(recipe, whole, device="cpu")
    process = subprocess.Popen(
        command(broken, recipe),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    curve = broken / "grpo" / "curve.jsonl"
    deadline = time.monotonic() + 240  # a busy machine
    while not curve.exists() or len(curve.read_text().splitlines()) < 4:  # steps 0 to 3
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (broken / "grpo" / "model").exists()
    assert (broken / "grpo" / "last" / "checkpoint-2").is_dir()
    run_grpo(recipe, broken, device="cpu")
    one, two = (
        [{k: v for k, v in row.items() if k not in TIMES} for row in lines(work)]
        for work in (whole, broken)
    )
    assert one == two
    assert any(row.get("grad_norm", 0) > 0 for row in one)
    a, b = weights(whole), weights(broken)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_loss_that_is_not_a_number_names_the_question(tmp_path: Path) -> None:
    recipe = recipe_of(steps=4, save_every=1)
    trainer, asker = trainer_on(recipe, tmp_path)
    chosen = [asker.tasks[int(row)] for row in asker.rows()[2:4]]  # of the second step
    prompts = [set(prompt_ids(asker.policy, task)) for task in chosen]
    token = min(prompts[1] - prompts[0])

    def poison(module: Any, given: Any, out: Any) -> Any:
        if not module.training or trainer.state.global_step < 1:
            return out
        return out.masked_fill((given[0] == token)[..., None], float("nan"))

    asker.policy.model.model.embed_tokens.register_forward_hook(poison)
    with pytest.raises(TrainingError, match="expected a finite loss, got nan at step 2") as error:
        trainer.train()
    assert f"on the sample {chosen[1].key}: " in str(error.value)
    kept = tmp_path / "grpo" / "last" / "checkpoint-1"
    assert f"the last good checkpoint is {kept}" in str(error.value)
    assert all(t.isfinite().all() for t in load_file(kept / "model.safetensors").values())
    assert all(t.isfinite().all() for t in asker.policy.model.state_dict().values())
