"""Batched sampling of a causal language model, with text inserted in the middle.

All completions of a batch go one token at a time through one cache. A row that pauses (it wrote
``</plan>``) gets the tokens that are inserted for it fed instead of sampled ones, while the other
rows go on; nothing is read twice. Each prompt is read once, whatever the number of its
completions.

Every row draws from its own generator, so a completion depends on its seed and not on what else
is in the batch (up to the rounding of larger matrix products).

Not covered: beam search, penalties, grammars.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Completion", "Pause", "sample"]

Pause = Callable[[int, list[int]], "list[int] | None"]
"""Given a row and its tokens after each token of its own: tokens to insert, empty to go on, None
to end the row."""

_COMPACT = 0.6  # the batch is made smaller when less than this share still runs


@dataclass(slots=True)
class Completion:
    """Tokens after a prompt; ``own`` says which the model wrote; ``ended`` is None if cut."""

    ids: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ended: str | None = None


@torch.no_grad()
def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    n: int,
    *,
    seeds: Sequence[int],
    on_token: Pause,
    eos: int,
    pad: int,
    max_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> list[Completion]:
    """``n`` completions of every prompt, prompt by prompt.

    Args:
        model: a transformers causal language model.
        prompts: token ids.
        n: completions of each.
        seeds: one per completion, ``len(prompts) * n``.
        on_token: called after each token that a row wrote itself.
        eos: ends a row.
        pad: fills the left of shorter prompts.
        max_tokens: most tokens of its own per row; inserted ones are not counted.
        temperature: 0 takes the likeliest token.
        top_p: smallest probability mass that is sampled from.
    """
    rows = len(prompts) * n
    if len(seeds) != rows:
        raise ValueError(f"expected {rows} seeds, got {len(seeds)}")
    if not rows:
        return []
    was_training = model.training
    model.eval()
    try:
        batch = _Batch(model, prompts, n, pad)
        return _run(batch, seeds, on_token, eos, max_tokens, temperature, top_p)
    finally:
        model.train(was_training)


def _run(
    batch: _Batch,
    seeds: Sequence[int],
    on_token: Pause,
    eos: int,
    max_tokens: int,
    temperature: float,
    top_p: float,
) -> list[Completion]:
    found = [Completion() for _ in seeds]
    draws = [np.random.default_rng(seed) for seed in seeds]
    queues: list[deque[int]] = [deque() for _ in seeds]
    left = [max_tokens] * len(seeds)
    while batch.rows:
        u = [0.0 if r < 0 or queues[r] else draws[r].random() for r in batch.rows]
        tokens, logprobs = _choose(batch.logits, u, temperature, top_p)
        alive = []
        for place, row in enumerate(batch.rows):
            if row < 0:  # it has ended and waits to be taken out
                continue
            done, queue = found[row], queues[row]
            own = not queue
            token = tokens[place] if own else queue.popleft()
            tokens[place] = token
            done.ids.append(token)
            done.own.append(int(own))
            done.logprobs.append(logprobs[place] if own else 0.0)
            left[row] -= own
            if token == eos:
                done.ended = "eos"
            elif own:
                inserted = on_token(row, done.ids)
                if inserted is None:
                    done.ended = "stopped"
                else:
                    queue.extend(inserted)
            if done.ended is None and (left[row] > 0 or queue):
                alive.append(place)
        batch.feed(tokens, alive)
    return found


def _choose(
    logits: Tensor, u: Sequence[float], temperature: float, top_p: float
) -> tuple[list[int], list[float]]:
    """A token per row of (B, V) logits, by the inverse of its distribution, with its log-probability."""
    logits = logits.float()
    if not temperature:
        best = logits.argmax(-1)
        chosen = logits.log_softmax(-1).gather(-1, best[:, None])[:, 0]
        return best.tolist(), chosen.tolist()
    logps = (logits / temperature).log_softmax(-1)
    probs = logps.exp()
    if top_p < 1.0:
        ordered, order = probs.sort(-1, descending=True)
        kept = ordered.cumsum(-1) - ordered < top_p
        probs = torch.zeros_like(probs).scatter(-1, order, ordered * kept)
    sums = probs.cumsum(-1)
    wanted = torch.tensor(u, dtype=sums.dtype, device=sums.device)[:, None] * sums[:, -1:]
    chosen = torch.searchsorted(sums, wanted, right=True).clamp(max=sums.shape[-1] - 1)
    return chosen[:, 0].tolist(), logps.gather(-1, chosen)[:, 0].tolist()


class _Batch:
    """Rows in the cache (-1: has ended) and the logits after their last tokens."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], n: int, pad: int) -> None:
        self._model, self._device = model, model.device
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), longest), pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(list(prompt))
            mask[row, longest - len(prompt) :] = 1
        ids, mask = ids.to(self._device), mask.to(self._device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = out.past_key_values
        self._cache.batch_repeat_interleave(n)
        self._mask = mask.repeat_interleave(n, 0)
        self._next = mask.sum(-1).repeat_interleave(n, 0)
        self.logits: Tensor = out.logits[:, -1].repeat_interleave(n, 0)
        self.rows = list(range(len(prompts) * n))

    def feed(self, tokens: Sequence[int], alive: Sequence[int]) -> None:
        """Go on with one token per row; rows whose places are not ``alive`` end."""
        if not alive:
            self.rows = []
            return
        ids = torch.tensor(list(tokens), device=self._device)
        if len(alive) < _COMPACT * len(self.rows):
            keep = torch.tensor(list(alive), device=self._device)
            self._cache.batch_select_indices(keep)
            ids, self._mask, self._next = ids[keep], self._mask[keep], self._next[keep]
            self.rows = [self.rows[place] for place in alive]
        else:
            kept = set(alive)
            self.rows = [row if place in kept else -1 for place, row in enumerate(self.rows)]
        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], -1)
        out = self._model(
            input_ids=ids[:, None],
            attention_mask=self._mask,
            position_ids=self._next[:, None],
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache, self._next = out.past_key_values, self._next + 1
        self.logits = out.logits[:, -1]
