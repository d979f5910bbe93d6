"""What the embedded model is trained on follows the grammar, token by token."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from tokenizers import Tokenizer

from edgetwin.distill.reasoner.produce import example
from edgetwin.distill.reasoner.records import pieces
from edgetwin.distill.reasoner.tokenizer import extend
from edgetwin.reasoner.grammar import build_grammar

from .conformance import KINDS
from .test_grammar import SCHEMAS, WRITTEN, Judge

pytestmark = pytest.mark.skipif(not WRITTEN, reason="no embedded weights")


@pytest.fixture(scope="module")
def embedded() -> Judge:
    return Judge(WRITTEN)


@pytest.fixture(scope="module")
def grown() -> Judge:
    """With the tokens that training adds for tools and tags which the shipped one lacks."""
    tokenizer = Tokenizer.from_str(WRITTEN)
    extend(tokenizer, detecting())
    return Judge(tokenizer.to_str())


def detecting() -> list[dict[str, Any]]:
    """The default tools' schemas and that of ``detect``, which deploy registers."""
    detect = copy.deepcopy(SCHEMAS[0])
    detect["properties"]["tool"]["const"] = "detect"
    return [*SCHEMAS, detect]


@pytest.mark.parametrize(("kind", "seeds"), [("embedded", (0, 1)), ("grown", (2, 3, 4))])
def test_reference_chains_are_accepted_token_by_token(
    kind: str, seeds: tuple[int, ...], request: pytest.FixtureRequest
) -> None:
    judge: Judge = request.getfixturevalue(kind)
    schemas, kinds = detecting(), {**KINDS, "detect": "ids"}
    texts = tokens = forced = 0
    for seed in seeds:
        made = example(seed)
        for item in made.items if made is not None else ():
            said = [text for text, mine in pieces(item) if mine]
            steps = json.loads(item.plan or "[]")
            words = {word for step in steps for word in step.get("words", ())}
            values = {step[k] for step in steps for k in ("name", "value") if k in step}
            ids = {i for step in steps for v in step.values() if isinstance(v, list) for i in v}
            for part, text in enumerate(said):
                rules = build_grammar(
                    schemas,
                    sorted(i for i in ids if isinstance(i, int)) or (1, 2, 30),
                    words,
                    values,
                    mode=item.mode,
                    plan=part == 0,
                    references=() if part == 0 else range(1, 9),
                    kinds=kinds,
                )
                matcher = judge.constraint.matcher(rules)
                wanted = judge.encode(text.removesuffix("<|endoftext|>"))
                texts, tokens = texts + 1, tokens + len(wanted)
                while wanted:
                    given = matcher.forced()
                    assert given == wanted[: len(given)], text
                    forced += len(given)
                    wanted = wanted[len(given) :]
                    if wanted:
                        assert matcher.take(wanted.pop(0)), text
                assert matcher.done, text
    assert texts > 60
    assert forced / tokens > 0.15  # of a chain's tokens cost no step of the model
