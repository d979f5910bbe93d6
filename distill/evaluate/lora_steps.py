"""Steps of SFT and of GRPO with an adapter on a network of published size: speed and memory.

The weights are random (:mod:`.language_sizes`), so nothing is learnt; a step costs what it costs
with trained ones. Questions, prompts, rollouts and both trainers are those of the stages; rewards
alternate between 1 and 0, since noise earns none and a step without any has no gradient.

::

    python -m edgetwin.distill.evaluate.lora_steps --size 0.6B --steps 2

Not covered: several devices, vLLM, and what rewards and judges cost.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback

from ...reasoner.prompts import system
from ..reasoner.records import Example
from ..rollouts.record import Rollout
from ..sim.questions.restricted import TRAINED
from ..stages.policy import Policy, device_of, load_policy, prompt_texts
from ..stages.recipe import GrpoRecipe, ModelChoice, SftRecipe
from ..tasks.task import Task
from ..tasks.worlds import Worlds
from .language_sizes import write_random

__all__ = ["Steps", "measure", "table"]


@dataclass(frozen=True, slots=True)
class Steps:
    """What the steps of one stage took.

    ``tokens`` went through the network to learn from, in all steps: prompts (each once per
    completion) and completions; ``sampled`` were written in rollouts. ``peak_gib`` is the process's
    (CPU) or the device's (CUDA) highest so far.
    """

    stage: str
    seconds: tuple[float, ...]
    tokens: int
    sampled: int
    losses: tuple[float, ...]
    grad_norms: tuple[float, ...]
    peak_gib: float

    @property
    def tokens_per_s(self) -> float:
        """Tokens learnt from per second, rollouts included in the time."""
        return self.tokens / sum(self.seconds)


class _Stopwatch(TrainerCallback):
    """Seconds of each step, what was logged after it, and tokens of its rollouts."""

    def __init__(self, said: Callable[[], Sequence[Rollout]] = tuple) -> None:
        self.seconds: list[float] = []
        self.logs: list[dict[str, float]] = []
        self.prompts, self.completions = 0, 0
        self._since, self._said = 0.0, said

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A step begins with its first micro-batch."""
        self._since = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """All work of the step is done."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._since)
        self.prompts += sum(len(r.prompt_ids) for r in self._said())
        self.completions += sum(len(r.completion_ids) for r in self._said())

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Losses and norms of gradients."""
        if logs and "loss" in logs:
            self.logs.append(dict(logs))


def measure(
    folder: Path,
    work: Path,
    *,
    steps: int = 2,
    batch: int = 2,
    max_tokens: int = 32,
    r: int = 64,
    style: str = "short",
    device: str = "auto",
    seed: int = 0,
    stages: Sequence[str] = ("sft", "grpo"),
) -> list[Steps]:
    """Take ``steps`` of SFT and of GRPO on the checkpoint in ``folder``.

    Args:
        folder: a transformers folder, such as :func:`.language_sizes.write_random` writes.
        work: receives what the trainers write.
        steps: of each stage.
        batch: questions in a step of SFT, and completions of one question in a step of GRPO.
        max_tokens: of a completion.
        r: rank of the adapter; its alpha is twice that.
        style: of the prompt.
        device: ``auto``, ``cpu`` or ``cuda``; a GPU computes in bfloat16.
        seed: of the questions and the adapter.
        stages: which of the two.
    """
    device = device_of(device)
    model = ModelChoice.model_validate(
        {
            "source": str(folder),
            "style": style,
            "dtype": "fp32" if device == "cpu" else "bf16",
            "lora": {"r": r, "alpha": 2 * r},
        }
    )
    worlds: dict[str, Any] = {"count": steps * batch, "per_world": 1, "restricted": 0.0}
    found = []
    for stage in stages:
        policy = load_policy(model, work, device, seed)
        size = (policy, model, worlds, work, steps, batch)
        found.append(_sft(*size) if stage == "sft" else _grpo(*size, max_tokens))
    return found


