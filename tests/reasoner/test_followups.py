from __future__ import annotations

import pytest

from edgetwin.reasoner.followups import is_follow_up


@pytest.mark.parametrize(
    "query",
    [
        "And the one next to it?",
        "and the other one?",
        "what about the red ones",
        "How about the mug?",
        "ok, and the box?",
        "which of them is closest",
        "Which of those moved?",
        "What is behind it?",
        "What is next to them?",
        "the one left of it",
        "Which mug is nearest to it?",
        "Is anything on top of that?",
        "did they move",
        "how many of these are red?",
        "the others",
        "show me the other one",
        "what else is red?",
        "The same, but blue.",
        "now the rest",
        "where was that one before",
    ],
)
def test_follow_ups(query: str) -> None:
    assert is_follow_up(query)


@pytest.mark.parametrize(
    "query",
    [
        "Where is the red mug?",
        "Which objects moved to the left?",
        "The box and whatever is behind it.",
        "What is left of the mug, and which of the balls is near?",
        "the ball that rolled behind the box",
        "find the thing that moved before the mug did",
        "Which of the mugs is closest to the lamp?",
        "everything that I can drink from",
        "the mug whose colour is that of the box",
        "a bowl with a ball in front of it",
        "Show every mug and bowl.",
        "those mugs that moved",
        "What is on the plate?",
        "the second mug from the left",
        "which one is the biggest",
    ],
)
def test_questions_that_stand_alone(query: str) -> None:
    assert not is_follow_up(query)
