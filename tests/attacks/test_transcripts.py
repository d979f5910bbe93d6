"""A thousand broken transcripts: each ends within its budgets, with a status, never a wrong "ok"."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from edgetwin.reasoner.answer import Answer
from edgetwin.reasoner.rollout import Budget, Reasoner
from edgetwin.twin.schema import FrameTwin
from edgetwin.twin.tools.registry import run_plan
from edgetwin.twin.window import TwinWindow

from ..reasoner.conftest import make_object
from .broken_models import CLASSES, MAX_TOKENS, BrokenModel, broken

COUNT = 1000
TOKENS = 1500
SECONDS = 5.0
QUESTION = "the mug left of the box"
STATUSES = {"ok", "none", "stale", "partial", "error"}


@pytest.fixture(scope="module")
def window() -> TwinWindow:
    """Two mugs and a box that stand still."""
    things = [("mug", "red", 40), ("mug", "blue", 200), ("box", "green", 90)]
    frames = []
    for k in range(2):
        objects = [make_object(i, w, c, x, 120, t=k) for i, (w, c, x) in enumerate(things, 1)]
        frames.append(
            FrameTwin(
                index=k, timestamp_s=k, width=256, height=256, objects={o.id: o for o in objects}
            )
        )
    return TwinWindow(frames)


def check(answer: Answer, window: TwinWindow, rounds: int) -> None:
    """What has to be true of every answer, whatever the model wrote."""
    assert answer.status in STATUSES
    assert answer.ended_by in ("", "tokens", "rounds", "seconds", "context")
    assert answer.message or answer.status == "ok"
    written = sum(answer.tokens[part] for part in ("rationale", "description", "plan", "answer"))
    assert written <= TOKENS
    assert answer.tokens["prompt"] + written <= MAX_TOKENS + TOKENS
    assert answer.rounds <= rounds
    assert answer.ms["total"] < 1000 * SECONDS
    assert set(answer.ids) <= set(window.ids())
    assert len(answer.plan) <= 8 + 60  # a plan that was refused is shown too
    if answer.status in ("partial", "error"):
        assert answer.status == "error" or answer.ended_by
    if answer.results:
        # Results are what the tools compute of the plan, never what the model wrote.
        done = run_plan(answer.plan[: len(answer.results)], window)
        assert [result.value for result in done] == answer.results
    if answer.status != "ok":
        return
    assert not answer.ended_by
    if answer.value is not None:
        assert answer.value in answer.results
    elif answer.ids not in answer.results:
        named = answer.transcript.rpartition("<answer>")[2].removesuffix("</answer>")
        assert named == "[" + ",".join(map(str, answer.ids)) + "]"


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("tolerant", [True, False])
def test_broken_transcripts_end_within_their_budgets(
    window: TwinWindow, tolerant: bool, rounds: int
) -> None:
    statuses: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    began = time.monotonic()
    for seed in range(COUNT):
        rng = random.Random(seed)
        model = BrokenModel(broken(rng), deaf=rng.random() < 0.3)
        budget = Budget(TOKENS, rounds=rounds, seconds=SECONDS)
        answer = Reasoner(model, budget=budget, tolerant=tolerant).answer(QUESTION, window)
        check(answer, window, rounds)
        asked = len(model.grammars)
        assert asked <= 4 * (rounds + 2)
        statuses[answer.status] += 1
        ended[answer.ended_by] += 1
    assert time.monotonic() - began < 60
    assert sum(statuses.values()) == COUNT
    # The classes reach every ending, or the test would say little.
    assert min(statuses[name] for name in ("ok", "none", "partial", "error")) >= 3, statuses
    assert min(ended[name] for name in ("", "tokens", "rounds")) >= 3, ended


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_class_alone(window: TwinWindow, name: str) -> None:
    for seed in range(8):
        rng = random.Random(seed)
        for deaf in (False, True):
            for tolerant in (False, True):
                model = BrokenModel([CLASSES[name](rng) for _ in range(3)], deaf)
                budget = Budget(TOKENS, rounds=2, seconds=SECONDS)
                reasoner = Reasoner(model, budget=budget, tolerant=tolerant)
                check(reasoner.answer(QUESTION, window), window, 2)


def test_the_same_seed_gives_the_same_transcripts() -> None:
    assert [broken(random.Random(7)) for _ in range(2)] == [broken(random.Random(7))] * 2
    drawn = {text for seed in range(COUNT) for text in broken(random.Random(seed))}
    assert len(drawn) > COUNT


def test_nothing_but_the_seconds_ends_a_slow_model(window: TwinWindow) -> None:
    class Slow(BrokenModel):
        def count(self, text: str) -> int:
            time.sleep(0.01)
            return len(text)

    model = Slow(["<reason>a</reason><plan>[]</plan>"] * 20, deaf=False)
    began = time.monotonic()
    answer = Reasoner(model, budget=Budget(10**6, 10**6, 0.05)).answer(QUESTION, window)
    assert answer.status == "error"
    assert time.monotonic() - began < 2
