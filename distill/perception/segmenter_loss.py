"""The segmenter's forward pass on windows of pictures, and its loss.

The graphs of :mod:`edgetwin.perception.graphs.segmenter` take whole pictures; training on
windows needs the same network with the positional parts cut to the window.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Sam2VideoModel

from ...perception.graphs.segmenter import DecoderGraph, image_side
from .segmenter_data import SLOTS, WindowBatch

__all__ = [
    "Features",
    "Predictions",
    "batch_loss",
    "decode",
    "encode",
    "mask_loss",
    "noise_features",
]


class Features(NamedTuple):
    """B windows: ``embedding`` (B, C, e, e) without memory, ``high_res_0``, ``high_res_1``."""

    embedding: Tensor
    high_res_0: Tensor
    high_res_1: Tensor


class Predictions(NamedTuple):
    """N prompts: ``logits`` (N, h, w), ``iou`` (N,), ``pointers`` (N, C), ``present`` (N,)."""

    logits: Tensor
    iou: Tensor
    pointers: Tensor
    present: Tensor


def encode(model: Sam2VideoModel, pixels: Tensor, offsets: Tensor) -> Features:
    """Encode windows (B, 3, S, S) whose corner is at ``offsets`` (B, 2) tokens (column, row).

    Equal to ``EncoderGraph`` where the window is the whole picture.
    """
    backbone = model.vision_encoder.backbone
    hidden = backbone.patch_embed(pixels)
    height, width = hidden.shape[1:3]
    cells = image_side(model) // 4
    places = backbone._get_pos_embed((cells, cells))[0]
    if (height, width) == (cells, cells):
        hidden = hidden + places
    else:
        cuts = [places[4 * y : 4 * y + height, 4 * x : 4 * x + width] for x, y in offsets.tolist()]
        hidden = hidden + torch.stack(cuts)
    stages = []
    for number, block in enumerate(backbone.blocks):
        hidden = block(hidden)
        if number in backbone.stage_ends:
            stages.append(hidden)
    maps = model.vision_encoder.neck(tuple(stages))[0][-model.num_feature_levels :][::-1]
    decoder = model.mask_decoder
    return Features(maps[-1], decoder.conv_s0(maps[0]), decoder.conv_s1(maps[1]))


def noise_features(model: Sam2VideoModel, count: int, tokens: int, seed: int) -> Features:
    """Random features of a random strength: the picture of the geometry phase."""
    source = torch.Generator().manual_seed(seed)
    width = model.hidden_dim
    scale = 0.1 + 0.9 * torch.rand(count, 1, 1, 1, generator=source)
    shapes = ((width, tokens), (width // 8, 4 * tokens), (width // 4, 2 * tokens))
    noise = (torch.randn(count, c, s, s, generator=source) * scale for c, s in shapes)
    return Features(*(n.to(model.device) for n in noise))


def decode(
    model: Sam2VideoModel,
    features: Features,
    offsets: Tensor,
    row: Tensor,
    points: Tensor,
    labels: Tensor,
    *,
    conditioned: Tensor | None = None,
) -> Predictions:
    """Decode N prompts, each on the window ``row`` (N,) names, by the single-mask token.

    ``conditioned`` (N, C, e, e) replaces the embedding where memory attention made one.
    """
    graph = DecoderGraph(model)
    if conditioned is None:
        plain = features.embedding + model.no_memory_embedding.reshape(1, -1, 1, 1)
        conditioned = plain[row]
    tokens = conditioned.shape[-1]
    grid = model.get_image_wide_positional_embeddings()
    if tokens == grid.shape[-1]:
        grids = grid.expand(len(row), -1, -1, -1)
    else:
        corner = offsets[row].tolist()
        grids = torch.cat([grid[:, :, y : y + tokens, x : x + tokens] for x, y in corner])
    prompts = model.prompt_encoder
    sparse = prompts._embed_points(points[:, None], labels[:, None], pad=True)
    dense = prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
    masks, iou, out, present = graph._all_masks(
        conditioned + dense, grids, sparse, features.high_res_0[row], features.high_res_1[row]
    )
    pointers = model.object_pointer_proj(out[:, 0, 0])
    seen = (present[:, 0] > 0).to(pointers.dtype)
    pointers = seen * pointers + (1 - seen) * model.no_object_pointer
    return Predictions(masks[:, 0, 0], iou[:, 0, 0], pointers, present[:, 0, 0])


def mask_loss(predicted: Predictions, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return (loss, mean IoU at stride 4 in %/100) of N masks.

    2 x weighted BCE (balanced per object: divided by the sum of its weights) + dice
    + 0.3 x squared error of the predicted IoU + 0.05 x BCE of "present".
    """
    logits = predicted.logits.float()
    bce = F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="none")
    bce = bce.sum((1, 2)) / weight.sum((1, 2))
    shares = torch.sigmoid(logits)
    overlap = (shares * target).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (shares.sum((1, 2)) + target.sum((1, 2)) + 1)
    with torch.no_grad():
        hard, truth = logits > 0, target > 0.5
        union = (hard | truth).sum((1, 2)).clamp(min=1)
        iou = (hard & truth).sum((1, 2)) / union
    quality = (predicted.iou.float() - iou) ** 2
    present = F.softplus(-predicted.present.float())
    loss = (2 * bce + dice + 0.3 * quality + 0.05 * present).mean()
    return loss, iou.mean()


def batch_loss(
    model: Sam2VideoModel, batch: WindowBatch, features: Features
) -> tuple[Tensor, Tensor]:
    """Return (loss, mean IoU) of a batch whose windows are encoded.

    Prompts are decoded by kind, each with just the points it has: padding would be more
    tokens to attend to than there are at inference.
    """
    total = batch.target.new_zeros(())
    overlap = batch.target.new_zeros(())
    for kind, slots in SLOTS.items():
        rows = torch.nonzero(batch.kinds == kind)[:, 0]
        if not len(rows):
            continue
        points, labels = batch.points[rows, slots], batch.labels[rows, slots]
        out = decode(model, features, batch.offsets, batch.row[rows], points, labels)
        loss, iou = mask_loss(out, batch.target[rows], batch.weight[rows])
        total = total + loss * len(rows)
        overlap = overlap + iou * len(rows)
    return total / len(batch.row), overlap / len(batch.row)
