"""The judge without a network: likelihoods in batches, the curve, and what it refuses."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgetwin.distill.judges.base import card_of, chain_of
from edgetwin.distill.judges.calibration import (
    Calibration,
    auc_of,
    fit,
    load_calibration,
    logistic,
)
from edgetwin.distill.judges.likelihood import Likelihood, Reading, Until, likelihoods, reading
from edgetwin.distill.judges.local import LocalJudge, calibrate, samples_of
from edgetwin.distill.rollouts.engine import Engine
from edgetwin.distill.rollouts.record import Rollout
from edgetwin.distill.stages.policy import Policy, load_policy, prompt_ids
from edgetwin.distill.stages.recipe import ModelChoice, Sampling, WorldsChoice
from edgetwin.distill.tasks.worlds import Worlds
from edgetwin.reasoner.protocol import tagged
from edgetwin.twin.errors import InputError, ModelError

from .judged import FIND, rollout, task, text_of


@pytest.fixture(scope="module")
def teacher() -> Policy:
    torch.set_num_threads(1)
    return load_policy(ModelChoice(source="embedded"), Path(), trained=False)


@pytest.fixture(scope="module")
def calibration(teacher: Policy) -> Calibration:
    tasks = Worlds(WorldsChoice(first=470_000, count=6, per_world=8), 0)
    return calibrate(teacher, tasks, Engine(teacher, Sampling(temperature=1.2)), samples=2)


def readings(teacher: Policy, until: Until = "plan") -> list[Reading]:
    """Three tasks of unlike length with one to three chains."""
    found = []
    for number, question in enumerate(("the red mug", "the mug left of the green box", "a box")):
        given = prompt_ids(teacher, task(question=question))
        for words in ("Mug. Red.", "Box.", "Mug. Left of the green box.")[: number + 1]:
            chain = chain_of(rollout(words, FIND if number else FIND[:32] + "]"))
            assert chain is not None
            found.append(reading(teacher, given, chain, until))
    return found


@torch.no_grad()
def plainly(teacher: Policy, one: Reading) -> Likelihood:
    """The likelihood without cache, batch or padding."""
    ids = torch.tensor([[*one.prompt, *one.ids]])
    logps = teacher.model(input_ids=ids).logits[0].double().log_softmax(-1)
    said = [
        float(logps[len(one.prompt) + n - 1, token])
        for n, (token, own) in enumerate(zip(one.ids, one.own, strict=True))
        if own
    ]
    return Likelihood(sum(said) / len(said), min(said), len(said))


@pytest.mark.parametrize("until", ["reason", "plan", "answer"])
@pytest.mark.parametrize("rows", [1, 4, 64])
def test_batches_give_what_plain_reading_gives(teacher: Policy, until: Until, rows: int) -> None:
    given = readings(teacher, until)
    for one, found in zip(given, likelihoods(teacher, given, rows), strict=True):
        wanted = plainly(teacher, one)
        assert found is not None
        assert found.tokens == wanted.tokens
        assert found.mean == pytest.approx(wanted.mean, abs=1e-4)
        assert found.lowest == pytest.approx(wanted.lowest, abs=1e-3)


def test_how_far_a_chain_is_read_and_what_is_its_own(teacher: Policy) -> None:
    chain = chain_of(rollout("Mug."))
    assert chain is not None
    reason, plan = tagged("reason", "Mug."), tagged("plan", FIND)
    results, answer = tagged("results", "[[1,2],[1]]"), tagged("answer", "$2")
    for until, own, other in (
        ("reason", reason, ""),
        ("plan", reason + plan, ""),
        ("answer", reason + plan + answer, results),
    ):
        one = reading(teacher, (1, 2), chain, until)  # type: ignore[arg-type]
        pairs = list(zip(one.ids, one.own, strict=True))
        assert teacher.decode([i for i, mine in pairs if mine]) == own
        assert teacher.decode([i for i, mine in pairs if not mine]) == other
    direct = chain_of(rollout(text=tagged("reason", "Mug.") + tagged("answer", "[1]")))
    assert direct is not None
    assert teacher.decode(list(reading(teacher, (), direct, "plan").ids)) == reason


def test_inserted_results_are_read_but_not_scored(teacher: Policy) -> None:
    """Other results change the answer's likelihood; their own tokens are never counted."""
    own = readings(teacher, "answer")[0]
    place = own.own.index(False)
    changed = replace(own, ids=(*own.ids[:place], own.ids[place + 1], *own.ids[place + 1 :]))
    first, second = likelihoods(teacher, [own, changed])
    assert first is not None
    assert second is not None
    assert first.tokens == second.tokens == sum(own.own)
    assert first.mean != second.mean


