"""What is heard of an answer while it is made: text without tags, plans, results."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.reasoner.models.ort_genai import OrtGenAiModel
from edgetwin.reasoner.models.scripted import ScriptedModel
from edgetwin.reasoner.rollout import Budget, Reasoner
from edgetwin.reasoner.telling import Telling
from edgetwin.twin.window import TwinWindow

PLAN = '<plan>[{"tool":"attribute","name":"color","value":"blue"}]</plan>'
TURNS = (
    ("<reason>the mug</reason><plan>[1<2]</plan>", "the mug"),
    ("<reason>a < b, </ok> <3</reason><answer>[1]</answer>", "a < b, </ok> <3"),
    ("<think>well</think><reason>so</reason><describe>it</describe>", "well\nso\nit"),
    ("<reason></reason><plan>[]</plan>", ""),
    ("no tags at all <", "no tags at all <"),
    ("<plan><reason>not told</reason></plan>told", "told"),
    ("<results>[1]</results><answer>[1]", ""),
)


def told(pieces: list[str]) -> str:
    heard: list[str] = []
    telling = Telling(lambda kind, data: heard.append(data))
    for piece in pieces:
        telling.text(piece)
    telling.end()
    assert all(heard)
    return "".join(heard)


@pytest.mark.parametrize(("turn", "text"), TURNS)
def test_text_is_told_without_tags_plans_and_answers(turn: str, text: str) -> None:
    assert told([turn]) == text
    assert told(list(turn)) == text


@given(st.sampled_from(TURNS), st.lists(st.integers(0, 70), max_size=8))
def test_it_does_not_matter_how_the_text_is_cut(turn: tuple[str, str], cuts: list[int]) -> None:
    places = sorted({0, *(min(cut, len(turn[0])) for cut in cuts), len(turn[0])})
    pieces = [turn[0][a:b] for a, b in pairwise(places)]
    assert told(pieces) == turn[1]


def test_every_letter_is_told_as_soon_as_it_can_be() -> None:
    heard: list[str] = []
    telling = Telling(lambda kind, data: heard.append(data))
    for letter in "<reason>mug":
        telling.text(letter)
    assert heard == ["m", "u", "g"]


def test_a_session_tells_text_plan_and_results_in_order(window: TwinWindow) -> None:
    model = ScriptedModel([f"<reason>blue</reason>{PLAN}", "<answer>$1</answer>"])
    heard: list[tuple[str, Any]] = []
    answer = (
        Reasoner(model)
        .session(window)
        .ask("what is blue?", heard=lambda kind, data: heard.append((kind, data)))
    )
    assert answer.status == "ok"
    assert heard == [("text", "blue"), ("plan", answer.plan), ("results", answer.results)]


def test_several_plans_are_told_each_for_itself(window: TwinWindow) -> None:
    other = PLAN.replace("blue", "red")
    model = ScriptedModel(
        [f"<reason>a</reason>{PLAN}", f"<reason>b</reason>{other}", "<answer>$1</answer>"]
    )
    heard: list[tuple[str, Any]] = []
    answer = (
        Reasoner(model, budget=Budget(rounds=2))
        .session(window)
        .ask("what is blue?", heard=lambda kind, data: heard.append((kind, data)))
    )
    assert [kind for kind, _ in heard] == ["text", "plan", "results", "text", "plan", "results"]
    assert heard[1][1] + heard[4][1] == answer.plan
    assert heard[2][1] + heard[5][1] == answer.results


def test_the_embedded_model_is_heard_token_by_token(window: TwinWindow) -> None:
    """With and without a listener the answer is the same."""
    heard: list[tuple[str, Any]] = []
    question = "What is to the left of the blue mug?"
    reasoner = Reasoner(OrtGenAiModel(EMBEDDED))
    silent = reasoner.session(window).ask(question)
    told = reasoner.session(window).ask(
        question, heard=lambda kind, data: heard.append((kind, data))
    )
    assert (told.transcript, told.ids) == (silent.transcript, silent.ids)
    texts = [data for kind, data in heard if kind == "text"]
    assert len(texts) >= 2
    assert "".join(texts).strip() == told.rationale
    assert ("plan", told.plan) in heard
