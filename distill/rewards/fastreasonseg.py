"""FastReasonSeg's three rewards (section 3, "Training of the teacher" and "Distillation").

* ``format``: +0.5 if the tags are there in the right order, else −0.5.
* ``accuracy``: 1 if the answer's mask IoU is above 0.5, else 0.
* ``judged``: how good a judge finds the reasoning, in [0, 1]; gamma (0.5) is the recipe's weight.

The paper's order is reason, plan, results, answer. Here a question may be answered without a
plan, so by default only ``reason`` and ``answer`` have to be there; ``needs: [reason, plan]`` is
the paper's rule. Results always follow a plan, or the text does not parse.

Not covered: partial credit for a text that is nearly right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...twin.errors import InputError
from ..rollouts.record import Rollout
from .base import Reward, answered, correct, number, some_of, tags_of

__all__ = ["Scores", "accuracy", "format_of", "judged"]

_NEEDED = ("reason", "plan", "describe", "explain")


class Scores(Protocol):
    """What ``judged`` asks: a judge of :mod:`..judges`."""

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """Scores in [0, 1], one per rollout; None where the judge failed."""
        ...


def format_of(*, needs: Sequence[str] = ("reason",)) -> Reward:
    """+0.5 for a text that parses strictly, is answered and has the needed tags; else −0.5.

    Args:
        needs: tags that have to be there, of ``reason``, ``plan``, ``describe``, ``explain``.

    Raises:
        InputError: for another tag; ``answer`` is always needed.
    """
    wanted = some_of("format", "needs", needs, _NEEDED)

    def reward(rollouts: Sequence[Rollout]) -> list[float | None]:
        return [0.5 if _well_formed(r) and wanted <= {*tags_of(r)} else -0.5 for r in rollouts]

    return reward


def accuracy(*, threshold: float = 0.5) -> Reward:
    """1 where the answer's mask IoU is above the threshold, else 0.

    Raises:
        InputError: if the threshold is not in [0, 1].
    """
    least = number("accuracy", "threshold", threshold, 0, 1)

    def reward(rollouts: Sequence[Rollout]) -> list[float | None]:
        return [float(correct(r, least)) for r in rollouts]

    return reward


def judged(judge: Scores) -> Reward:
    """The judge's score; 0 without asking it where there is no answer, None where it failed."""

    def reward(rollouts: Sequence[Rollout]) -> list[float | None]:
        places = [k for k, r in enumerate(rollouts) if answered(r)]
        found: list[float | None] = [0.0] * len(rollouts)
        scores = judge.score([rollouts[k] for k in places]) if places else []
        if len(scores) != len(places):
            raise InputError(
                f"reward judged: expected {len(places)} scores of the judge, got {len(scores)}"
            )
        for k, score in zip(places, scores, strict=True):
            found[k] = None if score is None else number("judged", "a score", score, 0, 1)
        return found

    return reward


def _well_formed(rollout: Rollout) -> bool:
    read = rollout.transcript
    whole = read is not None and read.answer is not None and not read.repairs
    return rollout.ending == "answered" and whole
