"""The held-out questions of the other kinds, and how answers to them are judged."""

from __future__ import annotations

import random
from collections import Counter

import pytest

pytest.importorskip("torch")

from edgetwin.distill.reasoner.probes import (
    GROUPS,
    Found,
    Probe,
    _is_right,
    _scene,
    ask,
    drawn,
    probe_table,
)
from edgetwin.distill.reasoner.score import tools_for_part
from edgetwin.distill.sim.catalogue import CELL
from edgetwin.distill.sim.questions.chains import plan_json
from edgetwin.distill.sim.questions.restricted import TRAINED
from edgetwin.distill.sim.truth import true_window
from edgetwin.distill.sim.worlds import World
from edgetwin.reasoner.answer import Answer
from edgetwin.reasoner.models.scripted import ScriptedModel
from edgetwin.reasoner.protocol import tagged
from edgetwin.reasoner.rollout import Budget, Reasoner


@pytest.fixture(scope="module")
def made() -> list[Probe]:
    found: list[Probe] = []
    for seed in range(1_000_000, 1_000_006):
        window = true_window(World(seed), render=False)
        found += drawn(window, random.Random(seed), CELL, in_part=True)
    return found


def scripted(probe: Probe) -> Reasoner:
    """A model that writes the reference chain."""
    asked = probe.asked
    told = tagged("reason", asked.rationale)
    if asked.description:
        told += tagged("describe", asked.description)
    told += tagged("plan", plan_json(asked.plan))
    window, tools = _scene(probe, refine=True)
    value = tools.run_plan(asked.plan, window)[-1].value
    answer = "none" if value in (None, []) else f"${len(asked.plan)}"
    model = ScriptedModel([told, tagged("answer", answer)])
    return Reasoner(model, budget=Budget(tokens=9000))  # a token is a character


def test_every_group_is_there(made: list[Probe]) -> None:
    assert set(Counter(p.group for p in made)) == set(GROUPS)


def test_the_reference_chain_is_right_in_every_group(made: list[Probe]) -> None:
    for probe in made:
        found = ask(scripted(probe), probe)
        assert found.right, (probe.group, probe.asked.text)
        assert found.described == (probe.group == "description")
        assert found.rationale_tokens > 0


def test_asking_leaves_the_window_as_it_was(made: list[Probe]) -> None:
    probe = next(p for p in made if p.group == "detect")
    before = probe.window.ids()
    ask(scripted(probe), probe)
    assert probe.window.ids() == before
    window, tools = _scene(probe, refine=True)
    step = next(s for s in probe.asked.plan if s["tool"] == "detect")
    found = tools.run_plan([step], window)[0].value
    known = [i for i in before if probe.window.latest(i).semantic_label in step["words"]]
    assert set(known) <= set(found)  # type: ignore[arg-type]
    assert set(found) <= set(window.ids())  # type: ignore[arg-type]
    assert set(step["words"]) <= set(window.vocabulary or ())


def test_wrong_answers_are_wrong(made: list[Probe]) -> None:
    for probe in made:
        window, tools = _scene(probe, refine=True)
        truth = tools.run_plan(probe.asked.plan, window)[-1]
        assert not _is_right(Answer(status="error"), probe.asked, truth)
        wrong = Answer(status="ok", ids=[997], value=-3.5, intervals=[(7.0, 7.5)])
        assert not _is_right(wrong, probe.asked, truth)


def test_find_knows_the_shown_part_only_and_detect_adds_to_it(made: list[Probe]) -> None:
    probe = next(p for p in made if p.group == "detect" and p.part)
    assert probe.part is not None
    whole, shown = probe.part.whole, probe.part.shown
    hidden = next(i for i in whole.ids() if i not in shown.ids())
    word = whole.latest(hidden).semantic_label
    find, detect = ([{"tool": t, "words": [word]}] for t in ("find", "detect"))
    assert tools_for_part(shown).run_plan(find, whole)[0].value == []
    results = tools_for_part(shown).run_plan([*detect, *find], whole)
    assert results[0].value == results[1].value != []
    assert TRAINED.run_plan(find, shown)[0].value == []


def test_the_table() -> None:
    found = [Found("follow_up", "concise", n < 3, False, 10, 5.0) for n in range(4)]
    rows = {row[0]: row[1:] for row in probe_table({"new": found}, "t").rows}
    assert rows["follow_up"] == (4, 0.75, 10.0)
    assert rows["detect"] == (0, None, None)
