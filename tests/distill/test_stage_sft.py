# ruff: noqa: E402
"""Supervised training on chains: what is learnt, in what tokens, and where it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
pytest.importorskip("datasets")
pytest.importorskip("yaml")

from safetensors.torch import load_file

from edgetwin.distill.reasoner.encoding import encode
from edgetwin.distill.reasoner.packing import EAGER
from edgetwin.distill.reasoner.records import Cursor, Example, read
from edgetwin.distill.reasoner.sft_train import Settings, Trainer
from edgetwin.distill.sim.questions.restricted import TRAINED
from edgetwin.distill.stages import sft
from edgetwin.distill.stages.policy import Policy, load_policy, prompt_ids, prompt_texts
from edgetwin.distill.stages.recipe import ModelChoice, Sampling, SftRecipe, WorldsChoice
from edgetwin.distill.stages.sft import chains_of, run_sft, shuffled
from edgetwin.distill.stages.sft_trl import arguments, gathered, is_divided, rows_of, trainer_of
from edgetwin.distill.tasks.task import Task
from edgetwin.distill.tasks.worlds import Worlds
from edgetwin.reasoner.prompts import system
from edgetwin.twin.errors import InputError, ModelError, TrainingError

# PEFT asks transformers for a name that it has replaced.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}
SHORT = Sampling(max_tokens=8)  # untrained networks never end by themselves
MODEL: dict[str, Any] = {"source": "scratch", "widths": TINY}
PACKED = {"bfloat16": False, "compile": False, "warm_steps": 2, "dropout_merges": 0.1}


def recipe_of(**changes: Any) -> SftRecipe:
    record: dict[str, Any] = {
        "stage": "sft",
        "model": MODEL,
        "method": "trl",
        "epochs": 2.0,
        "batch": 4,
        "micro_batch": 2,
        "save_every": 2,
        "score_every": 1000,
        "score_worlds": 1,
        "optimiser": {"learning_rate": 1e-3, "warmup": 0.0},
    }
    return SftRecipe.model_validate({**record, **changes})


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sft, "SCORED", SHORT)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(ModelChoice(**MODEL), Path())


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    found = Worlds(WorldsChoice(count=3, per_world=4, modes=["concise", "detailed"]), seed=1)
    return [task for task in found if task.reference is not None]


def examples_of(policy: Policy, tasks: list[Task]) -> list[Example]:
    """Tasks with their references as chains that were kept."""
    head = system(TRAINED, policy.style, policy.layout)
    found: dict[str, Example] = {}
    for task in tasks:
        twin = prompt_texts(policy, task)[0].removeprefix(head)
        items = found[twin].items if twin in found else ()
        assert task.reference is not None
        found[twin] = Example(len(found), twin, (*items, task.reference))
    return list(found.values())


@pytest.fixture
def work(tmp_path: Path, policy: Policy, tasks: list[Task]) -> Path:
    return filled(tmp_path, examples_of(policy, tasks))


def filled(work: Path, examples: list[Example]) -> Path:
    (work / "chains").mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(asdict(example)) + "\n" for example in examples)
    (work / "chains" / "kept.jsonl").write_text(lines)
    return work


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights(work: Path) -> dict[str, Any]:
    return load_file(work / "sft" / "model" / "model.safetensors")


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("style", ["short", "long"])
def test_prompts_have_exactly_the_tokens_of_inference(tasks: list[Task], style: str) -> None:
    policy = load_policy(ModelChoice(**MODEL, style=style, layout="full"), Path())
    policy.model.config.max_position_embeddings = 4096  # the long style alone has 1,600 tokens
    whole = [task for task in tasks if task.whole is None]
    rows, names = rows_of(policy, examples_of(policy, whole))
    by_prompt = {tuple(prompt_ids(policy, task)): task for task in whole}
    assert len(rows) == len(names) == len(whole)
    for row in rows:
        given = next(n for n, label in enumerate(row["labels"]) if label != -100)
        task = by_prompt[tuple(row["input_ids"][:given])]
        assert task.reference is not None
        said = policy.decode([i for i in row["labels"] if i != -100])
        assert said.startswith(f"<reason>{task.reference.reason}</reason>")
        assert said.endswith(f"<answer>{task.reference.answer}</answer>")


def test_environment_tokens_have_no_loss(policy: Policy, tasks: list[Task], work: Path) -> None:
    examples = examples_of(policy, tasks)
    rows, _ = rows_of(policy, examples)
    own = 0
    for row, item in zip(rows, (i for e in examples for i in e.items), strict=True):
        learnt = [i for i, label in zip(row["input_ids"], row["labels"], strict=True) if label >= 0]
        text = policy.decode(learnt)
        assert "<results>" not in text
        assert "question:" not in text
        wanted = f"<reason>{item.reason}</reason>"
        wanted += f"<describe>{item.describe}</describe>" if item.describe else ""
        wanted += f"<plan>{item.plan}</plan>" if item.plan else ""
        assert text == f"{wanted}<answer>{item.answer}</answer>"
        assert learnt[-1] == policy.eos
        own += len(learnt)
    # what enters TRL's loss is what carries gradient: count it there too
    trainer = trainer_of(recipe_of(batch=2), policy, examples, work / "sft")
    counted = 0
    for batch in trainer.get_train_dataloader():
        batch.pop("row")
        out = trainer.model(**batch, fused_lm_head=True)
        counted += int((out.log_probs != 0).sum())
    assert counted == own


def test_accumulation_equals_a_larger_batch(tmp_path: Path, policy: Policy, tasks: Any) -> None:
    examples = examples_of(policy, tasks)
    found = []
    for micro in (1, 2, 4):
        work = filled(tmp_path / str(micro), examples)
        run_sft(recipe_of(micro_batch=micro, epochs=1.0), work, device="cpu")
        losses = [row["loss"] for row in lines(work / "sft" / "curve.jsonl")]
        found.append((losses, weights(work)))
    assert len(found[0][0]) == 3
    assert len(set(found[0][0])) == 3
    for losses, tensors in found[1:]:
        assert losses == pytest.approx(found[0][0], rel=1e-5)
        for name, tensor in tensors.items():
            assert torch.allclose(tensor, found[0][1][name], atol=2e-5), name


def command(work: Path, recipe: SftRecipe) -> list[str]:
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from edgetwin.distill.stages import sft\n"
        "from edgetwin.distill.stages.recipe import Sampling, SftRecipe\n"
        "sft.SCORED = Sampling(max_tokens=8)\n"
        "recipe = SftRecipe.model_validate_json(sys.argv[2])\n"
        "sft.run_sft(recipe, Path(sys.argv[1]), device='cpu')\n"
    )
    return [sys.executable, "-c", code, str(work), recipe.model_dump_json()]


@pytest.mark.parametrize("method", ["trl", "packed"])
def test_killed_and_resumed_equals_uninterrupted(
    tmp_path: Path, policy: Policy, tasks: Any, method: str
) -> None:
    examples = examples_of(policy, tasks)
    recipe = recipe_of(method=method, epochs=3.0, options=PACKED, save_every=3)
    if method == "trl":
        recipe = recipe.model_copy(update={"options": {}})
    whole, broken = (filled(tmp_path / name, examples) for name in ("whole", "broken"))
    run_sft(recipe, whole, device="cpu")
    process = subprocess.Popen(
        command(broken, recipe),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    curve = broken / "sft" / "curve.jsonl"
    deadline = time.monotonic() + 240  # a busy machine
    while not curve.exists() or len(curve.read_text().splitlines()) < 5:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (broken / "sft" / "result.json").exists()
    assert any((broken / "sft" / "last").iterdir())
    run_sft(recipe, broken, device="cpu")
    one, two = (lines(w / "sft" / "curve.jsonl") for w in (whole, broken))
    assert [(r["step"], r.get("loss")) for r in one] == [(r["step"], r.get("loss")) for r in two]
    assert same(weights(whole), weights(broken))


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_a_number_names_the_question(work: Path, tasks: Any, what: str) -> None:
    recipe = recipe_of(save_every=1, epochs=3.0)
    policy = load_policy(recipe.model, work)
    examples = examples_of(policy, tasks)
    rows, names = rows_of(policy, examples)
    token, guilty = sole_token(rows)
    trainer = trainer_of(recipe, policy, examples, work / "sft")

    def poison(module: Any, given: Any, out: Any) -> Any:
        hit = (given[0] == token)[..., None]
        if trainer.state.global_step < 2:
            return out
        if what == "loss":
            return out.masked_fill(hit, float("nan"))
        out.register_hook(lambda grad: grad.masked_fill(hit, float("inf")))
        return out

    policy.model.model.embed_tokens.register_forward_hook(poison)
    with pytest.raises(TrainingError, match=f"expected a finite {what}") as error:
        trainer.train()
    assert f"on the sample {names[guilty].key}: " in str(error.value)
    assert names[guilty].text[:40] in str(error.value)
    kept = work / "sft" / "last" / f"checkpoint-{trainer.state.global_step}"
    assert f"the last good checkpoint is {kept}" in str(error.value)
    assert all(t.isfinite().all() for t in load_file(kept / "model.safetensors").values())
    assert all(t.isfinite().all() for t in policy.model.state_dict().values())


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_the_packed_loop_names_the_question_too(policy: Policy, tasks: Any, what: str) -> None:
    policy = load_policy(ModelChoice(**MODEL), Path())
    example = examples_of(policy, tasks)[0]
    tokenizer = policy.tokenizer.backend_tokenizer
    settings = Settings(**{**PACKED, "dropout_merges": 0.0})
    trainer = Trainer(tokenizer, shuffled([example], 0), settings, "cpu", model=policy.model)
    trainer.step(0.0)
    before = {k: v.clone() for k, v in policy.model.state_dict().items()}
    pack = encode(tokenizer, example)
    items = [set(item.ids) for item in pack.items]
    others = [set(pack.prefix).union(*items[:n], *items[n + 1 :]) for n in range(len(items))]
    guilty = next(n for n in range(1, len(items)) if items[n] - others[n])
    token = min(items[guilty] - others[guilty])

    def poisoned(hidden: Any, *rest: Any) -> Any:
        row = policy.model.model.embed_tokens.weight[token]
        hit = (hidden == row).all(-1, keepdim=True).detach()
        if what == "loss":
            return EAGER.project(hidden.masked_fill(hit, float("nan")), *rest)
        hidden = hidden * 1.0
        hidden.register_hook(lambda grad: grad.masked_fill(hit, float("inf")))
        return EAGER.project(hidden, *rest)

    trainer.kernels = EAGER._replace(project=poisoned)
    with pytest.raises(TrainingError, match="expected a finite loss and gradient") as error:
        trainer.step(0.0)
    assert repr(example.items[guilty].question) in str(error.value)
    assert trainer.steps == 1
    assert same(before, policy.model.state_dict())


def sole_token(rows: list[dict[str, Any]]) -> tuple[int, int]:
    """A token that only one row has, and that row."""
    where: dict[int, set[int]] = {}
    for number, row in enumerate(rows):
        for token in row["input_ids"]:
            where.setdefault(token, set()).add(number)
    return next((token, next(iter(found))) for token, found in where.items() if len(found) == 1)


def test_chains_are_found_and_a_run_of_others_is_refused(
    work: Path, policy: Policy, tasks: Any
) -> None:
    recipe = recipe_of(epochs=1.0, batch=16, micro_batch=4)
    first = run_sft(recipe, work, device="cpu")
    assert first == run_sft(recipe, work, device="cpu")  # it is there already
    assert {"val/exact", "val/tokens", "steps", "questions"} <= set(first)
    with pytest.raises(InputError, match="got another epochs"):
        run_sft(recipe.model_copy(update={"epochs": 3.0}), work, device="cpu")
    filled(work, examples_of(policy, tasks)[:1])
    with pytest.raises(InputError, match="got another data"):
        run_sft(recipe, work, device="cpu")
    assert chains_of(recipe.model_copy(update={"chains": str(work / "chains")}), Path()) == (
        work / "chains" / "kept.jsonl"
    )
    with pytest.raises(InputError, match="run 'edgetwin distill chains'"):
        chains_of(recipe, work / "elsewhere")


def test_the_card_says_what_was_run(work: Path, policy: Policy, tasks: Any) -> None:
    from edgetwin.twin.files import sha256_of

    run_sft(recipe_of(epochs=1.0, batch=16, micro_batch=4, seed=7), work, device="cpu")
    card = (work / "sft" / "card.md").read_text()
    count = sum(p.numel() for p in policy.model.parameters())
    for wanted in (
        sha256_of(work / "chains" / "kept.jsonl"),
        sha256_of(work / "sft" / "model" / "model.safetensors"),
        f"{count / 1e6:.2f}M parameters, all trained, begun from `scratch`",
        "| val/exact |",
        "Seed 7; 1 steps in ",
        f"torch {torch.__version__}",
        "learning_rate: 0.001",
        "Apache-2.0",
        "## Not covered",
    ):
        assert wanted in card, wanted
    samples = lines(work / "sft" / "samples.jsonl")
    assert {"step", "key", "question", "text", "iou", "ending"} == set(samples[0])


def test_an_adapter_is_trained_alone_and_merged(work: Path) -> None:
    pytest.importorskip("peft")
    model = {**MODEL, "lora": {"r": 4, "alpha": 8}}
    recipe = recipe_of(model=model, epochs=1.0, batch=16, micro_batch=4)
    before = load_policy(ModelChoice(**MODEL), work).model.state_dict()
    run_sft(recipe, work, device="cpu")
    assert (work / "sft" / "adapter" / "adapter_model.safetensors").is_file()
    after = weights(work)
    changed = {name for name, t in after.items() if not torch.equal(t, before[name])}
    assert changed
    assert all(name.endswith("_proj.weight") for name in changed)
    assert "of them trained (LoRA)" in (work / "sft" / "card.md").read_text()


def test_batches_are_made_of_micro_batches(work: Path) -> None:
    with pytest.raises(InputError, match="multiple of micro_batch x processes"):
        arguments(recipe_of(batch=5), work, "cpu", 10)


def test_what_packed_does_not_compute_is_refused(work: Path) -> None:
    with pytest.raises(InputError, match="expected options among"):
        run_sft(recipe_of(method="packed", options={"speed": 1}), work, device="cpu")


def test_each_round_has_another_order_and_the_cursor_keeps_the_place() -> None:
    examples = [Example(n, "", ()) for n in range(6)]
    cursor = Cursor()
    source = shuffled(examples, 3)(cursor)
    seen = [next(source).seed for _ in range(15)]
    assert sorted(seen[:6]) == sorted(seen[6:12]) == list(range(6))
    assert seen[:6] != seen[6:12]
    again = shuffled(examples, 3)(Cursor(line=2, rounds=1))
    assert [next(again).seed for _ in range(7)] == seen[8:15]
    assert (cursor.line, cursor.rounds) == (3, 2)


def test_chains_are_read_back(work: Path) -> None:
    assert len(read(work / "chains" / "kept.jsonl")) == 3


def test_whole_weights_are_put_back_into_a_policy(work: Path, tasks: Any) -> None:
    """One process: what is gathered is what was trained."""
    recipe = recipe_of(epochs=1.0)
    policy = load_policy(recipe.model, work)
    trainer = trainer_of(recipe, policy, examples_of(policy, tasks), work / "sft")
    assert not is_divided(trainer)
    trainer.train()
    whole = gathered(trainer, policy, recipe.model, work)
    assert whole.model is not policy.model
    assert same(whole.model.state_dict(), policy.model.state_dict())
    trainer.accelerator.get_state_dict = lambda model: {"other": torch.zeros(1)}
    with pytest.raises(ModelError, match="got other names"):
        gathered(trainer, policy, recipe.model, work)
