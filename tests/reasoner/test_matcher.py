"""The matcher's shortcuts against llguidance asked at every token."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from llguidance import LLMatcher

from edgetwin.reasoner.grammar import Grammar
from edgetwin.reasoner.models import matcher as matchers
from edgetwin.reasoner.prompts import MODES
from edgetwin.twin.errors import ModelError

from .test_grammar import WRITTEN, Judge, grammar

pytestmark = pytest.mark.skipif(not WRITTEN, reason="no embedded weights")


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(WRITTEN)


def reference(judge: Judge, rules: Grammar) -> Any:
    constraint = judge.constraint
    return LLMatcher(constraint._tokenizer, rules.lark(constraint.added), log_level=0)


def choose(allowed: np.ndarray[Any, np.dtype[np.bool_]], draw: random.Random, plain: list[int]) -> int:  # fmt: skip
    """Few of the tokens again and again, so that texts meet; at times any."""
    ids = np.flatnonzero(allowed).tolist()
    said = [token for token in plain if allowed[token]]
    if said and draw.random() < 0.8:
        return draw.choice(said)
    return int(draw.choice(ids[:3] + ids[-3:] if draw.random() < 0.9 else ids))


@pytest.mark.parametrize("mode", MODES)
def test_shortcuts_change_nothing(judge: Judge, mode: Any) -> None:
    rules = grammar(mode=mode, references=())
    start, draw = reference(judge, rules), random.Random(mode)
    plain = [judge.encode(word)[0] for word in (" the", " mug", ".", " box")]
    asked = met = 0
    for _ in range(25):
        mine, theirs = judge.constraint.matcher(rules), start.deep_copy()
        while not theirs.is_stopped():
            forced, wanted = mine.forced(), theirs.compute_ff_tokens()
            assert forced == wanted or mine._room >= 0
            if forced:
                assert theirs.consume_tokens(forced)
                continue
            size = judge.tokenizer.get_vocab_size()
            mask = np.frombuffer(theirs.compute_bitmask(), np.uint8)
            allowed = np.unpackbits(mask, count=size, bitorder="little").view(bool)
            wrong = draw.choice(np.flatnonzero(~allowed).tolist())
            assert not mine.take(wrong)
            token = choose(allowed, draw, plain)
            met += bool(mine._place and token in mine._place.after)
            assert mine.take(token)
            assert theirs.consume_token(token)
            asked += 1
            assert mine.done == theirs.is_stopped() if draw.random() < 0.1 else True
        assert mine.done
    assert asked > 300
    if mode != "description":  # the shipped tokenizer lacks its tags
        assert met > 30


def test_a_text_met_before_costs_no_question(judge: Judge) -> None:
    rules = grammar(references=(), ids=(3, 4))
    texts = (
        '<reason>the mug</reason><plan>[{"tool":"find","words":["mug"]}]</plan>',
        '<reason>a longer rationale of plain words</reason><plan>[{"tool":"find","words":["mug"]}]</plan>',
    )
    for text in texts:
        matcher = judge.constraint.matcher(rules)
        wanted = judge.encode(text)
        while wanted:
            given = matcher.forced()
            assert given == wanted[: len(given)]
            wanted = wanted[len(given) :]
            if wanted:
                assert matcher.take(wanted.pop(0))
    assert matcher._matcher is None  # llguidance was never asked
    assert matcher.done  # now it is, and agrees
    assert not matcher._untold


def test_rationales_are_counted(judge: Judge) -> None:
    rules = grammar(references=())
    matcher = judge.constraint.matcher(rules)
    matcher.forced()
    word = judge.encode(" mug")[0]
    assert sum(matcher.take(word) for _ in range(60)) == 160 // len(" mug")
    row = np.zeros(judge.tokenizer.get_vocab_size(), np.float32)
    assert matcher.best(row) == judge.constraint.added["</reason>"]


def test_places_are_bounded(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matchers, "_MAX_PLACES", 12)
    rules = grammar(references=(), ids=(5, 6, 7))
    draw = random.Random(0)
    for _ in range(20):
        judge.walk(rules, draw)
    assert judge.constraint._plans[rules].places == 12


def test_no_allowed_token_is_an_error(judge: Judge) -> None:
    matcher = judge.constraint.matcher(grammar(references=()))
    with pytest.raises(ModelError, match="next token"):
        matcher.best(np.zeros(0, np.float32))
