"""The whole recipe, stage by stage: teacher, chains, SFT, GRPO, each only where it is missing.

A stage's folder says in ``done.json`` what it was made with: the hash of its recipe, of the
recipes that it stands on and of the seed. A stage is skipped when that is what would be made now,
resumed when it was stopped in the middle, and made anew (with all that stands on it) when its
recipe has changed.

Not covered: stages on several machines at once (see the launch files beside the recipes); two
runs in one folder at the same time.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...reasoner.bundle import EMBEDDED
from ...twin.errors import InputError
from ...twin.files import sha256_of
from ..evaluate.report import Table
from .recipe import RECIPES, STAGES, ChainsRecipe, GrpoRecipe, Recipe, Stage, load_recipe

__all__ = [
    "FinishedStage",
    "digest_of",
    "finished_of",
    "inputs_of",
    "recipes_of",
    "run_recipe",
    "run_stage",
    "stage_table",
]

_NO_RESULT = ("track", "log_every", "save_every", "engine", "workers")
"""Settings that do not change what comes out."""
_SOURCE = "stage:"
Runner = Callable[..., dict[str, float]]


@dataclass(frozen=True, slots=True)
class FinishedStage:
    """A stage with what it gave; ``ran`` is False where it was there already."""

    stage: Stage
    digest: str
    seconds: float
    ran: bool = True
    figures: Mapping[str, float] = field(default_factory=dict)


def inputs_of(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of the same work folder that a recipe reads, in the order of the recipe."""
    names = {s.removeprefix(_SOURCE) for s in _sources(recipe) if s.startswith(_SOURCE)}
    return tuple(stage for stage in STAGES if stage in names)


def _sources(recipe: Recipe) -> list[str]:
    """Everything that a recipe begins with or reads, as it names it."""
    sources = [recipe.model.source]
    if isinstance(recipe, GrpoRecipe):
        if recipe.judge is not None and recipe.judge.model is not None:
            sources.append(recipe.judge.model.source)
    elif not isinstance(recipe, ChainsRecipe):
        sources.append(recipe.chains)
    return sources


def _weights_in(source: str) -> str:
    """Hash of the weights or chains in a folder or file; empty for what is none."""
    place = EMBEDDED if source == "embedded" else Path(source)
    files = sorted(place.glob("*.safetensors")) if place.is_dir() else [place]
    return " ".join(sha256_of(file)[:16] for file in files if file.is_file())


def digest_of(recipe: Recipe, inputs: Mapping[Stage, str], extra: str = "") -> str:
    """Hash (16 hex digits) of a recipe, of the stages and weights that it reads and of ``extra``.

    Raises:
        InputError: if the recipe reads a stage that has no digest in ``inputs``.
    """
    needed = inputs_of(recipe)
    missing = [stage for stage in needed if stage not in inputs]
    if missing:
        raise InputError(
            f"stage {recipe.stage}: expected the result of stage {missing[0]} in the same folder, "
            f"got none; run 'edgetwin distill {missing[0]}' with the same --work first"
        )
    plain = recipe.model_dump(mode="json")
    for name in _NO_RESULT:
        plain.pop(name, None)
    begun = {source: _weights_in(source) for source in _sources(recipe)}
    told = json.dumps(
        [plain, {stage: inputs[stage] for stage in needed}, begun, extra], sort_keys=True
    )
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def finished_of(work: Path, stage: Stage) -> FinishedStage | None:
    """What ``done.json`` of a stage says; None if the stage is not finished."""
    try:
        record = json.loads((work / stage / "done.json").read_text(encoding="utf-8"))
        figures = {k: float(v) for k, v in record["figures"].items()}
        return FinishedStage(stage, record["digest"], float(record["seconds"]), False, figures)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def recipes_of(
    name: str | Path,
    changes: Mapping[str, Any] | None = None,
    seed: int | None = None,
    stages: Sequence[Stage] = STAGES,
) -> dict[Stage, Recipe]:
    """The recipes of a set or folder; a stage whose file it lacks is left out.

    Args:
        name: a set of the package (``smoke``) or a folder with ``<stage>.yaml`` files.
        changes: values by ``<stage>.<key>``, such as ``{"grpo.steps": 3}``.
        seed: of every stage, in place of the recipes' own.
        stages: which ones.

    Raises:
        InputError: for an unknown set, stage or key.
    """
    by_stage: dict[str, dict[str, Any]] = {}
    for key, value in (changes or {}).items():
        stage, dot, rest = key.partition(".")
        if stage not in STAGES or not dot:
            raise InputError(
                f"expected <stage>.<key> with a stage among {', '.join(STAGES)}, got {key!r}; "
                "for instance grpo.steps=20"
            )
        by_stage.setdefault(stage, {})[rest] = value
    found: dict[Stage, Recipe] = {}
    for stage in stages:
        if not any((p / f"{stage}.yaml").is_file() for p in (Path(name), RECIPES / str(name))):
            continue
        recipe = load_recipe(name, stage, by_stage.get(stage))
        found[stage] = recipe if seed is None else recipe.model_copy(update={"seed": seed})
    if not found:
        load_recipe(name, stages[0])  # says which sets there are
    unused = sorted(set(by_stage) - set(found))
    if unused:
        raise InputError(f"expected changes of the stages {', '.join(found)}, got {unused[0]}")
    return found


