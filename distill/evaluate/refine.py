"""Just-in-time refinement against the static twin: pixels to masks when words were not looked for.

Of every TwinBench question whose program looks for a noun that is in the scene, the detector is
asked for all its words but that question's: all of them are missing, or a seeded part. The same
reasoner then answers on the static twin, with refinement (perception tools that it may plan, or
``find`` that looks by itself), and with everything looked for from the start, which bounds what
refinement can win. The question's own program, with ``detect`` where words are missing, says what
is perception's part in what remains.

Frames are sensed once and looked up (:mod:`.remembered`), so milliseconds of refinement come from
a few questions that are asked again with networks that run.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import track

from ...deploy.console import TierOption, needs_extra, print_json
from ...deploy.models import bundle_identities
from ...deploy.refine import Eyes, RecentFrames, Refine, Refiner
from ...perception.bundle import load_bundle
from ...reasoner.bundle import load_bundle as load_reasoner_bundle
from ...reasoner.models.ort_genai import OrtGenAiModel
from ...reasoner.rollout import Reasoner
from ...twin.errors import InputError, ToolError
from ...twin.frame import Frame
from ...twin.tools import ToolRegistry
from ...twin.window import TwinWindow
from ..sim.catalogue import Tier
from ..sim.questions import Question
from ..sim.questions.programs import EVERYTHING
from ..sim.questions.restricted import with_detect
from ..twinbench import BenchSplit, load
from .endtoend import matched_ids, score_question
from .refine_planner import PlannerFigures, planner_figures, planner_table
from .refine_tables import (
    POLICIES,
    Asked,
    Missing,
    Policy,
    Refined,
    level_table,
    ms_figures,
    refine_figures,
    refine_table,
    time_table,
)
from .remembered import RememberingEyes
from .report import Table, document, replace_section, show, write_json
from .worlds import RenderedWorld, rendered_world

__all__ = [
    "POLICIES",
    "Asked",
    "Clip",
    "Missing",
    "Policy",
    "Refined",
    "answered",
    "asked_of",
    "evaluate_refine",
    "level_table",
    "nouns_of",
    "refine_figures",
    "refine_table",
    "register",
]

_SWITCH: dict[Policy, Refine] = {
    "static": "off", "detect planned": "call", "find looks": "auto", "full": "off",
    "program": "call",
}  # fmt: skip


@dataclass
class Clip:
    """A world with its frames as a provider, and the twins perceived of it by vocabulary."""

    world: RenderedWorld
    eyes: Eyes
    frames: RecentFrames
    twins: dict[tuple[str, ...] | None, TwinWindow] = field(default_factory=dict)
    matches: dict[tuple[str, ...] | None, dict[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, world: RenderedWorld, eyes: Eyes) -> Clip:
        """Make a world's frames ready."""
        provider = RecentFrames(len(world.rgb_thw3), max_bytes=2**30)
        for true, image in zip(world.window.frames, world.rgb_thw3, strict=True):
            provider.push(Frame(true.index, true.timestamp_s, image, f"world-{world.seed}"))
        return cls(world, eyes, provider)

    def twin(self, words: tuple[str, ...] | None) -> TwinWindow:
        """Return a copy of what is perceived with these words, to be changed freely."""
        if words not in self.twins:
            perceiver = self.eyes.perceiver(words)
            indexes = [frame.index for frame in self.world.window.frames]
            self.twins[words] = TwinWindow(
                perceiver.observe(frame) for frame in self.frames.frames_at(indexes)
            )
        return TwinWindow(self.twins[words].frames)

    def same(self, words: tuple[str, ...] | None, window: TwinWindow) -> dict[int, int]:
        """Return perceived id -> true id; looked up for a window that was not changed."""
        if window.frames != self.twins[words].frames:
            return matched_ids(window, self.world.window)
        if words not in self.matches:
            self.matches[words] = matched_ids(window, self.world.window)
        return self.matches[words]


def nouns_of(question: Question, known: Sequence[str]) -> tuple[str, ...]:
    """The known nouns that a question's program looks for, in order."""
    words = [
        word
        for step in question.plan
        if step["tool"] in ("find", "detect")
        for word in step["words"]
        if word != EVERYTHING and word in known
    ]
    return tuple(dict.fromkeys(words))


