"""A model set made ready: perceiver, reasoner, and what they are called.

``perceiver`` and ``reasoner`` are protocols, so that a run can be given others: a remote
model, a scripted one in a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..perception.bundle import Bundle, load_bundle
from ..twin.frame import Frame
from ..twin.schema import FrameTwin
from ..twin.window import TwinWindow

__all__ = ["AnswerRecord", "Models", "Observer", "Responder", "load_models"]


class Observer(Protocol):
    """Turns frames into twins: :class:`edgetwin.perception.perceiver.Perceiver` does."""

    def observe(self, frame: Frame) -> FrameTwin:
        """Return the twin of the next frame."""
        ...


class AnswerRecord(Protocol):
    """What a run needs of an answer."""

    @property
    def ids(self) -> Any:
        """Ids of the answered objects."""
        ...

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Return the answer as plain values."""
        ...


class Responder(Protocol):
    """Answers questions: :class:`edgetwin.reasoner.rollout.Reasoner` does."""

    def answer(self, query: str, window: TwinWindow) -> AnswerRecord:
        """Answer one question about the window."""
        ...


@dataclass
class Models:
    """A set ready to run.

    Attributes:
        name: the set's name or the bundle's folder.
        identities: role -> {"id", "sha256"} as ``answer.json`` reports them.
        warnings: asks the perceiver for its warnings, one line each, after a run.
        stage_ms: asks the perceiver for the milliseconds spent per stage so far.
    """

    name: str
    perceiver: Observer
    reasoner: Responder
    identities: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: Callable[[], list[str]] = list
    stage_ms: Callable[[], dict[str, float]] = dict


def load_models(name: str | Path = "embedded") -> Models:
    """Load a set by name or from a bundle's folder.

    A bundle folder holds ``perception/`` and ``reasoner/``, each with its ``manifest.json``;
    when it holds a perception manifest only, the embedded reasoner is used.

    Raises:
        ModelError: if the set cannot be had, or a file is missing or changed.
    """
    raise NotImplementedError(name)


def bundle_identities(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Return role -> {"id", "sha256": {file: hash}} for the networks of a bundle."""
    return {
        role: {"id": f"{bundle.name}/{role}", "sha256": dict(entry.files)}
        for role, entry in sorted(bundle.manifest.networks.items())
    }
