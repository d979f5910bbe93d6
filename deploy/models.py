"""A model set made ready: perceiver, reasoner, and what they are called.

``perceiver`` and ``reasoner`` are protocols, so that a run can be given others: a remote
model, a scripted one in a test. :class:`Perception` is the part without language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..perception.bundle import Bundle, load_bundle, models_home
from ..reasoner.bundle import load_bundle as load_reasoner_bundle
from ..twin.errors import InputError
from ..twin.frame import Frame
from ..twin.schema import FrameTwin
from ..twin.window import TwinWindow

if TYPE_CHECKING:
    from ..perception.perceiver import Perceiver, PerceiverConfig

__all__ = [
    "AnswerRecord",
    "Models",
    "Observer",
    "Perception",
    "Responder",
    "Streamer",
    "bundle_identities",
    "load_models",
    "load_perception",
]


class Observer(Protocol):
    """Turns frames into twins: :class:`edgetwin.perception.perceiver.Perceiver` does."""

    def observe(self, frame: Frame) -> FrameTwin:
        """Return the twin of the next frame."""
        ...


@runtime_checkable
class Streamer(Protocol):
    """Turns a stream of frames into their twins, working on several frames at once."""

    def stream(self, frames: Iterable[Frame]) -> Iterator[FrameTwin]:
        """Yield the twin of every frame, in order."""
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
class Perception:
    """A perceiver ready to run.

    Attributes:
        name: the set's name or the bundle's folder.
        identities: role -> {"id", "sha256"} as ``answer.json`` reports them.
        warnings: asks the perceiver for its warnings, one line each, after a run.
        stage_ms: asks the perceiver for the milliseconds spent per stage so far.
        counts: asks the perceiver how often it looked, began, dropped, and so on.
    """

    name: str
    perceiver: Observer
    identities: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: Callable[[], list[str]] = list
    stage_ms: Callable[[], dict[str, float]] = dict
    counts: Callable[[], dict[str, Any]] = dict


@dataclass
class Models(Perception):
    """A perceiver and a reasoner ready to run; ``identities`` has the role ``reasoner`` too."""

    reasoner: Responder = field(kw_only=True)


def load_models(name: str | Path = "embedded") -> Models:
    """Load a set by name, or from a bundle's folder.

    A folder holds ``perception/`` and ``reasoner/``, each with its ``manifest.json``, or is a
    perception bundle itself; without a reasoner of its own the embedded one answers.

    Raises:
        ModelError: if the set cannot be had, or a file is missing or changed.
    """
    from ..reasoner.models.ort_genai import OrtGenAiModel
    from ..reasoner.rollout import Reasoner

    seeing, speaking = _folders(name)
    bundle = load_bundle(seeing)
    sight = _perception(name, bundle, None, None)
    model = OrtGenAiModel(load_reasoner_bundle(speaking))
    sight.identities["reasoner"] = {"id": model.name, "sha256": model.sha256}
    return Models(**vars(sight), reasoner=Reasoner(model, vocabulary=bundle.words.nouns))


def load_perception(
    name: str | Path = "embedded",
    words: Sequence[str] | None = None,
    config: PerceiverConfig | None = None,
) -> Perception:
    """Load the networks that see, without the language model.

    ``words`` are what to look for, such as ``["mug", "red ball"]``; None is every word of the
    set. Words that the set does not know become a warning.

    Raises:
        InputError: if the set knows none of the words.
        ModelError: as :func:`load_models`.
    """
    return _perception(name, load_bundle(_folders(name)[0]), words, config)


def _perception(
    name: str | Path,
    bundle: Bundle,
    words: Sequence[str] | None,
    config: PerceiverConfig | None,
) -> Perception:
    from ..perception.perceiver import Perceiver

    perceiver = Perceiver(bundle, words, config=config)
    unknown = _unknown(perceiver, bundle, words)

    def warnings() -> list[str]:
        return [*unknown, *([perceiver.domain_warning] if perceiver.domain_warning else [])]

    def stage_ms() -> dict[str, float]:
        return {
            stage: time.mean_ms * time.runs
            for stage, time in perceiver.timings.items()
            if stage != "total"
        }

    def counts() -> dict[str, Any]:
        return {**asdict(perceiver.counts), **asdict(perceiver.tracker.counts)}

    identities = bundle_identities(bundle)
    return Perception(str(name), perceiver, identities, warnings, stage_ms, counts)


def _unknown(perceiver: Perceiver, bundle: Bundle, words: Sequence[str] | None) -> list[str]:
    """Return the warning about words that the detector does not know, as a list of 0 or 1."""
    from ..perception.detector import Detector

    detector = perceiver._senses.detector
    if words is None or not isinstance(detector, Detector):
        return []
    unknown = detector.unknown(words)
    known = ", ".join(detector.nouns)
    if len(unknown) == len(words):
        raise InputError(
            f"expected at least one word that the {bundle.name} set knows, got "
            f"{', '.join(unknown) or 'none'}; it knows {known or 'any noun: give one'}"
        )
    if not unknown:
        return []
    return [f"the {bundle.name} set does not know: {', '.join(unknown)}; it knows {known}"]


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