def asked_of(
    questions: Sequence[Question], truth: TwinWindow, seed: int, known: Sequence[str]
) -> list[Asked]:
    """What is asked in a world: each question with all of its nouns missing, or some of them.

    What is missing always holds a noun that is in the scene, else the static twin lacks nothing.
    Questions without a noun are left out.
    """
    present = {truth.latest(i).semantic_label for i in truth.ids()}
    found: list[Asked] = []
    for place, question in enumerate(questions):
        nouns = nouns_of(question, known)
        here = [noun for noun in nouns if noun in present]
        if not here:
            continue
        found.append(_asked(question, nouns, "all", known))
        if len(nouns) > 1:
            rng = random.Random(f"refine {seed} {place}")
            first = rng.choice(here)
            rest = [noun for noun in nouns if noun != first and rng.random() < 0.5]
            part = [first, *rest[: len(nouns) - 2]]
            found.append(_asked(question, part, "some", known))
    return found


def _asked(
    question: Question, missing: Sequence[str], kind: Missing, known: Sequence[str]
) -> Asked:
    words = tuple(word for word in known if word not in missing)
    return Asked(question, words, tuple(sorted(missing)), kind)


def answered(world: Clip, asked: Asked, policy: Policy, reasoner: Reasoner) -> Refined:
    """Answer one question under one policy and score it."""
    words = None if policy == "full" else asked.words
    window = world.twin(words)
    refiner = Refiner(world.eyes, world.frames)
    registry = refiner.registry(_SWITCH[policy])
    answer = _answer(asked, policy, window, registry, reasoner)
    same = world.same(words, window)
    ids = list(answer["ids"])
    right = answer["status"] != "error" and {same.get(i) for i in ids} == set(asked.question.ids)
    scored = score_question(asked.question, ids, window, world.world.window)
    counts = refiner.counts
    return Refined(
        policy,
        asked,
        right,
        scored.j,
        scored.f,
        calls=counts.calls.total() - counts.cached,
        frames=counts.frames,
        planned=any(step.get("tool") == "detect" for step in answer.get("plan", ())),
        status=answer["status"],
    )


def _answer(
    asked: Asked,
    policy: Policy,
    window: TwinWindow,
    registry: ToolRegistry,
    reasoner: Reasoner,
) -> Mapping[str, Any]:
    if policy != "program":
        answer = reasoner.answer(asked.question.text, window, registry=registry)
        return answer.model_dump(mode="json")
    plan = with_detect(asked.question.plan, asked.words)
    try:
        value = registry.run_plan(plan, window)[-1].value
    except ToolError:
        return {"status": "error", "ids": [], "plan": plan}
    ids = [i for i in value if isinstance(i, int)] if isinstance(value, list) else []
    return {"status": "ok" if ids else "none", "ids": ids, "plan": plan}


