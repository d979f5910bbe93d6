"""TwinBench in three settings, as the papers score: the command behind ``edgetwin eval``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal

from rich.progress import track

from ...deploy.models import Responder, load_models
from ...perception.bundle import Bundle, load_bundle
from ...perception.perceiver import Perceiver
from ...twin.errors import InputError
from ...twin.frame import Frame
from ...twin.window import TwinWindow
from ..sim.catalogue import Tier
from ..sim.questions import Question
from ..twinbench import BenchSplit, load
from .endtoend import Scored, end_to_end_tables, score_question
from .perception import perception_tables, score_perception
from .reasoner import judge, reasoner_tables
from .report import Table
from .worlds import RenderedWorld, rendered_world

__all__ = ["SETTINGS", "Setting", "evaluate_twinbench", "perceive"]

Setting = Literal["perception", "reasoner", "end-to-end"]
Asked = tuple[int, list[Question]]
SETTINGS: tuple[Setting, ...] = ("perception", "reasoner", "end-to-end")


def evaluate_twinbench(
    split: BenchSplit = "val",
    tier: Tier = "cell",
    *,
    models: str = "embedded",
    settings: Sequence[Setting] = SETTINGS,
    limit: int | None = None,
    cache: Path = Path("runs/twinbench"),
) -> list[Table]:
    """Measure a model set on a frozen split of TwinBench.

    ``limit`` keeps the first worlds only; rendered worlds are kept under ``cache``.

    Raises:
        InputError: if a setting is unknown or ``limit`` is not positive.
    """
    unknown = set(settings) - set(SETTINGS)
    if unknown or (limit is not None and limit < 1):
        raise InputError(
            f"expected settings out of {SETTINGS} and a positive limit, "
            f"got {sorted(unknown)} and {limit}"
        )
    asked = [
        (seed, [item.question for item in items])
        for seed, items in groupby(load(split, tier), key=lambda item: item.seed)
    ][:limit]
    where = f"TwinBench {split}, {tier} tier, {len(asked)} worlds, {models} set"
    bundle, reasoner = load_bundle(models), load_models(models).reasoner
    tables: list[Table] = []
    if "perception" in settings:
        worlds = (world for _, world in _rendered(asked, tier, cache, "perception"))
        tables += perception_tables(score_perception(bundle, worlds), where)
    if "reasoner" in settings:
        pairs = (
            (question, world.window)
            for questions, world in _rendered(asked, tier, cache, "reasoner")
            for question in questions
        )
        tables += reasoner_tables(judge(reasoner, pairs), where)
    if "end-to-end" in settings:
        tables += end_to_end_tables(_end_to_end(asked, tier, cache, bundle, reasoner), where)
    return tables


def perceive(bundle: Bundle, world: RenderedWorld) -> TwinWindow:
    """Run the whole of perception over a rendered world."""
    perceiver = Perceiver(bundle)
    return TwinWindow(
        perceiver.observe(Frame(true.index, true.timestamp_s, image, f"world-{world.seed}"))
        for true, image in zip(world.window.frames, world.rgb_thw3, strict=True)
    )


def _end_to_end(
    asked: Sequence[Asked], tier: Tier, cache: Path, bundle: Bundle, reasoner: Responder
) -> list[Scored]:
    scored: list[Scored] = []
    for questions, world in _rendered(asked, tier, cache, "end to end"):
        perceived = perceive(bundle, world)
        for question in questions:
            answer = reasoner.answer(question.text, perceived)
            scored.append(score_question(question, answer.ids, perceived, world.window))
    return scored


def _rendered(
    asked: Sequence[Asked], tier: Tier, cache: Path, what: str
) -> Iterator[tuple[list[Question], RenderedWorld]]:
    for seed, questions in track(asked, description=what):
        yield questions, rendered_world(seed, tier, cache)
