"""A clip that a bundle is verified on: frames of one stream, and questions about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...twin.frame import Frame

__all__ = ["Clip"]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Frames of one stream and the questions that are asked about it."""

    name: str
    frames: Sequence[Frame]
    questions: tuple[str, ...] = ()