def evaluate_refine(
    split: BenchSplit = "val",
    tier: Tier = "cell",
    *,
    models: str = "embedded",
    reasoner: str | Path = "embedded",
    policies: Sequence[Policy] = POLICIES,
    limit: int | None = None,
    timed: int = 12,
    cache: Path = Path("runs/twinbench"),
) -> tuple[list[Table], dict[str, Any]]:
    """Measure refinement on a frozen split of TwinBench; returns tables and figures.

    ``limit`` keeps the first worlds; ``timed`` is how many questions are asked again to measure
    milliseconds with networks that run.

    Raises:
        InputError: if a policy is unknown, or the set knows any noun and so has no list to
            leave words out of.
    """
    unknown = [policy for policy in policies if policy not in POLICIES]
    bundle = load_bundle(models, threads=1)
    known = tuple(bundle.words.nouns)
    if unknown or not known:
        raise InputError(
            f"expected policies out of {', '.join(POLICIES)} and a set with nouns of its own, got "
            f"{unknown or list(policies)} and {bundle.name} with {len(known)} nouns"
        )
    model = OrtGenAiModel(load_reasoner_bundle(reasoner))
    speaker = Reasoner(model, vocabulary=known)
    eyes = RememberingEyes(bundle)
    by_world = [
        (seed, [item.question for item in items])
        for seed, items in groupby(load(split, tier), key=lambda item: item.seed)
    ][:limit]
    found: list[Refined] = []
    planned = PlannerFigures()
    total = 0
    for seed, questions in track(by_world, description="refine", console=Console(stderr=True)):
        rendered = rendered_world(seed, tier, cache)
        world = Clip.of(rendered, eyes)
        asked = asked_of(questions, rendered.window, seed, known)
        total += len(questions)
        for one in asked:
            found += [answered(world, one, policy, speaker) for policy in policies]
        planner_figures(planned, speaker, rendered.window, asked, known, seed)
    times = list(
        _times(Eyes(load_bundle(models, threads=1)), by_world, known, speaker, tier, cache, timed)
    )
    where = f"TwinBench {split}, {tier} tier, {len(by_world)} worlds, {models} set, {model.name}"
    figures = {
        "worlds": len(by_world),
        "questions": total,
        "asked": len({id(one.asked) for one in found}),
        "policies": refine_figures(found),
        "planner": planned.as_dict(),
        "ms": ms_figures(times),
        "weights": {
            **bundle_identities(bundle),
            "reasoner": {"id": model.name, "sha256": model.sha256},
        },
    }
    tables = [refine_table(found, where), level_table(found, where)]
    return [*tables, planner_table(planned, where), time_table(times, where)], figures


def _times(
    eyes: Eyes,
    by_world: Sequence[tuple[int, list[Question]]],
    known: Sequence[str],
    reasoner: Reasoner,
    tier: Tier,
    cache: Path,
    most: int,
) -> Iterator[tuple[float, float, int]]:
    """Yield (milliseconds of the answer, of refinement in it, frames looked at) of a few."""
    left = most
    for seed, questions in by_world:
        if left <= 0:
            return
        rendered = rendered_world(seed, tier, cache)
        world = Clip.of(rendered, eyes)
        for asked in asked_of(questions, rendered.window, seed, known)[: min(left, 3)]:
            left -= 1
            window = world.twin(asked.words)
            refiner = Refiner(eyes, world.frames)
            began = time.perf_counter()
            reasoner.answer(asked.question.text, window, registry=refiner.registry("auto"))
            counts = refiner.counts
            if counts.frames:
                yield 1000 * (time.perf_counter() - began), counts.ms, counts.frames


# ---- the command


def register(app: typer.Typer) -> None:
    """Add ``refine`` to the commands that measure."""

    @app.command("refine")
    def eval_refine(
        split: Annotated[Literal["val", "test"], typer.Option(help="Which frozen split.")] = "val",
        tier: TierOption = "cell",
        models: Annotated[
            str, typer.Option("--models", help="embedded, or a perception bundle's folder.")
        ] = "embedded",
        reasoner: Annotated[
            str, typer.Option("--reasoner", help="embedded, or a reasoner bundle's folder.")
        ] = "embedded",
        limit: Annotated[int | None, typer.Option(min=1, help="Only the first worlds.")] = None,
        timed: Annotated[int, typer.Option(min=0, help="Questions asked again for ms.")] = 12,
        out: Annotated[Path | None, typer.Option("-o", "--out", help="JSON file to write.")] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print JSON on stdout, nothing else.")
        ] = False,
        write_readme: Annotated[
            Path | None, typer.Option("--write-readme", help="File whose section gets the tables.")
        ] = None,
    ) -> None:
        """Measure just-in-time refinement against the static twin, words left out."""
        with needs_extra("sim"):
            tables, figures = evaluate_refine(
                split, tier, models=models, reasoner=reasoner, limit=limit, timed=timed
            )
        context = {"split": split, "tier": tier, "reasoner": reasoner, "figures": figures}
        if as_json:
            print_json(document(tables, **context))
        else:
            show(tables)
        if out is not None:
            write_json(tables, out, **context)
        if write_readme is not None:
            text = "\n\n".join(table.markdown() for table in tables)
            replace_section(write_readme, "refine", text)
