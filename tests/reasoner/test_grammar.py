"""The grammar of plans and answers, at the embedded tokenizer, at a plain one and as GBNF."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tokenizers")

from llguidance import LLMatcher, LLTokenizer
from llguidance.gbnf_to_lark import any_to_lark
from tokenizers import Tokenizer

from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.reasoner.grammar import LENGTHS, Grammar, build_grammar
from edgetwin.reasoner.grammar_lark import Cutter
from edgetwin.reasoner.models.constraint import Constraint, added_tokens
from edgetwin.reasoner.models.matcher import Matcher
from edgetwin.reasoner.prompts import MODES
from edgetwin.reasoner.protocol import parse
from edgetwin.twin.tools.registry import DEFAULT_REGISTRY

from .conformance import HOSTILE_WORDS, KINDS

SCHEMAS = DEFAULT_REGISTRY.json_schemas()
WORDS = ("mug", "toy car", 'od"d\\')
VALUES = ("color", "red", "blue")
FIND = '{"tool":"find","words":["mug"]}'
WRITTEN = (EMBEDDED / "tokenizer.json").read_text() if EMBEDDED.is_dir() else ""
pytestmark = pytest.mark.skipif(not WRITTEN, reason="no embedded weights")


def grammar(**changes: Any) -> Grammar:
    options: dict[str, Any] = {"kinds": KINDS, **changes}
    ids = options.pop("ids", (1, 12))
    return build_grammar(SCHEMAS, ids, options.pop("words", WORDS), VALUES, **options)


def plain_json() -> str:
    """A tokenizer without our added tokens, as a pretrained model's is."""
    record = json.loads(WRITTEN)
    record["added_tokens"] = [t for t in record["added_tokens"] if t["special"]]
    return json.dumps(record)


class Judge:
    """Holds texts to grammars with one tokenizer."""

    def __init__(self, tokenizer_json: str) -> None:
        self.tokenizer = Tokenizer.from_str(tokenizer_json)
        size = self.tokenizer.get_vocab_size()
        self.constraint = Constraint(tokenizer_json, size, [1950])

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=False))

    def accepts(self, rules: Grammar, text: str, whole: bool = True) -> bool:
        """Whether every token that the tokenizer cuts the text into is let through."""
        matcher = self.constraint.matcher(rules)
        return all(map(matcher.take, self.encode(text))) and (matcher.done or not whole)

    def walk(self, rules: Grammar, draw: random.Random) -> tuple[str, int]:
        """A random text of the grammar and how many of its tokens were forced."""
        matcher, tokens, forced = self.constraint.matcher(rules), list[int](), 0
        while not matcher.done:
            given = matcher.forced()
            tokens += given
            forced += len(given)
            if given:
                continue
            tokens.append(self._one(matcher, draw))
            assert matcher.take(tokens[-1])
            assert len(tokens) < 3000
        return self.decode(tokens), forced

    @staticmethod
    def _one(matcher: Matcher, draw: random.Random) -> int:
        allowed = np.flatnonzero(matcher.allowed()).tolist()
        assert allowed
        later = [token for token in allowed if token > 1950]
        return int(draw.choice(later if later and draw.random() < 0.3 else allowed))


@pytest.fixture(scope="module")
def embedded() -> Judge:
    return Judge(WRITTEN)


@pytest.fixture(scope="module")
def plain() -> Judge:
    return Judge(plain_json())


def test_equal_arguments_give_equal_records() -> None:
    one = grammar()
    other = build_grammar(SCHEMAS, [12, 1, 1], reversed(WORDS), ("red", "color", "blue", ""), kinds=KINDS)  # fmt: skip
    assert one == other
    assert hash(one) == hash(other)
    added = added_tokens(WRITTEN)
    assert one.lark(added) == other.lark(added)
    assert one.gbnf() == other.gbnf()
    assert one != grammar(mode="detailed")
    assert one != grammar(ids=(1,))


