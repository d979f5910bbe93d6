from __future__ import annotations

import pytest

from edgetwin.reasoner.protocol import (
    EOS,
    AnswerBody,
    Block,
    blocks,
    check_order,
    parse,
    parse_answer,
    parse_plan,
    render_answer,
    render_plan,
)
from edgetwin.twin.errors import ProtocolError

PLAN = '[{"tool":"find","words":["mug"]}]'
FULL = f"<reason>the mugs</reason><plan>{PLAN}</plan><results>[[1,2]]</results><answer>$1</answer>"


def test_full_transcript() -> None:
    transcript = parse(FULL + EOS)
    assert transcript.rationale == "the mugs"
    assert transcript.rounds[0].plan == [{"tool": "find", "words": ["mug"]}]
    assert transcript.rounds[0].results == "[[1,2]]"
    assert transcript.answer == AnswerBody(reference=1)
    assert not transcript.paused
    assert transcript.repairs == ()


def test_direct_answer_and_pause() -> None:
    assert parse("<reason>x</reason><answer>[3,7]</answer>").answer == AnswerBody(ids=(3, 7))
    paused = parse(f"<reason>x</reason><plan>{PLAN}</plan>", complete=False)
    assert paused.paused
    assert paused.answer is None


def test_two_rounds_join_their_rationales() -> None:
    text = FULL.replace("<answer>$1</answer>", "") + FULL.replace("the mugs", "again")
    transcript = parse(text)
    assert transcript.rationale == "the mugs again"
    assert len(transcript.rounds) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing last"),
        ("hello", "only tagged blocks"),
        ("<reason>x", "</reason> before the end"),
        ("<reason>x</plan>", "expected </reason> at character 9, got </plan>"),
        ("<reason><plan></plan></reason>", "got <plan>"),
        ("</reason>", "an opening tag"),
        ("<answer>none</answer>x", "only tagged blocks"),
        ("<answer>none</answer><answer>none</answer>", "the end after <answer>"),
        ("<results>[]</results><answer>none</answer>", "block 1"),
        (f"<plan>{PLAN}</plan><answer>$1</answer>", "expected <results> after <plan>"),
        (f"<plan>{PLAN}</plan>", "end with <answer>, got <plan>"),
        ("<answer>maybe</answer>", "$k, [3,7] or none"),
    ],
)
def test_strict_refuses(text: str, message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[]", "1 to 8 steps, got 0 steps"),
        ("[" + ",".join(["{}"] * 9) + "]", "got 9 steps"),
        ('["find"]', "step 1: expected an object"),
        ("{", "JSON list of tool calls"),
        ('{"tool":"find"}', "an object with 1 keys"),
    ],
)
def test_strict_refuses_plans(body: str, message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(f"<plan>{body}</plan>", complete=False)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "repair"),
    [
        ("<reason>x<answer>none</answer>", "closed <reason> before <answer>"),
        ("<reason>x</reason>\n<answer>none</answer>", "skipped white space between blocks"),
        ("<answer>none", "closed <answer> at the end"),
        ("so the mug <answer> [1] </answer>", "took untagged text as the rationale"),
        ("<answer> [1]. </answer>", "trimmed the answer"),
    ],
)
def test_tolerant_mends_and_says_so(text: str, repair: str) -> None:
    with pytest.raises(ProtocolError):
        parse(text)
    assert repair in parse(text, tolerant=True).repairs


@pytest.mark.parametrize(
    ("body", "repair"),
    [
        (f"```json\n{PLAN}\n```", "code fence"),
        (PLAN.replace('"', "'"), "single quotes"),
        (PLAN[:-1], "closed the list"),
        (PLAN[:-2], "closed the call"),
        (PLAN[:-1] + ",]", "trailing comma"),
        (PLAN[1:-1], "single call into a list"),
    ],
)
def test_tolerant_plans(body: str, repair: str) -> None:
    repairs: list[str] = []
    assert parse_plan(body, repairs) == [{"tool": "find", "words": ["mug"]}]
    assert any(repair in said for said in repairs)


def test_tolerance_ends() -> None:
    with pytest.raises(ProtocolError):
        parse("<reason>a<reason>b</reason>", tolerant=True)
    with pytest.raises(ProtocolError):
        parse_plan("please find the mug", [])
    with pytest.raises(ProtocolError):
        parse_plan("[" * 100_000, [])
    with pytest.raises(ProtocolError):
        parse("<answer>none</answer><plan>[]</plan>", tolerant=True)


def test_answers() -> None:
    assert parse_answer("none").is_none
    assert parse_answer("[3,3,7]").ids == (3, 7)
    assert parse_answer("$8").reference == 8
    for bad in ("$9", "$0", "$12", "[]", "[1, 2]", "[-1]", "1", "NONE", "[1,2", ""):
        with pytest.raises(ProtocolError):
            parse_answer(bad)
    assert parse_answer("1, 2", []).ids == (1, 2)
    assert parse_answer("None", []).is_none
    for answer in (AnswerBody(), AnswerBody(reference=2), AnswerBody(ids=(4, 11))):
        assert parse_answer(render_answer(answer)) == answer


def test_render_plan_has_no_spaces() -> None:
    assert render_plan([{"tool": "find", "words": ["toy car"]}]) == (
        '[{"tool":"find","words":["toy car"]}]'
    )


def test_order_of_blocks() -> None:
    check_order(blocks(FULL))
    check_order([Block("plan", PLAN)], complete=False)
    with pytest.raises(ProtocolError, match="block 2"):
        check_order([Block("reason", ""), Block("results", "")])


def test_description_and_explanation() -> None:
    text = "<reason>x</reason><describe>the red mug</describe>"
    paused = parse(f"{text}<plan>{PLAN}</plan>", complete=False)
    assert (paused.rationale, paused.description) == ("x", "the red mug")
    whole = parse(f"{text}<answer>[3]</answer><explain>as it is red</explain>{EOS}")
    assert (whole.answer, whole.description) == (AnswerBody(ids=(3,)), "the red mug")
    with pytest.raises(ProtocolError, match="after <describe>"):
        parse("<describe>x</describe><reason>x</reason><answer>none</answer>")
    with pytest.raises(ProtocolError, match="the end after <explain>"):
        parse("<answer>none</answer><explain>x</explain><answer>none</answer>")
