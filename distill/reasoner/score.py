"""Exact-id accuracy of a reasoner in training, by batched greedy decoding without a grammar.

The whole loop is run: generate to the plan's end, compute the plan with the real tools, append
the results, generate the answer. No grammar and no repairs here, so it is a lower bound of
what the device gives.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer

from ...reasoner import protocol
from ...reasoner.prompts import Layout, Mode, prefix, question, turn
from ...twin.errors import EdgeTwinError
from ...twin.tools import semantic
from ...twin.tools.base import Ids, ToolValue
from ...twin.tools.registry import StepResult, ToolRegistry
from ...twin.tools.render import render_results
from ...twin.window import TwinWindow
from ..sim.questions.restricted import TRAINED
from .tokenizer import token_id

__all__ = ["HeldOut", "Said", "decode", "greedy", "score", "tools_for_part"]

_REASON = re.compile(r"<reason>(.*?)</reason>")
_MAX_PLAN, _MAX_ANSWER = 224, 24  # new tokens: a detailed rationale and eight steps; an answer


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A question on a true twin with the ids that answer it; ``group`` names its row.

    ``whole`` is what tools run on where the window is shown in part; ``value`` is the answer
    where it is a number or times.
    """

    window: TwinWindow
    question: str
    ids: tuple[int, ...]
    level: int
    group: str
    mode: Mode = "concise"
    turns: tuple[tuple[str, tuple[int, ...]], ...] = ()
    whole: TwinWindow | None = None
    value: ToolValue = None


@dataclass(frozen=True, slots=True)
class Said:
    """A transcript with what it answers: ids, or a number or times; both None if it is broken."""

    text: str
    ids: list[int] | None = None
    value: ToolValue = None

    def is_right(self, one: HeldOut) -> bool:
        """Whether it is exactly the answer."""
        if one.value is not None:
            return self.value == one.value
        return self.value is None and self.ids is not None and set(self.ids) == set(one.ids)


def score(trainer: Any, held_out: Sequence[HeldOut], batch: int = 48) -> dict[str, float]:
    """Share of exactly right answers and mean tokens of rationales.

    ``exact_<group>``, ``exact_L<level>`` (seen wordings), ``malformed`` and ``tokens_<mode>``.
    """
    said = decode(trainer.model, trainer.tokenizer, held_out, batch, layout="compact")
    hits: dict[str, list[float]] = defaultdict(list)
    for one, answer in zip(held_out, said, strict=True):
        right = answer.is_right(one)
        hits[f"exact_{one.group}"].append(right)
        if one.group == "seen":
            hits[f"exact_L{one.level}"].append(right)
        hits["malformed"].append(answer.ids is None and answer.value is None)
        rationale = _REASON.search(answer.text)
        if rationale is not None:
            count = len(trainer.tokenizer.encode(rationale.group(1)).ids)
            hits[f"tokens_{one.mode}"].append(count)
    return {name: round(sum(v) / len(v), 4) for name, v in sorted(hits.items())}


def decode(
    model: Any,
    tokenizer: Tokenizer,
    asked: Sequence[HeldOut],
    batch: int = 48,
    layout: Layout = "full",
) -> list[Said]:
    """What the model says to every question, with plans computed by the real tools."""
    prompts = [_prompt(tokenizer, one, layout) for one in asked]
    first: list[list[int]] = [[] for _ in asked]
    for mode in dict.fromkeys(one.mode for one in asked):  # alike in length, so few wait for one
        chosen = [number for number, one in enumerate(asked) if one.mode == mode]
        told = [prompts[number] for number in chosen]
        found = greedy(model, tokenizer, told, ("</plan>", "</answer>"), _MAX_PLAN, batch)
        for number, ids in zip(chosen, found, strict=True):
            first[number] = ids
    answers: list[Said] = []
    resumed: list[tuple[int, list[int], list[StepResult]]] = []
    for number, (one, ids) in enumerate(zip(asked, first, strict=True)):
        text = tokenizer.decode(ids, skip_special_tokens=False)
        answers.append(Said(text))
        try:
            transcript = protocol.parse(text, complete=False)
            if transcript.answer is not None:
                answers[-1] = _said(text, transcript.answer, [])
                continue
            tools = TRAINED if one.whole is None else tools_for_part(one.window)
            results = tools.run_plan(transcript.rounds[-1].plan, one.whole or one.window)
        except (EdgeTwinError, IndexError):
            continue
        inserted = tokenizer.encode(protocol.tagged("results", render_results(results))).ids
        resumed.append((number, prompts[number] + ids + inserted, list(results)))
    given = [r[1] for r in resumed]
    second = greedy(model, tokenizer, given, ("</answer>",), _MAX_ANSWER, batch)
    for (number, before, results), ids in zip(resumed, second, strict=True):
        full = before[len(prompts[number]) :] + ids
        text = tokenizer.decode(full, skip_special_tokens=False)
        try:
            answer = protocol.parse(text).answer
            assert answer is not None
            answers[number] = _said(text, answer, results)
        except (EdgeTwinError, IndexError):
            answers[number] = Said(text)
    return answers


def tools_for_part(window: TwinWindow) -> ToolRegistry:
    """Tools for a window that shows a part: ``find`` knows that part and what ``detect`` added."""
    known = set(window.ids())

    def find(window: TwinWindow, words: list[str]) -> Ids:
        """Ids with these labels among those known."""
        return [i for i in semantic.find(window, words) if i in known]

    def detect(window: TwinWindow, words: list[str]) -> Ids:
        """Ids with these labels, looked for now if they were not before."""
        known.update(semantic.find(window, words))
        return find(window, words)

    kept = (tool for name, tool in TRAINED.items() if name not in ("find", "detect"))
    tools = ToolRegistry(kept).with_tool(find, "semantic")
    return tools.with_tool(detect, "perception")


def _prompt(tokenizer: Tokenizer, one: HeldOut, layout: Layout) -> list[int]:
    """Tokens of the prompt, each of its texts encoded for itself."""
    texts = [prefix(one.window, TRAINED, layout=layout)]
    texts += [turn(asked, ids) for asked, ids in one.turns]
    return [t for text in (*texts, question(one.question, one.mode)) for t in _ids(tokenizer, text)]


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text).ids)


def _said(text: str, answer: protocol.AnswerBody, results: Sequence[StepResult]) -> Said:
    """The answer's ids, or the number or times of the step that it names."""
    if answer.reference is None:
        return Said(text, list(answer.ids))
    step = results[answer.reference - 1]
    if step.kind == "ids" and isinstance(step.value, list):
        return Said(text, [i for i in step.value if isinstance(i, int)])
    return Said(text, None, step.value)


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
