"""Initial values from which a tiny OWLv2 learns quickly.

The transformers classes initialise for fine-tuning: the heads start so far off that nothing
is learnt. Measured in a prototype: label accuracy .46 -> .62 at 3.2 k visits, for free.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["initialise", "patch_filters", "sincos_2d"]

# Where the heads of the first layers look, in patches: sides, corners, two steps aside.
_OFFSETS = (
    ((1, 0), (-1, 0), (0, 1), (0, -1)),
    ((1, 1), (-1, 1), (1, -1), (-1, -1)),
    ((2, 0), (-2, 0), (0, 2), (0, -2)),
)


def sincos_2d(rows: int, cols: int, width: int) -> Tensor:
    """Return 2-D sine-cosine positions (rows · cols, width); half the width per axis.

    Quarters: sin x, cos x, sin y, cos y, each with wavelengths from 3 to 32 patches.
    """
    rates = _rates(width)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    parts = [axis.reshape(-1, 1) * rates for axis in (x, y)]
    return torch.cat([f(p) for p in parts for f in (torch.sin, torch.cos)], dim=1)


def patch_filters(
    patches_nd: NDArray[np.float32], width: int, generator: torch.Generator
) -> Tensor:
    """Return (width, D) whitened principal components of patches, randomly rotated.

    Their outputs on the patches have unit variance and no correlation.
    """
    data = torch.from_numpy(patches_nd)
    data = data - data.mean(dim=0)
    covariance = data.T @ data / len(data)
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values[-width:], vectors[:, -width:]
    values = values.clamp(min=1e-4 * float(values[-1]))  # do not blow up what is not there
    whiten = (vectors / values.sqrt()).T
    filters: Tensor = _orthogonal(width, width, generator) @ whiten
    return filters


def _rates(width: int) -> Tensor:
    quarter = width // 4
    return 2 * math.pi / (3 * (32 / 3) ** (torch.arange(quarter) / max(1, quarter - 1)))


@torch.no_grad()
def initialise(model: Any, patches_nd: NDArray[np.float32], tokens_ql: Tensor, seed: int) -> None:
    """Set every weight of an ``Owlv2ForObjectDetection``.

    ``patches_nd`` are normalised training patches, channels first; ``tokens_ql`` the token ids
    of all queries.
    """
    g = torch.Generator().manual_seed(seed)
    vision = model.owlv2.vision_model
    width = vision.config.hidden_size
    embed = vision.embeddings
    filters = patch_filters(patches_nd, width, g) * 0.7
    embed.patch_embedding.weight.copy_(filters.view_as(embed.patch_embedding.weight))
    side = vision.config.image_size // vision.config.patch_size
    embed.position_embedding.weight[1:] = sincos_2d(side, side, width)
    embed.position_embedding.weight[0].zero_()
    # Patch features are multiplied by the class token: no dimension may start near zero.
    embed.class_embedding.copy_(torch.randn(width, generator=g).sign())
    for depth, layer in enumerate(vision.encoder.layers):
        _encoder_layer(layer, g)
        if depth < min(len(_OFFSETS), len(vision.encoder.layers) // 2):
            _look_aside(layer.self_attn, _OFFSETS[depth])
    text = model.owlv2.text_model
    text.embeddings.token_embedding.weight.copy_(
        torch.randn(text.embeddings.token_embedding.weight.shape, generator=g) * 0.5
    )
    text.embeddings.position_embedding.weight.copy_(
        torch.randn(text.embeddings.position_embedding.weight.shape, generator=g) * 0.1
    )
    for layer in text.encoder.layers:
        _encoder_layer(layer, g)
    _spread_queries(model, tokens_ql, g)
    _heads(model, g)


def _encoder_layer(layer: Any, g: torch.Generator) -> None:
    attention, mlp = layer.self_attn, layer.mlp
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
        linear.weight.copy_(_orthogonal(linear.out_features, linear.in_features, g))
        linear.bias.zero_()
    attention.out_proj.weight.mul_(0.5)
    for linear in (mlp.fc1, mlp.fc2):
        _xavier(linear, g)
    mlp.fc2.weight.mul_(0.5)


def _look_aside(attention: Any, offsets: tuple[tuple[int, int], ...], gain: float = 1.8) -> None:
    """Make every head look at the patch that lies at its offset (dx, dy), like a convolution.

    Keys read the sine-cosine pairs of some wavelengths; queries read the same pairs turned by
    the angle that the offset makes at that wavelength.
    """
    width, heads = attention.embed_dim, attention.num_heads
    quarter, rates = width // 4, _rates(width)
    query, key = torch.zeros(width, width), torch.zeros(width, width)
    for head in range(heads):
        row = head * attention.head_dim
        for f in range(head % heads, quarter, heads):
            for axis in (0, 1):
                sin, cos = 2 * axis * quarter + f, (2 * axis + 1) * quarter + f
                turn = float(rates[f]) * offsets[head % len(offsets)][axis]
                key[row, sin] = key[row + 1, cos] = gain
                query[row, sin] = query[row + 1, cos] = gain * math.cos(turn)
                query[row, cos], query[row + 1, sin] = gain * math.sin(turn), -gain * math.sin(turn)
                row += 2
    attention.q_proj.weight.copy_(query)
    attention.k_proj.weight.copy_(key)


def _spread_queries(model: Any, tokens_ql: Tensor, g: torch.Generator) -> None:
    """Make the queries' embeddings start apart.

    All phrases share their first and last token, so an untrained tower gives them nearly one
    embedding (mean cosine .81), and nouns are told apart only late. The norm's bias removes
    their mean and the projection whitens what is left.
    """
    text = model.owlv2.text_model.eval()
    pooled = text(input_ids=tokens_ql).pooler_output
    text.final_layer_norm.bias.sub_(pooled.mean(dim=0))
    centred = pooled - pooled.mean(dim=0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    values = values.clamp(min=1e-2 * float(values[-1]))
    whiten = (vectors / values.sqrt()).T
    projection = model.owlv2.text_projection.weight
    projection.copy_(_orthogonal(projection.shape[0], projection.shape[1], g) @ whiten)
    projection.div_(projection.norm(dim=1).mean())  # embeddings are normalised anyway


def _heads(model: Any, g: torch.Generator) -> None:
    for head in (model.box_head, model.objectness_head):
        for linear in (head.dense0, head.dense1, head.dense2):
            _xavier(linear, g)
        head.dense2.weight.mul_(0.1)  # boxes start as the patches they bias
    model.box_head.dense2.bias.copy_(torch.tensor([0.0, 0.0, 1.0, 1.0]))
    nn.init.constant_(model.objectness_head.dense2.bias, -2.0)
    for linear in (
        model.class_head.dense0,
        model.class_head.logit_shift,
        model.class_head.logit_scale,
    ):
        _xavier(linear, g)
    model.class_head.logit_shift.weight.mul_(0.1)
    model.class_head.logit_scale.weight.mul_(0.1)
    nn.init.constant_(model.class_head.logit_scale.bias, 9.0)
    nn.init.constant_(model.class_head.logit_shift.bias, -0.7)


def _xavier(linear: nn.Linear, g: torch.Generator) -> None:
    bound = math.sqrt(6 / (linear.in_features + linear.out_features))
    linear.weight.copy_((torch.rand(linear.weight.shape, generator=g) * 2 - 1) * bound)
    linear.bias.zero_()


def _orthogonal(rows: int, cols: int, g: torch.Generator) -> Tensor:
    size = max(rows, cols)
    q, r = torch.linalg.qr(torch.randn(size, size, generator=g))
    rotation: Tensor = q * torch.sign(torch.diagonal(r))
    return rotation[:rows, :cols]
