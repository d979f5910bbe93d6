"""Exact-id accuracy of a reasoner in training, by batched greedy decoding without a grammar.

The whole loop is run: generate to the plan's end, compute the plan with the real tools, append
the results, generate the answer. No grammar and no repairs here, so it is a lower bound of
what the device gives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer

from ...reasoner import protocol
from ...reasoner.prompts import prefix, question
from ...twin.errors import EdgeTwinError
from ...twin.tools.registry import DEFAULT_REGISTRY, run_plan
from ...twin.tools.render import render_results
from ...twin.window import TwinWindow
from .tokenizer import token_id

__all__ = ["HeldOut", "decode", "greedy", "score"]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A question on a true twin with the ids that answer it; ``group`` names its row."""

    window: TwinWindow
    question: str
    ids: tuple[int, ...]
    level: int
    group: str


def score(trainer: Any, held_out: Sequence[HeldOut], batch: int = 48) -> dict[str, float]:
    """Share of exactly right id sets: ``exact``, ``exact_L<level>`` (seen wordings), ``exact_<group>``."""
    texts = decode(trainer.model, trainer.tokenizer, held_out, batch)
    hits: dict[str, list[bool]] = defaultdict(list)
    for one, (ids, _) in zip(held_out, texts, strict=True):
        right = ids is not None and set(ids) == set(one.ids)
        hits[f"exact_{one.group}"].append(right)
        if one.group == "seen":
            hits[f"exact_L{one.level}"].append(right)
        hits["malformed"].append(ids is None)
    return {name: round(sum(v) / len(v), 4) for name, v in sorted(hits.items())}


def decode(
    model: Any, tokenizer: Tokenizer, asked: Sequence[HeldOut], batch: int = 48
) -> list[tuple[list[int] | None, str]]:
    """(answered ids or None if the transcript is broken, transcript) for every question."""
    prompts = [
        tokenizer.encode(prefix(one.window, DEFAULT_REGISTRY)).ids
        + tokenizer.encode(question(one.question)).ids
        for one in asked
    ]
    first = greedy(model, tokenizer, prompts, ("</plan>", "</answer>"), 128, batch)
    answers: list[tuple[list[int] | None, str]] = []
    resumed: list[tuple[int, list[int], Any]] = []
    for number, (one, ids) in enumerate(zip(asked, first, strict=True)):
        text = tokenizer.decode(ids, skip_special_tokens=False)
        answers.append((None, text))
        try:
            transcript = protocol.parse(text, complete=False)
            if transcript.answer is not None:
                known = one.window.ids()
                answers[-1] = (protocol.resolve(transcript.answer, [], known), text)
                continue
            results = run_plan(transcript.rounds[-1].plan, one.window)
        except (EdgeTwinError, IndexError):
            continue
        inserted = tokenizer.encode(protocol.tagged("results", render_results(results))).ids
        resumed.append((number, prompts[number] + ids + inserted, results))
    second = greedy(model, tokenizer, [r[1] for r in resumed], ("</answer>",), 24, batch)
    for (number, given, results), ids in zip(resumed, second, strict=True):
        full = given[len(prompts[number]) :] + ids
        text = tokenizer.decode(full, skip_special_tokens=False)
        try:
            answer = protocol.parse(text).answer
            assert answer is not None
            known = asked[number].window.ids()
            answers[number] = (protocol.resolve(answer, results, known), text)
        except EdgeTwinError:
            answers[number] = (None, text)
    return answers


@torch.no_grad()
def greedy(
    model: Any,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    stops: Sequence[str],
    max_new: int,
    batch: int,
) -> list[list[int]]:
    """New tokens up to and including the first stop, for every prompt; shortest prompts first."""
    eos = token_id(tokenizer, protocol.EOS)
    ends = [eos, *(token_id(tokenizer, stop) for stop in stops)]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: list[list[int]] = [[] for _ in prompts]
    was_training = model.training
    model.eval()
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        longest = max(len(prompts[i]) for i in chosen)
        ids = torch.full((len(chosen), longest), eos)
        mask = torch.zeros_like(ids)
        for row, i in enumerate(chosen):
            ids[row, longest - len(prompts[i]) :] = torch.tensor(prompts[i])
            mask[row, longest - len(prompts[i]) :] = 1
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_new,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=eos,
        )[:, longest:].tolist()
        for row, i in enumerate(chosen):
            cut = next((n for n, t in enumerate(out[row]) if t in ends), len(out[row]) - 1)
            found[i] = out[row][: cut + 1]
    model.train(was_training)
    return found
