"""A :class:`~.grammar.Grammar` in GBNF, for llama.cpp's servers.

Plain text throughout: a server tokenises by itself. GBNF has no parameters, so every step has
rules of its own and ``$k`` may name any earlier step; the tool registry refuses a step that gives
no ids.

Not covered: kinds of results.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from .grammar import LENGTHS, MAX_DESCRIPTION, MAX_LIST, Argument, Call, Grammar
from .grammar_lark import quote_json

__all__ = ["gbnf", "quote"]

_RULES = {
    "whole": '"-"? ("0" | [1-9] [0-9]{0,2})',
    "positive": "[1-9] [0-9]{0,2}",
    "number": '"-"? ("0" | [1-9] [0-9]{0,3}) ("." [0-9]{1,2})?',
    "boolean": '"true" | "false"',
}


def gbnf(grammar: Grammar) -> str:
    """The grammar's text, the same for the same arguments."""
    return "\n".join(_lines(grammar)) + "\n"


def _lines(g: Grammar) -> Iterator[str]:
    yield f"root ::= {' | '.join(_branches(g))}"
    yield f'reason ::= "<reason>" [^<>\\n]{{0,{LENGTHS[g.mode]}}} "</reason>"'
    if g.mode == "description":
        yield f'describe ::= "<describe>" [^<>\\n]{{1,{MAX_DESCRIPTION}}} "</describe>"'
    if g.ids:
        yield f"id ::= {_choice(map(str, g.ids))}"
        yield f'list ::= "[" id ("," id){{0,{MAX_LIST - 1}}} "]"'
    if g.answer:
        yield f'answer ::= "<answer>" ({" | ".join(_bodies(g))}) "</answer>"'
    if not g.plan:
        return
    yield f"word ::= {_choice(f'{chr(34)}{w}{chr(34)}' for w in g.words)}"
    yield f"value ::= {_choice(f'{chr(34)}{v}{chr(34)}' for v in g.values)}"
    yield f'words ::= "[" word ("," word){{0,{MAX_LIST - 1}}} "]"'
    yield f'numbers ::= "[" number ("," number){{0,{MAX_LIST - 1}}} "]"'
    yield from (f"{name} ::= {body}" for name, body in _RULES.items())
    for k in range(g.first_step, g.last_step + 1):
        yield from _step(g, k)


def _branches(g: Grammar) -> Iterator[str]:
    reason = "reason describe" if g.mode == "description" else "reason"
    for follows, wanted in ((f'"<plan>[" step-{g.first_step}', g.plan), ("answer", g.answer)):
        if wanted and g.rationale != "never":
            yield f"{reason} {follows}"
        if wanted and g.rationale != "always":
            yield follows


def _bodies(g: Grammar) -> Iterator[str]:
    yield '"none"'
    if g.references:
        yield f'"$" ({_choice(map(str, g.references))})'
    if g.ids:
        yield "list"


def _step(g: Grammar, k: int) -> Iterator[str]:
    """The rules of step ``k``: what its ids may be, and its calls with what follows."""
    named = sorted({*g.earlier, *range(g.first_step, k)})
    ids = [f'"\\"$" ({_choice(map(str, named))}) "\\""'] if named else []
    if g.ids:
        ids.append("list")
    if ids:
        yield f"ids-{k} ::= {' | '.join(ids)}"
    calls = " | ".join(_call(call, k, bool(ids)) for call in g.calls if ids or not call.needs_ids)
    more = f' "," step-{k + 1} |' if k < g.last_step else ""
    yield f'step-{k} ::= ({calls}) ({more} "]</plan>")'


def _call(call: Call, k: int, has_ids: bool) -> str:
    parts = [quote(f'{{"tool":{quote_json(call.tool)}')]
    for argument in call.arguments:
        if argument.kind == "ids" and not has_ids:
            continue
        part = f"{quote(f',{quote_json(argument.name)}:')} {_place(argument, k)}"
        parts.append(part if argument.required else f"({part})?")
    return " ".join([*parts, '"}"'])


def _place(argument: Argument, k: int) -> str:
    match argument.kind:
        case "ids":
            return f"ids-{k}"
        case "text":
            choices = [quote_json(choice) for choice in argument.choices]
            return f"({_choice(choices)})" if choices else "value"
        case "whole" if argument.minimum is not None and argument.minimum >= 0:
            return "positive"
        case kind:
            return kind


def quote(text: str) -> str:
    """A GBNF string that matches the text, all of which prints, exactly."""
    return json.dumps(text, ensure_ascii=False)


def _choice(texts: Iterable[str]) -> str:
    return " | ".join(quote(text) for text in texts)
