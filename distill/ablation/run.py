"""The ablation: every row for every seed within a budget, then its table and its plot.

Rows are run one after the other, all seeds of a row before the next row, so that what is there when the time
is over is complete. A run that was stopped goes on where it was.

Scored on the true twins of TwinBench: exact ids, J (mean mask IoU of the answered with the true
objects) and tokens, by greedy decoding without a grammar.

A row that cannot be run (its teacher keeps no chain, say) is reported and left out.

Not covered: F (contours): with true twins an answered mask is exact, so F says what J says.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ...twin.errors import EdgeTwinError, InputError
from ..evaluate.distilled import Asked, measure_checkpoint, questions_of
from ..evaluate.report import Table, write_json
from ..stages.pipeline import Runner
from ..stages.recipe import Stage
from ..twinbench import BenchSplit
from .plan import Step, folder_of, run_step, student_of
from .table import BASE, Row, rows_of

__all__ = ["Measured", "ablation_table", "run_ablation"]

Measure = Callable[[Path, Sequence[Asked]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Measured:
    """A row's figures, one mapping per seed that was run, and the minutes that they took."""

    row: Row
    runs: tuple[Mapping[str, Any], ...]
    minutes: float


def run_ablation(
    work: Path,
    *,
    base: str | Path = BASE,
    rows: Sequence[str] | None = None,
    seeds: int = 3,
    minutes: float | None = None,
    split: BenchSplit = "val",
    limit: int | None = None,
    render: bool = True,
    cache: Path = Path("runs/twinbench"),
    device: str = "auto",
    changes: Mapping[str, Any] | None = None,
    report: Callable[[str], None] = lambda line: None,
    runners: Mapping[Stage, Runner] | None = None,
    measure: Measure | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Measured]:
    """Run rows x seeds; write ``table.json`` and ``table.md`` into ``work`` after every run, and
    ``ablation.png`` after the last.

    Args:
        work: folder of steps and results.
        base: recipes that rows change.
        rows: names; all when left out.
        seeds: how many, from 0.
        minutes: budget; a run is begun only if one like the longest so far would end in time.
            None: no limit.
        split: of TwinBench; ``test`` only for the final table.
        limit: worlds of it.
        render: exact twins of TwinBench.
        cache: where rendered worlds are kept.
        device: auto, cpu or cuda.
        changes: values by ``<stage>.<key>`` for all rows.
        report: told what happens, a line at a time.
        runners: functions in place of the stages' own.
        measure: gives the figures of a transformers folder, in place of greedy decoding.
        clock: seconds; tests replace it.

    Raises:
        InputError: for unknown rows, or no seed.
    """
    if seeds < 1 or (minutes is not None and minutes <= 0):
        raise InputError(f"expected seeds and minutes above 0, got {seeds} and {minutes}")
    chosen = rows_of(rows)
    # every row is checked before any is run
    plan = [
        (row, s, student_of(row, s, base=base, changes=changes))
        for row in chosen
        for s in range(seeds)
    ]
    asked = questions_of(split, "cell", limit, cache, render=render)
    measure = measure or partial(measure_checkpoint, device=device)
    started, longest = clock(), 0.0
    runs: dict[str, list[dict[str, Any]]] = {row.name: [] for row in chosen}
    spent: dict[str, float] = dict.fromkeys(runs, 0.0)
    for row, seed, step in plan:
        if minutes is not None and clock() - started + longest > 60 * minutes:
            report(f"{row.name}, seed {seed}: left out, the time is over")
            continue
        begun = clock()
        report(f"{row.name}, seed {seed}: begins ({folder_of(work, step).name})")
        try:
            for done in run_step(step, work, device=device, runners=runners):
                if done.ran:
                    report(f"  {done.stage}: {done.seconds / 60:.1f} minutes")
            found = _measured(step, row, asked, work, measure)
        except EdgeTwinError as error:  # a teacher that keeps no chain, say: a row, not the table
            report(f"  failed: {error}")
            continue
        runs[row.name].append(found)
        spent[row.name] += clock() - begun
        longest = max(longest, clock() - begun)
        group = found["groups"]["all"]
        report(f"  exact {group['exact']:.3f}, J {group['iou']:.3f}")
        _write(work, _all(chosen, runs, spent), split, len(asked), draw=False)
    measured = _all(chosen, runs, spent)
    _write(work, measured, split, len(asked), draw=bool(measured))
    return measured


def ablation_table(measured: Sequence[Measured], where: str) -> Table:
    """One row per configuration: mean over seeds and spread, beside the paper's J."""
    columns = (
        *("configuration", "seeds", "exact ids", "±", "J", "± J", "rationale tokens"),
        *("own tokens", "no answer", "paper's J"),
    )
    rows = []
    for one in measured:
        groups = [run["groups"]["all"] for run in one.runs]
        exact = [float(group["exact"]) for group in groups]
        ious = [float(group["iou"]) for group in groups]
        rows.append(
            (
                one.row.title,
                len(groups),
                _mean(exact),
                _spread(exact),
                _mean(ious),
                _spread(ious),
                _mean([float(group["rationale_tokens"]) for group in groups]),
                _mean([float(group["generated_tokens"]) for group in groups]),
                _mean([float(run["broken"]) for run in one.runs]),
                one.row.paper_j,
            )
        )
    notes = (
        "Mean over seeds; ±: sample standard deviation over seeds.",
        "The paper's J is of a 1.7B student on JiTBench: compare the order of rows, not figures.",
        *(f"{one.row.title}: {one.row.meaning}." for one in measured),
    )
    return Table(f"Ablation, {where}", columns, tuple(rows), notes)


def _measured(
    step: Step, row: Row, asked: Sequence[Asked], work: Path, measure: Measure
) -> dict[str, Any]:
    """Figures of a row's student, kept beside its step."""
    if row.mode != "concise":
        asked = [Asked(one.question, replace(one.task, mode=row.mode)) for one in asked]
    folder = folder_of(work, step)
    told = f"{row.mode} {asked[0].task.key} {asked[-1].task.key} {len(asked)}"
    path = folder / "scores.json"
    if path.is_file():
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if known.get("told") == told:
            return known
    found = measure(folder / step.stage / "model", asked)
    found = {"told": told, "digest": step.digest, **found}
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def _all(
    rows: Sequence[Row], runs: Mapping[str, Sequence[dict[str, Any]]], spent: Mapping[str, float]
) -> list[Measured]:
    return [
        Measured(row, tuple(runs[row.name]), spent[row.name] / 60) for row in rows if runs[row.name]
    ]


def _write(
    work: Path, measured: Sequence[Measured], split: str, questions: int, *, draw: bool
) -> None:
    """Table and plot of what is there so far."""
    where = f"TwinBench {split}, cell tier, true twins, {questions} questions"
    table = ablation_table(measured, where)
    figures = {one.row.name: {"minutes": one.minutes, "runs": one.runs} for one in measured}
    write_json([table], work / "table.json", figures=figures)
    (work / "table.md").write_text(table.markdown() + "\n", encoding="utf-8")
    if not draw:
        return
    try:
        from ..cards.canvas import save
        from ..cards.learning import draw_ablation
    except ImportError:  # the [viz] extra: the table stands without its picture
        return
    names = [one.row.title for one in measured]
    exact = [[float(run["groups"]["all"]["exact"]) for run in one.runs] for one in measured]
    ious = [[float(run["groups"]["all"]["iou"]) for run in one.runs] for one in measured]
    paper = [one.row.paper_j for one in measured]
    save(draw_ablation(names, exact, ious, paper, where), work / "ablation.png")


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None


def _spread(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None
