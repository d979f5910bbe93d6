import random

import pytest

from edgetwin.distill.sim.catalogue import CATEGORIES
from edgetwin.distill.sim.questions.chains import answer_of, chain, rationale
from edgetwin.distill.sim.questions.evaluate import Evaluator
from edgetwin.distill.sim.questions.generate import scene_of
from edgetwin.distill.sim.questions.knowledge import (
    FACTS,
    PROPERTIES,
    categories_with,
    plural,
    synonyms,
)
from edgetwin.distill.sim.questions.programs import (
    ANY,
    Node,
    category_of,
    compile_plan,
    level_of,
    noun,
    skeleton_of,
    use,
)
from edgetwin.distill.sim.questions.sampling import draw_program
from edgetwin.twin.tools import run_plan

from .questions_window import small_window

RED_MUG_LEFT_OF_BOWL = Node("left_of", Node("attribute", noun("mug"), value="red"), noun("bowl"))


def test_every_category_of_the_catalogue_has_facts_and_every_property_a_category() -> None:
    assert set(FACTS) == set(CATEGORIES)
    assert all(fact.properties() for fact in FACTS.values())
    assert len(PROPERTIES) >= 14
    assert categories_with("drink") == ("mug", "bottle", "glass")
    assert categories_with("cut") == ("scissors", "knife")
    with pytest.raises(KeyError, match="got 'fly'"):
        categories_with("fly")


def test_no_word_names_two_categories() -> None:
    words = [word for category in FACTS for word in synonyms(category)]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("category", "word", "expected"),
    [
        ("mug", "coffee cup", "coffee cups"),
        ("box", "box", "boxes"),
        ("glass", "water glass", "water glasses"),
        ("knife", "kitchen knife", "kitchen knives"),
        ("scissors", "scissors", "scissors"),
        ("scissors", "pair of scissors", "pairs of scissors"),
        ("plate", "dish", "dishes"),
        ("brush", "hand brush", "hand brushes"),
    ],
)
def test_plurals(category: str, word: str, expected: str) -> None:
    assert plural(category, word) == expected


def test_plan_writes_the_set_then_the_anchor_then_the_tool() -> None:
    assert compile_plan(RED_MUG_LEFT_OF_BOWL) == [
        {"tool": "find", "words": ["mug"]},
        {"tool": "attribute", "ids": "$1", "name": "color", "value": "red"},
        {"tool": "find", "words": ["bowl"]},
        {"tool": "left_of", "ids": "$2", "of": "$3"},
    ]


def test_plan_of_an_ordinal_sorts_and_picks() -> None:
    node = Node("nth", ANY, value="left", k=2, descending=True)
    assert compile_plan(node) == [
        {"tool": "sort", "by": "left", "descending": True},
        {"tool": "nth", "ids": "$1", "k": 2},
    ]
    with pytest.raises(ValueError, match="got any"):
        compile_plan(ANY)


@pytest.mark.parametrize(
    ("node", "level", "category"),
    [
        (noun("mug"), 1, "semantic"),
        (Node("attribute", noun("mug"), value="red"), 2, "semantic"),
        (Node("left_of", ANY, noun("bowl")), 1, "spatial"),
        (Node("left_of", ANY, use("soup")), 2, "spatial"),
        (RED_MUG_LEFT_OF_BOWL, 3, "spatial"),
        (Node("nth", noun("mug"), value="left", k=2), 2, "spatial"),
        (Node("nth", noun("mug"), value="speed", k=2), 2, "temporal"),
        (Node("or", noun("mug"), noun("bowl")), 3, "semantic"),
        (Node("first", RED_MUG_LEFT_OF_BOWL, value="moved"), 4, "temporal"),
    ],
)
def test_level_counts_reasoning_steps_and_category_is_the_highest_kind(
    node: Node, level: int, category: str
) -> None:
    assert level_of(node) == level
    assert category_of(node) == category


def test_skeleton_hides_words_and_values() -> None:
    other = Node("left_of", Node("attribute", noun("book"), value="blue"), noun("pan"))
    assert skeleton_of(RED_MUG_LEFT_OF_BOWL) == skeleton_of(other)
    assert skeleton_of(RED_MUG_LEFT_OF_BOWL) == "left_of(attribute(find),find)"
    assert skeleton_of(use("drink")) == "use"


def test_evaluator_agrees_with_the_tools_on_drawn_programs() -> None:
    window = small_window()
    evaluator, rng = Evaluator(window), random.Random(5)
    scene = scene_of(window)
    seen = 0
    for category in ("semantic", "spatial", "temporal"):
        for level in (1, 2, 3, 4):
            for empty in (False, True):
                for _ in range(12):
                    node = draw_program(
                        scene, rng, category, level, lambda n: len(evaluator.ids(n)), empty
                    )
                    if node is None or len(compile_plan(node)) > 8:
                        continue
                    assert (level_of(node), category_of(node)) == (level, category)
                    assert run_plan(compile_plan(node), window)[-1].value == evaluator.ids(node)
                    seen += 1
    assert seen > 200


def test_answers_on_the_small_window_by_hand() -> None:
    ids = Evaluator(small_window()).ids
    assert ids(RED_MUG_LEFT_OF_BOWL) == [1]
    assert ids(Node("moved", ANY, value="left")) == [4]
    assert ids(Node("appeared", ANY)) == [5]
    assert ids(Node("extreme", ANY, value="closest")) == [5]
    assert ids(Node("nth", ANY, value="left", k=2)) == [3]
    assert ids(Node("not", noun("mug"), Node("attribute", ANY, value="red"))) == [2]
    assert ids(Node("inside", ANY, noun("bowl"))) == []
    # the book has slid to x = 100, left of the blue mug
    assert ids(Node("left_of", noun("book"), Node("attribute", noun("mug"), value="blue"))) == [4]


def test_chain_names_the_categories_and_refers_to_the_last_step() -> None:
    window = small_window()
    node = Node("nth", use("drink"), value="left", k=2)
    written = chain(node, run_plan(compile_plan(node), window))
    assert written.rationale == "Drink from: mug, bottle, glass. Second from left."
    assert written.plan == (
        '[{"tool":"find","words":["mug","bottle","glass"]},'
        '{"tool":"sort","ids":"$1","by":"left"},{"tool":"nth","ids":"$2","k":2}]'
    )
    assert (written.results, written.answer) == ("[[1,2],[1,2],[2]]", "$3")


def test_an_empty_result_is_answered_none() -> None:
    node = noun("lamp")
    assert answer_of(run_plan(compile_plan(node), small_window())) == "none"
    assert rationale(Node("behind", noun("mug"), node)) == "Mug. Behind lamp."
