"""The generator's own chains in the form of rollouts: what a base model is trained on, where no
pretrained one is had.

Not covered: tasks without a reference chain.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...reasoner import protocol
from ...reasoner.protocol import EOS
from ...twin.errors import InputError
from ..reasoner.records import pieces
from ..stages.policy import Policy
from ..tasks.task import Task, iou_of
from .record import Rollout

__all__ = ["Reference"]


class Reference:
    """Says to every task what its reference says; ``policy`` is only used to count tokens."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def roll(
        self, tasks: Sequence[Task], n: int = 1, seed: int = 0, *, greedy: bool = False
    ) -> list[Rollout]:
        """The reference of every task, ``n`` times.

        Raises:
            InputError: if a task has none.
        """
        return [one for task in tasks for one in [self._rollout(task)] * n]

    def _rollout(self, task: Task) -> Rollout:
        if task.reference is None:
            raise InputError(
                f"{task.key}: expected a task with a reference chain, got one without; "
                "name a model in the recipe instead of 'reference'"
            )
        parts = [(text.removesuffix(EOS), own) for text, own in pieces(task.reference)]
        text = "".join(part for part, _ in parts)
        counted = [(len(self.policy.encode(part)), own) for part, own in parts]
        transcript = protocol.parse(text)
        tokens = {
            "own": sum(count for count, own in counted if own),
            "results": sum(count for count, own in counted if not own),
            "rationale": len(self.policy.encode(transcript.rationale)),
        }
        return Rollout(
            task,
            text,
            "answered",
            ids=task.ids,
            iou=iou_of(task, task.ids),
            transcript=transcript,
            tokens=tokens,
        )
