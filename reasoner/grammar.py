"""The grammar that decoding is held to: protocol, tool schemas, the twin's ids and words.

A :class:`Grammar` is a record of what may be written; backends render it themselves: ``lark``
for llguidance, ``gbnf`` for llama.cpp's servers. It has two branches from the start, a plan or an
answer, or only the answer once results are there. Ids are those of the twin, words and values
those given; step k may refer to steps before it only, and where the tools' kinds of result are
known only to steps that give ids. So every text that follows it is a valid plan or answer.

Everything from outside (labels, words, values) is a quoted literal: it can say nothing but
itself. Lengths are bounded, so that a model that loops comes to an end.

Not covered: that an answer's ``$k`` was computed (give ``references``), lists of ids without
repetition.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..twin.tools.base import MAX_STEPS
from .prompts import Mode

__all__ = ["LENGTHS", "MAX_DESCRIPTION", "MAX_LIST", "Argument", "Call", "Grammar", "build_grammar"]

ArgumentKind = Literal["ids", "words", "numbers", "whole", "number", "boolean", "text"]

LENGTHS: dict[Mode, int] = {"concise": 160, "sentence": 200, "detailed": 600, "description": 160}
"""Characters of a rationale; a small model that loops is stopped here."""

MAX_DESCRIPTION = 200  # characters, as a sentence's
MAX_LIST = 12  # ids, words or numbers written out; longer lists of ids are references
_MAX_CHOICES = 1024  # words and values: no twin holds more objects, no question more words
_MAX_WORD = 200  # characters; labels are cut at 64 when they are cleaned
_PLAIN = re.compile(r"[A-Za-z0-9 _.,'-]+")  # words that need no escape, nearly all


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a tool; ``choices`` bound a text (empty: the grammar's values)."""

    name: str
    kind: ArgumentKind
    required: bool
    choices: tuple[str, ...] = ()
    minimum: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A tool as a plan calls it, arguments in their order."""

    tool: str
    arguments: tuple[Argument, ...]
    gives_ids: bool = True

    @property
    def needs_ids(self) -> bool:
        """Whether it cannot be called without ids."""
        return any(a.required and a.kind == "ids" for a in self.arguments)


@dataclass(frozen=True)
class Grammar:
    """What a piece of text has to follow; see :func:`build_grammar`. Hashable."""

    calls: tuple[Call, ...]
    ids: tuple[int, ...]
    words: tuple[str, ...]
    values: tuple[str, ...]
    mode: Mode = "concise"
    last_step: int = MAX_STEPS
    plan: bool = True
    answer: bool = True
    references: tuple[int, ...] = ()
    rationale: Literal["always", "optional", "never"] = "always"
    first_step: int = 1
    earlier: tuple[int, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        parts = (self.calls, self.ids, self.words, self.values, self.mode, self.last_step)
        branches = (self.plan, self.answer, self.references, self.rationale)
        whole = hash((parts, branches, self.first_step, self.earlier))
        object.__setattr__(self, "_hash", whole)

    def __hash__(self) -> int:
        return self._hash

    def lark(self, added: Mapping[str, int]) -> str:
        """The grammar for llguidance.

        Args:
            added: the tokenizer's added tokens, ids by text. Fixed text is cut at them as the
                tokenizer cuts it, and they become token literals; the rest is quoted.
        """
        from .grammar_lark import lark  # beside this file; it needs the record

        return lark(self, added)

    def gbnf(self) -> str:
        """The grammar for llama.cpp's servers; tags are text, kinds of results are not checked."""
        from .grammar_gbnf import gbnf

        return gbnf(self)


