"""Chains of the teacher that end at the right pixels (FastReasonSeg, section 3.3).

The model of the recipe is rolled out over its tasks; chains whose mask IoU is above ``keep_iou``
(the paper: 0.7) and that the protocol reads back exactly are kept for supervised training. The
model ``reference`` stands for the chains that simulated questions come with.

``<work>/chains/`` receives ``chains.jsonl`` (every rollout, see :mod:`.ledger`), ``twins.jsonl``
(the twins' texts as the prompts had them), ``kept.jsonl`` (lines of
:class:`..reasoner.records.Example`, a twin with its kept questions), ``report.json`` and
``recipe.yaml``. Killed at any moment, the same command goes on with what is missing and ends with
the same files. Each rollout draws from a seed of its own, so neither ``workers`` nor a kill changes
what is said.

Questions that would give a test away (:mod:`..tasks.leaks`) are never asked; they are counted as
``leak``.

Not covered: chains of several plans (the form of the training data has one), and filtering by
pass rate, which is for GRPO.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ...reasoner.prompts import system
from ...twin.errors import InputError
from ..rollouts.record import Rollout
from ..sim.questions.restricted import TRAINED
from ..tasks.cached import read_tasks
from ..tasks.leaks import leak_of
from ..tasks.task import Task
from ..tasks.worlds import tasks_of
from .kept import keep
from .ledger import Ledger, Line, Part, Plan
from .policy import Policy, device_of, load_policy, prompt_texts
from .recipe import ChainsRecipe, write_recipe

__all__ = ["Roller", "bar_of", "check_policy", "close", "deadline_of", "plan_of", "run_chains"]

_FREE = {"minutes", "engine", "workers", "keep_iou"}  # may change between two starts of one run


class Roller:
    """A policy over a recipe's tasks, part by part; deterministic in the recipe."""

    def __init__(self, recipe: ChainsRecipe, work: Path, device: str = "auto") -> None:
        self.recipe = recipe
        self.tasks = tasks_of(recipe.data, recipe.seed)
        self.plan = plan_of(recipe, len(self.tasks))
        cached = (read_tasks(folder).about for folder in recipe.data.cached)
        self._held = frozenset(name for about in cached for name in about.get("held", ()))
        place = device_of(device)
        self.policy = _teacher(recipe, work, place)
        self._engine = _engine(self.policy, recipe)

    def part(self, number: int) -> Part:
        """Roll out one part."""
        tasks = [self.tasks[i] for i in self.plan.indices(number)]
        leaks = [leak_of(task, self._held) for task in tasks]
        asked = [task for task, leak in zip(tasks, leaks, strict=True) if leak is None]
        group = self.plan.samples
        greedy = self.recipe.sampling.temperature == 0
        rolled = iter(self._engine.roll(asked, group, self.recipe.seed, greedy=greedy))
        lines: list[Line] = []
        twins: dict[str, Line] = {}
        for index, task, leak in zip(self.plan.indices(number), tasks, leaks, strict=True):
            sha, twin = _twin(self.policy, task)
            twins[sha] = twin
            for sample in range(group):
                rollout = None if leak is not None else next(rolled)
                lines.append(_line(index, sample, sha, task, rollout, leak or ""))
        return Part(number, lines, twins)


def plan_of(recipe: ChainsRecipe, tasks: int) -> Plan:
    """How a recipe's tasks are cut into parts.

    Raises:
        InputError: if there are none, or the recipe filters by pass rate.
    """
    if recipe.data.pass_rate is not None:
        raise InputError(
            "expected no data.pass_rate for chains, got one; it is for teacher and grpo"
        )
    if not tasks:
        raise InputError("expected tasks to roll out, got none; see data in the recipe")
    return Plan(tasks, recipe.batch, recipe.sampling.group)


def run_chains(
    recipe: ChainsRecipe, work: Path, *, device: str = "auto", resume: bool = True
) -> dict[str, float]:
    """Roll out a teacher and keep its good chains.

    Args:
        recipe: what to roll out; ``engine: ray`` spreads it over ``workers`` processes.
        work: the distillation's folder; everything lies in ``<work>/chains``.
        device: of the model; ``auto`` takes a GPU where there is one.
        resume: go on with what is there; False begins anew.

    Returns:
        ``asked``, ``answered``, ``kept``, ``acceptance``, ``mean_iou``, ``missing`` (items that
        the budget of minutes left over) and more, as in ``report.json``.

    Raises:
        InputError: if the folder holds the chains of another recipe or model.
        ModelError: if the model cannot be had.
        MissingExtraError: if the engine's package is missing.
    """
    folder = work / "chains"
    if not resume and folder.exists():
        shutil.rmtree(folder)
    _same_recipe(recipe, folder)
    if recipe.engine == "ray":
        from .chains_ray import roll_with_ray as roll
    else:
        roll = _roll
    report = roll(recipe, work, device)
    partial = folder / "report.part"
    partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / "report.json")
    return {k: float(v) for k, v in report.items() if isinstance(v, int | float)}


