"""What refinement was asked and what it did, as figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..sim.questions import Question
from .report import Table

__all__ = [
    "POLICIES",
    "Asked",
    "Missing",
    "Policy",
    "Refined",
    "level_table",
    "ms_figures",
    "refine_figures",
    "refine_table",
    "time_table",
]

Missing = Literal["all", "some"]
Policy = Literal["static", "detect planned", "find looks", "full", "program"]
POLICIES: tuple[Policy, ...] = ("static", "detect planned", "find looks", "full", "program")


@dataclass(frozen=True)
class Asked:
    """A question, the words that were looked for, and the nouns of its program that were not."""

    question: Question
    words: tuple[str, ...]
    missing: tuple[str, ...]
    kind: Missing


@dataclass(frozen=True)
class Refined:
    """What one policy made of one question."""

    policy: Policy
    asked: Asked
    exact: bool
    j: float
    f: float
    calls: int = 0
    frames: int = 0
    planned: bool = False  # the plan itself called detect
    status: str = "ok"


def ms_figures(times: Sequence[tuple[float, float, int]]) -> dict[str, Any]:
    """Medians of (milliseconds of an answer, of looking in it, frames looked at)."""
    if not times:
        return {"count": 0}
    answer, refine, frames = (np.array(column, float) for column in zip(*times, strict=True))
    return {
        "count": len(times),
        "answer_median_ms": float(np.median(answer)),
        "refine_median_ms": float(np.median(refine)),
        "refine_p95_ms": float(np.percentile(refine, 95)),
        "refine_ms_per_frame": float(refine.sum() / frames.sum()),
    }


def refine_figures(found: Sequence[Refined]) -> dict[str, Any]:
    """Per policy and per group of questions: count, exact ids, J, F, calls and frames."""
    policies = dict.fromkeys(one.policy for one in found)
    return {
        policy: {
            name: _figures(chosen)
            for name, chosen in _groups([one for one in found if one.policy == policy]).items()
        }
        for policy in policies
    }


def _groups(found: Sequence[Refined]) -> dict[str, list[Refined]]:
    groups: dict[str, list[Refined]] = {
        "all nouns missing": [one for one in found if one.asked.kind == "all"],
        "some nouns missing": [one for one in found if one.asked.kind == "some"],
    }
    for level in (1, 2, 3, 4):
        groups[f"level {level}"] = [o for o in found if o.asked.question.level == level]
    groups["all"] = list(found)
    return {name: chosen for name, chosen in groups.items() if chosen}


def _figures(found: Sequence[Refined]) -> dict[str, Any]:
    return {
        "count": len(found),
        "exact": float(np.mean([one.exact for one in found])),
        "j": float(np.mean([one.j for one in found])),
        "f": float(np.mean([one.f for one in found])),
        "calls": float(np.mean([one.calls for one in found])),
        "frames": float(np.mean([one.frames for one in found])),
        "planned": float(np.mean([one.planned for one in found])),
        "errors": sum(one.status == "error" for one in found),
    }


_TITLES: dict[str, str] = {
    "static": "static twin",
    "detect planned": "refined: the plan calls detect",
    "find looks": "refined: find looks by itself",
    "full": "all words from the start",
    "program": "the question's program, refined",
}


def refine_table(found: Sequence[Refined], where: str) -> Table:
    """Exact ids, J and F by policy, for all nouns missing and for some."""
    rows = []
    for policy, groups in refine_figures(found).items():
        for name in ("all nouns missing", "some nouns missing", "all"):
            if name in groups:
                row = groups[name]
                keys = ("count", "exact", "j", "f", "calls", "frames", "errors")
                rows.append((f"{_TITLES[policy]}, {name}", *(row[key] for key in keys)))
    return Table(
        f"Words that were not looked for, {where}",
        ("twin", "count", "exact ids", "J", "F", "looks", "frames", "errors"),
        tuple(rows),
        ("looks: calls per answer that looked again; frames: of 32 that they looked at",),
    )


def level_table(found: Sequence[Refined], where: str) -> Table:
    """Exact ids by policy and level."""
    figures = refine_figures(found)
    names = [f"level {level}" for level in (1, 2, 3, 4)]
    rows = []
    for policy, groups in figures.items():
        cells = [groups[name]["exact"] if name in groups else None for name in names]
        rows.append((_TITLES[policy], groups["all"]["count"], *cells, groups["all"]["exact"]))
    return Table(
        f"Words that were not looked for, exact ids by level, {where}",
        ("twin", "count", *names, "all"),
        tuple(rows),
    )


def time_table(times: Sequence[tuple[float, float, int]], where: str) -> Table:
    """What looking again takes."""
    ms = ms_figures(times)
    names = ("answer_median_ms", "refine_median_ms", "refine_p95_ms", "refine_ms_per_frame")
    row = ("find looks by itself", ms["count"], *(ms.get(name) for name in names))
    return Table(
        f"What looking again takes, {where}",
        ("policy", "answers", "answer ms", "looking ms", "95 %", "ms per frame"),
        (row,),
        ("median of answers that looked; one thread per network",),
    )