def test_too_long_and_empty_are_none(teacher: Policy) -> None:
    short = readings(teacher)[0]
    long = Reading((1,) * 2000, (1,) * 100, (True,) * 100)
    nothing = Reading((1, 2), (), ())
    unowned = Reading((1, 2), (3,), (False,))
    found = likelihoods(teacher, [long, short, nothing, unowned])
    assert [each is None for each in found] == [True, False, True, True]


def test_a_broken_model_gives_none_and_is_left_as_it_was() -> None:
    broken = load_policy(ModelChoice(source="embedded"), Path())
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(math.nan)
    broken.model.train()
    assert likelihoods(broken, readings(broken)[:2]) == [None, None]
    assert broken.model.training
    assert all(p.grad is None for p in broken.model.parameters())


def test_logistic_by_hand() -> None:
    """A quarter good at 0, three quarters at 1: bias logit(1/4), slope logit(3/4) - logit(1/4)."""
    x = np.array([0.0] * 4 + [1.0] * 4)
    y = np.array([1.0, 0, 0, 0, 1, 1, 1, 0])
    slope, bias = logistic(x, y, np.ones(8))
    assert bias == pytest.approx(-math.log(3), rel=0.03)
    assert slope == pytest.approx(2 * math.log(3), rel=0.03)
    doubled = logistic(np.repeat(x, 2), np.repeat(y, 2), np.full(16, 0.5))
    assert doubled == pytest.approx((slope, bias))
    steep, _ = logistic(x, (x > 0.5).astype(float), np.ones(8))  # separable: finite all the same
    assert 2.0 < steep < 100.0
    flat, level = logistic(np.ones(4), np.array([1.0, 0, 0, 0]), np.ones(4))
    assert (flat, level) == pytest.approx((0.0, -math.log(3)))


def test_auc_by_hand() -> None:
    assert auc_of(np.array([3.0, 1.0]), np.array([2.0, 0.0])) == 0.75
    assert auc_of(np.array([1.0, 1.0]), np.array([1.0])) == 0.5
    assert auc_of(np.array([0.0]), np.array([1.0])) == 0.0


def made(shift: float, count: int = 40) -> dict[str, list[tuple[int, Likelihood]]]:
    """Good chains at about -.02 a token, bad ones ``shift`` times as unlikely."""
    spread = np.random.default_rng(0).uniform(0.5, 2.0, count)
    kinds = {"good": -0.02, "wrong": -0.02 * shift, "rare": -1.0}
    return {
        kind: [(n, Likelihood(float(level * s), -1.0, 9)) for n, s in enumerate(spread)][
            : 4 if kind == "rare" else count
        ]
        for kind, level in kinds.items()
    }


def test_a_fit_separates_on_tasks_it_has_not_seen_and_is_kept(tmp_path: Path) -> None:
    found = fit(made(20.0), "teacher/model", "ab", "plan").check()
    assert found.auc_by == {"wrong": 1.0}  # four chains of a kind are too few to count
    assert found.chains == {"good": 40, "wrong": 40, "rare": 4}
    assert found.brier < 0.05
    good, bad = Likelihood(-0.02, -1, 9), Likelihood(-0.4, -1, 9)
    assert found.score(good) > 0.8
    assert found.score(bad) < 0.2
    path = tmp_path / "judge" / "calibration.json"
    found.save(path)
    assert load_calibration(path) == found
    assert [p.name for p in path.parent.iterdir()] == ["calibration.json"]
    path.write_text("{}")
    with pytest.raises(InputError, match="delete the file"):
        load_calibration(path)


