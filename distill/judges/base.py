"""What a judge is: something that scores the reasoning of rollouts, or says that it could not.

FastReasonSeg (section 3.3) rewards a student with γ · R_reasoning, R_reasoning in [0, 1] from a
judge. A judge that fails is no zero: the sample's score is None, so that the reward leaves it
out, and :attr:`Judge.counts` says why.

Every sample that is given ends in exactly one of :data:`OUTCOMES`:

======== ========================================================================
scored   judged now
cached   judged before, or a twin of another sample of the same call
empty    no rationale and no plan: 0, without asking
skipped  no chain: a text that broke off or that the protocol refuses
failed   the judge could not be reached, refused, came too late or gave no number
malformed the judge's reply held no score
over_budget requests or tokens are spent
======== ========================================================================

Not covered: several judges in one; weight them as rewards of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from ...reasoner.protocol import Block, blocks, check_order
from ...twin.errors import ProtocolError
from ..rollouts.record import Rollout

__all__ = ["OUTCOMES", "Judge", "bodies", "card_of", "chain_of", "new_counts", "says_nothing"]

OUTCOMES = ("scored", "cached", "empty", "skipped", "failed", "malformed", "over_budget")


@runtime_checkable
class Judge(Protocol):
    """Scores reasoning in [0, 1]; None where it could not."""

    @property
    def counts(self) -> dict[str, int]:
        """Samples so far by outcome (:data:`OUTCOMES`), with further counts of the judge."""

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """One score per rollout, in their order."""


def new_counts(*more: str) -> dict[str, int]:
    """Counts at zero: every outcome, then ``more``."""
    return dict.fromkeys((*OUTCOMES, *more), 0)


def chain_of(rollout: Rollout) -> list[Block] | None:
    """The blocks of a rollout; None if there is nothing that a judge could read.

    What broke off, and what the strict protocol refuses, is no chain: the format reward has
    judged it.
    """
    try:
        found = blocks(rollout.text)
        check_order(found, complete=False)
    except ProtocolError:
        return None
    return found


def says_nothing(found: Iterable[Block]) -> bool:
    """Whether a chain has neither a rationale nor a plan with something in it."""
    return not any(block.body.strip() for block in found if block.tag in ("reason", "plan"))


def card_of(judge: Judge | None) -> dict[str, Any]:
    """What a model card says of a judge; empty without one."""
    if judge is None:
        return {}
    told: Any = getattr(judge, "card", None)
    card = dict(told) if isinstance(told, dict) else {"kind": type(judge).__name__}
    return {**card, "counts": dict(judge.counts)}


def bodies(found: Iterable[Block], tag: str) -> str:
    """The bodies of all blocks of a tag, joined by a line break."""
    return "\n".join(block.body.strip() for block in found if block.tag == tag)
