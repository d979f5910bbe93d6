"""Teacher, SFT and GRPO student on the same frozen questions, over several seeds.

A checkpoint (a transformers folder) answers by batched greedy decoding without a grammar: fast,
and a lower bound of what the device gives. An exported bundle answers through the shipped
:class:`~...reasoner.rollout.Reasoner`, grammar and repairs included. Both on true twins of
TwinBench. J is the mean mask IoU of the objects answered with the true ones over a twin's frames.

Not covered: pixels to masks (``edgetwin eval twinbench --setting end-to-end`` with a bundle),
questions for numbers and times (TwinBench has none).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.progress import track

from ...twin.errors import InputError
from ..rollouts.record import Rollout
from ..sim.catalogue import Tier
from ..sim.questions import Question
from ..tasks.task import Task, iou_of
from ..twinbench import BenchSplit, load, window_of
from .reasoner import Judged, judge, reasoner_figures
from .report import Table
from .worlds import rendered_world

__all__ = [
    "Asked",
    "Candidate",
    "candidates",
    "distilled_tables",
    "evaluate_distilled",
    "figures_of",
    "measure_bundle",
    "measure_checkpoint",
    "questions_of",
]

STAGES = ("teacher", "sft", "grpo")
_RATIONALE = re.compile(r"<reason>(.*?)(?:</reason>|$)", re.DOTALL)
_MAX_TOKENS = 248  # of the model's own: a detailed rationale, eight steps and the answer
_GROUPS = (
    *("level 1", "level 2", "level 3", "level 4"),
    *("seen wordings", "unseen wordings", "unseen compositions", "all"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A frozen question and the same as a task on its true twin."""

    question: Question
    task: Task


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to measure: ``name`` is its row, ``run`` the folder that it came from."""

    name: str
    run: str
    folder: Path
    bundle: bool


def questions_of(
    split: BenchSplit = "val",
    tier: Tier = "cell",
    limit: int | None = None,
    cache: Path = Path("runs/twinbench"),
    *,
    render: bool = True,
) -> list[Asked]:
    """The frozen questions of the first ``limit`` worlds on their true twins.

    Args:
        split: val, or test.
        tier: cell or wild.
        limit: worlds; None takes all.
        cache: where rendered worlds are kept.
        render: exact masks; False draws the twins without rendering (seconds instead of minutes,
            for quick looks: what is hidden behind something is then known only roughly).
    """
    if limit is not None and limit < 1:
        raise InputError(f"expected at least one world, got {limit}")
    found: list[Asked] = []
    by_world = [(s, list(i)) for s, i in groupby(load(split, tier), key=lambda item: item.seed)]
    shown = track(by_world[:limit], description="true twins", console=Console(stderr=True))
    for seed, items in shown:
        window = rendered_world(seed, tier, cache).window if render else None
        window = window or window_of(seed, tier, render=False)
        for item in items:
            ids = tuple(sorted(set(item.question.ids) & set(window.ids())))
            if len(ids) < len(set(item.question.ids)):
                continue  # without rendering an object may be missing that shows a few pixels
            task = Task(
                item.id,
                window,
                item.question.text,
                ids,
                level=item.question.level,
                source="twinbench",
            )
            found.append(Asked(item.question, task))
    return found


def candidates(folders: Sequence[Path]) -> list[Candidate]:
    """The models in folders: of a distillation (teacher, SFT, GRPO and the exported student), of
    one stage, a transformers folder or a bundle.

    Raises:
        InputError: if a folder holds none of these.
    """
    found: list[Candidate] = []
    for folder in folders:
        here: list[Candidate] = []
        for stage in STAGES:
            if (folder / stage / "model" / "config.json").is_file():
                here.append(Candidate(stage, str(folder), folder / stage / "model", False))
        if (folder / "export" / "manifest.json").is_file():
            here.append(Candidate("exported", str(folder), folder / "export", True))
        if not here and (folder / "manifest.json").is_file():
            here.append(Candidate(folder.name, str(folder), folder, True))
        elif not here and (folder / "model" / "config.json").is_file():
            here.append(Candidate(folder.name, str(folder.parent), folder / "model", False))
        elif not here and (folder / "config.json").is_file():
            here.append(Candidate(folder.name, str(folder), folder, False))
        if not here:
            raise InputError(
                f"expected a distillation's work folder, a transformers folder or a reasoner "
                f"bundle in {folder}, got none; run 'edgetwin distill reasoner' first"
            )
        found += here
    return found


def measure_checkpoint(
    folder: Path, asked: Sequence[Asked], *, device: str = "cpu", rows: int = 64
) -> dict[str, Any]:
    """Figures of a transformers folder, by greedy decoding without a grammar.

    How it is asked (style, layout, view of the twin) is read from ``recipe.yaml`` of its stage
    where there is one.
    """
    from ..rollouts.engine import Engine
    from ..stages.policy import device_of, load_policy
    from ..stages.recipe import ModelChoice, Sampling

    told = _choice_beside(folder)
    choice = ModelChoice.model_validate({**told, "source": str(folder), "lora": None})
    policy = load_policy(choice, folder, device_of(device), trained=False)
    engine = Engine(policy, Sampling(max_tokens=_MAX_TOKENS), rows=rows)
    order = sorted(range(len(asked)), key=lambda i: len(asked[i].task.window.ids()))
    rollouts: dict[int, Rollout] = {}
    said = engine.roll([asked[i].task for i in order], 1, greedy=True)
    rollouts.update(zip(order, said, strict=True))
    judged = [
        Judged(one.question, _answer(rollouts[i], policy.encode)) for i, one in enumerate(asked)
    ]
    return figures_of(judged, [rollouts[i].iou for i in range(len(asked))])


def measure_bundle(folder: Path, asked: Sequence[Asked]) -> dict[str, Any]:
    """Figures of an exported bundle, by the code that a device runs."""
    from ...reasoner.models.opening import open_model
    from ...reasoner.rollout import Reasoner

    reasoner = Reasoner(open_model(str(folder)))
    judged = judge(reasoner, ((one.question, one.task.window) for one in asked))
    ious = [
        0.0
        if one.answer["status"] == "error"
        else iou_of(of.task, [i for i in one.answer["ids"] if isinstance(i, int)])
        for one, of in zip(judged, asked, strict=True)
    ]
    return figures_of(judged, ious)


def figures_of(judged: Sequence[Judged], ious: Sequence[float]) -> dict[str, Any]:
    """Counts, exact ids, tokens and J per group of questions; ``broken`` is the share that gave
    no answer."""
    figures = reasoner_figures(judged)
    by_level: dict[str, list[float]] = {}
    for one, iou in zip(judged, ious, strict=True):
        by_level.setdefault(f"level {one.question.level}", []).append(iou)
        by_level.setdefault("all", []).append(iou)
    for name, values in by_level.items():
        figures["groups"][name]["iou"] = mean(values)
    broken = sum(one.answer["status"] == "error" for one in judged)
    figures["broken"] = broken / max(1, len(judged))
    return figures


def evaluate_distilled(
    folders: Sequence[Path],
    split: BenchSplit = "val",
    tier: Tier = "cell",
    *,
    limit: int | None = None,
    cache: Path = Path("runs/twinbench"),
    device: str = "cpu",
    render: bool = True,
) -> tuple[list[Table], dict[str, Any]]:
    """Measure everything in ``folders``; runs of the same name (several seeds) share a row.

    Returns the tables and every figure by name and run.
    """
    models = candidates(folders)
    asked = questions_of(split, tier, limit, cache, render=render)
    figures: dict[str, dict[str, Any]] = {}
    for one in models:
        got = (
            measure_bundle(one.folder, asked)
            if one.bundle
            else measure_checkpoint(one.folder, asked, device=device)
        )
        figures.setdefault(one.name, {})[one.run] = got
    where = f"TwinBench {split}, {tier} tier, true twins, {len(asked)} questions"
    by_name = {name: list(runs.values()) for name, runs in figures.items()}
    return distilled_tables(by_name, where), figures


def distilled_tables(by_name: Mapping[str, Sequence[Mapping[str, Any]]], where: str) -> list[Table]:
    """Exact ids by level, then by wording with tokens: one row per model, mean over its runs,
    with the spread (sample standard deviation) over runs."""
    levels, wordings = [], []
    for name, runs in by_name.items():
        groups = [run["groups"] for run in runs]
        exact = {group: _values(groups, group, "exact") for group in _GROUPS}
        rationale = _values(groups, "all", "rationale_tokens")
        levels.append(
            (
                name,
                len(runs),
                _mean(exact["all"]),
                _spread(exact["all"]),
                *(_mean(exact[f"level {level}"]) for level in (1, 2, 3, 4)),
                _mean(_values(groups, "all", "iou")),
            )
        )
        wordings.append(
            (
                name,
                *(_mean(exact[group]) for group in _GROUPS[4:7]),
                _mean(rationale),
                _spread(rationale),
                _mean(_values(groups, "all", "generated_tokens")),
                _mean([float(run["broken"]) for run in runs]),
            )
        )
    note = "Mean over runs; ±: sample standard deviation over runs, a dash for a single one."
    first = ("model", "runs", "exact ids", "±", "level 1", "level 2", "level 3", "level 4", "J")
    second = (
        *("model", "seen wordings", "unseen wordings", "unseen compositions"),
        *("rationale tokens", "±", "own tokens", "no answer"),
    )
    return [
        Table(f"Distilled reasoners, exact ids, {where}", first, tuple(levels), (note,)),
        Table(f"Distilled reasoners, wordings and tokens, {where}", second, tuple(wordings)),
    ]


def _values(groups: Sequence[Mapping[str, Any]], group: str, key: str) -> list[float]:
    return [float(one[group][key]) for one in groups if key in one.get(group, {})]


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None


def _spread(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def _answer(rollout: Rollout, encode: Any) -> dict[str, Any]:
    """A rollout as ``answer.json`` would hold it."""
    own = rollout.tokens.get("own", 0)
    found = _RATIONALE.search(rollout.text)  # with its tags, as the device counts
    rationale = len(encode(found.group(0))) if found else 0
    return {
        "ids": list(rollout.ids or ()),
        "status": "error" if rollout.ids is None else "ok",
        "tokens": {"rationale": rationale, "plan": max(0, own - rationale), "answer": 0},
        "ms": {"total": 0.0},
    }


def _choice_beside(folder: Path) -> dict[str, Any]:
    """The model part of the recipe that wrote ``folder``, without its source."""
    file = folder.parent / "recipe.yaml"
    if not file.is_file():
        return {}
    import yaml as module

    yaml: Any = module  # it has no types
    try:
        model = yaml.safe_load(file.read_text(encoding="utf-8"))["model"]
        kept = {k: v for k, v in model.items() if k in ("style", "layout", "view", "dtype")}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"expected a recipe with its model in {file}, got {error!r}; run the stage again"
        ) from error
    return json.loads(json.dumps(kept))  # type: ignore[no-any-return]
