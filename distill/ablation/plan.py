"""What a row of the ablation needs, as steps that rows share.

A step is a stage with its recipe and the steps it reads; its digest names its folder, so what
several rows need (teacher, chains, the SFT of most rows) is made once. A step's folder is a work
folder of its own: its stage is written there, its inputs are links to the folders of theirs.

Not covered: steps on other machines.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ...twin.errors import InputError
from ..stages.pipeline import FinishedStage, Runner, digest_of, recipes_of, run_stage
from ..stages.recipe import STAGES, ChainsRecipe, GrpoRecipe, Recipe, Stage, load_recipe
from .convert import convert
from .table import BASE, Conversion, Row, rows_of

__all__ = ["Step", "folder_of", "run_step", "student_of"]

_SEEDED: tuple[Stage, ...] = ("sft", "grpo")  # teacher and chains are the same for every seed


@dataclass(frozen=True)
class Step:
    """A stage that is to be run, and all that stands before it in its row; ``detailed`` are
    chains to convert with."""

    recipe: Recipe
    inputs: Mapping[Stage, Step]
    convert: Conversion = "none"
    detailed: Step | None = None

    @property
    def stage(self) -> Stage:
        """Which stage it is."""
        return self.recipe.stage

    @cached_property
    def digest(self) -> str:
        """Names the folder: the same for steps that give the same."""
        told = self.convert + (self.detailed.digest if self.detailed else "")
        known: dict[Stage, str] = {stage: step.digest for stage, step in self.inputs.items()}
        return digest_of(self.recipe, known, told)


def student_of(
    row: Row,
    seed: int,
    *,
    base: str | Path = BASE,
    changes: Mapping[str, Any] | None = None,
) -> Step:
    """The last step of a row for a seed, with all that it stands on.

    Args:
        row: of the table.
        seed: of SFT and GRPO; teacher and chains keep their recipes'.
        base: the set of recipes that rows change.
        changes: values by ``<stage>.<key>`` for all rows, under the row's own.

    Raises:
        InputError: if the recipes and the row do not go together.
    """
    recipes = _recipes(row, base, changes)
    inputs: dict[Stage, Step] = {}
    if row.teacher is not None:
        other = student_of(rows_of([row.teacher])[0], 0, base=base, changes=changes)
        inputs["teacher"] = other
    for stage in STAGES:
        if stage in row.without or (stage == "teacher" and row.teacher is not None):
            continue
        recipe = recipes[stage]
        if stage in _SEEDED:
            recipe = recipe.model_copy(update={"seed": seed})
        step = Step(recipe, dict(inputs))
        step.digest  # noqa: B018  raises if it reads what is not there
        inputs[stage] = _converted(row, step) if stage == "chains" else step
    return inputs[next(s for s in reversed(STAGES) if s in inputs)]


def folder_of(work: Path, step: Step) -> Path:
    """The work folder of a step."""
    return work / "steps" / step.digest


def run_step(
    step: Step,
    work: Path,
    *,
    device: str = "auto",
    runners: Mapping[Stage, Runner] | None = None,
) -> list[FinishedStage]:
    """Run a step after those that it reads; what is finished is skipped. Returns all of them."""
    order: dict[str, Step] = {}
    _in_order(step, order)
    return [_run_one(one, work, device, runners) for one in order.values()]


def _in_order(step: Step, order: dict[str, Step]) -> None:
    """Add a step to ``order`` after all that stands before it, each once."""
    for other in (*step.inputs.values(), *([step.detailed] if step.detailed else [])):
        if other.digest not in order:
            _in_order(other, order)
    order[step.digest] = step


def _run_one(
    step: Step, work: Path, device: str, runners: Mapping[Stage, Runner] | None
) -> FinishedStage:
    folder = folder_of(work, step)
    folder.mkdir(parents=True, exist_ok=True)
    for stage, other in step.inputs.items():
        if stage != step.stage:  # a conversion reads the chains that it replaces elsewhere
            _link(folder / stage, folder_of(work, other) / other.stage)
    _share_calibration(step, work, folder)
    runner = None if runners is None else runners.get(step.stage)
    if step.convert != "none":
        runner = _converting(step, work)
    return run_stage(step.recipe, folder, device=device, digest=step.digest, runner=runner)


def _share_calibration(step: Step, work: Path, folder: Path) -> None:
    """A local judge is calibrated once per teacher: its folder is a link as well."""
    judge = step.recipe.judge if isinstance(step.recipe, GrpoRecipe) else None
    if judge is None or judge.kind != "local" or (folder / "judge").is_dir():
        return
    teacher = step.inputs.get("teacher")
    told = f"{teacher.digest if teacher else ''} {judge.model_dump_json()}"
    shared = work / "judges" / hashlib.sha256(told.encode()).hexdigest()[:16]
    shared.mkdir(parents=True, exist_ok=True)
    _link(folder / "judge", shared)


def _recipes(row: Row, base: str | Path, changes: Mapping[str, Any] | None) -> dict[Stage, Recipe]:
    """The base recipes with a row's changes, without the stages that it leaves out; without SFT
    GRPO begins where SFT would have."""
    wanted = {**(changes or {}), **row.changes}
    out: tuple[Stage, ...] = row.without if row.teacher is None else (*row.without, "teacher")
    wanted = {k: v for k, v in wanted.items() if k.partition(".")[0] not in out}
    stages = [stage for stage in STAGES if stage not in out]
    recipes = recipes_of(base, wanted, None, stages)
    missing = [stage for stage in stages if stage not in recipes]
    if missing:
        raise InputError(f"expected {missing[0]}.yaml in the recipes {base}, got none")
    if "sft" in row.without and recipes["grpo"].model.source == "stage:sft":
        begin: Recipe = load_recipe(base, "sft", _of_stage(changes, "sft"))
        recipes["grpo"] = recipes["grpo"].model_copy(update={"model": begin.model})
    return recipes


def _of_stage(changes: Mapping[str, Any] | None, stage: Stage) -> dict[str, Any]:
    """The changes of one stage, without its name."""
    found = {k.partition("."): v for k, v in (changes or {}).items()}
    return {rest: v for (name, _, rest), v in found.items() if name == stage}


def _converted(row: Row, chains: Step) -> Step:
    """The chains as SFT reads them."""
    if row.chains == "none":
        return chains
    detailed = None
    if row.chains == "explained":
        recipe = chains.recipe
        assert isinstance(recipe, ChainsRecipe)
        if recipe.data.worlds is None:
            raise InputError("expected worlds in the chains' recipe for explained chains, got none")
        worlds = recipe.data.worlds.model_copy(update={"modes": ["detailed"]})
        data = recipe.data.model_copy(update={"worlds": worlds})
        detailed = replace(chains, recipe=recipe.model_copy(update={"data": data}))
    return Step(chains.recipe, {**chains.inputs, "chains": chains}, row.chains, detailed)


def _converting(step: Step, work: Path) -> Runner:
    def run(recipe: Recipe, folder: Path, **_: Any) -> dict[str, float]:
        chains = step.inputs["chains"]
        source = folder_of(work, chains) / "chains" / "kept.jsonl"
        other = step.detailed
        detailed = folder_of(work, other) / "chains" / "kept.jsonl" if other is not None else None
        target = folder / "chains" / "kept.jsonl"
        return {"kept": float(convert(step.convert, source, target, detailed))}

    return run


def _link(link: Path, target: Path) -> None:
    """A relative link, so that the work folder can be moved."""
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        shutil.rmtree(link)
    link.symlink_to(os.path.relpath(target, link.parent), target_is_directory=True)
