import hashlib
import random
import re
from collections import Counter

import pytest

from edgetwin.distill.sim.questions import wider
from edgetwin.distill.sim.questions.families import pool, slots, trained
from edgetwin.distill.sim.questions.generate import Maker, questions, scene_of
from edgetwin.distill.sim.questions.programs import ANY, Node, noun
from edgetwin.distill.sim.questions.sampling import _Grammar
from edgetwin.distill.sim.questions.slips import roughened, slip

from .questions_window import small_window

HELD_OUT = [
    (slot, family)
    for slot in slots()
    for split in ("val", "test")
    for family in pool(slot, split)  # type: ignore[arg-type]
]
# Kinds of slots that came after the frozen lists of TwinBench, and have no wider language yet.
LATER = ("given", "again", "count", "when", "distance")
# Of the ids of all held-out phrasings before them, sorted: TwinBench rests on these.
HELD_OUT_HASH = "7267224ec5388170fb4a8c32ca232da63f59b51e6e85cde3e63f9131dd580e2b"
_PARTS = re.compile(r"\{[a-z0-9]+\}")


def is_later(slot: str) -> bool:
    return slot.partition(".")[0] in LATER


def test_what_is_held_out_has_not_changed() -> None:
    ids = "\n".join(sorted(f"{f.id} {f.split}" for s, f in HELD_OUT if not is_later(s)))
    assert hashlib.sha256(ids.encode()).hexdigest() == HELD_OUT_HASH


def test_every_held_out_phrasing_is_recognised_in_any_dress() -> None:
    for slot, family in HELD_OUT:
        assert wider.is_like_held_out(slot, family.text)
        assert wider.is_like_held_out(slot, f"The {family.text.upper()} !")


def test_one_word_more_of_six_is_alike_and_other_words_are_not() -> None:
    slot, family = next((s, f) for s, f in HELD_OUT if len(wider._words(f.text)) == 6)
    assert wider.is_like_held_out(slot, f"{family.text} perhaps")
    assert not wider.is_like_held_out(slot, f"{family.text} perhaps or then maybe not")
    assert not wider.is_like_held_out(slot, "zebra crossing")


def test_a_property_is_guarded_in_all_its_kinds() -> None:
    slot, family = next((s, f) for s, f in HELD_OUT if s.startswith("verb."))
    assert wider.is_like_held_out(f"why.{slot.partition('.')[2]}", family.text)


def test_what_is_drawn_is_new_whole_and_never_like_a_held_out_phrasing() -> None:
    rng = random.Random(0)
    drawn = 0
    for slot, families in slots().items():
        if not wider.lines(slot):
            continue
        parts = {frozenset(_PARTS.findall(family.text)) for family in families}
        for _ in range(25):
            family = wider.draw(slot, rng)
            if family is None:
                continue
            family = wider.varied(family, rng)
            drawn += 1
            assert family.split == "train"
            assert not wider.is_like_held_out(slot, family.text)
            assert frozenset(_PARTS.findall(family.text)) in parts, (slot, family.text)
            assert not re.search(r"[()<>]|  | [,.?!]", family.text), (slot, family.text)
            assert all(g.count("|") == 1 for g in re.findall(r"\[[^\]]*\]", family.text))
    assert drawn > 4500


