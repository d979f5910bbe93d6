"""Length baselines of Aggarwal and Welleck (2025, "L1", section 3), as WISE compares with.

With n tokens of rationale and a target length:

* ``l1_exact``: ``[right] − alpha · |target − n|``.
* ``l1_max``: ``[right] · clip(alpha · (target − n) + delta, 0, 1)``.

They stand in the place of ``accuracy``, not beside it. L1 writes the target into the prompt and
has alpha = 0.0003 for targets of hundreds to thousands of tokens; rationales here have tens, so
the default (target 40, alpha 0.02) costs as much for 15 tokens as theirs for a thousand.
``delta`` is theirs, 0.5.

Not covered: telling the policy its target, targets that differ from task to task.
"""

from __future__ import annotations

from ..rollouts.record import Rollout
from .base import Reward, correct, number, tokens_of

__all__ = ["l1_exact", "l1_max"]

_MOST = 1e6


def l1_exact(*, target: float = 40, alpha: float = 0.02, threshold: float = 0.5) -> Reward:
    """Right, less alpha for every token more or fewer than the target; at least −1.

    The bound at −1 is ours: a runaway rationale must not outweigh the rest of its group.

    Raises:
        InputError: for options out of range.
    """
    wanted = number("l1_exact", "target", target, 0, _MOST)
    per_token = number("l1_exact", "alpha", alpha, 0, 1)
    least = number("l1_exact", "threshold", threshold, 0, 1)

    def one(r: Rollout) -> float:
        far = abs(wanted - tokens_of(r, "rationale"))
        return max(float(correct(r, least)) - per_token * far, -1.0)

    return lambda rollouts: [one(r) for r in rollouts]


def l1_max(
    *, target: float = 40, alpha: float = 0.02, delta: float = 0.5, threshold: float = 0.5
) -> Reward:
    """Right, times how far below the target the rationale stays.

    Raises:
        InputError: for options out of range.
    """
    wanted = number("l1_max", "target", target, 0, _MOST)
    per_token = number("l1_max", "alpha", alpha, 0, 1)
    spare = number("l1_max", "delta", delta, 0, 1)
    least = number("l1_max", "threshold", threshold, 0, 1)

    def one(r: Rollout) -> float:
        room = per_token * (wanted - tokens_of(r, "rationale")) + spare
        return float(correct(r, least)) * min(max(room, 0.0), 1.0)

    return lambda rollouts: [one(r) for r in rollouts]
