import random
import re

import pytest

from edgetwin.distill.sim.questions.families import USES, held_out_skeleton, pool, slots
from edgetwin.distill.sim.questions.generate import Maker, questions
from edgetwin.distill.sim.questions.knowledge import PROPERTIES
from edgetwin.distill.sim.questions.language import render
from edgetwin.distill.sim.questions.programs import ANY, Node, noun
from edgetwin.distill.sim.questions.speech import agree

from .questions_window import small_window

SPLIT_OF = {family.id: family.split for families in slots().values() for family in families}


def test_there_is_variety() -> None:
    openings = sum(len(slots()[s]) for s in ("open", "open.all", "open.some", "which", "what"))
    assert openings >= 100
    assert set(USES) == set(PROPERTIES)
    assert all(len(words.posts) >= 15 for words in USES.values())
    relations = ("left_of", "right_of", "above", "below", "in_front_of", "behind", "inside", "on")
    events = ("before.moved", "after.moved", "during", "occluded_by", "nearest", "farthest")
    assert all(len(slots()[slot]) >= 8 for slot in (*relations, *events))


def test_ids_are_unique_and_every_slot_can_be_worded_in_training() -> None:
    assert len(SPLIT_OF) == sum(len(families) for families in slots().values())
    assert all(pool(slot, "train") for slot, families in slots().items() if families)


def test_about_a_tenth_is_held_out_for_each_split() -> None:
    shares = [list(SPLIT_OF.values()).count(s) / len(SPLIT_OF) for s in ("train", "val", "test")]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.025)


def test_a_phrasing_keeps_its_family_when_others_are_added() -> None:
    left = next(f for f in slots()["left_of"] if f.text == "to the left of {of}")
    assert left.id == "left_of.b17901"
    assert left.split == "train"


def test_step_combinations_below_level_three_are_never_held_out() -> None:
    assert held_out_skeleton("left_of(find,find)", 2) == "train"
    splits = {held_out_skeleton(f"left_of(nearest(*,{i}),find)", 3) for i in range(200)}
    assert splits == {"train", "val", "test"}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_held_out_phrasings_never_cross_splits(split: str) -> None:
    allowed = {"train", split}
    made = [
        q for seed in range(8) for q in questions(small_window(), random.Random(seed), 8, split)
    ]
    used = {SPLIT_OF.get(family, "train") for q in made for family in q.families}
    assert used == allowed
    for question in made:
        held = any(SPLIT_OF.get(f, "train") != "train" for f in question.families)
        assert question.wording == ("unseen" if held else "seen")
    assert len(made) > 50


def test_unseen_wordings_hold_a_held_out_phrasing() -> None:
    maker = Maker(small_window(), random.Random(3), "test")
    made = [maker.make("spatial", level, unseen=True) for level in (1, 2, 3) for _ in range(6)]
    words = [q.wording for q in made if q is not None]
    assert len(words) > 10
    assert set(words) == {"unseen"}


def test_agreement() -> None:
    assert agree("that [is|are] red", plural=True) == "that are red"
    assert agree("Which object[ is|s are] {np}?", plural=False) == "Which object is {np}?"


def test_no_placeholder_or_article_slip_survives() -> None:
    made = [
        q.text
        for seed in range(12)
        for q in questions(small_window(), random.Random(100 + seed), 8, "val")
    ]
    for text in made:
        assert not re.search(r"[{}\[\]|~]|\b(the the|that that|is is)\b|  | ,", text), text
        assert text == text.strip()
    assert len(set(made)) > 0.95 * len(made)


def test_numbers_agree_with_the_answer() -> None:
    node = Node("left_of", ANY, noun("bowl"))
    texts = {
        many: [
            render(node, {node: many}, random.Random(seed), "train", False).text.lower()
            for seed in range(60)
        ]
        for many in (False, True)
    }
    assert not any(
        re.search(r"\b(objects|items|things) (is|has|sits|lies)\b", t) for t in texts[True]
    )
    assert not any(
        re.search(r"\b(object|item|thing) (are|have|sit|lie)\b", t) for t in texts[False]
    )
