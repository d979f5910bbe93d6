from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.reasoner.grammar import build_grammar
from edgetwin.twin.tools.registry import DEFAULT_REGISTRY

SCHEMAS = DEFAULT_REGISTRY.json_schemas()
WORDS = ("mug", "toy car", 'od"d\\')
needs_weights = pytest.mark.skipif(
    not (EMBEDDED / "manifest.json").exists(), reason="no embedded weights"
)


def grammar(ids: tuple[int, ...] = (1, 12)) -> str:
    return build_grammar(SCHEMAS, ids, WORDS, ["color", "red", "blue"]).lark({})


def test_deterministic_and_ordered() -> None:
    text = grammar()
    assert text == build_grammar(
        SCHEMAS, [12, 1, 1], reversed(WORDS), ["red", "color", "blue"]
    ).lark({})
    lines = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    assert lines["start"] == "plan | answer"
    assert lines["id"] == '"1" | "12"'
    assert lines["ids_1"] == '"[" id ("," id){0,11} "]"'
    assert lines["ids_3"].startswith('/"\\$[1-2]"/')
    assert "step_9" not in text


def test_without_ids_the_first_step_needs_none() -> None:
    text = grammar(ids=())
    first = next(line for line in text.splitlines() if line.startswith("step_1"))
    assert '\\"find\\"' in first
    assert '\\"left_of\\"' not in first
    assert "ids_1" not in text
    assert '\\"left_of\\"' in next(x for x in text.splitlines() if x.startswith("step_2"))


def test_fewer_steps() -> None:
    text = build_grammar(SCHEMAS, [1], ["mug"], ["red"], max_steps=2).lark({})
    assert "step_3" not in text
    assert 'body: "none" | /\\$[1-2]/' in text


@pytest.fixture(scope="module")
def accepts() -> Callable[[str], bool]:
    """Forces a text through the guided decoder token by token: is each one let through?"""
    import numpy as np
    import onnxruntime_genai as og

    model = og.Model(str(EMBEDDED))
    tokenizer = og.Tokenizer(model)
    size = 0

    def check(text: str) -> bool:
        nonlocal size
        params = og.GeneratorParams(model)
        params.set_search_options(max_length=512, do_sample=False)
        params.set_guidance("lark_grammar", grammar())
        generator: Any = og.Generator(model, params)
        generator.append_tokens(tokenizer.encode("question: x\n"))
        for token in tokenizer.encode(text):
            size = generator.get_logits().shape[-1]
            logits = np.full((1, 1, size), -50.0, dtype=np.float32)
            logits[0, 0, token] = 50.0
            generator.set_logits(logits)
            generator.generate_next_token()
            if int(generator.get_next_tokens()[0]) != int(token):
                return False
        return True

    return check


CALL = '{"tool":"find","words":["mug"]}'


@needs_weights
@pytest.mark.parametrize(
    "text",
    [
        f"<reason>the mug</reason><plan>[{CALL}]</plan>",
        '<reason></reason><plan>[{"tool":"find","words":["toy car","mug"]}]</plan>',
        f'<reason>x</reason><plan>[{CALL},{{"tool":"left_of","ids":"$1","of":[1,12]}}]</plan>',
        f'<reason>x</reason><plan>[{CALL},{CALL},{{"tool":"nearest","to":"$2","k":2}}]</plan>',
        '<reason>x</reason><plan>[{"tool":"attribute","name":"color","value":"red"}]</plan>',
        '<reason>x</reason><plan>[{"tool":"moved"}]</plan>',
        '<reason>x</reason><plan>[{"tool":"moved","direction":"left"}]</plan>',
        '<reason>x</reason><plan>[{"tool":"sort","by":"left","descending":true}]</plan>',
        "<answer>$2</answer>",
        "<answer>[12,1]</answer>",
        "<reason>x</reason><answer>none</answer>",
    ],
)
def test_accepts(accepts: Callable[[str], bool], text: str) -> None:
    assert accepts(text)


@needs_weights
@pytest.mark.parametrize(
    "text",
    [
        "<plan>[",
        "hello",
        "<reason>a <plan>",
        "<reason>x</reason><results>",
        "<reason>x</reason><plan>[]",
        '<reason>x</reason><plan>[{"tool":"open_file"',
        '<reason>x</reason><plan>[{"tool":"find","words":["bowl"]}',
        '<reason>x</reason><plan>[{"tool":"find","words":[]}',
        '<reason>x</reason><plan>[{"tool":"find", "words"',
        '<reason>x</reason><plan>[{"tool":"left_of","of":"$1"}',
        f'<reason>x</reason><plan>[{CALL},{{"tool":"left_of","of":"$2"}}',
        '<reason>x</reason><plan>[{"tool":"left_of","of":[3]}',
        '<reason>x</reason><plan>[{"tool":"left_of"}]',
        '<reason>x</reason><plan>[{"tool":"moved","direction":"sideways"}',
        '<reason>x</reason><plan>[{"tool":"attribute","name":"color","value":"mauve"}',
        f"<reason>x</reason><plan>[{','.join([CALL] * 9)}]",
        "<answer>[2]</answer>",
        "<answer>$9</answer>",
        "<answer>the mug</answer>",
    ],
)
def test_refuses(accepts: Callable[[str], bool], text: str) -> None:
    assert not accepts(text)