def build_grammar(
    schemas: Iterable[Mapping[str, Any]],
    ids: Sequence[int],
    words: Iterable[str],
    values: Iterable[str],
    *,
    mode: Mode = "concise",
    max_steps: int = MAX_STEPS,
    plan: bool = True,
    answer: bool = True,
    references: Iterable[int] | None = None,
    kinds: Mapping[str, str] | None = None,
    first_step: int = 1,
    earlier: Iterable[int] = (),
) -> Grammar:
    """The grammar of what the model writes until it pauses, the same for the same arguments.

    A first plan or answer begins with a rationale. With ``references`` and no plan it is the
    answer alone; with a plan in a later round (``first_step`` above 1) a rationale may come first.

    Args:
        schemas: JSON schemas of plan steps (``ToolRegistry.json_schemas()``).
        ids: ids that the twin holds.
        words: what a list of words may hold.
        values: what a free text argument (a name or value of an attribute) may hold.
        mode: which blocks are written and how long they may be.
        max_steps: the most steps of this plan and those before it, 1 to 8.
        plan: whether a plan may be written.
        answer: whether an answer may be written.
        references: steps that the answer may name as ``$k``; None: none in a first plan's
            grammar, else any of 1 to ``max_steps``.
        kinds: what each tool's result is (``Tool.returns``); then an argument of ids may only
            name steps that give ids. None: any earlier step.
        first_step: number of the plan's first step, above 1 in later rounds.
        earlier: steps of earlier rounds that give ids, which arguments of ids may name.

    Raises:
        ValueError: if neither a plan nor an answer may be written.
    """
    first = max(1, first_step)
    last = max(1, min(max_steps, MAX_STEPS))
    past = tuple(sorted({k for k in earlier if 1 <= k < first}))
    known = tuple(sorted({int(i) for i in ids}))
    calls = tuple(_call(s, kinds) for s in schemas) if plan and first <= last else ()
    if not known and not past and not any(not call.needs_ids for call in calls):
        calls = ()  # nothing to begin with
    if not calls and not answer:
        raise ValueError("expected a plan with at least one usable tool or an answer, got neither")
    if references is None:
        named = () if calls and first == 1 else tuple(range(1, last + 1))
    else:
        named = tuple(sorted({k for k in references if 1 <= k <= MAX_STEPS}))
    alone = not calls and references is not None
    return Grammar(
        calls=calls,
        ids=known,
        words=(_literals(words) or ("object",)) if calls else (),
        values=(_literals(values) or ("object",)) if calls else (),
        mode=mode,
        last_step=last,
        plan=bool(calls),
        answer=answer,
        references=named,
        rationale="never" if alone else "always" if first == 1 and calls else "optional",
        first_step=first,
        earlier=past,
    )


def _call(schema: Mapping[str, Any], kinds: Mapping[str, str] | None) -> Call:
    tool = str(schema["properties"]["tool"]["const"])
    required = set(schema.get("required", ()))
    arguments = tuple(
        _argument(name, value, name in required)
        for name, value in schema["properties"].items()
        if name != "tool"
    )
    return Call(tool, arguments, kinds is None or kinds.get(tool, "ids") == "ids")


def _argument(name: str, schema: Mapping[str, Any], required: bool) -> Argument:
    if "anyOf" in schema:
        return Argument(name, "ids", required)
    if "enum" in schema:
        return Argument(name, "text", required, tuple(str(v) for v in schema["enum"]))
    minimum = int(schema["minimum"]) if "minimum" in schema else None
    kinds: dict[str, ArgumentKind] = {
        "boolean": "boolean",
        "integer": "whole",
        "number": "number",
        "string": "text",
    }
    if schema["type"] == "array":
        strings = schema["items"]["type"] == "string"
        return Argument(name, "words" if strings else "numbers", required)
    return Argument(name, kinds[schema["type"]], required, minimum=minimum)


def _literals(texts: Iterable[str]) -> tuple[str, ...]:
    """What may stand between quotes, as JSON writes it, in order of the texts.

    What does not print is escaped, and so are angle brackets: no word can be taken for a tag.
    """
    clean = sorted({text.encode("utf-8", "ignore").decode()[:_MAX_WORD] for text in texts} - {""})
    return tuple(
        text if _PLAIN.fullmatch(text) else "".join(map(_escaped, text))
        for text in clean[:_MAX_CHOICES]
    )


def _escaped(character: str) -> str:
    if character in "<>":
        return f"\\u{ord(character):04x}"
    return json.dumps(character, ensure_ascii=not character.isprintable())[1:-1]