def run_stage(
    recipe: Recipe,
    work: Path,
    *,
    device: str = "auto",
    resume: bool = True,
    digest: str | None = None,
    runner: Runner | None = None,
) -> FinishedStage:
    """Run one stage in its work folder unless it is finished there with this recipe.

    A result of another recipe in the folder is made anew. ``digest`` (see :func:`digest_of`) is
    computed from the stages in ``work`` if it is not given; ``runner`` replaces the stage's
    function.

    Raises:
        InputError: if a stage that it reads is not finished.
    """
    stage: Stage = recipe.stage
    if digest is None:
        found = (finished_of(work, needed) for needed in inputs_of(recipe))
        digest = digest_of(recipe, {done.stage: done.digest for done in found if done})
    folder = work / stage
    before = finished_of(work, stage)
    if resume and before is not None and before.digest == digest:
        return before
    begun = work / f"{stage}.begun.json"  # beside the folder, which a stage may empty
    same = _digest_in(begun) == digest
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "done.json").unlink(missing_ok=True)
    begun.write_text(json.dumps({"digest": digest}) + "\n", encoding="utf-8")
    started = time.monotonic()
    run = runner or _runner(stage)
    figures = run(recipe, work, device=device, resume=resume and same)
    seconds = time.monotonic() - started
    plain = {k: float(v) for k, v in figures.items() if isinstance(v, int | float)}
    record = {"digest": digest, "seconds": round(seconds, 1), "figures": plain}
    partial = folder / "done.part"
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / "done.json")
    return FinishedStage(stage, digest, seconds, True, plain)


def run_recipe(
    name: str | Path,
    work: Path,
    *,
    changes: Mapping[str, Any] | None = None,
    seed: int | None = None,
    device: str = "auto",
    resume: bool = True,
    report: Callable[[str], None] = lambda line: None,
    runners: Mapping[Stage, Runner] | None = None,
) -> list[FinishedStage]:
    """All stages of a set in the order teacher, chains, SFT, GRPO.

    Args:
        name: a set of the package or a folder of recipes.
        work: where every stage writes into its own folder.
        changes: see :func:`recipes_of`.
        seed: of every stage, in place of the recipes' own.
        device: auto, cpu or cuda.
        resume: skip what is finished and go on with what was stopped; False begins anew.
        report: told what happens, a line at a time.
        runners: functions in place of the stages' own.
    """
    recipes = recipes_of(name, changes, seed)
    digests: dict[Stage, str] = {}
    finished: list[FinishedStage] = []
    for stage, recipe in recipes.items():
        digests[stage] = digest_of(recipe, digests)
        report(f"{stage}: begins ({work / stage})")
        own = None if runners is None else runners.get(stage)
        done = run_stage(
            recipe, work, device=device, resume=resume, digest=digests[stage], runner=own
        )
        report(f"{stage}: {_told(done)}")
        finished.append(done)
    return finished


def stage_table(
    work: Path, finished: Sequence[FinishedStage], scores: Mapping[str, Mapping[str, Any]]
) -> Table:
    """What every stage took and gave.

    ``scores`` holds, by ``teacher``, ``sft`` and ``grpo``, the figures of the held-out questions
    (see :mod:`..evaluate.distilled`).
    """
    rows = []
    for done in finished:
        group = scores.get(done.stage, {}).get("groups", {}).get("all", {})
        kept = _chains_report(work) if done.stage == "chains" else {}
        rows.append(
            (
                done.stage,
                "ran" if done.ran else "was there",
                round(done.seconds / 60, 1),
                kept.get("acceptance"),
                kept.get("kept"),
                group.get("exact"),
                group.get("rationale_tokens"),
                group.get("generated_tokens"),
            )
        )
    columns = (
        *("stage", "this time", "minutes", "accepted", "chains kept"),
        *("exact ids", "rationale tokens", "own tokens"),
    )
    note = "Exact ids and tokens: TwinBench validation, cell tier, true twins, greedy, no grammar."
    return Table(f"Distillation in {work.name}", columns, tuple(rows), (note,))


def _told(done: FinishedStage) -> str:
    if not done.ran:
        return f"was finished (took {done.seconds / 60:.1f} minutes)"
    figures = ", ".join(f"{k} {v:.4g}" for k, v in sorted(done.figures.items())[:6])
    return f"{done.seconds / 60:.1f} minutes" + (f"; {figures}" if figures else "")


def _digest_in(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _chains_report(work: Path) -> dict[str, Any]:
    """Acceptance rate and number of chains kept, as ``chains/report.json`` has them."""
    try:
        report = json.loads((work / "chains" / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {"kept": report.get("kept"), "acceptance": report.get("acceptance")}


def _runner(stage: Stage) -> Runner:
    """The function of a stage, imported when it is needed."""
    if stage == "chains":
        from .chains import run_chains

        return run_chains
    if stage == "sft":
        from .sft import run_sft

        return run_sft
    from .grpo import run_grpo

    return run_grpo
