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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "Group",
    "Item",
    "Kernels",
    "Pack",
    "PackedBatch",
    "collate",
    "compiled_kernels",
    "make_pack",
    "packed_hidden",
    "packed_loss",
]


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
class Group:
    """N items of similar length padded to L.

    ``pad_nl`` indexes the pack's flat tokens (0 where padded), ``flat_t`` indexes the padded
    grid for every real token, ``mask_lk`` hides later tokens (K = prefix + L).
    """

    pad_nl: Tensor
    flat_t: Tensor
    mask_lk: Tensor


class Kernels(NamedTuple):
    """The two halves of a layer around attention, plain or compiled."""

    project: Callable[..., tuple[Tensor, Tensor, Tensor]]
    close: Callable[..., Tensor]


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Flat tensors of one pack: T tokens of which the first ``prefix`` are shared.

    ``select_m`` are the flat places whose next token ``labels_m`` is learnt.
    """

    ids_t: Tensor
    positions_t: Tensor
    prefix: int
    groups: tuple[Group, ...]
    select_m: Tensor
    labels_m: Tensor


def collate(pack: Pack, device: str = "cpu", group: int = 8) -> PackedBatch:
    """Lay a pack out flat, items by length, ``group`` of them padded together."""
    prefix = len(pack.prefix)
    if not prefix or not pack.items:
        raise ValueError(f"expected a prefix and items, got {prefix} and {len(pack.items)}")
    items = sorted(pack.items, key=lambda item: len(item.ids))
    ids, positions = list(pack.prefix), list(range(prefix))
    select: list[int] = []
    labels: list[int] = []
    groups = []
    for first in range(0, len(items), group):
        chosen = items[first : first + group]
        groups.append(_group(chosen, len(ids), prefix, device))
        for item in chosen:
            start = len(ids)
            for i, wanted in enumerate(item.targets):
                if wanted:
                    select.append(start + i - 1 if i else prefix - 1)
                    labels.append(item.ids[i])
            ids.extend(item.ids)
            positions.extend(range(prefix, prefix + len(item.ids)))
    return PackedBatch(
        _long(ids, device),
        _long(positions, device),
        prefix,
        tuple(groups),
        _long(select, device),
        _long(labels, device),
    )


def _group(items: Sequence[Item], start: int, prefix: int, device: str) -> Group:
    longest = max(len(item.ids) for item in items)
    pad = torch.zeros(len(items), longest, dtype=torch.long)
    flat: list[int] = []
    for n, item in enumerate(items):
        pad[n, : len(item.ids)] = torch.arange(start, start + len(item.ids))
        flat.extend(range(n * longest, n * longest + len(item.ids)))
        start += len(item.ids)
    mask = torch.zeros(longest, prefix + longest)
    mask[:, prefix:] = torch.full((longest, longest), float("-inf")).triu(1)
    return Group(pad.to(device), _long(flat, device), mask.to(device))


def packed_hidden(
    model: Any,
    batch: PackedBatch,
    dtype: torch.dtype = torch.float32,
    kernels: Kernels | None = None,
) -> Tensor:
    """Last hidden states (T, width) of a Qwen3ForCausalLM over a packed batch.

    ``dtype`` is what activations and matrix products use; parameters stay as they are.
    """
    kernels = kernels or EAGER
    config = model.config
    eps, width = float(config.rms_norm_eps), int(config.head_dim)
    heads, keys = int(config.num_attention_heads), int(config.num_key_value_heads)
    hidden = model.model.embed_tokens.weight[batch.ids_t].to(dtype)
    cos, sin = _rotary(config, batch.positions_t, dtype)
    for layer in model.model.layers:
        attn, mlp = layer.self_attn, layer.mlp
        q, k, v = kernels.project(
            hidden,
            layer.input_layernorm.weight.to(dtype),
            torch.cat([attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight]).to(dtype),
            (attn.q_norm.weight.to(dtype), attn.k_norm.weight.to(dtype)),
            (cos, sin),
            (heads, keys, width),
            eps,
        )
        hidden = kernels.close(
            hidden,
            _attention(q, k, v, batch),
            attn.o_proj.weight.to(dtype),
            layer.post_attention_layernorm.weight.to(dtype),
            torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]).to(dtype),
            mlp.down_proj.weight.to(dtype),
            eps,
        )
    return _rms(hidden, model.model.norm.weight.to(dtype), eps)


def packed_loss(
    model: Any,
    batch: PackedBatch,
    dtype: torch.dtype = torch.float32,
    kernels: Kernels | None = None,
) -> tuple[Tensor, int]:
    """Sum of cross-entropies over the learnt tokens, and how many there are."""
    hidden = packed_hidden(model, batch, dtype, kernels)[batch.select_m]
    logits = F.linear(hidden, model.lm_head.weight.to(dtype)).float()
    return F.cross_entropy(logits, batch.labels_m, reduction="sum"), len(batch.labels_m)


def make_pack(prefix: Sequence[int], items: Sequence[tuple[Sequence[int], Sequence[bool]]]) -> Pack:
    """A pack from plain sequences."""
    return Pack(tuple(prefix), tuple(Item(tuple(i), tuple(t)) for i, t in items))


def _project(
    hidden: Tensor,
    norm: Tensor,
    weight: Tensor,
    head_norms: tuple[Tensor, Tensor],
    rotary: tuple[Tensor, Tensor],
    shape: tuple[int, int, int],
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normed, rotated queries (T, heads, d) and keys, and values, of one layer."""
    heads, keys, width = shape
    both = F.linear(_rms(hidden, norm, eps), weight).view(hidden.shape[0], -1, width)
    q = _rotate(_rms(both[:, :heads], head_norms[0], eps), *rotary)
    k = _rotate(_rms(both[:, heads : heads + keys], head_norms[1], eps), *rotary)
    return q, k, both[:, heads + keys :]


