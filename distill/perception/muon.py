"""Muon for the matrices of an encoder (K. Jordan, 2024), in batches.

torch ships a Muon that orthogonalises one matrix at a time, always in bfloat16. Here matrices
of one shape go through the Newton–Schulz iteration together (half the time for a network of
many small ones), in a precision that can be chosen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon", "orthogonalise"]


def orthogonalise(matrices_nrc: Tensor, steps: int = 5) -> Tensor:
    """Push all singular values of each (R, C) matrix towards one.

    Quintic Newton–Schulz with Jordan's coefficients: singular values end between about 0.7
    and 1.2, which is as good as one for an optimiser, and bfloat16 is precise enough.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices_nrc.shape[-2] > matrices_nrc.shape[-1]
    x = matrices_nrc.transpose(-1, -2) if tall else matrices_nrc
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(-1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.transpose(-1, -2) if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; step scaled by sqrt(max(1, rows / columns)).

    Weight decay is decoupled: ``p *= 1 - lr * weight_decay``. Only for matrices.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.02,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "dtype": dtype}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take one step; ``closure`` is not supported and must be None."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[tuple(p.shape)].append(p)
            for shape, params in by_shape.items():
                self._step_shape(shape, params, group)

    def _step_shape(
        self, shape: tuple[int, ...], params: list[nn.Parameter], group: dict[str, Any]
    ) -> None:
        updates = []
        for p in params:
            assert p.grad is not None
            state = self.state[p]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - group["momentum"])
            updates.append(p.grad.lerp(state["momentum"], group["momentum"]))
        stacked = torch.stack(updates)
        directions = orthogonalise(stacked.to(group["dtype"])).to(stacked.dtype)
        size = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
        for p, direction in zip(params, directions, strict=True):
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.add_(direction, alpha=-size)
