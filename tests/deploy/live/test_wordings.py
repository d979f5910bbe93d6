"""Wishes become the questions that they ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetwin.deploy.live.compiling import Scene, scene_of, stand
from edgetwin.deploy.live.wordings import Condition, rewrite
from edgetwin.deploy.models import load_reasoner
from edgetwin.reasoner.rollout import Reasoner
from edgetwin.twin.window import TwinWindow

from .standings import thing, twin

TABLE = {
    "Tell me when something moves": "Find the object that moved.",
    "Notify me if someone moves the spoon to the left.": "Find the spoon that moved to the left.",
    "let me know as soon as a red mug appears": "Find the red mug that appeared.",
    "Could you alert me when a ball enters the scene?": "Find the ball that appeared.",
    "tell me when someone takes the phone away": "Find the phone that disappeared.",
    "if the hammer moves, tell me": "Find the hammer that moved.",
    "when someone takes the phone, let me know": "Find the phone that disappeared.",
    "alert me when the ball goes behind the box": "Find the ball that was hidden behind the box.",
    "let me know if the box covers the book": "Find the book that was hidden behind the box.",
    "tell me when someone puts a mug on the book": "Find the mug on top of the book.",
    "tell me when a banana is in the bowl": "Find the banana inside the bowl.",
    "tell me when the bottle is left of the lamp": "Find the bottle left of the lamp.",
    "Tell me when someone picks up the mug": "Find the mug that moved up.",
    "warn me if anything falls": "Find the object that moved down.",
    "tell me when a spoon comes closer": "Find the spoon that moved toward the camera.",
    "Please tell me when you see a banana": "Find the banana.",
    "watch for a banana": "Find the banana.",
    "I want to know when the ball gets pushed": "Find the ball that moved.",
    "Sound the alarm if the bowl goes missing": "Find the bowl that disappeared.",
    "I need to hear about it if anyone raises the glass": "Find the glass that moved up.",
    "tell me when the mug is in front of the box": "Find the mug that stands in front of the box.",
    "Warn me when the lamp blocks the view of the mug": "Find the mug that was hidden behind the lamp.",
    "Watch for a lamp and tell me when it shows up": "Find the lamp that appeared.",
    "tell me when something red moves": "Find the red object that moved.",
    "tell me when the mug is red": "Find the red mug.",
    "tell me when something to drink from appears": "Find the thing to drink from that appeared.",
    "tell me when there is something behind the lamp": "Find the object behind the lamp.",
}


@pytest.mark.parametrize("wish", TABLE)
def test_a_wish_becomes_its_question(wish: str) -> None:
    wanted = rewrite(wish)
    assert wanted.asked == TABLE[wish]
    assert wanted.known
    assert wanted.condition is None


@pytest.mark.parametrize(
    ("wish", "asked", "condition"),
    [
        (
            "tell me when there are more than two mugs on the table",
            "How many mugs are there?",
            Condition(">", 2.0),
        ),
        ("alert me if there are fewer than 3 objects", "How many objects are there?", Condition("<", 3.0)),
        ("Inform me when more than 6 objects are on the table", "How many objects are there?", Condition(">", 6.0)),
        ("Notify me if a ball is about to go over the edge", "Find the ball.", Condition(edge="any")),
        ("Tell me when there is no mug left", "How many mugs are there?", Condition("==", 0.0)),
        ("tell me when there are three balls", "How many balls are there?", Condition(">=", 3.0)),
        (
            "tell me when the mug comes within 20 cm of the bowl",
            "What is the distance between the mug and the bowl?",
            Condition("<", 0.2, "m"),
        ),
        (
            "tell me when a mug is near the bowl",
            "What is the pixel distance between the mug and the bowl?",
            Condition("<", 0.2, "diagonal"),
        ),
        ("Tell me when someone puts a cup near the edge", "Find the cup.", Condition(edge="any")),
        (
            "tell me when the ball is close to the left edge of the table",
            "Find the ball.",
            Condition(edge="left"),
        ),
    ],
)  # fmt: skip
def test_what_a_plan_cannot_say_is_a_condition(wish: str, asked: str, condition: Condition) -> None:
    wanted = rewrite(wish)
    assert (wanted.asked, wanted.condition) == (asked, condition)
    assert condition.text


@pytest.mark.parametrize(
    ("wish", "asked"),
    [
        ("What could I drink from?", "What could I drink from?"),
        ("tell me when the weather gets nice", "the weather gets nice"),
        ("tell me when", "tell me when"),
        ("Which mug moved when the ball moved?", "Which mug moved when the ball moved?"),
        ("Find the mug that moved when the ball did", "Find the mug that moved when the ball did"),
        ("???", "???"),
    ],
)
def test_what_the_table_does_not_know_is_asked_as_it_is(wish: str, asked: str) -> None:
    wanted = rewrite(wish)
    assert wanted.asked == asked
    assert not wanted.known


def test_conditions_compare() -> None:
    assert Condition("<", 0.2, "m").holds(0.1)
    assert not Condition("<", 0.2, "m").holds(0.2)
    assert not Condition("<", 0.2, "m").holds(None)
    assert [Condition(op, 2.0).holds(2.0) for op in (">", ">=", "<", "<=", "==")] == [
        False, True, False, True, True,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def reasoner() -> Reasoner:
    return load_reasoner("embedded")


def find(*words: str) -> dict[str, object]:
    return {"tool": "find", "words": list(words)}


PLANS = {
    "Tell me when something moves": [{"tool": "moved"}],
    "Notify me if someone moves the spoon to the left.": [
        find("spoon"), {"tool": "moved", "ids": "$1", "direction": "left"}],
    "tell me when someone takes the phone away": [find("phone"), {"tool": "disappeared", "ids": "$1"}],
    "alert me when the ball goes behind the box": [
        find("ball"), find("box"), {"tool": "occluded_by", "ids": "$1", "by": "$2"}],
    "tell me when someone puts a mug on the book": [
        find("mug"), find("book"), {"tool": "on", "ids": "$1", "of": "$2"}],
    "let me know as soon as a red mug appears": [
        find("mug"), {"tool": "attribute", "ids": "$1", "name": "color", "value": "red"},
        {"tool": "appeared", "ids": "$2"}],
    "tell me when there are more than two mugs": [find("mug"), {"tool": "count", "ids": "$1"}],
    "tell me when the spoon is near the bowl": [
        find("spoon"), find("bowl"), {"tool": "distance", "a": "$1", "b": "$2", "space": "pixel"}],
    "tell me when someone puts a cup near the edge": [find("mug")],
    "when did the spoon move?": [find("spoon"), {"tool": "moved", "ids": "$1"}],
}  # fmt: skip


@pytest.mark.parametrize("wish", PLANS)
def test_the_embedded_model_compiles_it(wish: str, reasoner: Reasoner) -> None:
    window = TwinWindow(
        twin(t / 10, thing(1, 20, label="bowl"), thing(2, 60, label="spoon")) for t in range(10)
    )
    wanted = rewrite(wish)
    record = reasoner.answer(wanted.asked, window).model_dump(mode="json")
    assert stand(wanted, record, scene_of(window)).plan == PLANS[wish]
    assert Scene().labels < scene_of(window).labels


def test_nothing_here_knows_a_path() -> None:
    """A wish is text only: one that looks like a file is a question."""
    assert (
        rewrite(f"tell me when {Path('/etc/passwd')} appears").asked
        == "Find the /etc/passwd that appeared."
    )
