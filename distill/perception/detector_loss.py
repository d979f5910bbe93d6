"""The detector's losses; every one is a sum over positives divided by their total weight.

Class: varifocal (Zhang et al., 2021) on nouns, colours and colour-noun pairs, with target
.5 + .5 · IoU; cross-entropies on positives beside it. Boxes: 3 · L1 + 2 · GIoU. Objectness.
A throw-away linear head on the patch features (category with background, colour, distances
to the box's sides) adds half of its losses and is never exported.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .detector_data import Batch

__all__ = ["AuxiliaryHead", "Vocabulary", "aligned_iou", "detection_loss"]


@dataclass(frozen=True)
class Vocabulary:
    """Number of nouns and colours, and a (N · C,) mask of the pairs that may be learnt.

    Pairs kept out of training are no negatives either: a query that is always wrong would
    learn to be off.
    """

    nouns: int
    colors: int
    pairs: Tensor


class AuxiliaryHead(nn.Module):
    """Linear read-out of patch features: N + 1 categories, C colours, 4 distances."""

    def __init__(self, width: int, nouns: int, colors: int) -> None:
        super().__init__()
        self.sizes = [nouns + 1, colors, 4]
        self.linear = nn.Linear(width, sum(self.sizes))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return category, colour and distance logits of (..., width) features."""
        category, color, sides = torch.split(self.linear(features), self.sizes, dim=-1)
        return category, color, sides


def _corners(boxes: Tensor) -> Tensor:
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def aligned_iou(a_k4: Tensor, b_k4: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and generalised IoU (K,) of (cx, cy, w, h) boxes, row by row."""
    a, b = _corners(a_k4), _corners(b_k4)
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    inter = shared.prod(dim=1)
    union = a_k4[:, 2:].prod(dim=1) + b_k4[:, 2:].prod(dim=1) - inter
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(dim=1)
    iou = inter / union.clamp(min=1e-9)
    return iou, iou - (hull - union) / hull.clamp(min=1e-9)


def detection_loss(
    outputs: tuple[Tensor, Tensor, Tensor],
    auxiliary: tuple[Tensor, Tensor, Tensor],
    batch: Batch,
    words: Vocabulary,
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of a step and its parts by name.

    ``outputs`` are boxes (B, P, 4), logits (B, P, N + C + N·C) and objectness (B, P).
    """
    boxes, logits, objectness = outputs
    at, weight = (batch.row, batch.patch), batch.weight
    total = weight.sum().clamp(min=1.0)
    iou, giou = aligned_iou(boxes[at], batch.box)
    color = batch.color.clamp(min=0)  # one that is not known counts nowhere below
    columns = torch.stack(
        [
            batch.noun,
            words.nouns + color,
            words.nouns + words.colors + batch.noun * words.colors + color,
        ],
        dim=1,
    )
    quality = 0.5 + 0.5 * iou.detach()
    parts = {
        "class": _varifocal(logits, batch, columns, quality, words) / total,
        "choice": _choices(logits[at], batch, words) / total,
        "l1": 3 * ((boxes[at] - batch.box).abs().sum(dim=1) * weight).sum() / total,
        "giou": 2 * ((1 - giou) * weight).sum() / total,
        "objectness": _objectness(objectness, batch),
        "auxiliary": 0.5 * _auxiliary(auxiliary, batch, words, boxes.shape[1]) / total,
    }
    loss = torch.stack(list(parts.values())).sum()
    return loss, {k: float(v.detach()) for k, v in parts.items()}


def _varifocal(
    logits: Tensor, batch: Batch, columns_k3: Tensor, quality_k: Tensor, words: Vocabulary
) -> Tensor:
    target, scale = torch.zeros_like(logits), torch.zeros_like(logits)
    rows, patches = batch.row[:, None], batch.patch[:, None]
    target[rows, patches, columns_k3] = quality_k[:, None].expand_as(columns_k3)
    scale[rows, patches, columns_k3] = (batch.weight * quality_k)[:, None].expand_as(columns_k3)
    negative = 0.75 * logits.detach().sigmoid().square()
    weights = torch.where(target > 0, scale, negative)
    weights = weights.masked_fill(batch.ignored[..., None], 0)
    blank = batch.color < 0
    weights[batch.row[blank], batch.patch[blank], words.nouns :] = 0
    learnt = torch.ones(logits.shape[-1], device=logits.device)
    learnt[words.nouns + words.colors :] = words.pairs.to(learnt)
    return F.binary_cross_entropy_with_logits(logits, target, weights * learnt, reduction="sum")


def _choices(logits_kq: Tensor, batch: Batch, words: Vocabulary) -> Tensor:
    sizes = [words.nouns, words.colors, words.nouns * words.colors]
    nouns, colors, pairs = torch.split(logits_kq, sizes, dim=1)
    learnt = words.pairs.to(logits_kq.device)
    painted = batch.color >= 0
    pair = batch.noun * words.colors + batch.color.clamp(min=0)
    known = (learnt[pair] & painted).to(logits_kq.dtype)
    pairs = pairs.masked_fill(~learnt, -1e4)
    loss = (
        F.cross_entropy(nouns, batch.noun, reduction="none")
        + 0.5 * F.cross_entropy(colors, batch.color, reduction="none", ignore_index=-1)
        + 0.5 * F.cross_entropy(pairs, pair, reduction="none") * known
    )
    return (loss * batch.weight).sum()


def _objectness(objectness: Tensor, batch: Batch) -> Tensor:
    target = torch.zeros_like(objectness)
    target[batch.row, batch.patch] = 1
    weights = (~batch.ignored).to(objectness.dtype)
    return F.binary_cross_entropy_with_logits(objectness, target, weights)


def _auxiliary(
    auxiliary: tuple[Tensor, Tensor, Tensor], batch: Batch, words: Vocabulary, patches: int
) -> Tensor:
    category, color, sides = auxiliary
    at = (batch.row, batch.patch)
    label = torch.full(category.shape[:2], words.nouns, device=category.device)
    label[at] = batch.noun
    weight = torch.full(category.shape[:2], 0.1, device=category.device)  # background
    weight[batch.ignored] = 0
    weight[at] = batch.weight
    dense = F.cross_entropy(category.flatten(0, 1), label.flatten(), reduction="none")
    side = round(patches**0.5)
    centre = torch.stack([batch.patch % side, batch.patch // side], dim=1) + 0.5
    corners = _corners(batch.box)
    distance = torch.cat([centre / side - corners[:, :2], corners[:, 2:] - centre / side], dim=1)
    distance = distance * (16 * side / 48)  # in units of 48 pixels
    paint = F.cross_entropy(color[at], batch.color, reduction="none", ignore_index=-1)
    reach = F.smooth_l1_loss(sides[at], distance, reduction="none", beta=0.1).sum(dim=1)
    return (dense * weight.flatten()).sum() + ((paint + reach) * batch.weight).sum()
