"""GRPO on twins: prompts read once give TRL's own numbers; groups, order, pass rates, what is written."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from edgetwin.distill.rollouts.engine import Engine
from edgetwin.distill.stages.grpo import Asker, passing, run_grpo, score_policy
from edgetwin.distill.stages.policy import Policy, load_policy, prompt_ids, save_policy
from edgetwin.distill.stages.recipe import (
    DataChoice,
    GrpoRecipe,
    LoraChoice,
    ModelChoice,
    RewardChoice,
    Sampling,
    WorldsChoice,
)
from edgetwin.distill.stages.trainer import SharedPromptTrainer, shared_prompt_logps
from edgetwin.distill.tasks.worlds import tasks_of
from edgetwin.twin.errors import InputError, ModelError

pytestmark = [
    # transformers warns about its own old names, which TRL passes on.
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
]


def recipe(**more: Any) -> GrpoRecipe:
    settings: dict[str, Any] = {
        "stage": "grpo",
        "model": ModelChoice(source="embedded"),
        "data": DataChoice(worlds=WorldsChoice(first=60, count=3, per_world=4)),
        "sampling": Sampling(group=4, temperature=1.2, max_tokens=64),
        "rewards": [RewardChoice(name="format"), RewardChoice(name="accuracy")],
        "steps": 2,
        "prompts": 2,
        "micro_batch": 8,
        "score_worlds": 1,
    }
    return GrpoRecipe(**{**settings, **more})


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.set_num_threads(1)
    return load_policy(ModelChoice(source="embedded"), Path("."))


def batch(policy: Policy) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Rollouts of three tasks, padded as TRL pads them."""
    tasks = tasks_of(recipe().data)[:3]
    rolled = Engine(policy, Sampling(temperature=1.2)).roll(tasks, 3, seed=1)
    longest = max(len(r.prompt_ids) for r in rolled)
    after = max(len(r.completion_ids) for r in rolled)
    ids = torch.full((len(rolled), longest + after), policy.eos)
    mask = torch.zeros_like(ids)
    for row, r in enumerate(rolled):
        first, last = longest - len(r.prompt_ids), longest + len(r.completion_ids)
        ids[row, first:last] = torch.tensor(r.prompt_ids + r.completion_ids)
        mask[row, first:last] = 1
    order = torch.tensor([4, 0, 8, 1, 5, 2, 7, 3, 6])  # TRL shuffles the rows
    return ids[order], mask[order], after


def test_reading_a_prompt_once_gives_the_same_numbers_and_gradients(policy: Policy) -> None:
    ids, mask, after = batch(policy)
    said = mask[:, -after:].bool()
    logps, entropies = shared_prompt_logps(policy.model, ids, mask, after, temperature=1.2)
    (logps * said).sum().backward()
    name = "model.layers.0.self_attn.k_proj.weight"
    shared = dict(policy.model.named_parameters())[name].grad.clone()
    policy.model.zero_grad()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    logits = policy.model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    plain = (logits[:, -after - 1 : -1] / 1.2).log_softmax(-1)
    wanted = plain.gather(-1, ids[:, -after:, None])[..., 0]
    (wanted * said).sum().backward()
    assert torch.allclose(logps[said], wanted[said], atol=1e-4)
    assert torch.allclose(entropies[said], -(plain.exp() * plain).sum(-1)[said], atol=1e-4)
    grad = dict(policy.model.named_parameters())[name].grad
    assert torch.allclose(shared, grad, atol=2e-3 * float(grad.abs().max()))
    policy.model.zero_grad()


def test_it_is_what_trl_computes(tmp_path: Path) -> None:
    import trl
    from datasets import Dataset

    policy = load_policy(ModelChoice(source="embedded"), tmp_path)
    ids, mask, after = batch(policy)
    trainer = SharedPromptTrainer(
        model=policy.model,
        processing_class=policy.tokenizer,
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            num_generations=2,
            per_device_train_batch_size=2,
            temperature=1.2,
            report_to="none",
        ),
        train_dataset=Dataset.from_dict({"prompt": ["0"]}),
        reward_funcs=lambda prompts, **_: [0.0] * len(prompts),
    )
    ask = trainer._get_per_token_logps_and_entropies
    with torch.no_grad():
        ours = ask(trainer.model, ids, mask, after, batch_size=5, compute_entropy=True)
        trls = trl.GRPOTrainer._get_per_token_logps_and_entropies(
            trainer, trainer.model, ids, mask, after, compute_entropy=True
        )
    said = mask[:, -after:].bool()
    assert torch.allclose(ours[0][said], trls[0][said], atol=1e-4)
    assert ours[1] is not None
    assert torch.allclose(ours[1][said], trls[1][said], atol=1e-4)