def test_the_tables_are_wide() -> None:
    old = [slot for slot in slots() if not is_later(slot)]
    for slot in old:
        assert wider.count(slot) >= len(pool(slot, "train")), slot
    more = [wider.count(slot) / len(pool(slot, "train")) for slot in old]
    assert sorted(more)[len(more) // 10] > 4


def test_alternatives_nest_and_are_counted() -> None:
    rng = random.Random(1)
    line = "(a|b (c|d) [is|are]|)  end ."
    assert {wider.resolve(line, rng) for _ in range(60)} == {
        "a end.",
        "b c [is|are] end.",
        "b d [is|are] end.",
        "end.",
    }
    assert wider._count(line) == 4
    assert wider.count("why.any") > 1_000_000


def test_no_fitting_phrasing_gives_none() -> None:
    assert wider.draw("open", random.Random(0), lambda text: "{never}" in text) is None
    assert wider.draw("no.such.slot", random.Random(0)) is None


def test_exchanged_words_keep_what_fits() -> None:
    rng = random.Random(2)
    family = trained("ex.largest", "{h} that looks biggest in the picture")
    texts = {wider.varied(family, rng, lambda t: t.startswith("{h} ")).text for _ in range(80)}
    assert {"{h} that looks largest in the image", family.text} <= texts
    assert all(text.startswith("{h} that looks") for text in texts)


def test_invented_words_stand_only_where_nothing_hangs_on_them() -> None:
    rng = random.Random(3)
    motive = trained("why.any", "Grandmother painted kitchen yesterday.")
    relation = trained("left_of", "somewhere left of {of}")
    assert len({wider.varied(motive, rng).text for _ in range(100)}) > 5
    assert {wider.varied(relation, rng).text for _ in range(100)} == {relation.text}
    assert all(re.fullmatch("[a-z]{3,}", wider.invented_word(rng)) for _ in range(100))


def test_val_and_test_never_use_the_wider_language() -> None:
    known = {family.id for families in slots().values() for family in families}
    for split in ("val", "test"):
        for seed in range(4):
            made = questions(small_window(), random.Random(seed), 8, split)  # type: ignore[arg-type]
            assert {family for q in made for family in q.families} <= known
    trained_on = questions(small_window(), random.Random(0), 12)
    assert {family for q in trained_on for family in q.families} - known


def test_training_questions_are_whole() -> None:
    for seed in range(10):
        for q in questions(small_window(), random.Random(seed), 10):
            assert not re.search(r"[{}\[\]|~()<>]|  ", q.text), q.text
            assert q.text == q.text.strip()
            assert q.text


def test_most_texts_stay_as_they_are_and_none_is_lost() -> None:
    rng = random.Random(4)
    text = "I am sure that the red mug is not there."
    rough = Counter(roughened(text, rng) for _ in range(400))
    assert 0.5 < rough[text] / 400 < 0.85
    assert "I'm sure that the red mug isn't there." in rough
    assert any("sure that red mug" in one for one in rough)
    assert all("mug" in one.lower().replace(" ", "") or len(one) >= 35 for one in rough)


@pytest.mark.parametrize("seed", range(6))
def test_a_slip_changes_one_place_of_a_longer_word(seed: int) -> None:
    rng = random.Random(seed)
    text = "the red hammer"
    for _ in range(20):
        made = slip(text, rng)
        assert made.startswith("the red h")
        assert abs(len(made) - len(text)) <= 1
    assert slip("a b", rng) == "a b"


def test_training_prefers_rare_tools_and_still_asks_common_ones() -> None:
    maker = Maker(small_window(), random.Random(0))
    rare = Node("after", ANY, noun("book"), value="moved")
    common = Node("left_of", noun("mug"), noun("bowl"))
    excluding = Node("not", ANY, noun("mug"))
    welcome = {n: sum(maker._is_welcome(n) for _ in range(400)) for n in (rare, common, excluding)}
    assert welcome[rare] == 400
    assert 150 < welcome[common] < 250
    assert 60 < welcome[excluding] < 140


def test_even_weights_are_flatter() -> None:
    window = small_window()
    size = Maker(window, random.Random(0)).size
    shares = []
    for even in (False, True):
        rng = random.Random(5)
        grammars = [
            _Grammar(scene_of(window), rng, "spatial", size, False, even) for _ in range(600)
        ]
        drawn = [g._choose(("often", "seldom"), (9, 1)) for g in grammars]
        shares.append(drawn.count("seldom") / 600)
    assert shares[0] < 0.13
    assert 0.18 < shares[1] < 0.32
