"""A :class:`~.grammar.Grammar` in llguidance's Lark, cut at a tokenizer's added tokens.

Our embedded tokenizer has tokens such as ``"]},`` or ``","of":"$`` that reach from the end of one
argument into the next. What stands between two free places (a word, an id, a number) is therefore
written as one fixed text and cut as the tokenizer cuts it: at each place the longest added token.
A model is so held to the very tokens that it was trained on, and llguidance forces them where
there is no choice.

Rules carry a number (llguidance's parametric grammars): bits 0 to 7 are set for the steps whose
ids may be named, bits 8 to 11 count the steps so far.

Not covered: added tokens that strip or want white space around them (ours do not).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from .grammar import LENGTHS, MAX_DESCRIPTION, MAX_LIST, Argument, Call, Grammar

__all__ = ["Cutter", "lark"]

_SOME_IDS = "ne([0:8],0)"
_COUNT = "[8:12]"
_NUMBERS = {
    "whole": r"/-?(0|[1-9][0-9]{0,2})/",
    "positive": r"/[1-9][0-9]{0,2}/",
    "number": r"/-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,2})?/",
}


@dataclass(frozen=True, slots=True)
class _Form:
    """One way to write an argument: text before, the free place, text after.

    ``choices`` are the texts of the free place when they are few and known; ``condition`` is
    llguidance's, of when the form is offered.
    """

    before: str
    place: str
    after: str
    choices: tuple[str, ...] = ()
    condition: str = ""


class Cutter:
    """Cuts fixed text as a tokenizer does: at its added tokens, leftmost first, longest first."""

    def __init__(self, added: Mapping[str, int]) -> None:
        self._added = dict(added)
        ordered = sorted((text for text in added if text), key=len, reverse=True)
        self._rendered: dict[str, str] = {}  # as many as there are joints of the grammar
        self._pattern = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")

    def pieces(self, text: str) -> list[str]:
        """The added tokens and what stands between them."""
        found, end = [], 0
        for match in self._pattern.finditer(text):
            found += [text[end : match.start()], match[0]]
            end = match.end()
        return [piece for piece in (*found, text[end:]) if piece]

    def render(self, text: str) -> str:
        """The text as Lark: token literals and quoted text."""
        if text not in self._rendered:
            self._rendered[text] = " ".join(
                f"<[{self._added[piece]}]>" if piece in self._added else quote(piece)
                for piece in self.pieces(text)
            )
        return self._rendered[text]

    def whole(self, text: str) -> bool:
        """Whether the text is one added token, whatever follows it."""
        return text in self._added and not self.longer(text)

    def longer(self, text: str) -> list[str]:
        """How added tokens go on that begin with the last piece of the text."""
        last = self.pieces(text)[-1]
        return [t[len(last) :] for t in self._added if len(t) > len(last) and t.startswith(last)]


def quote(text: str) -> str:
    """A Lark string that matches the text, all of which prints, exactly."""
    return json.dumps(text, ensure_ascii=False)


def lark(grammar: Grammar, added: Mapping[str, int]) -> str:
    """The grammar's text, the same for the same arguments."""
    return "\n".join(_lines(grammar, tuple(added.items()))) + "\n"


_Added = tuple[tuple[str, int], ...]


@lru_cache(maxsize=4)  # a process has one or two tokenizers
def _cutter(added: _Added) -> Cutter:
    return Cutter(dict(added))


@lru_cache(maxsize=8)  # a set of tools, in a plan's first and in a later round
def _calls(
    calls: tuple[Call, ...], values: tuple[str, ...], has_ids: bool, last_step: int, added: _Added
) -> tuple[str, ...]:
    """The rules of calls, which stay the same while the twin's objects come and go."""
    return tuple(_Calls(values, has_ids, last_step, _cutter(added)).lines(calls))


def _lines(g: Grammar, added: _Added) -> Iterator[str]:
    """The grammar, line by line."""
    cut = _cutter(added).render
    yield f"start: {' | '.join(_branches(g, cut))}"
    yield f"REASON: /[^<>\\n]{{0,{LENGTHS[g.mode]}}}/"
    yield f"DESCRIPTION: /[^<>\\n]{{1,{MAX_DESCRIPTION}}}/"
    if g.ids:
        yield f"id: {_choice(map(str, g.ids))}"
        yield f'list: id ("," id){{0,{MAX_LIST - 1}}}'
    if g.answer:
        yield f"body: {' | '.join(_bodies(g))}"
    if g.plan:
        yield f"WORD: {_choice(g.words)}"
        yield f"VALUE: {_choice(g.values)}"
        yield from _calls(g.calls, g.values, bool(g.ids), g.last_step, added)


def _branches(g: Grammar, cut: Callable[[str], str]) -> Iterator[str]:
    reason = f"{cut('<reason>')} REASON {cut('</reason>')}"
    if g.mode == "description":
        reason += f" {cut('<describe>')} DESCRIPTION {cut('</describe>')}"
    begin = sum(1 << (k - 1) for k in g.earlier) | (g.first_step - 1) << 8
    plan = f"{cut('<plan>[')} step::{begin:#x}"
    answer = f"{cut('<answer>')} body {cut('</answer>')}"
    for follows, wanted in ((plan, g.plan), (answer, g.answer)):
        if wanted and g.rationale != "never":
            yield f"{reason} {follows}"
        if wanted and g.rationale != "always":
            yield follows


