"""How likely a model finds chains that somebody else wrote, in batches.

The prompt of a task is read once for all its chains: the cache after all but its last token is
repeated, and every chain is read behind it, padded on the right. So the model's work per chain is
the chain.

Not covered: encoder-decoder models, models whose cache cannot be repeated (sliding windows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ...reasoner.protocol import Block, tagged
from ..stages.policy import Policy

__all__ = ["Likelihood", "Reading", "Until", "likelihoods", "reading"]

Until = Literal["reason", "plan", "answer"]
"""How far a chain is read: the first rationale; up to its last plan; up to its answer."""

_MAX_LOGITS = 64 << 20  # numbers in one batch's logits: 256 MB in float32


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read: a prompt, the tokens after it, and which of those were the writer's own."""

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    own: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Natural log-probability per own token: the mean and the lowest; and how many there are."""

    mean: float
    lowest: float
    tokens: int


def reading(policy: Policy, prompt: Sequence[int], chain: Sequence[Block], until: Until) -> Reading:
    """A chain as the policy reads it behind a prompt.

    What was written in one go is encoded in one go, as it would have written it; inserted results
    are encoded for themselves.
    """
    last = max((n for n, block in enumerate(chain) if block.tag == "plan"), default=-1)
    kept: list[Block] = []
    for number, block in enumerate(chain):
        after_plan = until == "plan" and number > last >= 0
        if block.tag == "explain" or after_plan:
            break
        if block.tag in ("plan", "answer") and until == "reason":
            break
        if block.tag == "answer" and until == "plan":
            break
        kept.append(block)
    parts: list[tuple[str, bool]] = []
    for block in kept:
        text, own = tagged(block.tag, block.body), block.tag != "results"
        if parts and parts[-1][1] and own:
            parts[-1] = (parts[-1][0] + text, True)
        else:
            parts.append((text, own))
    ids: list[int] = []
    mask: list[bool] = []
    for text, own in parts:
        encoded = policy.encode(text)
        ids += encoded
        mask += [own] * len(encoded)
    return Reading(tuple(prompt), tuple(ids), tuple(mask))


@torch.no_grad()
def likelihoods(
    policy: Policy, readings: Sequence[Reading], rows: int = 64
) -> list[Likelihood | None]:
    """The likelihood of each, None for one that is empty, too long or not finite.

    Args:
        policy: the model that reads; it is put into evaluation and back.
        readings: what it reads; equal ones are read once.
        rows: chains in one batch.
    """
    model = policy.model
    longest = int(getattr(model.config, "max_position_embeddings", 1 << 30))
    known: dict[Reading, Likelihood | None] = {
        each: None
        for each in readings
        if each.prompt and any(each.own) and len(each.prompt) + len(each.ids) <= longest
    }
    pad = int(policy.tokenizer.pad_token_id)
    was_training = model.training
    model.eval()
    try:
        for batch in _batches(list(known), rows, int(model.config.vocab_size)):
            for each, found in zip(batch, _read(model, batch, pad), strict=True):
                known[each] = found
    finally:
        model.train(was_training)
    return [known.get(each) for each in readings]


def _batches(readings: list[Reading], rows: int, vocabulary: int) -> list[list[Reading]]:
    """Chains of one prompt side by side, prompts alike in length, at most so many in a batch."""
    order = sorted(readings, key=lambda each: (len(each.prompt), each.prompt, len(each.ids)))
    found: list[list[Reading]] = []
    longest = 0
    for each in order:
        longest = max(longest, len(each.ids))
        fits = min(rows, max(1, _MAX_LOGITS // (longest * vocabulary)))
        if not found or len(found[-1]) >= fits:
            found.append([])
            longest = len(each.ids)
        found[-1].append(each)
    return found


def _read(model: Any, batch: Sequence[Reading], pad: int) -> list[Likelihood | None]:
    """One batch: unique prompts (P, T) into the cache, then chains (B, C) behind them."""
    prompts = {each.prompt: 0 for each in batch}
    for number, prompt in enumerate(prompts):
        prompts[prompt] = number
    device = model.device
    cache, mask_pt = _prompts_read(model, [prompt[:-1] for prompt in prompts], pad)
    chosen = torch.tensor([prompts[each.prompt] for each in batch], device=device)
    # Position t of the input predicts position t of the targets.
    targets, own = _padded([each.ids for each in batch], pad), _padded([each.own for each in batch])
    given = _padded([(each.prompt[-1], *each.ids[:-1]) for each in batch], pad)
    real = _padded([(1,) * len(each.ids) for each in batch])
    targets, own, given, real = (t.to(device) for t in (targets, own, given, real))
    before = torch.tensor([len(each.prompt) - 1 for each in batch], device=device)
    places = before[:, None] + torch.arange(given.shape[1], device=device)
    options: dict[str, Any] = {}
    if cache is not None:
        cache.batch_select_indices(chosen)
        options["past_key_values"] = cache
        real = torch.cat([mask_pt[chosen], real], -1)
    logits = model(
        input_ids=given, attention_mask=real, position_ids=places, use_cache=True, **options
    ).logits.float()  # (B, C, V)
    logps = logits.gather(-1, targets[..., None])[..., 0] - logits.logsumexp(-1)  # (B, C)
    counts = own.sum(-1)
    means = torch.where(own > 0, logps, 0.0).sum(-1) / counts
    lowest = torch.where(own > 0, logps, torch.inf).amin(-1)
    rows = zip(means.tolist(), lowest.tolist(), counts.tolist(), strict=True)
    return [
        Likelihood(mean, low, int(count)) if -1e9 < low <= mean + 1e-6 else None
        for mean, low, count in rows
    ]


def _prompts_read(model: Any, prompts: Sequence[Sequence[int]], pad: int) -> tuple[Any, Tensor]:
    """The cache after prompts padded on the left, with its mask; no cache for empty prompts."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad)
    mask = torch.zeros_like(ids)
    if not longest:
        return None, mask.to(model.device)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(list(prompt), dtype=torch.long)
        mask[row, longest - len(prompt) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    found = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        use_cache=True,
        logits_to_keep=1,
    )
    return found.past_key_values, mask


def _padded(rows: Sequence[Sequence[int]], fill: int = 0) -> Tensor:
    """Rows as one (B, C) tensor, filled on the right."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*map(int, row), *[fill] * (longest - len(row))] for row in rows])
