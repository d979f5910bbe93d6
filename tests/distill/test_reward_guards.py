"""Guards, the choosing of rewards, how they become one number, and the tricks."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from typer.testing import CliRunner

from edgetwin.cli import app
from edgetwin.distill.reasoner.produce import example, training_window
from edgetwin.distill.reasoner.records import Question
from edgetwin.distill.rewards.adversaries import HONEST, MISTAKE, adversarial_table, adversaries
from edgetwin.distill.rewards.choose import (
    COMBINATIONS,
    REWARDS,
    NamedReward,
    rewards_of,
    total_of,
)
from edgetwin.distill.rewards.embedders import HashedEmbedder
from edgetwin.distill.rewards.guards import GUARDS, flags_of, guards
from edgetwin.distill.rewards.wise import self_distillation
from edgetwin.distill.rollouts.record import Rollout
from edgetwin.distill.stages.recipe import RewardChoice
from edgetwin.distill.tasks.task import Task
from edgetwin.twin import TwinWindow
from edgetwin.twin.errors import InputError, ModelError

from .rollouts_made import rollout, said, task

PLAN = (
    '<plan>[{"tool":"find","words":["mug"]},{"tool":"attribute","ids":"$1","name":"color",'
    '"value":"red"}]</plan><results>[[1,2],[1]]</results>'
)


def planned(reason: str, after: str = "", explain: str = "", asked: Task | None = None) -> Rollout:
    """Two steps: find mugs, keep the red one."""
    text = f"<reason>{reason}</reason>{PLAN}"
    text += f"<reason>{after}</reason>" if after else ""
    text += "<answer>[1]</answer>" + (f"<explain>{explain}</explain>" if explain else "")
    return rollout(asked or task(), text)


# -- guards -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "fires"),
    [
        ("Mug. Red.", []),
        ("Find the mugs, then keep the red one.", []),
        ("Mug.", ["empty"]),  # one word, two steps
        ("", ["empty"]),
        ("Well okay then.", ["empty"]),  # no word of the question or the plan
        ("Which mug is red?", ["question"]),
        ("So, which mug is red now", []),  # 1 of 3 runs of four words: not most of it
        ("Mug mug mug mug red red mug mug mug", ["repeats"]),
        ("Mug. Red. Mug. Red. Mug. Red.", ["repeats"]),
        ("1 red mug x15 y46, 2 blue mug x46 y23.", ["twin"]),
        ("Mug red 1 2 3 4.", ["results"]),  # 4 numbers, 2 words
    ],
)
def test_guards_of_a_rationale(reason: str, fires: list[str]) -> None:
    found = planned(reason)
    assert flags_of(found) == fires
    assert guards()([found]) == [-1.0 if fires else 0.0]


def test_a_one_word_rationale_is_enough_for_one_step_but_not_for_two() -> None:
    # Brevity is paid for down to one word a step and not below, whatever the length rewards say.
    assert flags_of(said(task(), reason="Mug.")) == []
    chain = ["Mug.", "Red.", "That", "is", "all."]
    flags = [flags_of(planned(" ".join(chain[:n]))) for n in range(6)]
    assert flags == [["empty"], ["empty"], [], [], [], []]


def test_copied_results_in_what_comes_after_them() -> None:
    assert flags_of(planned("Mug. Red.", after="It gave [[1,2], [1]] so that is it.")) == [
        "results"
    ]
    assert flags_of(planned("Mug. Red.", explain="Results were [[1,2],[1]].")) == ["results"]
    honest = "There are two mugs, 1 and 2; only 1 of them is red."
    assert flags_of(planned("Mug. Red.", explain=honest)) == []


def test_a_description_must_not_name_ids_or_copy_the_question() -> None:
    for describe, fires in (
        ("the red mug", []),
        ("object 1", ["ids"]),
        ("the mug that moved after 1.2 s", []),  # a time, not an id
        ("which mug is red", ["question"]),
        ("object 9", []),  # the twin has no 9
    ):
        assert flags_of(said(task(), describe=describe)) == fires
    asked = task("which of 1 and 2 is a red mug")
    assert flags_of(said(asked, describe="of 1 and 2 the red")) == []


def test_everything_is_counted_against_the_truth() -> None:
    # Five objects: 90 % are five, 80 % are four. Truth of two: four named are two too many.
    two, three = task("the mugs", ids=(1, 2)), task("those", ids=(1, 2, 3))
    answers = {"[1,2,3]": [], "[1,2,3,4]": [], "[1,2,3,4,5]": ["everything"]}
    for answer, fires in answers.items():
        assert flags_of(said(two, reason="Those mugs.", answer=answer)) == fires
    four = said(two, reason="Those mugs.", answer="[1,2,3,4]")
    assert (flags_of(four, share=0.8), guards(share=0.8)([four])) == (["everything"], [-1.0])
    assert flags_of(said(three, reason="Those.", answer="[1,2,3,4]"), share=0.8) == []
    whole = task("all of it", ids=(1, 2, 3, 4, 5))
    named = said(whole, reason="All.", answer="[1,2,3,4,5]")
    assert flags_of(named) == []
    assert flags_of(named, truth=False) == ["everything"]
    assert guards(truth=False, without=["everything"])([named]) == [0.0]


def test_a_broken_text_is_not_the_guards_business() -> None:
    assert guards()([rollout(task(), "<reason>")]) == [0.0]


@pytest.fixture(scope="module")
def chains() -> list[tuple[TwinWindow, Question]]:
    """Generated questions of ten training worlds with their reference chains."""
    made = ((training_window(seed), example(seed, 12)) for seed in range(10))
    return [(window, item) for window, found in made if found for item in found.items]


def test_reference_chains_set_no_guard_off(chains: list[tuple[TwinWindow, Question]]) -> None:
    fired = []
    for window, item in chains:
        plan = f"<plan>{item.plan}</plan><results>{item.results}</results>" if item.plan else ""
        about = f"<describe>{item.describe}</describe>" if item.describe else ""
        text = f"<reason>{item.reason}</reason>{about}{plan}<answer>{item.answer}</answer>"
        one = rollout(Task("reference", window, item.question, ()), text, ids=())
        assert one.ending == "answered"
        if flags := flags_of(one):
            fired.append((flags, item.reason, item.question))
    assert len(chains) > 80
    assert len(fired) <= len(chains) // 100, fired


def test_hashed_embeddings_pair_a_rationale_with_its_own_plan(
    chains: list[tuple[TwinWindow, Question]],
) -> None:
    # They count wording only; on generated chains that is enough to tell which plan a detailed
    # rationale belongs to: more alike than a plan drawn from the other questions.
    rng, embed = random.Random(0), HashedEmbedder()
    detailed = [item for _, item in chains if item.mode == "detailed"]
    reasons = embed.embed([item.reason for item in detailed])
    plans = embed.embed([item.plan for item in detailed])
    better = []
    for k in range(len(detailed)):
        other = rng.choice([j for j in range(len(detailed)) if j != k])
        better.append(reasons[k] @ plans[k] > reasons[k] @ plans[other])
    assert len(better) >= 10
    assert sum(better) > 0.8 * len(better)


# -- choosing -----------------------------------------------------------------------------


class Believes:
    """A judge that fails where it is told to."""

    def __init__(self, *scores: float | None) -> None:
        self._scores = scores

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        return list(self._scores[: len(rollouts)])


def choice(name: str, weight: float = 1.0, **options: object) -> RewardChoice:
    return RewardChoice(name=name, weight=weight, options=options)


def test_fastreasonsegs_sum_by_hand() -> None:
    rewards = rewards_of(
        [choice("format"), choice("accuracy"), choice("judged", 0.5)], judge=Believes(0.8, 0.4)
    )
    batch = [said(task()), said(task(), answer="[2]"), rollout(task(), "<answer>")]
    scored = total_of(rewards, batch)
    # .5 + 1 + .5 · .8; .5 + 0 + .5 · .4; −.5 + 0 + .5 · 0
    assert scored.totals == pytest.approx([1.9, 0.7, -0.5])
    assert scored.parts == {
        "format": [0.5, 0.5, -0.5],
        "accuracy": [1.0, 0.0, 0.0],
        "judged": [0.8, 0.4, 0.0],
    }


def test_what_a_judge_skipped_counts_as_the_groups_mean() -> None:
    rewards = rewards_of(
        [choice("accuracy"), choice("judged", 0.5)], judge=Believes(0.9, None, 0.3)
    )
    batch = [said(task()), said(task()), said(task())]
    scored = total_of(rewards, batch)
    assert scored.parts["judged"] == [0.9, None, 0.3]  # what is logged is what was said
    assert scored.totals == pytest.approx([1.45, 1.3, 1.15])  # the mean is .6
    lost = total_of(rewards_of([choice("judged")], judge=Believes(None, None)), batch[:2])
    assert lost.totals == [None, None]
    # Another group's scores do not count: the judge failed on all of task b.
    rewards = rewards_of([choice("accuracy"), choice("judged")], judge=Believes(0.9, None))
    other = [said(task(key="a")), said(task(key="b"))]
    assert total_of(rewards, other).totals == pytest.approx([1.9, 1.0])


def test_dr2segs_product_by_hand() -> None:
    again = task("the red mug", key="a#0")
    second = said(again, reason="Mug.")
    longer = said(again, reason="Mug it is.")
    batch = [
        said(task(), describe="the red mug", second=second),
        said(task(), describe="the red mug", second=longer),
        rollout(task(), "<answer>[1]"),
    ]
    names = ("format", "non_repeat", "accuracy", "description", "gated_length")
    scored = total_of(rewards_of([choice(name) for name in names]), batch)
    # (.5 + 1 + 1 + 1) · 1; (.5 + 1 + 1 + 1) · 0; −.5 stays −.5, though its factor is 0
    assert scored.totals == pytest.approx([3.5, 0.0, -0.5])
    assert scored.parts["gated_length"] == [1.0, 0.0, 0.0]
    halved = [choice(name) for name in names[:-1]] + [choice("gated_length", 0.5)]
    assert total_of(rewards_of(halved), batch).totals == pytest.approx([3.5, 1.75, -0.5])


def test_guards_take_what_was_earned_and_ask_for_more() -> None:
    rewards = rewards_of([choice("format"), choice("accuracy"), choice("guards", 0.4)])
    empty = said(task(), reason="Well.")
    assert total_of(rewards, [empty, said(task())]).totals == pytest.approx([-0.4, 1.5])


def test_the_order_of_a_recipe_does_not_matter() -> None:
    batch = [one.rollout for one in adversaries()]
    for choices in COMBINATIONS.values():
        kept = [one for one in choices if one.name not in ("judged", "semantic")]
        a = total_of(rewards_of(kept), batch).totals
        b = total_of(rewards_of(kept[::-1]), batch).totals
        assert a == pytest.approx(b)


@pytest.mark.parametrize(
    ("choices", "match"),
    [
        ([choice("acuracy")], "expected a reward of accuracy, .*, got 'acuracy'"),
        ([choice("accuracy"), choice("accuracy")], "got accuracy twice"),
        ([], "at least one reward that is added, such as accuracy, got none"),
        ([choice("guards"), choice("gated_length")], "got guards, gated_length"),
        ([choice("accuracy", treshold=1)], "expected options of threshold, got 'treshold'"),
        ([choice("accuracy", threshold=7)], "threshold as a number from 0 to 1"),
        ([choice("judged")], "expected a judge, got none; add judge: to the recipe"),
        ([choice("judged", gamma=1)], "reward judged: expected options of none"),
        ([choice("accuracy", float("nan"))], "weight from -100 to 100"),
        ([choice("accuracy"), choice("gated_length", 2)], "weight from 0 to 1, got 2"),
        ([choice("accuracy"), choice("guards", -1)], "weight from 0 to 100, got -1"),
        ([choice("accuracy"), choice("guards", without=["evrything"])], "without as a list of"),
        ([choice("accuracy"), choice("guards", truth="no")], "truth as true or false"),
        ([choice("self_distillation", embedder=7)], "expected embedder as text"),
        ([choice("self_distillation", embed="hashed")], "expected options of embedder, threshold"),
        ([choice("semantic", model="x")], "expected options of similarity, got 'model'"),
    ],
)
def test_a_recipe_is_told_what_is_wrong(choices: list[RewardChoice], match: str) -> None:
    with pytest.raises(InputError, match=match):
        rewards_of(choices)


def test_models_by_name_have_to_exist() -> None:
    with pytest.raises(ModelError, match="expected a folder or a pinned checkpoint"):
        rewards_of([choice("self_distillation", embedder="all-MiniLM-L6-v2")])
    with pytest.raises(ModelError, match="expected a folder or a pinned checkpoint"):
        rewards_of([choice("semantic", similarity="openai/clip-vit-base-patch32")])


def test_a_reward_that_miscounts_is_an_error() -> None:
    short = NamedReward("short", 1.0, lambda rollouts: [1.0])
    with pytest.raises(InputError, match="reward short: expected 2 values"):
        total_of([short], [said(task()), said(task())])


# -- tricks -------------------------------------------------------------------------------


def test_every_reward_is_in_a_shipped_combination_and_each_has_guards() -> None:
    used = {one.name for choices in COMBINATIONS.values() for one in choices}
    assert used == {*REWARDS}
    assert all("guards" in [one.name for one in choices] for choices in COMBINATIONS.values())


def test_the_tricks_set_off_every_guard_and_honesty_none() -> None:
    fired = {one.name: flags_of(one.rollout) for one in adversaries()}
    assert {flag for flags in fired.values() for flag in flags} == {*GUARDS}
    assert fired[HONEST] == fired[MISTAKE] == []
    assert adversaries()[0].rollout.iou == 1.0


def test_honesty_pays_more_than_every_trick_under_every_combination() -> None:
    table = adversarial_table()
    rows: Any = table.rows
    honest, mistake, *tricks = rows
    assert (honest[0], mistake[0]) == (HONEST, MISTAKE)
    assert table.columns[2:] == tuple(COMBINATIONS)
    for column in range(2, len(table.columns)):
        best = max(row[column] for row in tricks)
        assert honest[column] > best, (table.columns[column], best)
        # RISE knows no truth, and both the book and the mug are red: it cannot tell them apart.
        if table.columns[column] == "rise":
            assert honest[column] == mistake[column]
        else:
            assert honest[column] > mistake[column] >= best


def test_the_table_of_tricks_is_printed() -> None:
    got = CliRunner().invoke(app, ["eval", "rewards", "--no-guarded", "--json"])
    assert got.exit_code == 0, got.output
    (table,) = json.loads(got.stdout)["tables"]
    assert table["rows"] == [list(row) for row in adversarial_table(guarded=False).rows]


def test_without_the_guards_some_trick_pays_as_much_under_every_combination() -> None:
    rows: Any = adversarial_table(guarded=False).rows
    honest, _, *tricks = rows
    for column in range(2, 2 + len(COMBINATIONS)):
        assert max(row[column] for row in tricks) >= honest[column]


def test_an_explanation_padded_with_the_rationale_is_why_wise_needs_a_guard() -> None:
    played = {one.name: one.rollout for one in adversaries()}
    reward = self_distillation(HashedEmbedder())
    paid: Any = reward([played[HONEST], played["pads the explanation"]])
    assert paid[1] > paid[0]
