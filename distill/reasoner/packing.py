"""Several questions packed onto one twin: the twin is read once, every question sees only it.

A pack is a prefix (system text and twin) and items (question, rationale, plan, results,
answer). Tokens lie flat, ``[prefix | item 0 | item 1 | …]``, positions restart after the
prefix for every item, and an item attends to the prefix and to itself. Linear layers run over
the flat tokens; attention runs padded per item. :func:`packed_hidden` computes with the
parameters of a transformers ``Qwen3ForCausalLM`` what the model computes for each item alone
(tests/distill/test_reasoner_packing.py), at about a third of the tokens.

Not covered: caches, dropout, sliding windows, biases, rope scaling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Item", "Pack", "PackedBatch", "collate", "make_pack", "packed_hidden", "packed_loss"]

IGNORE = -100


@dataclass(frozen=True, slots=True)
class Item:
    """One question's tokens; ``targets[i]`` says whether token i is the model's own to learn."""

    ids: tuple[int, ...]
    targets: tuple[bool, ...]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.targets) or not self.ids:
            raise ValueError(
                f"expected as many targets as ids, got {len(self.targets)} for {len(self.ids)}"
            )


@dataclass(frozen=True, slots=True)
class Pack:
    """A prefix and the items that share it."""

    prefix: tuple[int, ...]
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Flat tensors of one pack: T tokens, P of the prefix, N items padded to L.

    ``pad_nl`` indexes flat tokens (0 where padded), ``flat_t`` indexes the padded grid,
    ``select_m`` are the flat places whose next token ``labels_m`` is learnt.
    """

    ids_t: Tensor
    positions_t: Tensor
    prefix: int
    pad_nl: Tensor
    flat_t: Tensor
    mask_lk: Tensor
    select_m: Tensor
    labels_m: Tensor


def collate(pack: Pack, device: str = "cpu") -> PackedBatch:
    """Lay a pack out flat; see :class:`PackedBatch`."""
    prefix, count = len(pack.prefix), len(pack.items)
    if not prefix or not count:
        raise ValueError(f"expected a prefix and items, got {prefix} tokens and {count} items")
    longest = max(len(item.ids) for item in pack.items)
    ids, positions = list(pack.prefix), list(range(prefix))
    pad = torch.zeros(count, longest, dtype=torch.long)
    flat: list[int] = []
    select: list[int] = []
    labels: list[int] = []
    for n, item in enumerate(pack.items):
        start = len(ids)
        pad[n, : len(item.ids)] = torch.arange(start, start + len(item.ids))
        flat.extend(range(n * longest, n * longest + len(item.ids)))
        for i, wanted in enumerate(item.targets):
            if wanted:
                select.append(start + i - 1 if i else prefix - 1)
                labels.append(item.ids[i])
        ids.extend(item.ids)
        positions.extend(range(prefix, prefix + len(item.ids)))
    mask = torch.zeros(longest, prefix + longest)
    mask[:, prefix:] = torch.full((longest, longest), float("-inf")).triu(1)
    return PackedBatch(
        _long(ids, device),
        _long(positions, device),
        prefix,
        pad.to(device),
        _long(flat, device),
        mask.to(device),
        _long(select, device),
        _long(labels, device),
    )


def packed_hidden(model: Any, batch: PackedBatch, dtype: torch.dtype = torch.float32) -> Tensor:
    """Last hidden states (T, width) of a Qwen3ForCausalLM over a packed batch.

    ``dtype`` is what activations and matrix products use; parameters stay as they are.
    """
    config = model.config
    hidden = model.model.embed_tokens.weight[batch.ids_t].to(dtype)
    cos, sin = _rotary(config, batch.positions_t, dtype)
    mask = batch.mask_lk.to(dtype)
    for layer in model.model.layers:
        normed = _rms(hidden, layer.input_layernorm, config.rms_norm_eps)
        hidden = hidden + _attention(layer.self_attn, normed, batch, cos, sin, mask, config)
        normed = _rms(hidden, layer.post_attention_layernorm, config.rms_norm_eps)
        mlp = layer.mlp
        both = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]).to(dtype)
        gate, up = F.linear(normed, both).chunk(2, -1)
        hidden = hidden + F.linear(F.silu(gate) * up, mlp.down_proj.weight.to(dtype))
    return _rms(hidden, model.model.norm, config.rms_norm_eps)


def packed_loss(
    model: Any, batch: PackedBatch, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, int]:
    """Sum of cross-entropies over the learnt tokens, and how many there are."""
    hidden = packed_hidden(model, batch, dtype)[batch.select_m]
    logits = F.linear(hidden, model.lm_head.weight.to(dtype)).float()
    return F.cross_entropy(logits, batch.labels_m, reduction="sum"), len(batch.labels_m)


def make_pack(prefix: Sequence[int], items: Sequence[tuple[Sequence[int], Sequence[bool]]]) -> Pack:
    """A pack from plain sequences."""
    return Pack(tuple(prefix), tuple(Item(tuple(i), tuple(t)) for i, t in items))


def _rms(hidden: Tensor, norm: Any, eps: float) -> Tensor:
    return F.rms_norm(hidden, (hidden.shape[-1],), norm.weight.to(hidden.dtype), eps)


def _rotary(config: Any, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    parameters = getattr(config, "rope_parameters", None) or {}
    theta = float(parameters.get("rope_theta") or getattr(config, "rope_theta", 10000.0))
    half = torch.arange(0, config.head_dim, 2, device=positions.device) / config.head_dim
    angles = positions[:, None].float() / theta**half
    return angles.cos()[:, None].to(dtype), angles.sin()[:, None].to(dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def _attention(
    attn: Any, x: Tensor, batch: PackedBatch, cos: Tensor, sin: Tensor, mask: Tensor, config: Any
) -> Tensor:
    """Grouped-query attention: the prefix causally, each item over prefix + itself."""
    heads, groups, width = (
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
    )
    weight = torch.cat([attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight]).to(x.dtype)
    q, k, v = (
        part.unflatten(-1, (-1, width))
        for part in F.linear(x, weight).split([heads * width, groups * width, groups * width], -1)
    )
    q = _rotate(_rms(q, attn.q_norm, config.rms_norm_eps), cos, sin)
    k = _rotate(_rms(k, attn.k_norm, config.rms_norm_eps), cos, sin)
    p, n = batch.prefix, batch.pad_nl.shape[0]
    qp, kp, vp = (t[:p].transpose(0, 1)[None] for t in (q, k, v))
    out_p = F.scaled_dot_product_attention(qp, kp, vp, is_causal=True, enable_gqa=True)
    qn, kn, vn = (t[batch.pad_nl].transpose(1, 2) for t in (q, k, v))
    keys = torch.cat([kp.expand(n, -1, -1, -1), kn], 2)
    values = torch.cat([vp.expand(n, -1, -1, -1), vn], 2)
    out_n = F.scaled_dot_product_attention(qn, keys, values, attn_mask=mask, enable_gqa=True)
    flat_n = out_n.transpose(1, 2).flatten(0, 1)[batch.flat_t]
    flat = torch.cat([out_p[0].transpose(0, 1), flat_n]).flatten(1)
    return F.linear(flat, attn.o_proj.weight.to(x.dtype))


def _long(values: Sequence[int], device: str) -> Tensor:
    return torch.tensor(values, dtype=torch.long, device=device)
