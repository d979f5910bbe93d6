"""Standing questions scored: the same watching as in service, against truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetwin.deploy.live.compiling import Scene, stand
from edgetwin.deploy.live.wordings import Condition, Wanted
from edgetwin.deploy.models import load_reasoner
from edgetwin.distill.evaluate.standing import (
    CREATED_S,
    SETTINGS,
    Raised,
    Watched,
    _true_keys,
    evaluate_standing,
    watch_wish,
)
from edgetwin.distill.evaluate.standing_figures import figures_of, matched, standing_tables
from edgetwin.distill.evaluate.standing_worlds import (
    FPS,
    SECONDS,
    SEEDS,
    TUNING,
    StandingClip,
    Wish,
    wishes_of,
)
from edgetwin.distill.sim.truth import true_frames
from edgetwin.distill.sim.worlds import World
from edgetwin.twin.schema import FrameTwin
from edgetwin.twin.tools import validate_plan

SEED = TUNING[1]


def wish(
    text: str, plan: list[dict[str, Any]], condition: Condition | None = None, held: bool = False
) -> Wish:
    rule = stand(Wanted("", condition), {"plan": plan}, Scene())
    return Wish("moves", text, rule, held)


@pytest.fixture(scope="module")
def clip() -> StandingClip:
    """A world as it is sketched, without a renderer."""
    world = World(SEED, "cell", SECONDS, events=4)
    frames = tuple(true_frames(world, FPS, SECONDS, render=False))
    return StandingClip(world, np.zeros((0, 1, 1, 3), np.uint8), frames)


def test_worlds_are_validation_worlds_and_apart() -> None:
    assert not set(SEEDS) & set(TUNING)
    assert all(1_000_000 <= seed < 2_000_000 for seed in (*SEEDS, *TUNING))


def test_wishes_are_sound_and_the_same_each_time(clip: StandingClip) -> None:
    wishes = wishes_of(clip)
    assert [w.text for w in wishes] == [w.text for w in wishes_of(clip)]
    assert len(wishes) >= 7
    for one in wishes:
        validate_plan(one.rule.plan)
        assert not one.held
    assert {"anything moves", "count", "colour moves"} <= {w.kind for w in wishes}
    assert all(w.rule.condition is not None for w in wishes if w.kind in ("count", "near"))


def test_what_happens_in_the_world_is_told_once_when_it_happens(clip: StandingClip) -> None:
    events, watch = watch_wish(
        wish("tell me when something moves", [{"tool": "moved"}]), clip.frames
    )
    scripted = {
        e.id: e
        for e in clip.world.events
        if e.kind in ("slide", "roll", "lift") and e.start_s > CREATED_S
    }
    assert scripted
    told = {key: at for at, key in events}
    assert len(told) == len(events)
    assert set(scripted) <= set(told)
    for key, event in scripted.items():
        assert event.start_s < told[key] < event.end_s + 0.5
    assert watch.evaluations == round((SECONDS - 1) * FPS)


def test_the_embedded_model_compiles_what_was_meant(clip: StandingClip) -> None:
    reasoner = load_reasoner("embedded")
    for one in wishes_of(clip)[:4]:
        meant, _ = watch_wish(one, clip.frames)
        made, watch = watch_wish(one, clip.frames, reasoner)
        assert made == meant, one.text
        assert 1 <= watch.compiled <= 3


def test_events_are_matched_by_object_and_time() -> None:
    truth = [Raised(1.0, 1), Raised(5.0, 1), Raised(5.0, 2)]
    raised = [Raised(1.4, 1), Raised(1.1, 1), Raised(4.0, 2), Raised(9.0, 1), Raised(5.0, -3)]
    assert sorted(matched(truth, raised)) == [(0, 1), (2, 2)]
    assert matched([], raised) == []


def test_perceived_objects_stand_for_the_true_ones_they_lie_on(clip: StandingClip) -> None:
    def renamed(frame: FrameTwin) -> FrameTwin:
        objects = {k + 50: o.model_copy(update={"id": k + 50}) for k, o in frame.objects.items()}
        return frame.model_copy(update={"objects": objects})

    seen = [renamed(frame) for frame in clip.frames]
    at = clip.frames[30].timestamp_s
    events = [(at, 51), (at, 0), (at, 99)]
    assert _true_keys(events, seen, clip.frames) == [Raised(at, 1), Raised(at, 0), Raised(at, -99)]


def watched(
    truth: list[Raised], made: list[Raised], seen: list[Raised], both: list[Raised]
) -> Watched:
    one = wish("tell me when something moves", [{"tool": "moved"}])
    return Watched(one, 1, [], True, 1, truth, dict(zip(SETTINGS, (made, seen, both), strict=True)))


def test_figures_and_whose_fault_it_was() -> None:
    truth = [Raised(2.0, 1), Raised(4.0, 2)]
    lost = watched(truth, truth, truth[:1], [Raised(2.5, 1), Raised(8.0, 3)])  # perception
    wrong = watched(truth, [Raised(6.0, 5)], truth, [Raised(6.2, 5)])  # compilation
    figures = figures_of([lost, wrong])
    whole = figures["settings"][SETTINGS[2]]
    assert (whole["true"], whole["raised"], whole["right"]) == (4, 3, 1)
    assert whole["precision"] == pytest.approx(1 / 3)
    assert whole["recall"] == pytest.approx(1 / 4)
    assert whole["delay_p50_s"] == pytest.approx(0.5)
    assert whole["fault"] == {
        "missed": {"compilation": 2, "perception": 1},
        "false": {"compilation": 1, "perception": 1},
    }
    assert figures["settings"][SETTINGS[0]]["recall"] == 0.5
    tables = standing_tables([lost, wrong], "here")
    assert tables[0].rows[2][0] == SETTINGS[2]
    assert figures_of([])["settings"][SETTINGS[0]]["recall"] is None


def test_one_world_from_pixels(tmp_path: Path) -> None:
    pytest.importorskip("mujoco", reason="MuJoCo (extra sim) is not installed")
    told: list[tuple[str, int, int | None]] = []
    found = evaluate_standing(
        tuning=True, limit=1, seconds=5, cache=tmp_path, progress=lambda *step: told.append(step)
    )
    assert told == [("standing", 0, 1), ("standing", 1, 1)]
    whole = figures_of(found)["settings"][SETTINGS[2]]
    assert whole["true"] >= 2
    assert whole["recall"] >= 0.6
    assert whole["precision"] >= 0.6
