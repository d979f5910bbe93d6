"""Slips of models that decode without the grammar, each with what is made of it."""

from __future__ import annotations

from typing import Any

import pytest

from edgetwin.reasoner.mending import fitted, lenient_json, strict_json, thinking
from edgetwin.reasoner.protocol import AnswerBody, parse_answer, parse_plan, parse_turn
from edgetwin.twin.errors import ProtocolError
from edgetwin.twin.tools.registry import DEFAULT_REGISTRY

FIND = {"tool": "find", "words": ["mug"]}
LEFT = {"tool": "left_of", "ids": "$1", "of": [3]}


@pytest.mark.parametrize(
    ("body", "plan", "repair"),
    [
        ('```json\n[{"tool":"find","words":["mug"]}]\n```', [FIND], "code fence"),
        ('Here is my plan:\n[{"tool":"find","words":["mug"]}]', [FIND], "text around"),
        ('[{"tool":"find","words":["mug"]}] That is all.', [FIND], "dropped text after"),
        ("[{'tool':'find','words':['mug']}]", [FIND], "single quotes"),
        ("[{“tool”:“find”,“words”:[“mug”]}]", [FIND], "single quotes"),
        ('[{"tool":"find","words":["mug",],},]', [FIND], "trailing comma"),
        ('[{"tool":"find","words":["mug"]', [FIND], "closed the call"),
        ('[{"tool":"find","words":["mug"', [FIND], "closed the list"),
        ("[{tool: find, words: [mug]}]", [FIND], "unquoted"),
        ('{"tool":"find","words":["mug"]}', [FIND], "single call"),
        ('{"tool":"find","words":["mug"]},{"tool":"left_of","ids":"$1","of":[3]}', [FIND, LEFT],
         "without brackets"),
        ('{"tool":"find","words":["mug"]}\n{"tool":"left_of","ids":$1,"of":[3]}', [FIND, LEFT],
         "without brackets"),
        ('[{"name":"find","arguments":{"words":["mug"]}}]', [FIND], "another form"),
        ('[{"function":"find","args":{"words":["mug"]}}]', [FIND], "another form"),
        ('[{"name":"find","arguments":"{\\"words\\":[\\"mug\\"]}"}]', [FIND], "another form"),
        ('[{"type":"function","id":"a","function":{"name":"find","arguments":{"words":["mug"]}}}]',
         [FIND], "another form"),
        ('[{"find":{"words":["mug"]}}]', [FIND], "another form"),
        ('{"plan":[{"tool":"find","words":["mug"]}]}', [FIND], "out of its object"),
        ("[{'tool':'find','words':[\"king's mug\", 'king's mug']}]",
         [{"tool": "find", "words": ["king's mug", "king's mug"]}], "single quotes"),
    ],
)  # fmt: skip
def test_plans(body: str, plan: list[Any], repair: str) -> None:
    repairs: list[str] = []
    assert parse_plan(body, repairs) == plan
    assert any(repair in said for said in repairs), repairs
    if "name" not in body and "function" not in body and '"find":' not in body:
        with pytest.raises(ProtocolError):
            parse_plan(body)


def test_name_is_kept_where_it_is_an_argument() -> None:
    body = '[{"tool":"attribute","name":"color","value":"red"}]'
    assert parse_plan(body, []) == [{"tool": "attribute", "name": "color", "value": "red"}]


