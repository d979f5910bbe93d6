"""Batched sampling of a causal language model, with text inserted in the middle.

All completions of a batch go one token at a time through one cache. A row that pauses (it wrote
``</plan>``) gets the tokens that are inserted for it fed instead of sampled ones, while the other
rows go on; nothing is read twice. Each prompt is read once, whatever the number of its
completions, and what several prompts begin with (the twin, of questions on one twin) once for all.

Every row draws from its own generator, so a completion depends on its seed and not on what else
is in the batch (up to the rounding of larger matrix products).

Not covered: beam search, penalties, grammars.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Completion", "Pause", "Prompt", "sample"]

Pause = Callable[[int, list[int]], "list[int] | None"]
"""Given a row and its tokens after each token of its own: tokens to insert, empty to go on, None
to end the row."""

_COMPACT = 0.6  # the batch is made smaller when less than this share still runs


class Prompt(NamedTuple):
    """Token ids: ``shared`` is read once for all prompts that have the same, ``own`` follows."""

    shared: tuple[int, ...]
    own: tuple[int, ...]


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
    prompts: Sequence[Prompt],
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
        prompts: what comes before; neither part may be empty.
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

    def __init__(self, model: Any, prompts: Sequence[Prompt], n: int, pad: int) -> None:
        self._model, self._device = model, model.device
        beginnings = list(dict.fromkeys(prompt.shared for prompt in prompts))
        ids, mask = self._padded(beginnings, pad)
        self._cache: Any = None
        self._mask, self._next = mask[:, :0], torch.zeros_like(mask[:, 0])
        self._read(ids, mask)
        place = {shared: number for number, shared in enumerate(beginnings)}
        self._keep(torch.tensor([place[p.shared] for p in prompts], device=self._device))
        self._read(*self._padded([prompt.own for prompt in prompts], pad))
        rows = torch.arange(len(prompts), device=self._device).repeat_interleave(n)
        self._keep(rows)
        self.logits: Tensor = self._last[rows]
        self.rows = list(range(len(rows)))

    def _padded(self, texts: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
        """Token ids padded on the left, and where they are."""
        longest = max(map(len, texts))
        ids = torch.full((len(texts), longest), pad)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, longest - len(text) :] = torch.tensor(list(text))
            mask[row, longest - len(text) :] = 1
        return ids.to(self._device), mask.to(self._device)

    def _read(self, ids: Tensor, mask: Tensor) -> None:
        """Put padded tokens (B, L) behind what the cache holds."""
        self._mask = torch.cat([self._mask, mask], -1)
        positions = (self._next[:, None] + mask.cumsum(-1) - 1).clamp(min=0)
        out = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache, self._last = out.past_key_values, out.logits[:, -1]
        self._next = self._next + mask.sum(-1)

    def _keep(self, rows: Tensor) -> None:
        """Make these rows of the cache the batch, any of them more than once."""
        self._cache.batch_select_indices(rows)
        self._mask, self._next = self._mask[rows], self._next[rows]

    def feed(self, tokens: Sequence[int], alive: Sequence[int]) -> None:
        """Go on with one token per row; rows whose places are not ``alive`` end."""
        if not alive:
            self.rows = []
            return
        ids = torch.tensor(list(tokens), device=self._device)
        if len(alive) < _COMPACT * len(self.rows):
            places = torch.tensor(list(alive), device=self._device)
            self._keep(places)
            ids, self.rows = ids[places], [self.rows[place] for place in alive]
        else:
            kept = set(alive)
            self.rows = [row if place in kept else -1 for place, row in enumerate(self.rows)]
        self._read(ids[:, None], torch.ones_like(ids[:, None]))
        self.logits = self._last
