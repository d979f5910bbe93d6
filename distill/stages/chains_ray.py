"""Chains of the teacher over the workers of a Ray cluster (``engine: ray``).

A worker loads the teacher once and rolls out whole parts; the ledger takes each part once, in the
process that was started. Every rollout has a seed of its own, so the files are those that one
process would have written (on the same kind of machine), however many workers there are and
whichever of them die.

Not covered: a model that is spread over several GPUs.
"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from ..tasks.worlds import tasks_of
from .chains import Roller, bar_of, check_policy, close, deadline_of, plan_of
from .ledger import Ledger, Part
from .recipe import ChainsRecipe
from .spread import spread

__all__ = ["ChainsWorker", "roll_with_ray"]


class ChainsWorker:
    """A teacher on a worker; ``recipe`` as plain values."""

    def __init__(self, recipe: dict[str, Any], work: str, device: str) -> None:
        self._roller = Roller(ChainsRecipe.model_validate(recipe), Path(work), device)

    def piece(self, number: int) -> dict[str, Any]:
        """A part, and who rolled it out."""
        part, policy = self._roller.part(number), self._roller.policy
        return {
            "lines": [dict(line) for line in part.lines],
            "twins": {sha: dict(twin) for sha, twin in part.twins.items()},
            "source": policy.source,
            "sha256": policy.sha256,
        }


def roll_with_ray(recipe: ChainsRecipe, work: Path, device: str) -> dict[str, Any]:
    """Roll out what is missing on ``recipe.workers`` workers; returns the report.

    Raises:
        MissingExtraError: without Ray.
        InputError: if the folder's chains are another model's.
        TrainingError: if workers fail again and again.
    """
    folder, deadline = work / "chains", deadline_of(recipe)
    arguments = {
        "recipe": recipe.model_dump(mode="json"),
        "work": str(work.absolute()),
        "device": device,
    }
    processes: dict[str, int] = {}
    plan = plan_of(recipe, len(tasks_of(recipe.data, recipe.seed)))
    with Ledger(folder, plan) as ledger, bar_of(ledger) as update:
        pieces = spread(ChainsWorker, arguments, ledger.missing, recipe.workers)
        with closing(pieces):
            for piece in pieces:
                made = piece.record
                check_policy(folder, made["source"], made["sha256"])
                ledger.add(Part(piece.number, made["lines"], made["twins"]))
                processes[piece.process] = processes.get(piece.process, 0) + 1
                update()
                if time.monotonic() > deadline:
                    break
        return {
            "engine": "ray",
            "workers": recipe.workers,
            "processes": len(processes),
            "parts_by_process": sorted(processes.values(), reverse=True),
            **close(ledger, recipe.keep_iou),
        }
