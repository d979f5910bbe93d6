"""A model set made ready: perceiver, reasoner, and what they are called.

``perceiver`` and ``reasoner`` are protocols, so that a run can be given others: a remote
model, a scripted one in a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..perception.bundle import Bundle, load_bundle, models_home
from ..reasoner.bundle import load_bundle as load_reasoner_bundle
from ..twin.frame import Frame
from ..twin.schema import FrameTwin
from ..twin.window import TwinWindow

__all__ = ["AnswerRecord", "Models", "Observer", "Responder", "bundle_identities", "load_models"]


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
    """Load a set by name, or from a bundle's folder.

    A folder holds ``perception/`` and ``reasoner/``, each with its ``manifest.json``, or is a
    perception bundle itself; without a reasoner of its own the embedded one answers.

    Raises:
        ModelError: if the set cannot be had, or a file is missing or changed.
    """
    from ..perception.perceiver import Perceiver
    from ..reasoner.models.ort_genai import OrtGenAiModel
    from ..reasoner.rollout import Reasoner

    seeing, speaking = _folders(name)
    bundle = load_bundle(seeing)
    perceiver = Perceiver(bundle)
    model = OrtGenAiModel(load_reasoner_bundle(speaking))
    identities = bundle_identities(bundle)
    identities["reasoner"] = {"id": model.name, "sha256": model.sha256}

    def warnings() -> list[str]:
        return [perceiver.domain_warning] if perceiver.domain_warning else []

    def stage_ms() -> dict[str, float]:
        return {
            stage: time.mean_ms * time.runs
            for stage, time in perceiver.timings.items()
            if stage != "total"
        }

    reasoner = Reasoner(model, vocabulary=bundle.words.nouns)
    return Models(str(name), perceiver, reasoner, identities, warnings, stage_ms)


def bundle_identities(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Return role -> {"id", "sha256": {file: hash}} for the networks of a bundle."""
    return {
        role: {"id": f"{bundle.name}/{role}", "sha256": dict(entry.files)}
        for role, entry in sorted(bundle.manifest.networks.items())
    }


def _folders(name: str | Path) -> tuple[str | Path, str | Path]:
    """Return where a set's perception bundle and its reasoner bundle are."""
    folder = models_home() / name if str(name) in ("edge", "server") else Path(name)
    if str(name) == "embedded" or not folder.is_dir():
        return name, "embedded"
    seeing, speaking = folder / "perception", folder / "reasoner"
    return seeing if seeing.is_dir() else name, speaking if speaking.is_dir() else "embedded"
