"""What the depth network is trained on: its own depth, and a throw-away head on its patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .depth_data import DepthBatch

__all__ = ["AuxiliaryDepthHead", "auxiliary_losses", "depth_loss"]

_HEIGHT_UNIT = 0.1


class AuxiliaryDepthHead(nn.Module):
    """Nouns and height of patches, and the table's plane; used in training only."""

    def __init__(self, width: int, nouns: int) -> None:
        super().__init__()
        self.patch = nn.Linear(width, nouns + 2)
        self.plane = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 64), nn.GELU(), nn.Linear(64, 2)
        )

    def forward(self, patches_bpw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return noun logits (B, P, nouns + 1), height (B, P) and plane (B, 2)."""
        out = self.patch(patches_bpw)
        plane: Tensor = self.plane(patches_bpw.mean(dim=1))
        return out[..., :-1], out[..., -1] * _HEIGHT_UNIT, plane


def depth_loss(depth_bhw: Tensor, truth_bhw: Tensor, objects_bhw: Tensor) -> Tensor:
    """Return the relative error |d − t| / t, with object pixels three times as heavy, plus half
    the error of its differences between neighbours, which keeps edges where they are.

    Pixels without a true depth do not count.
    """
    valid = torch.isfinite(truth_bhw) & (truth_bhw > 0.05) & (truth_bhw < 10)
    truth = truth_bhw.where(valid, torch.ones_like(truth_bhw))
    error = (depth_bhw - truth) / truth
    weight = valid.float() * (1 + 2 * objects_bhw.float())
    loss = (error.abs() * weight).sum() / weight.sum().clamp(min=1)
    for axis in (1, 2):
        step = error.diff(dim=axis).abs()
        both = valid.narrow(axis, 1, step.shape[axis]) & valid.narrow(axis, 0, step.shape[axis])
        loss = loss + 0.5 * (step * both).sum() / both.sum().clamp(min=1)
    return loss


def auxiliary_losses(
    outputs: tuple[Tensor, Tensor, Tensor], batch: DepthBatch
) -> dict[str, Tensor]:
    """Return the three weighted losses of an :class:`AuxiliaryDepthHead`."""
    nouns, height, plane = outputs
    return {
        "noun": 0.05
        * functional.cross_entropy(nouns.flatten(0, 1), batch.noun.flatten(), ignore_index=-1),
        "height": functional.smooth_l1_loss(height, batch.height, beta=0.02),
        "plane": 0.3 * functional.smooth_l1_loss(plane, batch.plane, beta=0.3),
    }