def table(found: Sequence[Steps]) -> str:
    """Figures as a Markdown table."""
    lines = [
        "| stage | s per step | tokens/s | sampled | loss | peak GiB |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        times = ", ".join(f"{s:.1f}" for s in one.seconds)
        losses = ", ".join(f"{loss:.3f}" for loss in one.losses)
        lines.append(
            f"| {one.stage} | {times} | {one.tokens_per_s:.1f} | {one.sampled} | {losses} | "
            f"{one.peak_gib:.2f} |"
        )
    return "\n".join(lines)


def _sft(
    policy: Policy,
    model: ModelChoice,
    worlds: dict[str, Any],
    work: Path,
    steps: int,
    batch: int,
) -> Steps:
    from ..stages.recipe import WorldsChoice
    from ..stages.sft_trl import rows_of, trainer_of

    recipe = SftRecipe.model_validate(
        {"stage": "sft", "model": model, "epochs": 1.0, "batch": batch, "micro_batch": 1}
    )
    tasks = list(Worlds(WorldsChoice(**worlds)))[: steps * batch]
    examples = [_example(policy, task, number) for number, task in enumerate(tasks)]
    watch = _Stopwatch()
    trainer = trainer_of(recipe, policy, examples, work / "sft")
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(watch)
    trainer.train()
    tokens = sum(len(row["input_ids"]) for row in rows_of(policy, examples)[0])
    return _steps("sft", watch, tokens, 0)


def _grpo(
    policy: Policy,
    model: ModelChoice,
    worlds: dict[str, Any],
    work: Path,
    steps: int,
    batch: int,
    max_tokens: int,
) -> Steps:
    from ..stages.grpo import Asker, trainer_of
    from ..stages.watch import Watch
    from ..tasks.worlds import tasks_of

    recipe = GrpoRecipe.model_validate(
        {
            "stage": "grpo",
            "model": model,
            "data": {"worlds": worlds},
            "sampling": {"group": batch, "max_tokens": max_tokens},
            "rewards": [{"name": "format"}, {"name": "accuracy"}],
            "steps": steps,
            "prompts": 1,
            "micro_batch": batch,
        }
    )
    asker = Asker(recipe, policy, tasks_of(recipe.data, recipe.seed))
    asker.watch = Watch(work / "grpo", "grpo")
    watch = _Stopwatch(lambda: asker.last)
    trainer = trainer_of(recipe, policy, asker, work / "grpo", work, policy.model.device.type)
    trainer.reward_funcs = [lambda prompts, **_: [float(i % 2) for i in range(len(prompts))]]
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(watch)
    trainer.train()
    return _steps("grpo", watch, watch.prompts + watch.completions, watch.completions)


def _example(policy: Policy, task: Task, number: int) -> Example:
    """A task with its reference as a chain that was kept."""
    assert task.reference is not None
    head = system(TRAINED, policy.style, policy.layout)
    return Example(number, prompt_texts(policy, task)[0].removeprefix(head), (task.reference,))


def _steps(stage: str, watch: _Stopwatch, tokens: int, sampled: int) -> Steps:
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return Steps(
        stage,
        tuple(watch.seconds),
        tokens,
        sampled,
        tuple(float(log["loss"]) for log in watch.logs),
        tuple(float(log["grad_norm"]) for log in watch.logs),
        peak,
    )


def main() -> None:
    """Command line of the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="0.6B", help="0.6B or 1.7B")
    parser.add_argument("--work", type=Path, default=Path("runs/lora_steps"))
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--style", default="short", help="short or long prompt")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--stages", nargs="+", default=["sft", "grpo"], choices=["sft", "grpo"])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = write_random(args.size, args.work / f"random-{args.size}")
    found = measure(
        folder,
        args.work,
        steps=args.steps,
        batch=args.batch,
        max_tokens=args.max_tokens,
        style=args.style,
        device=args.device,
        stages=args.stages,
    )
    print(table(found))
    print(json.dumps([asdict(one) for one in found]))


if __name__ == "__main__":
    main()
