"""What a policy said to a task: tokens for the trainer, parsed text and IoU for the rewards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...reasoner.protocol import Transcript
from ..tasks.task import Task

__all__ = ["Ending", "Rollout"]

Ending = Literal["answered", "malformed", "tool_error", "cut"]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion of one task.

    Args:
        task: what was asked.
        text: everything after the prompt with all tags, inserted results included.
        ending: ``answered``; ``malformed`` text that the strict protocol refuses;
            ``tool_error`` a plan that could not be computed; ``cut`` by the token budget.
        ids: what the answer stands for, ascending; empty for "none"; None without an answer.
        iou: mask IoU of the answer with the truth, 0 without an answer.
        transcript: the parsed text; None where it could not be parsed.
        tokens: ``own`` that the model wrote and ``results`` that were inserted; of the text
            between the tags ``rationale``, ``description`` and ``explain``.
        prompt_ids: tokens of the prompt.
        completion_ids: tokens after it, as the policy's cache held them.
        env_mask: per completion token 1 where the model wrote it, 0 where it was inserted.
        logprobs: log-probabilities under the sampling policy, 0 where inserted; may be None.
        second: what was said when only this rollout's description was asked (DR2Seg), if at all.
        message: why it did not end with an answer.
    """

    task: Task
    text: str
    ending: Ending
    ids: tuple[int, ...] | None = None
    iou: float = 0.0
    transcript: Transcript | None = None
    tokens: Mapping[str, int] = field(default_factory=dict)
    prompt_ids: tuple[int, ...] = ()
    completion_ids: tuple[int, ...] = ()
    env_mask: tuple[int, ...] = ()
    logprobs: tuple[float, ...] | None = None
    second: Rollout | None = None
    message: str = ""

    @property
    def rationale(self) -> str:
        """The first rationale, empty if there is none."""
        return self.transcript.rationale if self.transcript else ""

    @property
    def description(self) -> str:
        """The self-contained description (DR2Seg), empty if there is none."""
        return self.transcript.description if self.transcript else ""
