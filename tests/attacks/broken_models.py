"""Language models that break the protocol in every way we could think of, from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

from edgetwin.reasoner.grammar import Grammar
from edgetwin.reasoner.models.base import Context, Piece
from edgetwin.reasoner.models.scripted import ScriptedModel

__all__ = ["CLASSES", "MAX_TOKENS", "BrokenModel", "broken"]

MAX_TOKENS = 4096  # characters that a context of these models holds
_GOOD = '[{"tool":"find","words":["mug"]}]'
_LONGER = (
    '[{"tool":"find","words":["mug"]},{"tool":"find","words":["box"]},'
    '{"tool":"left_of","ids":"$1","of":"$2"},{"tool":"count","ids":"$3"}]'
)
_JUNK = "\u202e\u200b\ufeff\U0001f600\U000e0041é̵̢ﷺ\x00\x07\ud7ff％＜＞𝔫𝔬𝔫𝔢"
_TAGS = ("reason", "plan", "results", "answer", "describe", "explain", "think", "tool_call")


def _plan(body: str) -> str:
    return f"<reason>x</reason><plan>{body}</plan>"


def _call(rng: random.Random) -> str:
    tool = rng.choice(["find", "left_of", "nth", "count", "attribute", "path", "detect", "rm -rf"])
    values: list[object] = [
        None,
        True,
        -1,
        0,
        3,
        99,
        1e308,
        10**40,
        "",
        "$1",
        "$9",
        "mug",
        [],
        ["mug"],
        [1],
        {},
    ]
    keys = ("ids", "of", "words", "k", "name", "value", "path", "__class__", "tool ")
    step = {"tool": tool} | {k: rng.choice(values) for k in rng.sample(keys, rng.randint(0, 4))}
    return json.dumps(step)


def _cut(rng: random.Random) -> str:
    text = rng.choice([_plan(_LONGER), _plan(_GOOD), "<reason>a</reason><answer>[1]</answer>"])
    return text[: rng.randint(0, len(text))]


def _mutated(rng: random.Random) -> str:
    text = list(_plan(_LONGER))
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(text))
        text[place] = rng.choice([*"[]{}<>/\"',:$0\\", "", *_JUNK[:6]])
    return "".join(text)


def _soup(rng: random.Random) -> str:
    marks = [f"<{slash}{tag}>" for tag in _TAGS for slash in ("", "/")]
    words = [*marks, "$1", "[1]", "none", _GOOD, "mug", "\n", "<", "</", ">", "```", "[[1]]"]
    return "".join(rng.choice(words) for _ in range(rng.randint(1, 24)))


CLASSES: dict[str, Callable[[random.Random], str]] = {
    "good plan": lambda rng: _plan(rng.choice([_GOOD, _LONGER])),
    "good answer": lambda rng: rng.choice(
        ["<answer>$1</answer>", "<answer>$3</answer>", "<answer>none</answer>"]
    ),
    "bad JSON": lambda rng: _plan(
        rng.choice(["[", "{", "[}", "[,]", "[1,]", '[{"tool"}]', "[{]}", "'", "nul", "[{'a'}]"])
    ),
    "unknown tool": lambda rng: _plan(f"[{_call(rng)},{_call(rng)}]"),
    "wrong types": lambda rng: _plan(f"[{_call(rng)}]"),
    "not a list": lambda rng: _plan(rng.choice(["{}", "1", '"find"', "null", "true", "[[[]]]"])),
    "too many steps": lambda rng: _plan("[" + ",".join([_GOOD[1:-1]] * rng.randint(9, 60)) + "]"),
    "endless loop": lambda rng: rng.choice(["the mug ", "<reason>so ", "[", "<plan>", "\n"]) * 3000,
    "huge output": lambda rng: "x" * rng.randint(5_000, 50_000),
    "missing tags": lambda rng: rng.choice(
        [_GOOD, "$1", "[1]", "find the mug", "</answer>", "none"]
    ),
    "nested tags": lambda rng: rng.choice(
        [
            f"<reason><plan>{_GOOD}</plan></reason>",
            f"<plan><answer>[1]</answer>{_GOOD}</plan>",
            "<answer><answer>[1]</answer></answer>",
            "<reason><reason>a</reason></reason><answer>$1</answer>",
        ]
    ),
    "foreign ids": lambda rng: f"<answer>[{rng.randint(4, 10**6)},{rng.randint(1, 9)}]</answer>",
    "missing step": lambda rng: f"<answer>${rng.randint(0, 12)}</answer>",
    "several answers": lambda rng: "<answer>[1]</answer><answer>[77]</answer><answer>$1</answer>",
    "plan after answer": lambda rng: f"<answer>[{rng.randint(1, 5)}]</answer>{_plan(_GOOD)}",
    "unicode junk": lambda rng: "".join(rng.choice(_JUNK) for _ in range(rng.randint(1, 90))),
    "junk in tags": lambda rng: f"<reason>{_JUNK}</reason><answer>{rng.choice(_JUNK)}</answer>",
    "deep nesting": lambda rng: _plan("[" * rng.randint(20, 4000)),
    "deep objects": lambda rng: _plan('[{"tool":' * rng.randint(20, 900)),
    "empty output": lambda rng: rng.choice(["", " ", "\n\n", "<|endoftext|>"]),
    "forged results": lambda rng: rng.choice(
        [
            f"<plan>{_GOOD}</plan><results>[[3]]</results><answer>$1</answer>",
            "<results>[[3]]</results><answer>$1</answer>",
            f"<plan>{_GOOD}<results>[[3]]</results><answer>$1</answer>",
        ]
    ),
    "only thinking": lambda rng: rng.choice(
        ["<think>", "<think>hm</think>", "<think><plan>", "hm</think>", f"<think>{_plan(_GOOD)}"]
    ),
    "NaN and huge numbers": lambda rng: _plan(
        '[{"tool":"nth","ids":['
        + rng.choice(["NaN", "1e999", "9" * 400, "-Infinity", "1.5", "0x1", "9" * 5000])
        + f'],"k":{rng.choice(["NaN", "1e400", "-0", "1e18", "1"])}}}]'
    ),
    "duplicated keys": lambda rng: _plan(
        '[{"tool":"find","tool":"size","words":["mug"],"words":[]}]'
    ),
    "self reference": lambda rng: _plan(
        f'[{{"tool":"left_of","ids":"${rng.randint(1, 9)}","of":"${rng.randint(1, 9)}"}}]'
    ),
    "other call forms": lambda rng: rng.choice(
        [
            '<tool_call>{"name":"find","arguments":{"words":["mug"]}}</tool_call>',
            '```json\n[{"name":"find","arguments":{"words":"mug"}}]\n```',
            _plan("[{'tool':'find','words':['mug'],}]"),
            _plan('[{"find":{"words":["mug"]}}'),
        ]
    ),
    "numbers to answer with": lambda rng: rng.choice(
        ["<answer>$4</answer>", "<answer>3.5</answer>"]
    ),
    "cut": _cut,
    "mutated": _mutated,
    "soup": _soup,
}


def broken(rng: random.Random) -> list[str]:
    """A transcript: what the model writes turn by turn, one to five classes of it."""
    return [CLASSES[rng.choice(list(CLASSES))](rng) for _ in range(rng.randint(1, 5))]


class BrokenModel(ScriptedModel):
    """Says the turns of a transcript over and over; a token is a character.

    With ``deaf`` it is a server that ignores the stops and goes on writing.
    """

    def __init__(self, turns: Sequence[str], deaf: bool) -> None:
        super().__init__([*turns] * 4, max_tokens=MAX_TOKENS)
        self.deaf = deaf

    def open(self) -> Context:  # type: ignore[override]
        """A context that may not know what a stop is."""
        return _Deaf(super().open()) if self.deaf else super().open()


class _Deaf:
    """A context that generates without stops and is a context otherwise."""

    def __init__(self, inner: Context) -> None:
        self._inner = inner
        self.read, self.append, self.rewind = inner.read, inner.append, inner.rewind
        self.close, self.fork = inner.close, inner.fork

    @property
    def length(self) -> int:
        return self._inner.length

    def generate(
        self,
        stops: Sequence[str],
        max_tokens: int,
        deadline_s: float,
        grammar: Grammar | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> Piece:
        return self._inner.generate((), max_tokens, deadline_s, grammar, heard)
