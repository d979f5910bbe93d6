# ruff: noqa: E402
"""The curve, the samples and the stop of a training, on a real trainer of a tiny network."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from transformers import Trainer, TrainerCallback, TrainingArguments

from edgetwin.distill.stages.watch import Log, Watch, last_checkpoint, same_randomness


class Line(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: Any = None, labels: Any = None) -> dict[str, Any]:
        guess = x * self.w
        return {"loss": ((guess - labels) ** 2).mean(), "logits": guess}


class Heard(TrainerCallback):
    """Stands for a tracker."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.logs.append(dict(logs))


def trainer_of(folder: Path, **changes: Any) -> Trainer:
    rows = [{"x": float(i % 3), "labels": 2.0 * (i % 3)} for i in range(12)]
    args = TrainingArguments(
        output_dir=str(folder / "last"),
        max_steps=6,
        per_device_train_batch_size=2,
        learning_rate=0.1,
        report_to=[],
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        seed=1,
        **{"logging_steps": 2, "save_steps": 2, "save_total_limit": 3, **changes},
    )
    return Trainer(Line(), args, train_dataset=rows)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Clock:
    """A second passes at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_curve_samples_and_scores(tmp_path: Path) -> None:
    heard, published = Heard(), list[Any]()

    def scorer() -> dict[str, float]:
        random.random()
        torch.rand(3)
        watch.sample([{"key": "worlds/1/2", "text": "<reason>Mug.</reason>", "iou": 1.0}])
        return {"val/exact": 0.25}

    watch = Watch(
        tmp_path,
        "sft",
        score_every=3,
        scorer=scorer,
        publish=lambda rows, step: published.append((step, len(rows))),
    )
    trainer = trainer_of(tmp_path)
    trainer.add_callback(heard)
    watch.attach(trainer)
    watch.note({"tokens/own": 10.0, "kl": float("nan")})
    watch.note({"tokens/own": 20.0})
    trainer.train()
    curve = lines(tmp_path / "curve.jsonl")
    assert [row["step"] for row in curve] == [2, 3, 4, 6]
    assert [row.get("val/exact") for row in curve] == [None, 0.25, None, 0.25]
    assert curve[0]["tokens/own"] == 15.0
    assert "kl" not in curve[0]
    assert all({"loss", "grad_norm", "seconds"} <= set(row) for row in curve)
    assert heard.logs[0]["tokens/own"] == 15.0  # trackers get it too
    samples = lines(tmp_path / "samples.jsonl")
    assert [row["step"] for row in samples] == [3, 6]
    assert samples[0]["key"] == "worlds/1/2"
    assert published == [(3, 1), (6, 1)]


def test_scoring_leaves_randomness_alone() -> None:
    random.seed(3)
    torch.manual_seed(3)
    wanted = (random.random(), torch.rand(2).tolist())
    random.seed(3)
    torch.manual_seed(3)
    with same_randomness():
        random.random()
        torch.rand(9)
    assert (random.random(), torch.rand(2).tolist()) == wanted


def test_stops_when_the_minutes_are_over_and_keeps_a_checkpoint(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    Watch(tmp_path, "sft", minutes=0.05, clock=Clock()).attach(trainer)
    trainer.train()
    assert 0 < trainer.state.global_step < 6
    kept = last_checkpoint(tmp_path / "last")
    assert kept is not None
    assert kept.name == f"checkpoint-{trainer.state.global_step}"


def test_what_followed_the_checkpoint_is_cut_off(tmp_path: Path) -> None:
    log = Log(tmp_path, "sft", clock=Clock())
    log.begin(0)
    for step in range(1, 6):
        log.sample([{"text": str(step)}])
        log.line(step, {"loss": 1.0})
    log.close()
    with (tmp_path / "curve.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # killed while writing
    again = Log(tmp_path, "sft", clock=Clock())
    again.begin(3)
    again.close()
    curve = lines(tmp_path / "curve.jsonl")
    assert [row["step"] for row in curve] == [1, 2, 3]
    assert [row["step"] for row in lines(tmp_path / "samples.jsonl")] == [1, 2, 3]
    assert again.seconds >= curve[-1]["seconds"]


def test_samples_are_bounded(tmp_path: Path) -> None:
    log = Log(tmp_path, "grpo")
    log.sample({"text": str(n)} for n in range(1000))
    log.line(1, {})
    texts = [row["text"] for row in lines(tmp_path / "samples.jsonl")]
    assert texts == [str(n) for n in range(992, 1000)]


def test_rewards_are_named_as_the_curve_has_them(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    watch = Watch(tmp_path, "grpo").attach(trainer)
    trainer.log({"rewards/format/mean": 0.5, "rewards/format/std": 0.1, "reward": 1.0})
    watch.close()
    (row,) = lines(tmp_path / "curve.jsonl")
    assert {k: v for k, v in row.items() if k in ("reward", "rewards/format")} == {
        "reward": 1.0,
        "rewards/format": 0.5,
    }
    assert not any(name.endswith("/std") for name in row)


def test_interrupted_checkpoint_is_passed_over(tmp_path: Path) -> None:
    for step, text in ((2, '{"global_step": 2}'), (4, '{"global'), (10, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if text:
            (folder / "trainer_state.json").write_text(text)
    found = last_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-2"
    assert last_checkpoint(tmp_path / "nothing") is None
