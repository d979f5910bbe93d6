"""Kept chains made into those of another configuration, as text.

``direct``: without plan and results, the answer as ids (a twin that no tool refines). ``caption``:
the same, and the twin told as a caption. ``explained``: the detailed rationale of the same question
after the answer (WISE's order).

Not covered: rationales are left as they are; those of ``direct`` chains still name the steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ...reasoner.protocol import AnswerBody, parse_answer, render_answer
from ...twin.errors import InputError
from ..reasoner.records import Example, Question, read, write
from ..tasks.caption import caption
from .table import Conversion

__all__ = ["convert", "direct", "explained"]


def convert(how: Conversion, source: Path, target: Path, detailed: Path | None = None) -> int:
    """Write ``source`` (``kept.jsonl``) converted to ``target``; returns how many chains it has.

    Args:
        how: see above.
        source: kept chains.
        target: where to.
        detailed: kept chains in the mode ``detailed``, for ``explained``.

    Raises:
        InputError: if no chain is left.
    """
    examples: Iterable[Example] = read(source)
    if how in ("direct", "caption"):
        examples = map(direct, examples)
    if how == "caption":
        examples = (replace(one, twin=caption(one.twin)) for one in examples)
    if how == "explained":
        if detailed is None:
            raise InputError("expected chains in the mode detailed for explained ones, got none")
        examples = explained(examples, read(detailed))
    made = [one for one in examples if one.items]
    if not made:
        raise InputError(
            f"expected chains to convert in {source}, got none that can be; keep more of them"
        )
    write(target, made)
    return sum(len(one.items) for one in made)


def direct(example: Example) -> Example:
    """Every chain without plan and results, its answer as ids; those with another kind of
    answer are left out."""
    return replace(example, items=tuple(_direct(example.items)))


def _direct(items: Iterable[Question]) -> Iterator[Question]:
    for item in items:
        answer = parse_answer(item.answer)
        if answer.reference is None:
            yield replace(item, plan="", results="")
            continue
        results = json.loads(item.results)
        value = results[answer.reference - 1]
        if isinstance(value, list) and all(isinstance(i, int) for i in value):
            told = render_answer(AnswerBody(ids=tuple(value)))
            yield replace(item, plan="", results="", answer=told)


def explained(concise: Iterable[Example], detailed: Iterable[Example]) -> Iterator[Example]:
    """Concise chains with the detailed rationale of the same question on the same twin after the
    answer; chains without one are left out."""
    known = {
        (example.twin, item.question): item.reason for example in detailed for item in example.items
    }
    for example in concise:
        items = (
            replace(item, explain=known[example.twin, item.question])
            for item in example.items
            if item.mode == "concise" and (example.twin, item.question) in known
        )
        yield replace(example, items=tuple(items))