@pytest.mark.parametrize(
    "body",
    [
        "", "   ", "find the mug", "[", "[[", '{"tool"', "[1,2]", '["find"]', "null", "NaN",
        '[{"tool":"find","tool":"size"}]', "[{'a':1,'a':2}]", "[" * 5000, '{"a":' * 5000,
        '[{"tool":"find" "words":["mug"]}]', "[{}" + ",{}" * 8 + "]", "x" * 20_000,
        "[" + "9" * 5000 + "]",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_protocol_error(body: str) -> None:
    with pytest.raises(ProtocolError):
        parse_plan(body, [])
    with pytest.raises(ProtocolError):
        parse_plan(body)


def test_strict_json_is_stricter_than_pythons() -> None:
    for text in ("NaN", "[Infinity]", '{"a":1,"a":1}', "[" * 100_000, "1" * 5000, "[1] 2"):
        with pytest.raises(ValueError, match=r"."):
            strict_json(text)
    assert strict_json('{"a":[1.5,null,true]}') == {"a": [1.5, None, True]}


def test_lenient_json_reads_json_as_json() -> None:
    for value in ('[{"a":[1,-2.5,"x\\n\\u00e9",true,null]}]', '[{"a":{}}]', "[{}]"):
        repairs: list[str] = []
        assert lenient_json(value, repairs) == strict_json(value)
        assert repairs == []


@pytest.mark.parametrize(
    ("given", "call"),
    [
        ({"tool": "find", "words": "mug"}, FIND),
        ({"tool": "left_of", "ids": "$1", "of": 3}, LEFT),
        ({"tool": "left_of", "ids": ["$1"], "of": ["3"]}, LEFT),
        ({"tool": "left_of", "ids": "$1", "of": [3.0]}, LEFT),
        ({"tool": "nth", "ids": "$1", "k": "2"}, {"tool": "nth", "ids": "$1", "k": 2}),
        ({"tool": "moved", "ids": "all"}, {"tool": "moved"}),
        ({"tool": "moved", "ids": None}, {"tool": "moved"}),
        ({"tool": "unknown", "ids": 3}, {"tool": "unknown", "ids": 3}),
        (FIND, FIND),
    ],
)
def test_arguments_are_fitted_to_their_tools(given: dict[str, Any], call: dict[str, Any]) -> None:
    repairs: list[str] = []
    assert fitted([given], DEFAULT_REGISTRY, repairs) == [call]
    assert bool(repairs) == (given != call)


@pytest.mark.parametrize(
    ("text", "answer", "repair"),
    [
        ("<think>well</think><answer>$1</answer>", AnswerBody(reference=1), "thought"),
        ("of the template</think>\n\n<answer>$1</answer>", AnswerBody(reference=1), "thought"),
        ("<answer>[3]</answer><answer>[1]</answer>", AnswerBody(ids=(3,)), "dropped text"),
        ("<answer>[3]</answer><plan>[]</plan>", AnswerBody(ids=(3,)), "dropped text"),
        ("I say <answer>[3]</answer>", AnswerBody(ids=(3,)), "untagged"),
        ("the mug</reason><answer>[3]</answer>", AnswerBody(ids=(3,)), "opened <reason>"),
        ("So. <reason>a</reason> Then: <answer>[3]</answer>", AnswerBody(ids=(3,)), "joined"),
        ("$2", AnswerBody(reference=2), "as the answer"),
        ("**none**", AnswerBody(), "as the answer"),
        ("Answer: [3, 7]", AnswerBody(ids=(3, 7)), "as the answer"),
    ],
)
def test_turns_that_answer(text: str, answer: AnswerBody, repair: str) -> None:
    turn = parse_turn(text, tolerant=True)
    assert turn.answer == answer
    assert any(repair in said for said in turn.repairs), turn.repairs
    assert parse_turn(turn.text).answer == answer  # what the context is given is the protocol
    with pytest.raises(ProtocolError):
        parse_turn(text)


@pytest.mark.parametrize(
    "text",
    [
        '```json\n[{"tool":"find","words":["mug"]}]\n```',
        'Sure: {"name": "find", "arguments": {"words": ["mug"]}}',
        '<tool_call>\n{"name": "find", "arguments": {"words": ["mug"]}}\n</tool_call>',
        '<reason>mugs<plan>[{"tool":"find","words":["mug"]}]</plan><results>[[9]]</results>',
        '<plan>[{"tool":"find","words":["mug"]}]<results>[[9]]</results><answer>$1</answer>',
    ],
)
def test_turns_that_plan(text: str) -> None:
    turn = parse_turn(text, tolerant=True)
    assert turn.plan == [FIND]
    assert turn.answer is None
    assert "results" not in turn.text
    assert parse_turn(turn.text).plan == [FIND]


@pytest.mark.parametrize(
    "text",
    ["", " ", "<think>", "<think>a</think>", "<reason>a</reason>", "<results>[[1]]</results>",
     "the red mug", "<answer></answer>", "<answer>maybe 3</answer>", "<answer>$9</answer>",
     "<plan></plan>", "<answer>[1][2]</answer>", "</plan>", "<explain>x</explain>",
     "<answer>3 cm to the left</answer>"],
)  # fmt: skip
def test_turns_that_say_nothing(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_turn(text, tolerant=True)
    with pytest.raises(ProtocolError):
        parse_turn(text)


def test_clean_turns_are_kept_as_they_are() -> None:
    text = '<reason>the mugs</reason><plan>[{"tool":"find","words":["mug"]}]</plan>'
    for tolerant in (False, True):
        turn = parse_turn(text, tolerant)
        assert (turn.text, turn.repairs, turn.plan) == (text, (), [FIND])


@pytest.mark.parametrize(
    ("body", "answer"),
    [("[1, 2]", (1, 2)), ("1", (1,)), ("ids: 1, 2", (1, 2)), ('{"ids": [1]}', (1,)),
     ("[1", (1,)), ("`[1]`.", (1,)), ("[]", ()), ("None.", ())],
)  # fmt: skip
def test_answers(body: str, answer: tuple[int, ...]) -> None:
    assert parse_answer(body, []).ids == answer


def test_thinking() -> None:
    assert thinking("<think>a")
    assert thinking("<think>a</think><think>")
    assert not thinking("<think>a</think>")
    assert not thinking("a</think>b")
