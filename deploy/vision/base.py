"""What vision-language models and the policies over them have in common."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ...reasoner.models.endpoint import Message, Reply, Sampling
from ...twin.errors import InputError
from ...twin.words import clean

__all__ = ["MAX_OBJECTS", "Image", "Log", "Proposal", "Proposer", "VisionModel", "label_of"]

MAX_OBJECTS = 16  # per question: dense masks of a large frame are megabytes each

Image = NDArray[np.uint8]


class VisionModel(Protocol):
    """A model that reads pictures: :class:`edgetwin.reasoner.models.endpoint.Endpoint` is one."""

    @property
    def name(self) -> str:
        """Identifier shown in answers."""

    @property
    def sha256(self) -> str:
        """Hash of the weights, empty when there are none here."""

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling | None = None,
        deadline_s: float | None = None,
    ) -> Reply:
        """Send messages, return the model's.

        Raises:
            ModelError: if it cannot answer in time.
        """


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a policy found for one question in one picture of H x W pixels.

    ``status``: ``ok`` with N >= 1 masks; ``none`` when the model says that the object is absent
    or nothing is left under its prompts; ``error`` when its replies could not be used, which
    ``message`` explains. ``masks_nhw`` (N, H, W) bool, ``scores_n`` (N,) float32 in [0, 1],
    ``labels`` harmless words, ``colors`` colour words or None. ``trace`` holds what was asked,
    said and done, as plain JSON values without pictures; ``tokens`` and ``ms`` what it cost.

    Raises:
        InputError: if the columns differ in length or the status does not fit them.
    """

    status: Literal["ok", "none", "error"]
    masks_nhw: NDArray[np.bool_]
    scores_n: NDArray[np.float32]
    labels: tuple[str, ...]
    colors: tuple[str | None, ...]
    rationale: str = ""
    description: str = ""
    message: str = ""
    trace: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    ms: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.masks_nhw)
        if {n} != {len(self.scores_n), len(self.labels), len(self.colors)}:
            raise InputError(f"expected {n} scores, labels and colors, one per mask, got others")
        if (self.status == "ok") != bool(n):
            raise InputError(f"expected masks with status ok only, got {n} with {self.status}")

    def __len__(self) -> int:
        return len(self.masks_nhw)


class Proposer(Protocol):
    """Finds what a question asks for in one picture: :class:`.rsvp.Rsvp` and :class:`.vlm.Vlm` do."""

    def propose(self, image_hw3: Image, query: str, deadline_s: float | None = None) -> Proposal:
        """Return masks for the question; ``deadline_s`` is on ``time.monotonic``'s clock.

        Raises:
            QueryError: if the question is empty, too long or not text.
            ModelError: if the vision-language model cannot be asked.
        """


@dataclass(slots=True)
class Log:
    """What one proposal gathers on its way."""

    began_s: float = field(default_factory=time.perf_counter)
    rationale: str = ""
    description: str = ""
    trace: dict[str, Any] = field(default_factory=lambda: {"replies": [], "notes": []})
    tokens: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("prompt", "reused", "rationale", "answer", "total"), 0
        )
    )
    ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("model", "masks"), 0.0))

    def note(self, text: str) -> None:
        """Keep one line on what was mended or decided."""
        self.trace["notes"].append(text)

    def close(
        self,
        image_hw3: Image,
        found: Sequence[tuple[NDArray[np.bool_], float, str, str | None]] = (),
        *,
        problem: str = "",
        absent: str = "",
    ) -> Proposal:
        """Return the proposal of (mask, score, label, colour) rows; ``absent`` says why none."""
        height, width = image_hw3.shape[:2]
        masks = [row[0] for row in found]
        total = (time.perf_counter() - self.began_s) * 1e3
        return Proposal(
            status="error" if problem else "ok" if found else "none",
            masks_nhw=np.stack(masks) if masks else np.zeros((0, height, width), np.bool_),
            scores_n=np.array([min(max(row[1], 0.0), 1.0) for row in found], np.float32),
            labels=tuple(row[2] for row in found),
            colors=tuple(row[3] for row in found),
            rationale=self.rationale,
            description=self.description,
            message=problem or ("" if found else absent or "the model names no object that fits"),
            trace=self.trace,
            tokens=self.tokens,
            ms={k: round(v, 1) for k, v in {**self.ms, "total": total}.items()},
        )


def label_of(text: Any) -> str:
    """A model's name for an object as harmless words, ``"object"`` if nothing is left of it."""
    name = clean(text, 48) if isinstance(text, str) else ""
    for article in ("a ", "an ", "the "):
        name = name.removeprefix(article).removeprefix(article.title())
    return name or "object"