ACCEPTED = [
    f"<reason>the mug</reason><plan>[{FIND}]</plan>",
    '<reason></reason><plan>[{"tool":"find","words":["toy car","mug"]}]</plan>',
    f'<reason>x</reason><plan>[{FIND},{{"tool":"left_of","ids":"$1","of":[1,12]}}]</plan>',
    f'<reason>x</reason><plan>[{FIND},{FIND},{{"tool":"nearest","to":"$2","k":2}}]</plan>',
    '<reason>x</reason><plan>[{"tool":"attribute","name":"color","value":"red"}]</plan>',
    '<reason>x</reason><plan>[{"tool":"attribute","ids":[1],"name":"color","value":"red"}]</plan>',
    '<reason>x</reason><plan>[{"tool":"moved"}]</plan>',
    '<reason>x</reason><plan>[{"tool":"moved"},{"tool":"moved","direction":"left"}]</plan>',
    '<reason>x</reason><plan>[{"tool":"sort","by":"left","descending":true}]</plan>',
    '<reason>x</reason><plan>[{"tool":"distance","a":[1],"b":[12],"space":"metric"}]</plan>',
    f'<reason>x</reason><plan>[{FIND},{{"tool":"when","ids":"$1","event":"moved"}}]</plan>',
    '<reason>x</reason><plan>[{"tool":"find","words":["od\\"d\\\\"]}]</plan>',
    f"<reason>x</reason><plan>[{','.join([FIND] * 8)}]</plan>",
    "<reason>ünï ☕</reason><answer>[12,1]</answer>",
    "<reason>x</reason><answer>none</answer>",
]
REFUSED = [
    "<plan>[",
    "hello",
    "<answer>none</answer>",
    "<reason>a <plan>",
    f"<reason>{'a' * 161}</reason>",
    "<reason>x</reason><results>",
    "<reason>x</reason><plan>[]",
    '<reason>x</reason><plan>[{"tool":"open_file"',
    '<reason>x</reason><plan>[{"tool":"find","words":["bowl"]}',
    '<reason>x</reason><plan>[{"tool":"find","words":[]}',
    '<reason>x</reason><plan>[{"tool":"find", "words"',
    '<reason>x</reason><plan>[{"tool":"left_of","of":"$1"}',
    f'<reason>x</reason><plan>[{FIND},{{"tool":"left_of","of":"$2"}}',
    f'<reason>x</reason><plan>[{FIND},{{"tool":"count","ids":"$1"}},{{"tool":"not","of":"$2"}}',
    '<reason>x</reason><plan>[{"tool":"left_of","of":[3]}',
    '<reason>x</reason><plan>[{"tool":"left_of"}]',
    '<reason>x</reason><plan>[{"tool":"moved","direction":"sideways"}',
    '<reason>x</reason><plan>[{"tool":"attribute","name":"color","value":"mauve"}',
    '<reason>x</reason><plan>[{"tool":"nth","ids":[1],"k":0}',
    '<reason>x</reason><plan>[{"tool":"nth","ids":[1],"k":1000}',
    f"<reason>x</reason><plan>[{','.join([FIND] * 9)}]",
    f"<reason>x</reason><answer>[{','.join(['1'] * 13)}]",
    "<reason>x</reason><answer>[2]</answer>",
    "<reason>x</reason><answer>$1</answer>",
    "<reason>x</reason><answer>the mug</answer>",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_accepts(embedded: Judge, plain: Judge, text: str) -> None:
    assert embedded.accepts(grammar(), text)
    assert plain.accepts(grammar(), text)


@pytest.mark.parametrize("text", REFUSED)
def test_refuses(embedded: Judge, plain: Judge, text: str) -> None:
    assert not embedded.accepts(grammar(), text, whole=False)
    assert not plain.accepts(grammar(), text, whole=False)


def test_answer_alone(embedded: Judge) -> None:
    last = grammar(plan=False, references=(2, 3))
    for text in ("<answer>$2</answer>", "<answer>[1]</answer>", "<answer>none</answer>"):
        assert embedded.accepts(last, text)
    for text in ("<answer>$1</answer>", "<reason>x</reason>", "<plan>[", "<answer>$4"):
        assert not embedded.accepts(last, text, whole=False)
    matcher = embedded.constraint.matcher(last)
    assert embedded.decode(matcher.forced()) == "<answer>"
    assert not embedded.accepts(grammar(ids=(), plan=False, references=()), "<answer>[", False)


def test_later_round(embedded: Judge) -> None:
    later = grammar(first_step=3, earlier=(1,), references=(1, 2))
    call = '<plan>[{"tool":"not","of":"$%d"}]</plan>'
    assert embedded.accepts(later, call % 1)
    assert not embedded.accepts(later, call % 2, whole=False)  # gave a number
    assert embedded.accepts(later, f'<plan>[{FIND},{{"tool":"not","of":"$3"}}]</plan>')
    assert embedded.accepts(later, "<reason>x</reason><answer>$2</answer>")
    assert embedded.accepts(later, f"<plan>[{','.join([FIND] * 6)}]</plan>")
    assert not embedded.accepts(later, f"<plan>[{','.join([FIND] * 7)}]", whole=False)


def test_without_ids_the_first_step_needs_none(embedded: Judge) -> None:
    empty = grammar(ids=())
    assert embedded.accepts(empty, f"<reason>x</reason><plan>[{FIND}]</plan>")
    start = '<reason>x</reason><plan>[{"tool":"left_of"'
    assert not embedded.accepts(empty, start, whole=False)
    after = f'<reason>x</reason><plan>[{FIND},{{"tool":"left_of","of":"$1"}}]</plan>'
    assert embedded.accepts(empty, after)


def test_nothing_to_write_is_refused() -> None:
    with pytest.raises(ValueError, match="neither"):
        build_grammar((), (), (), (), answer=False)


@pytest.mark.parametrize("mode", MODES)
def test_modes(embedded: Judge, mode: Any) -> None:
    rules = grammar(mode=mode)
    told = "a" * LENGTHS[mode]
    more = f"<describe>{'b' * 200}</describe>" if mode == "description" else ""
    assert embedded.accepts(rules, f"<reason>{told}</reason>{more}<answer>[1]</answer>")
    assert not embedded.accepts(rules, f"<reason>{told}a", whole=False)
    wrong = "" if more else "<describe>x</describe>"
    assert not embedded.accepts(rules, f"<reason>x</reason>{wrong}<answer>[1]", whole=False)


def test_added_tokens_are_cut_leftmost_then_longest(embedded: Judge) -> None:
    cutter = Cutter(embedded.constraint.added)
    plan = ACCEPTED[2] + ACCEPTED[4] + ACCEPTED[9]
    pieces = [p for p in cutter.pieces(plan) if p in embedded.constraint.added]
    ids = [embedded.constraint.added[p] for p in pieces]
    assert ids == [token for token in embedded.encode(plan) if token > 1950]
    assert {'"]},', ',"name":"color","value":"', '","of":['} <= set(pieces)


@pytest.mark.parametrize("kind", ["embedded", "plain"])
def test_random_walks_are_valid(kind: str, embedded: Judge, plain: Judge) -> None:
    judge = embedded if kind == "embedded" else plain
    draw = random.Random(kind)
    counts: dict[int, int] = {}
    for number in range(200 if kind == "embedded" else 80):
        rules = grammar(mode=MODES[number % 4], references=(), ids=((1, 12), (), (7,))[number % 3])
        text, forced = judge.walk(rules, draw)
        assert forced > 0
        found = parse(text, complete=False)
        steps = 0
        if found.paused:
            plan = found.rounds[0].plan
            DEFAULT_REGISTRY.validate_plan(plan)
            steps = len(plan)
        counts[steps] = counts.get(steps, 0) + 1
    assert len(counts) >= 5


def gbnf_judge(rules: Grammar) -> Callable[[str], bool]:
    """Accepts by the GBNF text, translated by llguidance's own converter."""
    tokenizer = LLTokenizer(plain_json())
    start = LLMatcher(tokenizer, any_to_lark(rules.gbnf()), log_level=0)
    assert not start.is_error(), start.get_error()[:300]

    def accepts(text: str) -> bool:
        matcher = start.deep_copy()
        tokens = tokenizer.tokenize_str(text)
        return matcher.try_consume_tokens(tokens) == len(tokens)

    return accepts


def test_gbnf_accepts_and_refuses_the_same() -> None:
    accepts = gbnf_judge(grammar(kinds=None))
    for text in ACCEPTED:
        assert accepts(text), text
    unkinded = [text for text in REFUSED if '"$2"' not in text or '"$1"' not in text]
    assert len(unkinded) >= len(REFUSED) - 2
    for text in unkinded:
        assert not accepts(text), text


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=24), min_size=1, max_size=4))
def test_any_word_is_quoted_data(words: list[str]) -> None:
    judge = _hostile_judge()
    for given_words in (words, [*words, *HOSTILE_WORDS]):
        rules = build_grammar(
            SCHEMAS[:1], (1,), given_words, given_words, answer=False, max_steps=2
        )
        text, _ = judge.walk(rules, random.Random(0))
        plan = parse(text, complete=False).rounds[0].plan
        DEFAULT_REGISTRY.validate_plan(plan)
        said = {word for step in plan for word in step["words"]}
        assert said <= {*given_words, "object"}
        for step in plan:
            json.dumps(step)


@lru_cache(maxsize=1)
def _hostile_judge() -> Judge:
    return Judge(WRITTEN)


def test_hostile_words_as_gbnf() -> None:
    rules = build_grammar(SCHEMAS[:1], (1,), HOSTILE_WORDS, (), answer=False)
    accepts = gbnf_judge(rules)
    for word in rules.words:
        assert accepts(f'<reason>x</reason><plan>[{{"tool":"find","words":["{word}"]}}]</plan>')


def test_masks_are_whole_vocabularies(embedded: Judge) -> None:
    matcher = embedded.constraint.matcher(grammar())
    embedded_row = np.zeros(2048, np.float32)
    embedded_row[[5, embedded.constraint.added["<reason>"]]] = 9.0, 1.0
    assert matcher.best(embedded_row) == embedded.constraint.added["<reason>"]
