"""The mask decoder's transformer with less arithmetic on the picture's side.

``Sam2VideoTwoWayTransformer`` projects all E * E picture tokens to keys, values and queries at
every attention, for a handful of prompt tokens. Here the projections move to the prompt
tokens' side (``(W k) . q = k . (W^T q)``), and biases that softmax cancels are left out: the
same function to rounding. Prompts on one picture share what does not depend on them yet.

Layouts: B rows of features, P prompts per row, T tokens of a prompt, L = E * E picture tokens,
C width, D the attention's inner width.

Not covered: dropout, attention similarity and target embeddings (PerSAM).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

__all__ = ["norm_planes", "two_way"]


def two_way(transformer: Any, tokens: Tensor, image: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Let tokens (B, P, T, C) and picture tokens (B, 1, L, C) read each other.

    ``grid`` are the positions of the picture's tokens, (1 or B, 1, L, C). Returns both as they
    leave the last layer, (B, P, T, C) and (B, P, L, C).
    """
    queries, keys = tokens, image
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            queries = layer.self_attn(query=queries, key=queries, value=queries)[0]
        else:
            own = queries + tokens
            queries = queries + layer.self_attn(query=own, key=own, value=queries)[0]
        queries = layer.layer_norm1(queries)
        placed = keys + grid
        read = _read_image(layer.cross_attn_token_to_image, queries + tokens, keys, placed)
        queries = layer.layer_norm2(queries + read)
        queries = layer.layer_norm3(queries + layer.mlp(queries))
        read = _read_tokens(layer.cross_attn_image_to_token, placed, queries + tokens, queries)
        keys = layer.layer_norm4(keys + read)
    final = transformer.final_attn_token_to_image
    queries = queries + _read_image(final, queries + tokens, keys, keys + grid)
    out: Tensor = transformer.layer_norm_final_attn(queries)
    return out, keys


def norm_planes(maps: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Layer norm over the channels of (N, C, H, W) without moving them; for few channels."""
    centred = maps - maps.mean(1, keepdim=True)
    deviation = torch.sqrt((centred * centred).mean(1, keepdim=True) + norm.eps)
    return centred / deviation * norm.weight[:, None, None] + norm.bias[:, None, None]


def _heads(module: Any, name: str) -> Tensor:
    """Return a projection's weight (D, C) by head, (heads, D / heads, C)."""
    weight = cast(nn.Linear, getattr(module, name)).weight
    return weight.reshape(cast(int, module.num_attention_heads), -1, weight.shape[1])


def _split(module: Any, tokens: Tensor) -> Tensor:
    """Split (B, P, T, D) by head -> (B, P, heads, T, D / heads)."""
    heads, size = cast(int, module.num_attention_heads), cast(int, module.head_dim)
    return tokens.reshape(*tokens.shape[:3], heads, size).transpose(2, 3)


def _read_image(module: Any, query: Tensor, keys: Tensor, placed: Tensor) -> Tensor:
    """Tokens (B, P, T, C) attend to picture tokens -> (B, P, T, C)."""
    heads = cast(int, module.num_attention_heads)
    asked = _split(module, module.q_proj(query) * cast(float, module.scaling))
    asked = (asked @ _heads(module, "k_proj")).flatten(2, 3)  # (B, P, heads * T, C)
    weights = torch.softmax(asked @ placed.transpose(2, 3), dim=-1)
    read = (weights @ keys).unflatten(2, (heads, -1))  # (B, P, heads, T, C)
    values = read @ _heads(module, "v_proj").transpose(1, 2)
    out: Tensor = module.o_proj(values.transpose(2, 3).flatten(3) + module.v_proj.bias)
    return out


def _read_tokens(module: Any, placed: Tensor, tokens: Tensor, values: Tensor) -> Tensor:
    """Picture tokens (B, 1 or P, L, C) attend to tokens (B, P, T, C) -> (B, P, L, C)."""
    heads, size = cast(int, module.num_attention_heads), cast(int, module.head_dim)
    keys = _split(module, module.k_proj(tokens) * cast(float, module.scaling))
    bias = (keys @ cast(nn.Linear, module.q_proj).bias.reshape(heads, size, 1)).flatten(2)
    keys = (keys @ _heads(module, "q_proj")).flatten(2, 3)  # (B, P, heads * T, C)
    scores = placed @ keys.transpose(2, 3) + bias[:, :, None]
    weights = torch.softmax(scores.unflatten(3, (heads, -1)), dim=-1).flatten(3)
    out = cast(nn.Linear, module.o_proj)
    split = out.weight.reshape(-1, heads, size).permute(1, 2, 0)  # (heads, D / heads, C)
    given = (_split(module, module.v_proj(values)) @ split).flatten(2, 3)
    return weights @ given + out.bias