@pytest.mark.parametrize("shift", [1.0, 0.05])
def test_a_judge_that_hardly_separates_is_refused(teacher: Policy, shift: float) -> None:
    poor = fit(made(shift), teacher.source, teacher.sha256, "plan")
    assert poor.auc < 0.6
    with pytest.raises(ModelError, match=r"AUC of at least 0\.6.*got 0\.\d+"):
        LocalJudge(teacher, poor)


def test_too_few_chains_are_refused() -> None:
    with pytest.raises(ModelError, match="calibrate on more tasks"):
        fit(made(20.0, 8), "t", "", "plan")


def test_a_calibration_of_other_weights_is_refused(
    teacher: Policy, calibration: Calibration
) -> None:
    with pytest.raises(ModelError, match="calibrate again"):
        LocalJudge(replace(teacher, sha256="00"), calibration)


def test_kinds_of_chains() -> None:
    left, right = task("a"), task("b", "the blue mug")
    right = replace(right, ids=(2,), window=left.window)
    one = rollout(of=left)
    two = replace(rollout("Blue mug.", FIND.replace("red", "blue"), of=right), ids=(2,))
    wrong = replace(rollout("Box.", of=left), ids=(3,), iou=0.0)
    middling = replace(rollout("Hm.", of=left), iou=0.6)
    failed = rollout(of=left, text=tagged("reason", "x") + tagged("plan", "[]"), ending="tool_error")  # fmt: skip
    cut = rollout(of=left, text="<reason>x", ending="cut")
    kinds = samples_of([one, one, two, wrong, middling, failed, cut])
    assert kinds["good"] == [one, two]
    assert kinds["wrong"] == [wrong, failed]
    assert [(r.task.key, r.text) for r in kinds["other"]] == [("a", two.text), ("b", one.text)]
    steps = json.loads(FIND)
    plan = json.dumps([steps[1], steps[0]], separators=(",", ":"))
    assert kinds["shuffled"][0].text == text_of("Mug. Red.", plan)


def test_the_embedded_teacher_tells_right_from_wrong(
    teacher: Policy, calibration: Calibration
) -> None:
    assert calibration.teacher == "weights/embedded"
    assert calibration.auc > 0.85
    assert calibration.auc_by["other"] > 0.95
    assert calibration.auc_by["shuffled"] > 0.95
    judge = LocalJudge(teacher, calibration)
    tasks = Worlds(WorldsChoice(first=471_000, count=2, per_world=8), 0)
    right = [r for r in Engine(teacher, Sampling()).roll(tasks, greedy=True) if r.iou > 0.7]
    foreign = samples_of(right)["other"]
    broken = rollout(text="<reason>no end", ending="malformed")
    nothing = rollout(text="<reason></reason><answer>[1]</answer>")
    scores = judge.score([*right, broken, nothing, *foreign])
    good, bad = scores[: len(right)], scores[len(right) + 2 :]
    assert scores[len(right) : len(right) + 2] == [None, 0.0]
    assert np.mean([s for s in good if s is not None]) > 0.6
    assert np.mean([s for s in bad if s is not None]) < 0.2
    assert all(s is not None and 0.0 <= s <= 1.0 for s in (*good, *bad))
    assert judge.counts["scored"] == len(good) + len(bad)
    assert (judge.counts["skipped"], judge.counts["empty"]) == (1, 1)
    card = card_of(judge)
    assert card["auc"] == calibration.auc
    assert card["counts"] == judge.counts


def test_order_and_company_do_not_matter(teacher: Policy, calibration: Calibration) -> None:
    judge = LocalJudge(teacher, calibration, rows=3)
    asked = [rollout(w, of=task(q)) for q in ("a", "b") for w in ("Mug.", "Mug. Red.", "Box.")]
    together = judge.score(asked)
    alone: list[float | None] = [judge.score([one])[0] for one in asked]
    assert together == pytest.approx(alone, abs=1e-4)
    backwards: list[Rollout] = asked[::-1]
    assert judge.score(backwards) == pytest.approx(together[::-1], abs=1e-4)
