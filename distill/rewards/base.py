"""What every reward here is: a pure function of a batch of rollouts, and what they share.

A reward gives one number per rollout, or None where it has nothing to say for a reason that is
not the policy's doing (a judge that failed, a task without pictures). What a policy can bring
about by itself (no answer, no description, no explanation) is never None: it would learn to.

Rollouts of one task stand together; a *group* is a run of rollouts with one ``task.key``.

Not covered: rewards of single tokens or of steps; every reward is of a whole rollout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from ...reasoner import protocol
from ...twin.errors import InputError, ProtocolError
from ..rollouts.record import Rollout

__all__ = [
    "Reward",
    "answered",
    "bodies",
    "correct",
    "groups",
    "number",
    "some_of",
    "tags_of",
    "tokens_of",
]

Reward = Callable[[Sequence[Rollout]], list[float | None]]


def answered(rollout: Rollout) -> bool:
    """Whether the rollout kept the protocol to its end and has an answer."""
    return (
        rollout.ending == "answered"
        and rollout.ids is not None
        and rollout.transcript is not None
        and rollout.transcript.answer is not None
    )


def correct(rollout: Rollout, threshold: float = 0.5) -> bool:
    """Whether there is an answer whose mask IoU is above the threshold."""
    return answered(rollout) and rollout.iou > threshold


def tokens_of(rollout: Rollout, part: str) -> int:
    """Tokens of a part of the model's own text, such as ``rationale``; 0 if there are none."""
    return int(rollout.tokens.get(part, 0))


def tags_of(rollout: Rollout) -> list[str]:
    """Tags of the text in order, such as ``["reason", "answer"]``; empty if it does not parse."""
    return [block.tag for block in _blocks(rollout)]


def bodies(rollout: Rollout, *tags: str) -> list[str]:
    """Texts between the given tags, in order; empty if the rollout does not parse."""
    return [block.body.strip() for block in _blocks(rollout) if block.tag in tags]


def groups(rollouts: Sequence[Rollout]) -> Iterator[range]:
    """Positions of the rollouts of one task, task by task."""
    start = 0
    for k in range(1, len(rollouts) + 1):
        if k == len(rollouts) or rollouts[k].task.key != rollouts[start].task.key:
            yield range(start, k)
            start = k


def number(reward: str, option: str, value: object, least: float, most: float) -> float:
    """An option as a number.

    Raises:
        InputError: if it is no finite number from ``least`` to ``most``.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(float(value)) or not least <= float(value) <= most:  # type: ignore[arg-type]
        raise InputError(
            f"reward {reward}: expected {option} as a number from {least:g} to {most:g}, "
            f"got {str(value)[:60]!r}; correct it in the recipe"
        )
    return float(value)  # type: ignore[arg-type]


def some_of(reward: str, option: str, value: object, known: Sequence[str]) -> frozenset[str]:
    """An option as a set of known words.

    Raises:
        InputError: if it is no list of those.
    """
    words = [value] if isinstance(value, str) else value
    given = list(words) if isinstance(words, (list, tuple, set, frozenset)) else [value]
    if wrong := [word for word in given if word not in known]:
        raise InputError(
            f"reward {reward}: expected {option} as a list of {', '.join(known)}, "
            f"got {str(wrong[0])[:60]!r}"
        )
    return frozenset(map(str, given))


def _blocks(rollout: Rollout) -> list[protocol.Block]:
    if rollout.transcript is None:
        return []
    try:
        return protocol.blocks(rollout.text)
    except ProtocolError:  # mended by a tolerant reader: not what was written
        return []
