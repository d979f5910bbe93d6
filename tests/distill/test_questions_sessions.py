"""Follow-ups, measures, modes and restricted twins: what training asks besides plain questions."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from edgetwin.distill.sim.catalogue import CELL
from edgetwin.distill.sim.questions.chains import plan_json
from edgetwin.distill.sim.questions.evaluate import Bench
from edgetwin.distill.sim.questions.follow_ups import draw_follow_up
from edgetwin.distill.sim.questions.follow_ups import worded as worded_follow_up
from edgetwin.distill.sim.questions.generate import Maker
from edgetwin.distill.sim.questions.measures import draw_measure
from edgetwin.distill.sim.questions.mixed import Asked, Mixer
from edgetwin.distill.sim.questions.modes import description, detailed, sentence
from edgetwin.distill.sim.questions.programs import (
    ANY,
    Node,
    compile_plan,
    given,
    level_of,
    noun,
    skeleton_of,
    use,
)
from edgetwin.distill.sim.questions.restricted import TRAINED, restricted, with_detect
from edgetwin.distill.sim.truth import true_window
from edgetwin.distill.sim.worlds import World
from edgetwin.reasoner.protocol import parse_plan
from edgetwin.twin import TwinWindow
from edgetwin.twin.tools import render_results

from .questions_window import small_window

LEFT = Node("left_of", noun("mug"), noun("book"))
NEAR_IT = Node("nearest", ANY, given([2]))
HOW_MANY = Node("count", Node("attribute", given([1, 4]), value="red"))
HOW_FAR = Node("distance", noun("bowl"), given([4]), value="metric")
WHEN = Node("when", Node("attribute", noun("book"), value="red"), value="moved")


def name(object_id: int) -> str:
    return {1: "red mug", 2: "blue mug", 4: "red book"}[object_id]


@pytest.fixture(scope="module")
def made() -> list[tuple[Mixer, Asked]]:
    pairs = []
    for seed in range(24):
        window = true_window(World(seed), render=False)
        rng = random.Random(seed)
        part = restricted(window, rng, CELL) if seed % 3 == 0 else None
        mixer = Mixer(part or window, rng)
        pairs += [(mixer, asked) for asked in mixer.several(24, (1, 1, 2, 2, 3, 4))]
    return pairs


def test_plans_with_given_ids_and_measures() -> None:
    assert compile_plan(NEAR_IT) == [{"tool": "nearest", "to": [2]}]
    assert compile_plan(HOW_MANY) == [
        {"tool": "attribute", "ids": [1, 4], "name": "color", "value": "red"},
        {"tool": "count", "ids": "$1"},
    ]
    assert compile_plan(HOW_FAR) == [
        {"tool": "find", "words": ["bowl"]},
        {"tool": "distance", "a": "$1", "b": [4], "space": "metric"},
    ]
    assert compile_plan(WHEN)[-1] == {"tool": "when", "ids": "$2", "event": "moved"}
    assert [level_of(n) for n in (NEAR_IT, HOW_MANY, HOW_FAR, WHEN)] == [1, 2, 2, 3]
    assert skeleton_of(HOW_FAR) == "distance(find,given)"
    with pytest.raises(ValueError, match="got given"):
        compile_plan(given([1]))


def test_measures_on_the_small_window() -> None:
    values = [TRAINED.run_plan(compile_plan(n), small_window())[-1].value for n in (HOW_MANY, WHEN)]
    assert values[0] == 2
    assert isinstance(values[1], list)
    assert values[1][0] == pytest.approx((0.625, 1.0), abs=0.13)
    assert len(values[1]) == 1


def test_the_parts_of_training_come_in_their_shares(made: list[tuple[Mixer, Asked]]) -> None:
    kinds, modes = Counter(a.kind for _, a in made), Counter(a.mode for _, a in made)
    assert len(made) > 500
    assert 0.10 < kinds["follow_up"] / len(made) < 0.2
    assert 0.03 < kinds["measure"] / len(made) < 0.1
    assert 0.5 < modes["concise"] / len(made) < 0.7
    assert all(0.08 < modes[m] / len(made) < 0.2 for m in ("sentence", "detailed", "description"))


def test_every_chain_is_what_the_tools_give(made: list[tuple[Mixer, Asked]]) -> None:
    for mixer, asked in made:
        results = TRAINED.run_plan(asked.plan, mixer.window)
        assert render_results(results) == asked.results
        last = results[-1].value
        assert asked.answer_ref == ("none" if last in (None, []) else f"${len(asked.plan)}")
        if asked.answer_ref != "none" and results[-1].kind == "ids":
            assert tuple(sorted(last)) == asked.ids  # type: ignore[arg-type]
        assert parse_plan(plan_json(asked.plan)) == asked.plan


def test_follow_ups_build_on_an_earlier_answer(made: list[tuple[Mixer, Asked]]) -> None:
    follow = [(m, a) for m, a in made if a.kind == "follow_up"]
    by_ids = 0
    for mixer, asked in follow:
        ((earlier, ids),) = asked.turns
        assert set(ids) <= mixer.known
        assert earlier != asked.text
        named = [v for s in asked.plan for v in s.values() if isinstance(v, list)]
        lists = [v for v in named if v and isinstance(v[0], int)]
        assert all(tuple(v) == ids for v in lists)
        by_ids += bool(lists)
    assert 0.4 < by_ids / len(follow) < 0.95


def test_only_what_was_looked_for_is_shown_and_the_rest_is_detected(
    made: list[tuple[Mixer, Asked]],
) -> None:
    detected = 0
    for mixer, asked in made:
        words = None if mixer.part is None else set(mixer.part.words)
        for step in asked.plan:
            if step["tool"] in ("find", "detect"):
                known = words is None or set(step["words"]) <= {*words, "object"}
                assert step["tool"] == ("find" if known else "detect")
                detected += not known
    assert detected > 20


def test_a_restricted_twin_holds_ids_above_the_known_ones() -> None:
    window = small_window()
    part = next(p for s in range(50) if (p := restricted(window, random.Random(s), CELL)))
    shown, whole = part.shown.ids(), part.whole.ids()
    assert shown == [i for i in whole if i in shown] == whole[: len(shown)]
    assert len(whole) == len(window.ids())
    assert {part.shown.latest(i).semantic_label for i in shown} <= set(part.words)
    assert part.shown.vocabulary == part.words
    hidden = [part.whole.latest(i).semantic_label for i in whole if i not in shown]
    assert not set(hidden) & set(part.words)
    plan = [{"tool": "find", "words": ["object"]}, {"tool": "find", "words": ["nothing"]}]
    assert [s["tool"] for s in with_detect(plan, part.words)] == ["find", "detect"]


def test_the_modes_of_one_program() -> None:
    many = Bench(small_window(), random.Random(0)).many(LEFT)
    assert sentence(LEFT) == "Find the mugs, then keep those left of the book."
    assert sentence(Node("attribute", use("drink"), value="red")) == (
        "Find the mugs, bottles and glasses, then keep the red ones."
    )
    assert sentence(NEAR_IT) == "Take the object nearest to object 2."
    assert detailed(LEFT, many, name) == (
        f"The question asks for {description(LEFT, many, name)}. First, find the mugs. Next, find "
        "the books. Then, keep those left of the book. What remains is the answer."
    )
    assert "Drink from means mugs, bottles and glasses." in detailed(use("drink"), {}, name)


@pytest.mark.parametrize(
    ("node", "many", "text"),
    [
        (LEFT, False, "the mug left of the book"),
        (LEFT, True, "the mugs left of the book"),
        (Node("extreme", noun("mug"), value="largest"), False, "the largest mug"),
        (
            Node("extreme", LEFT, value="largest"),
            False,
            "the largest of the mugs left of the book",
        ),
        (NEAR_IT, False, "the object nearest to the blue mug"),
        (HOW_MANY, False, "the number of ones of the red mug and red book that are red"),
        (WHEN, False, "when the red book moved"),
        (HOW_FAR, False, "the distance between the bowl and the red book"),
        (Node("not", noun("mug"), given([1])), True, "the mugs except the red mug"),
        (Node("and", use("drink"), use("hot_drink")), True, "the mugs"),
    ],
)
def test_descriptions_need_no_question(node: Node, many: bool, text: str) -> None:
    assert description(node, {node: many}, name) == text


def test_descriptions_come_with_their_mode_only(made: list[tuple[Mixer, Asked]]) -> None:
    for _, asked in made:
        assert bool(asked.description) == (asked.mode == "description")
        assert "{" not in asked.description + asked.rationale + asked.text
        if asked.mode == "sentence":
            assert asked.rationale.count(".") == 1
    words = [len(a.rationale.split()) for _, a in made if a.mode == "detailed"]
    assert 20 < sum(words) / len(words) < 60


def test_ellipsis_exchanges_one_part_of_the_program() -> None:
    maker = Maker(true_window(World(3), render=False), random.Random(1))
    nouns = maker.scene.nouns
    before = Node("left_of", ANY, noun(nouns[0]))
    found = [f for _ in range(60) if (f := draw_follow_up(maker, before)) is not None]
    sides = [f for f in found if f.node.other == before.other and f.node.op != "left_of"]
    assert sides
    texts = [worded_follow_up(maker, f, False).text.casefold() for f in sides]
    assert any(" it" in text or " them" in text for text in texts)


def test_still_pictures_are_not_asked_when() -> None:
    window = small_window()
    maker = Maker(TwinWindow([window.frames[-1]]), random.Random(0))
    drawn = [node for _ in range(20) if (node := draw_measure(maker)) is not None]
    assert {node.op for node in drawn} == {"count", "distance"}


def test_validation_words_are_held_out_words() -> None:
    window = true_window(World(1_000_003), render=False)
    mixer = Mixer(window, random.Random(0), "val")
    asked = [mixer.measure("concise", unseen=True) for _ in range(12)]
    assert Counter(a.wording for a in asked if a is not None)["unseen"] >= 3
