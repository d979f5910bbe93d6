"""The from-scratch training loop of detector and depth: on a budget, resumable, scored.

Not covered: the segmenter, whose phases change what a step is.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.progress import Progress
from torch import nn

from .runs import Average, Budget, Curve, load_state, save_state

__all__ = ["Trainee", "fit", "machine"]

SAVE_EVERY_S = 60.0
SCORE_EVERY_S = 120.0


class Trainee(Protocol):
    """A network with what it takes to train it; built the same way at every start.

    ``recipe`` is a dataclass with ``batch`` and ``warmup_visits``.
    """

    recipe: Any
    device: str

    @property
    def module(self) -> nn.Module:
        """What is checkpointed and averaged: the network and its throw-away heads."""
        ...

    @property
    def optimisers(self) -> Sequence[torch.optim.Optimizer]:
        """There once it is ready."""
        ...

    def start(self, data: Any) -> None:
        """Set initial values, from training pictures where they help."""
        ...

    def ready(self) -> None:
        """Move to the device and build the optimisers."""
        ...

    def step(self, data: Any, number: int) -> dict[str, float]:
        """Take one step, with randomness from its number only; return the losses."""
        ...

    def scores(self, average: Average, data: Any, limit: int | None) -> dict[str, float]:
        """Score the averaged weights on the first ``limit`` pictures."""
        ...


def fit(
    name: str,
    trainee: Trainee,
    data_dir: Path,
    val_dir: Path,
    work: Path,
    minutes: float,
    *,
    opener: Callable[[Path], Any] | None = None,
    steps: int | None = None,
    stop_after: int | None = None,
) -> dict[str, float]:
    """Train, or go on training, in the folder ``work``; return the last scores and mean losses.

    ``minutes`` counts all starts of the run; ``steps`` replaces it where a run must be
    reproducible, ``stop_after`` ends it early with a checkpoint. ``opener`` replaces the
    reader of shards. The recipe is written beside the checkpoint.

    Raises:
        ModelError: if the work folder holds a checkpoint of another network.
    """
    torch.set_num_threads(1)
    opener = opener or _open_shards
    data, val = opener(data_dir), opener(val_dir)
    work.mkdir(parents=True, exist_ok=True)
    file, recipe = work / "state.safetensors", trainee.recipe
    if file.exists():
        trainee.ready()
    else:
        trainee.start(data)
    average = Average(trainee.module)
    counters: dict[str, Any] = {"step": 0, "visits": 0, "seconds": 0.0, "images": len(data)}
    counters["machine"] = machine(trainee.device)
    if file.exists():
        counters |= load_state(file, trainee.module, average, trainee.optimisers)
    # Only now: a run of another network keeps its own.
    (work / "recipe.json").write_text(json.dumps(asdict(recipe)), encoding="utf-8")
    budget = Budget(minutes, steps, recipe.warmup_visits, seconds=float(counters["seconds"]))
    curve = Curve(work / "curve.jsonl")
    bases = [group["lr"] for o in trainee.optimisers for group in o.param_groups]
    saved = scored = budget.tick()
    losses: dict[str, float] = {}

    def note(limit: int | None) -> dict[str, float]:
        scores = trainee.scores(average, val, limit)
        row = {k: counters[k] for k in ("visits", "seconds", "images")} | scores
        curve.add({**row, **{f"loss_{k}": v for k, v in losses.items()}})
        return {**row, **scores}

    with Progress(transient=True) as bar:
        task = bar.add_task(name, total=1.0)
        while budget.share(counters["step"]) < 1 and counters["step"] != stop_after:
            factor = budget.factor(counters["step"], counters["visits"])
            groups = (group for o in trainee.optimisers for group in o.param_groups)
            for base, group in zip(bases, groups, strict=True):
                group["lr"] = base * factor
            parts = trainee.step(data, counters["step"])
            losses = {k: 0.98 * losses.get(k, v) + 0.02 * v for k, v in parts.items()}
            average.update(trainee.module, counters["step"])
            counters["step"] += 1
            counters["visits"] += recipe.batch
            counters["seconds"] = budget.tick()
            bar.update(task, completed=budget.share(counters["step"]))
            if counters["seconds"] - saved > SAVE_EVERY_S:
                saved = counters["seconds"]
                save_state(file, trainee.module, average, trainee.optimisers, counters)
            if counters["seconds"] - scored > SCORE_EVERY_S:
                note(120)
                data = opener(data_dir)
                counters["images"] = len(data)
                scored = budget.tick()
    save_state(file, trainee.module, average, trainee.optimisers, counters)
    if counters["step"] == stop_after:
        return losses
    scores = note(None)
    (work / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
    return {**scores, **losses}


def machine(device: str) -> str:
    """What a run is computed on, for its card."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"one thread of an {platform.machine()} CPU"


def _open_shards(path: Path) -> Any:
    from ..sim.shards import open_images

    return open_images(path)
