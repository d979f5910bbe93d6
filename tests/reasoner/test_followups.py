from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

import edgetwin
from edgetwin.distill import twinbench
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
        "the blue one?",
        "Which one is red?",
        "how many are there?",
        "Sorry, I meant the mug.",
        "No, the blue one.",
        "everything else?",
        "Show me the other mugs.",
        "Which objects did you leave out?",
        "where is the one you found",
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
    ],
)
def test_questions_that_stand_alone(query: str) -> None:
    assert not is_follow_up(query)


def test_the_forms_of_the_training_questions() -> None:
    """Follow-ups that the embedded model is trained on are told from its other questions."""
    sections: dict[str, list[str]] = defaultdict(list)
    name = ""
    phrases = Path(edgetwin.__file__).parent / "distill/sim/questions/phrases.txt"
    for line in phrases.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            name = line[2:].strip()
        elif line.strip():
            sections[name].append(re.sub(r"\[(.*?)\|(.*?)\]", r"\1", line))
    filled = {"of": "it", "set": "them", "pred": "moved", "h": "mugs", "rel": "left of it",
              "colour": "blue", "np": "the mug"}  # fmt: skip
    leaning = [
        re.sub(r"\{(\w+)\}", lambda found: filled[found[1]], text)
        for section, texts in sections.items()
        if section.startswith("again.") or section == "given.which"
        for text in texts
    ]
    for one in sections["given.one"] + sections["given.many"]:
        leaning += [f"What is left of {one}?", f"When did {one} move?"]
    assert len(leaning) > 100
    missed = [text for text in leaning if not is_follow_up(text)]
    assert len(missed) <= 0.05 * len(leaning), missed
    alone = [task.question.text for task in twinbench.load("val", "cell")]
    taken = [text for text in alone if is_follow_up(text)]
    assert len(taken) <= 0.03 * len(alone), taken