def test_a_run_writes_its_model_its_curve_and_what_it_did(tmp_path: Path) -> None:
    scores = run_grpo(recipe(beta=0.02), tmp_path, device="cpu")
    folder = tmp_path / "grpo"
    rows = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert "val/exact" in rows[0]
    for name in ("reward", "rewards/format", "rewards/accuracy", "kl", "tokens/rationale", "loss"):
        assert name in rows[1], name
    assert rows[-1]["val/exact"] == pytest.approx(scores["val/exact"], abs=1e-5)
    again = load_policy(ModelChoice(source="stage:grpo"), tmp_path)
    assert score_policy(again, 1) == scores
    assert again.sha256 != load_policy(ModelChoice(source="embedded"), tmp_path).sha256
    assert (folder / "recipe.yaml").read_text().startswith("model:")
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert samples
    assert all("<reason>" in row["text"] for row in samples)
    assert (folder / "card.md").is_file()


def test_questions_come_in_whole_groups_and_each_once_a_round(policy: Policy) -> None:
    told = recipe(steps=9)
    asker = Asker(told, policy, tasks_of(told.data))
    rows = asker.rows()
    assert len(rows) == 18
    assert sorted(rows[:12], key=int) == [str(i) for i in range(12)]
    assert rows == Asker(told, policy, tasks_of(told.data)).rows()
    step = SimpleNamespace(state=SimpleNamespace(global_step=0))
    with pytest.raises(InputError, match="whole groups of 4"):
        asker(["0", "0", "1", "1"], step)
    given = asker(["3"] * 4 + ["5"] * 4, step)
    assert [len(x) for x in given["env_mask"]] == [len(x) for x in given["completion_ids"]]
    assert [r.task.key for r in given["rollout"][::4]] == [asker.tasks[i].key for i in (3, 5)]
    assert len({tuple(x) for x in given["completion_ids"][:4]}) > 1 or given["logprobs"] is None


def test_only_questions_of_a_pass_rate_are_kept(policy: Policy) -> None:
    tasks = tasks_of(recipe().data)
    engine = Engine(policy, Sampling(temperature=1.5))
    everything = passing(engine, tasks, (0.0, 1.0), 4, seed=2)
    some = passing(engine, tasks, (0.1, 0.9), 4, seed=2)
    assert list(everything) == list(range(12))
    assert some == {i: r for i, r in everything.items() if 0.1 <= r <= 0.9}
    assert all(rate in (0, 0.25, 0.5, 0.75, 1) for rate in everything.values())


def test_nothing_to_learn_from_is_said(tmp_path: Path) -> None:
    easy = DataChoice(
        worlds=WorldsChoice(first=60, count=1, per_world=2), pass_rate=(0.4, 0.41), pass_samples=2
    )
    with pytest.raises(InputError, match=r"widen data\.pass_rate"):
        run_grpo(recipe(data=easy), tmp_path, device="cpu")


def test_an_adapter_is_merged_and_kept(tmp_path: Path) -> None:
    widths = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    lora = ModelChoice(source="scratch", widths=widths, lora=LoraChoice(r=4, alpha=8))
    policy = load_policy(lora, tmp_path)
    trained = [n for n, p in policy.model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    ids = torch.tensor([policy.encode("twin\n")])
    wanted = policy.model(input_ids=ids).logits
    save_policy(policy, tmp_path / "grpo" / "model")
    merged = load_policy(ModelChoice(source="stage:grpo"), tmp_path)
    assert torch.allclose(merged.model(input_ids=ids).logits, wanted, atol=1e-4)
    assert (tmp_path / "grpo" / "adapter" / "adapter_model.safetensors").is_file()


def test_bfloat16_keeps_the_parameters_whole(tmp_path: Path) -> None:
    policy = load_policy(ModelChoice(source="embedded", dtype="bf16"), tmp_path)
    assert {p.dtype for p in policy.model.parameters()} == {torch.float32}
    frozen = load_policy(ModelChoice(source="embedded", dtype="bf16"), tmp_path, trained=False)
    assert {p.dtype for p in frozen.model.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in frozen.model.parameters())
    with policy.computing():
        logits = policy.model(input_ids=torch.tensor([[1, 2]])).logits
    assert logits.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("stage:teacher", "run 'edgetwin distill teacher'"),
        ("Qwen/Qwen3-0.6B", "named with its commit"),
        ("nowhere", "expected embedded, scratch"),
    ],
)
def test_a_model_that_is_not_there_says_how_to_get_it(
    source: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=told):
        load_policy(ModelChoice(source=source), tmp_path)


def test_prompts_of_a_caption_are_other_prompts(policy: Policy) -> None:
    from dataclasses import replace

    task = tasks_of(recipe().data)[0]
    assert prompt_ids(replace(policy, view="caption"), task) != prompt_ids(policy, task)
