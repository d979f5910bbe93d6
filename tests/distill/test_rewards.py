"""The papers' rewards, worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetwin.distill.rewards.base import groups
from edgetwin.distill.rewards.dr2seg import description, gated_length, length_of
from edgetwin.distill.rewards.embedders import HashedEmbedder
from edgetwin.distill.rewards.fastreasonseg import accuracy, format_of, judged
from edgetwin.distill.rewards.length import l1_exact, l1_max
from edgetwin.distill.rewards.visionreasoner import matched_accuracy, non_repeat
from edgetwin.distill.rewards.wise import conciseness, explained_in_order, self_distillation
from edgetwin.distill.rollouts.record import Rollout
from edgetwin.reasoner.protocol import parse
from edgetwin.twin import FrameTwin, ObjectTwin, TwinWindow
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import InputError
from edgetwin.twin.schema import Rle

from .rollouts_made import rollout, said, task

RIGHT, WRONG = said(task()), said(task(), answer="[2]")
PLANNED = rollout(
    task(),
    '<reason>Mug. Red.</reason><plan>[{"tool":"find","words":["mug"]}]</plan>'
    "<results>[[1,2]]</results><reason>The red one.</reason><answer>[1]</answer>",
)
BROKEN = rollout(task(), "<answer>[1]</answer><reason>Mug. Red.</reason>")
NUMBER = replace(RIGHT, ids=None, iou=0.0)  # the answer named a number: no objects


def test_the_made_rollouts_are_what_the_tests_say() -> None:
    assert [r.ending for r in (RIGHT, WRONG, PLANNED, BROKEN)] == [
        "answered", "answered", "answered", "malformed",
    ]  # fmt: skip
    assert [r.iou for r in (RIGHT, WRONG, PLANNED, BROKEN)] == [1.0, 0.0, 1.0, 0.0]
    assert PLANNED.tokens["rationale"] == 5


def test_a_group_is_a_run_of_one_task() -> None:
    a, b = said(task(key="a")), said(task(key="b"))
    assert [list(g) for g in groups([a, a, b, a])] == [[0, 1], [2], [3]]
    assert list(groups([])) == []


# -- FastReasonSeg ------------------------------------------------------------------------


def test_format_is_half_a_point_up_or_down() -> None:
    unfinished = replace(RIGHT, ending="cut", transcript=None, ids=None)
    silent = rollout(task(), "<answer>[1]</answer>")
    got = format_of()([RIGHT, WRONG, PLANNED, BROKEN, unfinished, silent, NUMBER])
    assert got == [0.5, 0.5, 0.5, -0.5, -0.5, -0.5, 0.5]


def test_format_asks_for_the_tags_that_a_recipe_needs() -> None:
    described = said(task(), describe="the red mug")
    explained = said(task(), explain="It is the only red mug.")
    batch = [RIGHT, PLANNED, described, explained]
    assert format_of(needs=["reason", "plan"])(batch) == [-0.5, 0.5, -0.5, -0.5]
    assert format_of(needs=["describe"])(batch) == [-0.5, -0.5, 0.5, -0.5]
    assert format_of(needs="explain")(batch) == [-0.5, -0.5, -0.5, 0.5]


def test_a_mended_text_is_not_well_formed() -> None:
    mended = parse("<reason>Mug. Red.</reason><answer>[1]", tolerant=True)
    assert mended.repairs
    assert format_of()([replace(RIGHT, transcript=mended)]) == [-0.5]


def test_accuracy_is_one_above_half_of_the_pixels() -> None:
    # Areas: red mug 900, blue mug 576, bowl 1600 px. Truth is the bowl; bowl and blue mug answered:
    # 1600 / 2176 = .735. Truth the blue mug: 576 / 2176 = .265, not enough.
    both = said(task(ids=(3,)), answer="[2,3]")
    assert both.iou == pytest.approx(1600 / 2176)
    other = said(task(ids=(2,)), answer="[2,3]")
    assert accuracy()([RIGHT, WRONG, both, other, BROKEN]) == [1.0, 0.0, 1.0, 0.0, 0.0]
    assert accuracy(threshold=0.75)([both]) == [0.0]
    assert accuracy()([replace(RIGHT, iou=0.5)]) == [0.0]


def test_accuracy_of_a_right_none() -> None:
    nothing = task("the green mug", ids=())
    assert accuracy()([said(nothing, answer="none"), said(nothing)]) == [1.0, 0.0]


class Scripted:
    """A judge that gives the scores it was told, and notes what it was asked."""

    def __init__(self, *scores: float | None) -> None:
        self.scores, self.asked = list(scores), list[str]()

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        self.asked += [r.rationale for r in rollouts]
        return self.scores[: len(rollouts)]


def test_judged_is_the_judges_score_and_none_where_it_failed() -> None:
    judge = Scripted(0.8, None)
    assert judged(judge)([RIGHT, BROKEN, PLANNED]) == [0.8, 0.0, None]
    assert judge.asked == ["Mug. Red.", "Mug. Red. The red one."]  # nobody pays for BROKEN
    assert judged(judge)([BROKEN]) == [0.0]


def test_a_judge_that_breaks_its_promise_is_told_so() -> None:
    with pytest.raises(InputError, match="a score as a number from 0 to 1"):
        judged(Scripted(1.5))([RIGHT])
    with pytest.raises(InputError, match="expected 2 scores of the judge, got 1"):
        judged(Scripted(0.5))([RIGHT, RIGHT])


# -- WISE ---------------------------------------------------------------------------------


class Planar:
    """Sentence embeddings in the plane: concise texts along x, "close" at 60 degrees to it."""

    name = "planar"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        angle = {"close": np.pi / 3, "same": 0.0, "against": np.pi}
        turned = [angle.get(text.split()[0], 0.0) for text in texts]
        return np.array([[3 * np.cos(a), 3 * np.sin(a)] for a in turned], np.float32)


def test_conciseness_is_the_share_that_was_saved() -> None:
    assert conciseness(2, 8) == 0.75
    assert conciseness(8, 8) == conciseness(9, 8) == 0.0
    assert conciseness(0, 8) == conciseness(2, 0) == 0.0  # a missing text saves nothing


def test_self_distillation_by_hand() -> None:
    # 2 words against 8: 1 − 2/8 = .75. cos 60° = .5, so .5 · .75 = .375; cos 0° = 1 gives .75.
    close = said(task(), explain="close one two three four five six seven")
    same = said(task(), explain="same one two three four five six seven")
    against = said(task(), explain="against one two three four five six seven")
    wrong = said(task(), answer="[2]", explain="same one two three four five six seven")
    longer = said(task(), reason="one two three four", explain="same two three")
    got = self_distillation(Planar())([close, same, against, wrong, longer, RIGHT, BROKEN])
    assert got == pytest.approx([0.375, 0.75, 0.0, 0.0, 0.0, 0.0, 0.0], abs=1e-6)


def test_the_order_is_concise_answer_detailed() -> None:
    explained = said(task(), explain="same one two three")
    assert explained_in_order(explained)
    assert not explained_in_order(RIGHT)
    early = rollout(
        task(), "<explain>same one two</explain><reason>Mug. Red.</reason><answer>[1]</answer>"
    )
    assert (early.ending, explained_in_order(early)) == ("malformed", False)
    silent = rollout(task(), "<answer>[1]</answer><explain>same one two</explain>")
    assert not explained_in_order(silent)
    assert self_distillation(Planar())([silent, early]) == [0.0, 0.0]


def test_an_explanation_that_nobody_counted_is_an_error() -> None:
    explained = said(task(), explain="same one two three")
    with pytest.raises(InputError, match="expected the tokens of 'explain' to be counted"):
        self_distillation(Planar())([replace(explained, tokens={"rationale": 2})])


def test_hashed_embeddings_know_wording_not_meaning() -> None:
    embed = HashedEmbedder()
    rows = embed.embed(
        [
            "Mug. Red.",
            "First, find the mugs. Next, keep the red ones.",
            "First, find the lamps. Next, keep the blue ones.",
            "Cup. Crimson.",
            "",
        ]
    )
    assert rows.shape == (5, 4096)
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1, 1, 1, 0])
    alike = rows[:4] @ rows[0]
    assert alike[1] > 0.2 > 2 * alike[2]  # the same objects and colours in other words
    assert alike[3] < 0.1  # the same meaning, but it cannot know
    assert (embed.embed(["Mug. Red."])[0] == rows[0]).all()
    # Saying it ten times is hardly more alike than saying it once.
    often = embed.embed(["Mug. Red. " * 10])[0]
    assert often @ rows[0] == pytest.approx(1.0, abs=0.01)


def test_hashed_embeddings_refuse_odd_sizes() -> None:
    with pytest.raises(InputError, match="width of 64 to 65536"):
        HashedEmbedder(width=8)


# -- DR2Seg -------------------------------------------------------------------------------


def test_description_is_right_when_it_alone_leads_to_the_answer() -> None:
    again = task("the red mug", key="a#0")
    good = said(task(), describe="the red mug", second=said(again))
    bad = said(task(), describe="the blue mug", second=said(again, answer="[2]"))
    broken = said(task(), describe="the mug", second=rollout(again, "<answer>[1]"))
    unasked = said(task(), describe="the red mug")
    got = description()([good, bad, broken, unasked, RIGHT, BROKEN])
    assert got == [1.0, 0.0, 0.0, None, 0.0, 0.0]


def test_length_by_equation_5() -> None:
    assert length_of(20, 10, 40, 0.05) == 1.0
    assert length_of(20, 20, 40, 0.05) == 0.0  # not shorter
    assert length_of(50, 10, 40, 0.05) == 0.5  # 1 − .05 · 10
    assert length_of(60, 10, 40, 0.05) == 0.0  # 1 − .05 · 20
    assert length_of(90, 10, 40, 0.05) == 0.0  # clipped
    assert length_of(20, None, 40, 0.05) == 0.0  # the second one broke off


def thinking(n: int, second: int, answer: str = "[1]", key: str = "a") -> Rollout:
    """n words of rationale, then ``second`` when only the description was asked."""
    later = said(task("the red mug", key=f"{key}#"), reason="word " * second)
    return said(
        task(key=key), reason="word " * n, answer=answer, describe="the red mug", second=later
    )


def test_gated_length_by_hand() -> None:
    # 44 words: 1 − .05 · 4 = .8. The wrong one of a group with a right one is gated as well.
    batch = [thinking(44, 10), thinking(10, 12), thinking(10, 3, answer="[2]")]
    assert gated_length()(batch) == pytest.approx([0.8, 0.0, 1.0])
    assert gated_length(anchor=4, penalty=0.1)(batch) == pytest.approx([0.0, 0.0, 0.4])


def test_a_group_without_a_right_answer_is_let_off() -> None:
    lost = [thinking(90, 99, answer="[2]", key="b"), said(task(key="b"), answer="[3]")]
    found = [thinking(90, 99, key="a"), said(task(key="a"))]
    assert gated_length()(lost + found) == [1.0, 1.0, 0.0, 0.0]


def test_length_of_a_second_rollout_that_broke_off_or_never_was() -> None:
    again = task("the red mug", key="a#0")
    broken = said(task(), describe="the red mug", second=rollout(again, "<reason>"))
    unasked = said(task(), describe="the red mug")
    assert gated_length()([broken, unasked]) == [0.0, None]


# -- L1 -----------------------------------------------------------------------------------


def test_l1_by_hand() -> None:
    # exact: 30 of 40 tokens, right: 1 − .02 · 10 = .8; 50: the same; wrong: −.2
    # max: .02 · (40 − 30) + .5 = .7; 50: .3; 80: 0; 10: 1.1, so 1; wrong: 0
    def of(n: int, answer: str = "[1]") -> Rollout:
        return said(task(), reason="word " * n, answer=answer)

    batch = [of(30), of(50), of(30, "[2]"), of(80), of(10)]
    assert l1_exact()(batch) == pytest.approx([0.8, 0.8, -0.2, 0.2, 0.4])
    assert l1_max()(batch) == pytest.approx([0.7, 0.3, 0.0, 0.0, 1.0])
    assert l1_exact(target=30, alpha=0.1)(batch) == pytest.approx([1.0, -1.0, 0.0, -1.0, -1.0])
    assert l1_max(target=80, alpha=0.01, delta=0)(batch) == pytest.approx([0.5, 0.3, 0, 0, 0.7])


# -- VisionReasoner -----------------------------------------------------------------------


def test_matched_accuracy_counts_objects() -> None:
    # Truth: mugs 1 and 2. One of two: 1/2. Both and two more: 2/4. All five: 2/5.
    mugs = task("the mugs", ids=(1, 2))
    answers = ["[1,2]", "[1]", "[1,2,3,4]", "[1,2,3,4,5]", "[3]", "none"]
    batch = [said(mugs, answer=answer) for answer in answers]
    assert matched_accuracy()([*batch, BROKEN]) == [1.0, 0.5, 0.5, 0.4, 0.0, 0.0, 0.0]
    nothing = task("the green mug", ids=())
    assert matched_accuracy()([said(nothing, answer="none"), said(nothing)]) == [1.0, 0.0]


def square(x0: int, x1: int) -> Rle:
    """Columns x0 to x1 of a picture of 10 × 10."""
    mask = np.zeros((10, 10), np.bool_)
    mask[:, x0:x1] = True
    return rle.encode(mask)


def masked_window(**columns: tuple[int, int]) -> TwinWindow:
    """One frame with vertical stripes: a1=(0, 4) is object 1 on columns 0 to 4."""
    objects = {}
    for name, (x0, x1) in columns.items():
        i = int(name[1:])
        objects[i] = ObjectTwin(
            id=i, semantic_label="mug", confidence=1.0, mask=square(x0, x1),
            box_xyxy=(x0, 0, x1, 10), centroid=((x0 + x1) / 2, 5.0), area=10 * (x1 - x0),
            first_seen=0.0, last_seen=0.0,
        )  # fmt: skip
    return TwinWindow([FrameTwin(index=0, timestamp_s=0.0, width=10, height=10, objects=objects)])


def test_matched_accuracy_of_masks_that_the_data_has() -> None:
    # The true mask is columns 0 to 4. Object 1 covers 0 to 5: 4/5. Object 2 covers 3 to 7: 1/7.
    window = masked_window(a1=(0, 5), a2=(3, 7))
    asked = task("mug", ids=(1,), window=window, truth={0: square(0, 4)})
    answers = ["[1]", "[2]", "[1,2]", "none"]
    batch = [said(asked, answer=answer) for answer in answers]
    assert matched_accuracy()(batch) == [1.0, 0.0, 0.5, 0.0]
    assert matched_accuracy(threshold=0.85)(batch[:1]) == [0.0]
    # Two true objects share one true mask, columns 0 to 3 and 6 to 9.
    two = masked_window(a1=(0, 4), a2=(6, 10), a3=(4, 6))
    whole = rle.encode(rle.decode(square(0, 3)) | rle.decode(square(6, 9)))
    both = task("mugs", ids=(1, 2), window=two, truth={0: whole})
    answers = ["[1,2]", "[2]", "[1,3]", "[1,2,3]"]
    got = matched_accuracy()([said(both, answer=answer) for answer in answers])
    assert got == pytest.approx([1.0, 0.5, 0.5, 2 / 3])
    # A true mask that no object of the twin covers.
    missed = task("mug", ids=(), window=two, truth={0: square(4, 5)})
    assert matched_accuracy()([said(missed, answer="none"), said(missed, answer="[3]")]) == [0, 0]


def test_one_object_that_the_twin_holds_twice_may_be_named_by_either_id() -> None:
    # Stripes 0 to 4 and 0 to 5 overlap by 4/5; the third is elsewhere.
    window = masked_window(a1=(0, 4), a2=(0, 5), a3=(6, 9))
    asked = task("mug", ids=(1,), window=window)
    answers = ["[1]", "[2]", "[3]", "[2,3]"]
    got = matched_accuracy()([said(asked, answer=answer) for answer in answers])
    assert got == [1.0, 1.0, 0.0, 0.5]


def test_non_repeat_is_for_sentences() -> None:
    texts = ["Mug. Red.", "Mug. Red.  mug.", "Red red red.", ". ."]
    batch = [said(task(), reason=text) for text in texts]
    assert non_repeat()([*batch, BROKEN]) == [1.0, 0.0, 1.0, 0.0, 0.0]


# -- options ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "options", "match"),
    [
        (accuracy, {"threshold": 1.2}, "threshold as a number from 0 to 1, got '1.2'"),
        (accuracy, {"threshold": "x"}, "threshold as a number"),
        (accuracy, {"threshold": True}, "threshold as a number"),
        (accuracy, {"threshold": float("nan")}, "threshold as a number"),
        (matched_accuracy, {"threshold": -1}, "reward matched_accuracy"),
        (description, {"threshold": 2}, "reward description"),
        (gated_length, {"anchor": -1}, "reward gated_length: expected anchor"),
        (gated_length, {"penalty": 2}, "reward gated_length: expected penalty"),
        (l1_exact, {"target": -1}, "reward l1_exact: expected target"),
        (l1_max, {"delta": 2}, "reward l1_max: expected delta"),
        (format_of, {"needs": ["answr"]}, "needs as a list of reason, plan, describe, explain"),
        (format_of, {"needs": 5}, "got '5'"),
    ],
)
def test_options_are_checked(make, options, match) -> None:
    with pytest.raises(InputError, match=match):
        make(**options)
