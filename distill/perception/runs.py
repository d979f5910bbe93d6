"""What the short from-scratch loops share: budget, schedule, averaged weights, checkpoints.

A run is resumable: all that it needs is in one file, ``state.safetensors`` (weights, their
average, optimiser state as tensors; counters in the header), written beside and renamed, so
a kill at any moment leaves a whole one. Randomness comes from (seed, step), never from a
generator that would have to be stored.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ...twin.errors import ModelError

__all__ = ["Average", "Budget", "Curve", "load_state", "parameter_count", "save_half", "save_state"]


@dataclass
class Budget:
    """How long a run may take, in minutes or in steps, and the rate's schedule over it.

    The factor rises over the first ``warmup`` visits, stays flat for 30 % of the budget and
    falls linearly to zero at its end. ``seconds`` counts what earlier starts of the run used;
    only a budget in steps is reproducible, since minutes depend on the machine's load.
    """

    minutes: float | None = None
    steps: int | None = None
    warmup: int = 800
    flat: float = 0.3
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._before = self.seconds
        self._start = time.monotonic()

    def tick(self) -> float:
        """Update and return the seconds used so far, over all starts of the run."""
        self.seconds = self._before + time.monotonic() - self._start
        return self.seconds

    def share(self, step: int) -> float:
        """Return the used share of the budget, 0 to 1."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        assert self.minutes is not None
        return min(1.0, self.tick() / (60 * self.minutes))

    def factor(self, step: int, visits: int) -> float:
        """Return the factor on every learning rate."""
        rise = min(1.0, (visits + 1) / max(1, self.warmup))
        fall = min(1.0, (1 - self.share(step)) / (1 - self.flat))
        return rise * fall


class Average:
    """Exponential average of weights: what is evaluated and exported.

    The decay starts low, so that the average forgets the initial values; with a rate that
    ends at zero, average and weights meet at the end.
    """

    def __init__(self, module: nn.Module, decay: float = 0.995) -> None:
        self.decay = decay
        self.values = {k: v.detach().clone() for k, v in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take the module's weights in."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.named_parameters():
            self.values[name].lerp_(value.detach(), 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Write the average into a module of the same shape."""
        for name, value in module.named_parameters():
            value.copy_(self.values[name])


class Curve:
    """Scores over a run, one JSON object per line (``curve.jsonl``)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, row: Mapping[str, float | int]) -> None:
        """Append one line."""
        rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rounded) + "\n")

    def rows(self) -> list[dict[str, float]]:
        """Return all lines; a half-written last one is left out."""
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
        return rows


def save_state(
    path: Path,
    module: nn.Module,
    average: Average,
    optimisers: Iterable[torch.optim.Optimizer],
    counters: Mapping[str, Any],
) -> None:
    """Write everything a run needs to go on, atomically."""
    tensors = {f"module.{k}": v for k, v in module.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.values.items()}
    for number, optimiser in enumerate(optimisers):
        for index, entry in optimiser.state_dict()["state"].items():
            for key, value in entry.items():
                tensors[f"optimiser.{number}.{index}.{key}"] = value
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    save_file(plain, str(beside), {"counters": json.dumps(dict(counters))})
    os.replace(beside, path)


def load_state(
    path: Path,
    module: nn.Module,
    average: Average,
    optimisers: Iterable[torch.optim.Optimizer] = (),
) -> dict[str, Any]:
    """Restore what :func:`save_state` wrote and return its counters.

    Raises:
        ModelError: if the file does not fit the module.
    """
    with safe_open(str(path), framework="pt") as file:
        counters: dict[str, Any] = json.loads((file.metadata() or {})["counters"])
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (not a dict)
    try:
        module.load_state_dict(_part(tensors, "module."))
        for name, value in _part(tensors, "average.").items():
            average.values[name].copy_(value)
    except (RuntimeError, KeyError) as error:
        raise ModelError(
            f"expected a checkpoint of this network at {path}, got another one "
            f"({str(error).splitlines()[0]}); use a new work directory"
        ) from error
    for number, optimiser in enumerate(optimisers):
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _part(tensors, f"optimiser.{number}.").items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        optimiser.load_state_dict(
            {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
        )
    return counters


def save_half(path: Path, module: nn.Module, architecture: str, settings: str) -> None:
    """Round a network's weights to half precision, in place, and write them.

    ``settings`` is the architecture's configuration as JSON; both go into the header.
    """
    half = {k: v.to(torch.float16).contiguous() for k, v in module.state_dict().items()}
    module.load_state_dict({k: v.float() for k, v in half.items()})
    save_file(half, str(path), {"architecture": architecture, "config": settings})
    path.chmod(0o644)  # safetensors makes files for their owner only


def parameter_count(module: nn.Module) -> int:
    """Return the number of weights."""
    return sum(p.numel() for p in module.parameters())


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
