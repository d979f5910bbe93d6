"""The Lark grammar that decoding is held to: protocol, tool schemas, the twin's ids and words.

ONNX Runtime GenAI (llguidance) takes it as guidance of type ``lark_grammar``. It has two
branches from the start, ``plan | answer``: after the pause the results are appended and the
grammar begins again, then in its answer branch. Step k of a plan may refer to steps before it
only; plain ids are those of the twin; an answer is ``$k``, ids of the twin or ``none``.

Not covered: that ``$k`` names a step which gives ids and was run; the parser and the tool
registry check that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..twin.tools.base import MAX_STEPS
from .prompts import Mode

__all__ = ["Grammar", "build_grammar"]

_MAX_REASON = 160  # characters of a rationale; a small model that loops is stopped here
_MAX_IDS = 12  # of a list written out, for the same reason; longer ones are references
_MAX_NUMBER = 3  # digits of a whole number argument


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a piece of text has to follow; equal arguments give equal, hashable records."""

    text: str

    def lark(self, added: Mapping[str, int]) -> str:
        """The grammar for llguidance; ``added`` are the tokenizer's added tokens by text."""
        return self.text


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

    Args:
        schemas: JSON schemas of plan steps (``ToolRegistry.json_schemas()``).
        ids: ids that the twin holds.
        words: what a list of words may hold.
        values: what a free text argument (a name or value of an attribute) may hold.
        mode: which blocks are written and how long they may be.
        max_steps: the most steps of a plan, 1 to 8.
        plan: whether a plan may be written.
        answer: whether an answer may be written.
        references: steps that the answer may name as ``$k``; None: any that exist.
        kinds: what each tool's result is (``Tool.returns``); then an argument of ids may only
            name steps that give ids. None: any earlier step.
        first_step: number of the plan's first step, above 1 in later rounds.
        earlier: steps of earlier rounds that give ids, which arguments of ids may name.
    """
    return Grammar(_text(list(schemas), ids, words, values, max_steps))


def _text(
    schemas: Sequence[Mapping[str, Any]],
    ids: Sequence[int],
    words: Iterable[str],
    values: Iterable[str],
    max_steps: int,
) -> str:
    steps = max(1, min(max_steps, MAX_STEPS))
    lines = [
        # Without this, llguidance feeds forced text by its own tokens, not by those learnt.
        '%llguidance {"no_forcing": true}',
        "start: plan | answer",
        f'plan: reason "<plan>[" {_sequence(steps)} "]</plan>"',
        'answer: reason? "<answer>" body "</answer>"',
        'reason: "<reason>" REASON "</reason>"',
        f"REASON: /[^<>\\n]{{0,{_MAX_REASON}}}/",
        f'body: "none" | /\\$[1-{steps}]/'
        + (f' | "[" id ("," id){{0,{_MAX_IDS - 1}}} "]"' if ids else ""),
        f"NUMBER: /[1-9][0-9]{{0,{_MAX_NUMBER - 1}}}/",
        f"id: {_choice(str(i) for i in sorted(set(ids)))}" if ids else "",
        f"WORD: {_choice(_quoted(w) for w in _unique(words))}",
        f"VALUE: {_choice(_quoted(v) for v in _unique(values))}",
    ]
    for k in range(1, steps + 1):
        if k > 1:
            lines.append(
                f'ids_{k}: /"\\$[1-{k - 1}]"/'
                + (f' | "[" id ("," id){{0,{_MAX_IDS - 1}}} "]"' if ids else "")
            )
        elif ids:
            lines.append(f'ids_1: "[" id ("," id){{0,{_MAX_IDS - 1}}} "]"')
    for k in range(1, steps + 1):
        usable = [_call(schema, k, bool(ids) or k > 1) for schema in schemas]
        lines.append(f"step_{k}: {' | '.join(call for call in usable if call)}")
    return "\n".join(line for line in lines if line) + "\n"


def _sequence(steps: int) -> str:
    """``step_1 ("," step_2 ("," step_3)?)?``."""
    text = ""
    for k in range(steps, 1, -1):
        text = f'("," step_{k}{" " + text if text else ""})?'
    return f"step_1 {text}".strip()


def _call(schema: Mapping[str, Any], step: int, has_ids: bool) -> str | None:
    """One tool's call, arguments in the schema's order; None if it needs ids and has none."""
    required = set(schema.get("required", ()))
    head = _literal(f'{{"tool":{json.dumps(schema["properties"]["tool"]["const"])}')
    parts = []
    for name, value in schema["properties"].items():
        if name == "tool":
            continue
        if "anyOf" in value and not has_ids:
            if name in required:
                return None
            continue
        argument = f"{_literal(f',{json.dumps(name)}:')} {_value(value, step)}"
        parts.append(argument if name in required else f"({argument})?")
    return " ".join([head, *parts, _literal("}")])


def _value(schema: Mapping[str, Any], step: int) -> str:
    if "anyOf" in schema:
        return f"ids_{step}"
    if "enum" in schema:
        return f"({_choice(_quoted(v) for v in schema['enum'])})"
    match schema["type"]:
        case "array" if schema["items"]["type"] == "string":
            return '"[" WORD ("," WORD)* "]"'
        case "array":
            return '"[" NUMBER ("," NUMBER)* "]"'
        case "boolean":
            return '("true" | "false")'
        case "integer" | "number":
            return "NUMBER"
        case _:
            return "VALUE"


def _unique(texts: Iterable[str]) -> list[str]:
    return sorted(dict.fromkeys(texts)) or ["object"]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _literal(text: str) -> str:
    """A Lark string that matches the text exactly."""
    return json.dumps(text, ensure_ascii=False)


def _choice(texts: Iterable[str]) -> str:
    return " | ".join(_literal(text) for text in texts)