def _close(
    hidden: Tensor,
    attended: Tensor,
    out: Tensor,
    norm: Tensor,
    gate_up: Tensor,
    down: Tensor,
    eps: float,
) -> Tensor:
    """What follows attention in a layer: output projection, residual, MLP."""
    hidden = hidden + F.linear(attended, out)
    gate, up = F.linear(_rms(hidden, norm, eps), gate_up).chunk(2, -1)
    return hidden + F.linear(F.silu(gate) * up, down)


EAGER = Kernels(_project, _close)


@cache
def compiled_kernels() -> Kernels:
    """Both kernels through ``torch.compile``: a third less time on a CPU, 20 s to begin with."""
    return Kernels(torch.compile(_project, dynamic=True), torch.compile(_close, dynamic=True))


def _rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight, eps)


def _rotary(config: Any, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    parameters: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    theta: float = parameters.get("rope_theta") or 10000.0
    half = torch.arange(0, config.head_dim, 2, device=positions.device) / config.head_dim
    angles = positions[:, None].float() / theta**half
    return angles.cos()[:, None].to(dtype), angles.sin()[:, None].to(dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def _attention(q: Tensor, k: Tensor, v: Tensor, batch: PackedBatch) -> Tensor:
    """(T, heads * d): the prefix attends causally, each item to the prefix and itself."""
    p = batch.prefix
    qp, kp, vp = (t[:p].transpose(0, 1)[None] for t in (q, k, v))
    out_p = F.scaled_dot_product_attention(qp, kp, vp, is_causal=True, enable_gqa=True)
    outs = [out_p[0].transpose(0, 1)]
    for group in batch.groups:
        n = len(group.pad_nl)
        qn, kn, vn = (t[group.pad_nl].transpose(1, 2) for t in (q, k, v))
        all_k = torch.cat([kp.expand(n, -1, -1, -1), kn], 2)
        all_v = torch.cat([vp.expand(n, -1, -1, -1), vn], 2)
        out_n = _attend(qn, all_k, all_v, group.mask_lk.to(q.dtype))
        outs.append(out_n.transpose(1, 2).flatten(0, 1)[group.flat_t])
    return torch.cat(outs).flatten(1)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """(n, heads, L, d) over (n, key heads, K, d); plain products, faster backward on a CPU."""
    n, heads, length, width = q.shape
    groups = k.shape[1]
    q = (q * width**-0.5).reshape(n, groups, -1, width)
    scores = (q @ k.transpose(-1, -2)).view(n, groups, heads // groups, length, -1) + mask
    weights = scores.softmax(-1).flatten(2, 3)
    return torch.matmul(weights, v).reshape(n, heads, length, width)


def _long(values: Sequence[int], device: str) -> Tensor:
    return torch.tensor(values, dtype=torch.long, device=device)
