"""After training: measure on validation, export, and replace the shipped reasoner if better.

Not covered: pixels to masks (``edgetwin eval twinbench --models`` with the bundle).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...reasoner.bundle import EMBEDDED, load_bundle
from ...twin.errors import InputError
from ..embedded import Outcome, replace_if_better
from ..evaluate.distilled import Asked, measure_bundle, measure_checkpoint, questions_of
from ..evaluate.report import Table, write_json
from .pipeline import FinishedStage, finished_of, stage_table
from .recipe import Stage
from .student import export_student, merge

__all__ = ["best_stage", "finish", "measure_stages", "replace_embedded"]

_MEASURED: tuple[Stage, ...] = ("teacher", "sft", "grpo")


def measure_stages(
    work: Path, asked: Sequence[Asked], *, device: str = "cpu"
) -> dict[str, dict[str, Any]]:
    """Figures of teacher, SFT and GRPO student where they are there; kept in ``scores.json``.

    What was measured before with the same weights on the same questions is not measured again.
    """
    path = work / "scores.json"
    known = _read(path)
    told = hashlib.sha256("\n".join(one.task.key for one in asked).encode()).hexdigest()[:16]
    scores: dict[str, dict[str, Any]] = {}
    for stage in _MEASURED:
        done = finished_of(work, stage)
        if done is None:
            continue
        model = merge(work / stage)
        key = f"{done.digest} {_digest(model)} {told}"
        old = known.get(stage)
        if isinstance(old, dict) and old.get("key") == key:
            scores[stage] = old
        else:
            scores[stage] = {"key": key, **measure_checkpoint(model, asked, device=device)}
        path.write_text(json.dumps({**known, **scores}, indent=1) + "\n", encoding="utf-8")
    return scores


def best_stage(scores: Mapping[str, Mapping[str, Any]]) -> Stage:
    """The student to ship: SFT or GRPO, whichever names more answers exactly, then with fewer
    tokens.

    Raises:
        InputError: if neither was measured.
    """
    found: list[tuple[float, float, Stage]] = []
    for stage in ("sft", "grpo"):
        group = scores.get(stage, {}).get("groups", {}).get("all")
        if group:
            found.append((float(group["exact"]), -float(group["generated_tokens"]), stage))
    if not found:
        raise InputError("expected scores of stage sft or grpo, got none; run them first")
    return max(found)[2]


def replace_embedded(
    candidate: Path,
    asked: Sequence[Asked],
    shipped: Path = EMBEDDED,
    *,
    margin: float = 0.0,
    probe_worlds: int = 40,
    judge: Callable[[Path], float] | None = None,
) -> Outcome:
    """Put the student in the place of the shipped reasoner if it names more answers exactly.

    Both answer, through the device's own code, ``asked`` (validation, never test) and the kinds of
    questions that it lacks (:mod:`..reasoner.probes`: other modes, follow-ups, numbers and times,
    twins shown in part) of ``probe_worlds`` validation worlds; the score is the share of exact
    answers of all together. A student that was not trained for all that the shipped one does
    (modes, tools, earlier questions) is refused whatever its score.

    Raises:
        InputError: if the student does less than the shipped one.
        ModelError: if the candidate cannot be loaded.
    """
    new, old = load_bundle(candidate), load_bundle(shipped)
    lost: list[str] = sorted(set(old.modes) - set(new.modes))
    if old.tools is not None and new.tools is not None:
        lost += sorted(old.tools - new.tools)
    if old.turns > new.turns:
        lost.append("earlier questions")
    if lost or new.layout != old.layout or new.style != old.style:
        raise InputError(
            f"expected a student that does all that {old.name} does, got one without "
            f"{', '.join(lost) or 'its form of prompt'}; begin with the embedded weights, or "
            "train these too"
        )

    def exact(folder: Path) -> float:
        return _exact(folder, asked, probe_worlds)

    return replace_if_better("reasoner", candidate, shipped, judge or exact, margin)


def finish(
    work: Path,
    finished: Sequence[FinishedStage],
    *,
    device: str = "auto",
    worlds: int | None = None,
    render: bool = True,
    cache: Path = Path("runs/twinbench"),
    export: bool = True,
    gguf: str | None = None,
    replace: bool = False,
    shipped: Path = EMBEDDED,
    report: Callable[[str], None] = lambda line: None,
) -> Table:
    """Everything after the last stage: measure, export the better student, replace if asked.

    Returns the table of stages with acceptance, minutes, exact ids and tokens; it is also written
    to ``<work>/report.json``.

    Raises:
        InputError: if the student is to replace the shipped one and does less than it.
    """
    asked = questions_of("val", "cell", worlds, cache, render=render)
    report(f"measuring on {len(asked)} validation questions")
    scores = measure_stages(work, asked, device=device)
    table = stage_table(work, finished, scores)
    write_json([table], work / "report.json", scores=scores)
    if export:
        stage = best_stage(scores)
        exported = export_student(work, stage, gguf=gguf, scores=scores)
        report(f"exported {stage} to {exported.folder}")
        if replace:
            report(str(replace_embedded(exported.folder, asked, shipped)))
    return table


def _exact(folder: Path, asked: Sequence[Asked], probe_worlds: int) -> float:
    """Share of exact answers to frozen and other validation questions."""
    from ...reasoner.models.opening import open_model
    from ...reasoner.rollout import Reasoner
    from ..reasoner.probes import ask, probes

    reasoner = Reasoner(open_model(str(folder)))
    found = [ask(reasoner, probe).right for probe in probes(probe_worlds)]
    figures = measure_bundle(folder, asked)["groups"]["all"]
    right = sum(found) + figures["exact"] * figures["count"]
    return float(right / max(1, len(found) + figures["count"]))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(model: Path) -> str:
    """Hash of a transformers folder's weights."""
    digest = hashlib.sha256()
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]
