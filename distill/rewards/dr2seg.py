"""DR2Seg's two self-rewards (section 3.2, equations 2, 5, 7 and 8).

The policy first reasons, describes what is meant and answers (N1 tokens of rationale); then only
its description is asked, and it reasons (N2) and answers again: ``Rollout.second``.

* ``description`` (equation 2): 1 if the second answer is right, else 0.
* ``gated_length`` (equations 5 and 8): ``clip([N2 < N1] − 0.05 · max(0, N1 − 40), 0, 1)``, and 1
  for the whole group when none of its first answers is right.

The total is ``(format + non-repeat + accuracy + description) · length`` (equation 7): a factor,
see :mod:`.choose`. Where the answer is ids, "right" is mask IoU above 0.5, as for ``accuracy``.
A second rollout that breaks off has no length: it is not shorter.

A rationale of one token with none at all in the second rollout has the greatest length reward:
shipped combinations have the guard against empty chains (:mod:`.guards`) beside it.

Not covered: more than one second rollout per description.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..rollouts.record import Rollout
from .base import Reward, answered, correct, groups, number, tokens_of

__all__ = ["description", "gated_length", "length_of"]


def description(*, threshold: float = 0.5) -> Reward:
    """1 where the description alone led to a right answer.

    0 without an answer or a description; None where there is a description that was not asked.

    Raises:
        InputError: if the threshold is not in [0, 1].
    """
    least = number("description", "threshold", threshold, 0, 1)

    def one(rollout: Rollout) -> float | None:
        if not (answered(rollout) and rollout.description):
            return 0.0
        return None if rollout.second is None else float(correct(rollout.second, least))

    return lambda rollouts: [one(r) for r in rollouts]


def length_of(first: int, second: int | None, anchor: float, penalty: float) -> float:
    """Equation 5: ``clip([second < first] − penalty · max(0, first − anchor), 0, 1)``.

    Args:
        first: tokens of the first rationale.
        second: of the second one; None: it has no length.
        anchor: the paper's N0.
        penalty: the paper's gamma, per token.
    """
    shorter = float(second is not None and second < first)
    return min(max(shorter - penalty * max(0.0, first - anchor), 0.0), 1.0)


def gated_length(*, anchor: float = 40, penalty: float = 0.05, threshold: float = 0.5) -> Reward:
    """Equations 5 and 8; None where a description was not asked, unless the group is let off.

    Raises:
        InputError: for options out of range.
    """
    n0 = number("gated_length", "anchor", anchor, 0, 1e6)
    gamma = number("gated_length", "penalty", penalty, 0, 1)
    least = number("gated_length", "threshold", threshold, 0, 1)

    def one(rollout: Rollout) -> float | None:
        first, second = tokens_of(rollout, "rationale"), rollout.second
        if second is None and answered(rollout) and rollout.description:
            return None
        read = tokens_of(second, "rationale") if second and answered(second) else None
        return length_of(first, read, n0, gamma)

    def reward(rollouts: Sequence[Rollout]) -> list[float | None]:
        found: list[float | None] = [1.0] * len(rollouts)
        for group in groups(rollouts):
            if any(correct(rollouts[k], least) for k in group):
                for k in group:
                    found[k] = one(rollouts[k])
        return found

    return reward