def _bodies(g: Grammar) -> Iterator[str]:
    yield '"none"'
    if g.references:
        yield f'"$" ({_choice(map(str, g.references))})'
    if g.ids:
        yield '"[" list "]"'


class _Calls:
    """Writes the rules of a plan's steps."""

    def __init__(
        self, values: tuple[str, ...], has_ids: bool, last_step: int, cutter: Cutter
    ) -> None:
        self._values, self._has_ids, self._last = values, has_ids, last_step
        self._cutter, self._cut = cutter, cutter.render
        self._rules: dict[str, list[str]] = {}
        self._names: dict[tuple[tuple[Argument, ...], bool, str], str] = {}
        self._ends: dict[tuple[str, bool], str] = {}

    def lines(self, calls: tuple[Call, ...]) -> Iterator[str]:
        """The rules, with those of numbers, lists and references."""
        for name, pattern in _NUMBERS.items():
            yield f"{name.upper()}: {pattern}"
        yield f"words: WORD ({self._cut(_JOIN)} WORD){{0,{MAX_LIST - 1}}}"
        yield f'numbers: NUMBER ("," NUMBER){{0,{MAX_LIST - 1}}}'
        named = (f'"{k + 1}" %if bit_set({k})' for k in range(self._last))
        yield f"ref::_: {' | '.join(named)}"
        yield f"step::_: {' | '.join([self._step(call) for call in calls])}"
        for rule, options in self._rules.items():
            yield f"{rule}::_: {' | '.join(options)}"

    def _step(self, call: Call) -> str:
        """A call from its head on; a head that is no token is cut with what follows it."""
        head = f'{{"tool":{quote_json(call.tool)}'
        condition = f" %if {_SOME_IDS}" if call.needs_ids and not self._has_ids else ""
        if self._cutter.whole(head):
            rest = self._rest(call.arguments, call.gives_ids, "")
            return f"{self._cut(head)} {rest}::_{condition}"
        return f"{self._rest(call.arguments, call.gives_ids, head)}::_{condition}"

    def _rest(self, arguments: tuple[Argument, ...], gives_ids: bool, pending: str) -> str:
        """The rule for what is left of a call, after the fixed text ``pending``."""
        key = (arguments, gives_ids, pending)
        if key in self._names:
            return self._names[key]
        rule = self._names[key] = f"r{len(self._names)}"
        options: list[str] = []
        self._rules[rule] = options
        for place, argument in enumerate(arguments, 1):
            for form in self._forms(argument):
                options += self._option(arguments[place:], gives_ids, pending, form)
            if argument.required:
                return rule
        options.append(f"{self._end(pending, gives_ids)}::_")
        return rule

    def _option(
        self, left: tuple[Argument, ...], gives_ids: bool, pending: str, form: _Form
    ) -> Iterator[str]:
        """One argument in one form, and what is left after it."""
        before = pending + form.before
        rest = self._rest(left, gives_ids, form.after)
        yield f"{self._cut(before)} {form.place} {rest}::_{form.condition}"
        for tail in self._cutter.longer(before):
            for choice in form.choices:
                if tail.startswith(choice + form.after):
                    yield from self._fused(left, gives_ids, before + choice + form.after)

    def _fused(self, left: tuple[Argument, ...], gives_ids: bool, text: str) -> Iterator[str]:
        """A known choice that an added token swallows: ``,"name":"color","value":"``."""
        for place, argument in enumerate(left, 1):
            for form in self._forms(argument):
                rest = self._rest(left[place:], gives_ids, form.after)
                yield f"{self._cut(text + form.before)} {form.place} {rest}::_{form.condition}"
            if argument.required:
                return

    def _forms(self, argument: Argument) -> Iterator[_Form]:
        head = f",{quote_json(argument.name)}:"
        match argument.kind:
            case "ids":
                yield _Form(f'{head}"$', "ref::_", '"', condition=f" %if {_SOME_IDS}")
                if self._has_ids:
                    yield _Form(f"{head}[", "list", "]")
            case "words":
                yield _Form(f'{head}["', "words", '"]')
            case "numbers":
                yield _Form(f"{head}[", "numbers", "]")
            case "boolean":
                yield _Form(head, '("true" | "false")', "")
            case "text":
                choices = tuple(quote_json(c)[1:-1] for c in argument.choices)
                place = f"({_choice(choices)})" if choices else "VALUE"
                yield _Form(f'{head}"', place, '"', choices or self._values)
            case "whole" if argument.minimum is not None and argument.minimum >= 0:
                yield _Form(head, "POSITIVE", "")
            case kind:
                yield _Form(head, kind.upper(), "")

    def _end(self, pending: str, gives_ids: bool) -> str:
        """The rule that ends a step after ``pending``: another one or the end of the plan."""
        key = (pending, gives_ids)
        if key in self._ends:
            return self._ends[key]
        rule = self._ends[key] = f"end{len(self._ends)}"
        last = self._last
        if gives_ids:
            plain = self._end(pending, False)
            self._rules[rule] = [f"{plain}::set_bit({k}) %if eq({_COUNT},{k})" for k in range(last)]
            return rule
        more = f"{self._cut(pending + '},')} step::incr({_COUNT}) %if lt({_COUNT},{last - 1})"
        self._rules[rule] = [more, self._cut(pending + "}]</plan>")]
        return rule


_JOIN = '","'


def quote_json(text: str) -> str:
    """The text as JSON writes it, quotes included."""
    return json.dumps(text, ensure_ascii=False)


def _choice(texts: Iterable[str]) -> str:
    return " | ".join(quote(text) for text in texts)
