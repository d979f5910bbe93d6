"""WISE's self-distillation reward (section 3.2, equations 4 to 7).

The policy writes a concise rationale, the answer, then a detailed explanation, in this order, so
that the concise text has to carry what the detailed one says. With S the cosine of their
sentence embeddings and len their tokens:

``self_distillation = S · max(0, 1 − len_concise / len_detailed) · [IoU > 0.5]``

0 where the order is another (reason, answer, explain), a part is missing or empty, or the answer
is wrong: the policy can bring all of these about. A negative cosine counts as 0, so that a right
answer is never worse off for having explained itself.

Not covered: reasoning over several rounds; the rationale is then all rounds' together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import InputError
from ..rollouts.record import Rollout
from .base import Reward, bodies, correct, number, tags_of, tokens_of
from .embedders import Embedder

__all__ = ["conciseness", "explained_in_order", "self_distillation"]


def conciseness(concise: int, detailed: int) -> float:
    """Equation 7: by which share the rationale is shorter than the explanation; 0 without one."""
    return max(0.0, 1.0 - concise / detailed) if concise > 0 and detailed > 0 else 0.0


def explained_in_order(rollout: Rollout) -> bool:
    """Whether a rationale comes before the answer and an explanation after it."""
    tags = tags_of(rollout)
    if not {"reason", "answer", "explain"} <= {*tags}:
        return False
    return tags.index("reason") < tags.index("answer") < tags.index("explain")


def self_distillation(embed: Embedder, *, threshold: float = 0.5) -> Reward:
    """Equation 5 where equation 4's condition holds, else 0; never None.

    Raises:
        InputError: if the threshold is not in [0, 1]; the function raises it for an explanation
            or a rationale whose tokens nobody counted.
    """
    least = number("self_distillation", "threshold", threshold, 0, 1)

    def reward(rollouts: Sequence[Rollout]) -> list[float | None]:
        found: list[float | None] = [0.0] * len(rollouts)
        pairs: list[tuple[int, float, str, str]] = []
        for k, r in enumerate(rollouts):
            if not (correct(r, least) and explained_in_order(r)):
                continue
            concise, detailed = " ".join(bodies(r, "reason")), " ".join(bodies(r, "explain"))
            shorter = conciseness(_count(r, "rationale", concise), _count(r, "explain", detailed))
            if shorter:
                pairs.append((k, shorter, concise, detailed))
        if not pairs:
            return found
        vectors = embed.embed([text for pair in pairs for text in pair[2:]])
        if vectors.ndim != 2 or len(vectors) != 2 * len(pairs):
            raise InputError(
                f"reward self_distillation: expected embeddings ({2 * len(pairs)}, D), "
                f"got shape {vectors.shape}"
            )
        alike = _cosines(vectors[0::2], vectors[1::2])
        for (k, shorter, _, _), same in zip(pairs, alike, strict=True):
            found[k] = max(0.0, float(same)) * shorter
        return found

    return reward


def _count(rollout: Rollout, part: str, text: str) -> int:
    """Tokens of a part; an engine that did not count what is there would make the reward 0."""
    count = tokens_of(rollout, part)
    if text and not count:
        raise InputError(
            f"reward self_distillation: expected the tokens of {part!r} to be counted, got "
            f"{dict(rollout.tokens)}; count them where rollouts are made"
        )
    return count if text else 0


def _cosines(a_nd: NDArray[np.float32], b_nd: NDArray[np.float32]) -> list[float]:
    """Cosine of row and row; 0 where either is zero."""
    a, b = a_nd.astype(np.float64), b_nd.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    dots = (a * b).sum(axis=1)
    return [float(d / n) if n > 0 else 0.0 for d, n in zip(dots, lengths, strict=True)]