def _roll(recipe: ChainsRecipe, work: Path, device: str) -> dict[str, Any]:
    """Roll out what is missing in this process; returns the report."""
    deadline = deadline_of(recipe)
    roller = Roller(recipe, work, device)
    with Ledger(work / "chains", roller.plan) as ledger, bar_of(ledger) as update:
        check_policy(work / "chains", roller.policy.source, roller.policy.sha256)
        for number in ledger.missing:
            ledger.add(roller.part(number))
            update()
            if time.monotonic() > deadline:
                break
        return {"engine": "local", **close(ledger, recipe.keep_iou)}


def deadline_of(recipe: ChainsRecipe) -> float:
    """When the budget of minutes is over, on the monotonic clock."""
    return time.monotonic() + 60 * (recipe.minutes or math.inf)


def close(ledger: Ledger, keep_iou: float) -> dict[str, Any]:
    """Put the ledger in order, check it, write ``kept.jsonl``; returns the report."""
    ledger.finish()
    return {
        "items": ledger.items,
        "missing": ledger.plan.items - ledger.items,
        "torn_lines": ledger.dropped,
        "parts_again": ledger.again,
        **keep(ledger.lines(), ledger.twins, keep_iou, ledger.folder / "kept.jsonl"),
    }


@contextmanager
def bar_of(ledger: Ledger) -> Iterator[Any]:
    """A bar over a ledger's items on stderr; yields what moves it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task("chains", total=ledger.plan.items, completed=ledger.items)
        yield lambda: bars.update(task, completed=ledger.items)


def check_policy(folder: Path, source: str, sha256: str) -> None:
    """Note who is rolled out; refuse to go on with another.

    Raises:
        InputError: if the chains there are another model's.
    """
    path, record = folder / "policy.json", {"source": source, "sha256": sha256}
    if path.exists():
        there = json.loads(path.read_text(encoding="utf-8"))
        if there != record:
            raise InputError(
                f"expected to go on with the model {there['sha256'][:12] or there['source']} in "
                f"{folder}, got {sha256[:12] or source}; begin anew or give another work folder"
            )
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")


def _same_recipe(recipe: ChainsRecipe, folder: Path) -> None:
    """Write the recipe; refuse one that would say other things than what is there."""
    path, digest = folder / "recipe.yaml", folder / "recipe.json"
    record = {k: v for k, v in recipe.model_dump(mode="json").items() if k not in _FREE}
    if digest.exists():
        there = json.loads(digest.read_text(encoding="utf-8"))
        other = sorted(k for k in {*there, *record} if there.get(k) != record.get(k))
        if other:
            raise InputError(
                f"expected the recipe whose chains are in {folder}, got another "
                f"{', '.join(other)}; begin anew or give another work folder"
            )
    write_recipe(recipe, path)
    digest.write_text(json.dumps(record) + "\n", encoding="utf-8")


def _teacher(recipe: ChainsRecipe, work: Path, device: str) -> Policy:
    """The model that is rolled out; of ``reference`` only what tells how prompts are written."""
    told = recipe.model.source == "reference"
    choice = recipe.model.model_copy(update={"source": "embedded"}) if told else recipe.model
    policy = load_policy(choice, work, device, recipe.seed, trained=False)
    return replace(policy, source="reference", sha256="") if told else policy


def _engine(policy: Policy, recipe: ChainsRecipe) -> Any:
    if recipe.model.source == "reference":
        from ..rollouts.reference import Reference

        return Reference(policy)
    if recipe.sampling.engine == "vllm":
        from ..rollouts.vllm import VllmEngine

        return VllmEngine(policy, recipe.sampling)
    from ..rollouts.engine import Engine

    return Engine(policy, recipe.sampling)


def _twin(policy: Policy, task: Task) -> tuple[str, Line]:
    """Digest and record of the twin's text, as the prompt has it after the system text."""
    told = system(TRAINED, policy.style, policy.layout)
    text = prompt_texts(policy, task)[0].removeprefix(told)
    sha = hashlib.sha256(text.encode()).hexdigest()[:16]
    source, _, rest = task.key.partition("/")
    world = rest.partition("/")[0]
    seed = int(world) if source == "worlds" and world.isdigit() else crc32(sha.encode())
    return sha, {"seed": seed, "text": text}


def _line(
    index: int, sample: int, sha: str, task: Task, rollout: Rollout | None, leak: str
) -> Line:
    """One line of ``chains.jsonl``; without a rollout, why the task was not asked."""
    return {
        "index": index,
        "sample": sample,
        "key": task.key,
        "twin": sha,
        "question": task.question,
        "mode": task.mode,
        "turns": [[asked, list(ids)] for asked, ids in task.turns],
        "level": task.level,
        "text": rollout.text if rollout else "",
        "iou": round(rollout.iou, 6) if rollout else 0.0,
        "ending": rollout.ending if rollout else "leak",
        "ids": list(rollout.ids) if rollout and rollout.ids is not None else None,
        "tokens": dict(rollout.tokens) if rollout else {},
        "message": rollout.message if rollout else leak,
    }
