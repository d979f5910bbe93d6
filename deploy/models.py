"""A model set made ready: perceiver, reasoner, and what they are called.

``perceiver`` and ``reasoner`` are protocols, so that a run can be given others: a remote
model, a scripted one in a test. :class:`Perception` is the part without language.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..perception.bundle import Bundle, load_bundle, models_home
from ..reasoner.bundle import load_bundle as load_reasoner_bundle
from ..reasoner.prompts import Mode
from ..twin.errors import InputError, ModelError
from ..twin.frame import Frame
from ..twin.schema import FrameTwin
from ..twin.window import TwinWindow

if TYPE_CHECKING:
    from ..perception.perceiver import Perceiver, PerceiverConfig
    from ..reasoner.models.base import LanguageModel
    from ..reasoner.rollout import Reasoner

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
    "load_reasoner",
    "parse_networks",
    "picture_size",
    "set_folders",
]


Heard = Callable[[str, float], None]


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
        listen: has every run of a stage told (stage, milliseconds); None ends it.
        bundle: the networks, for those who look again; None where there are none.
    """

    name: str
    perceiver: Observer
    identities: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: Callable[[], list[str]] = list
    stage_ms: Callable[[], dict[str, float]] = dict
    counts: Callable[[], dict[str, Any]] = dict
    listen: Callable[[Heard | None], object] = bool  # nothing to listen to
    bundle: Bundle | None = None


@dataclass
class Models(Perception):
    """A perceiver and a reasoner ready to run; ``identities`` has the role ``reasoner`` too."""

    reasoner: Responder = field(kw_only=True)


def load_models(
    name: str | Path = "embedded",
    words: Sequence[str] | None = None,
    *,
    language: str | Path | None = None,
    mode: Mode = "concise",
    cuda_graphs: bool = False,
) -> Models:
    """Load a set by name, or from a bundle's folder.

    A folder holds ``perception/`` and ``reasoner/``, each with its ``manifest.json``, or is a
    perception bundle itself; without a reasoner of its own the embedded one answers.

    Args:
        name: ``"embedded"``, ``"edge"``, ``"server"`` or a folder.
        words: what to look for; None is every word of the set.
        language: another language model, as
            :func:`~edgetwin.reasoner.models.opening.open_model` takes it.
        mode: how much answers explain.
        cuda_graphs: launch TensorRT's plans as CUDA graphs.

    Raises:
        InputError: if the set knows none of the words, or has no plans for CUDA graphs.
        ModelError: if the set cannot be had, or a file is missing or changed.
    """
    bundle = load_bundle(name, cuda_graphs=cuda_graphs)
    sight = _perception(name, bundle, words, None)
    reasoner = load_reasoner(name, language=language, mode=mode, vocabulary=bundle.words.nouns)
    model = reasoner.model
    sight.identities["reasoner"] = {"id": model.name, "sha256": model.sha256}
    return Models(**vars(sight), reasoner=reasoner)


def load_reasoner(
    name: str | Path = "embedded",
    *,
    language: str | Path | None = None,
    mode: Mode = "concise",
    vocabulary: Iterable[str] = (),
) -> Reasoner:
    """Load the language model of a set, ready to answer; the networks that see are not needed.

    ``vocabulary`` are words that plans may look for besides the model's and the twin's own; the
    rest is as for :func:`load_models`.

    Raises:
        ModelError: if the model cannot be had.
    """
    from ..reasoner.models.ort_genai import OrtGenAiModel
    from ..reasoner.rollout import Reasoner

    if str(name) not in ("embedded", "edge", "server") and not Path(name).is_dir():
        raise ModelError(
            f"expected embedded, edge, server or a bundle's folder, got {str(name)!r}, which is "
            "not there; 'embedded' works offline"
        )
    if language is None:
        model: LanguageModel = OrtGenAiModel(load_reasoner_bundle(set_folders(name)[1]))
    else:
        from ..reasoner.models.opening import open_model

        model = open_model(language)
    return Reasoner(model, vocabulary=vocabulary, mode=mode)


def load_perception(
    name: str | Path = "embedded",
    words: Sequence[str] | None = None,
    config: PerceiverConfig | None = None,
    *,
    networks: Mapping[str, str] | None = None,
    device: str = "auto",
) -> Perception:
    """Load the networks that see, without the language model.

    ``words`` are what to look for, such as ``["mug", "red ball"]``; None is every word of the
    set. Words that the set does not know become a warning. ``networks`` and ``device`` are those
    of :func:`~edgetwin.perception.bundle.load_bundle`.

    Raises:
        InputError: if the set knows none of the words, or knows any word and was given none.
        ModelError: as :func:`load_models`.
    """
    bundle = load_bundle(name, networks=networks, device=device)
    if words is None and not bundle.words.nouns:
        raise InputError(
            f"expected words to look for, since the {bundle.name} set knows any noun, got none: "
            'add --words "cup, laptop"'
        )
    return _perception(name, bundle, words, config)


def parse_networks(entries: Sequence[str]) -> dict[str, str]:
    """Return role -> checkpoint of ``["segmenter=owner/name@revision", ...]``.

    Raises:
        InputError: if an entry has no role or no checkpoint, or a role comes twice.
    """
    found: dict[str, str] = {}
    for entry in entries:
        role, _, source = (part.strip() for part in entry.partition("="))
        if not role or not source or role in found:
            raise InputError(
                "expected one role=checkpoint for each network to replace, such as "
                f"segmenter=yonigozlan/EdgeTAM-hf, got {entry!r}"
            )
        found[role] = source
    return found


def picture_size(size: str) -> tuple[int, int]:
    """Return (height, width) of ``"WIDTHxHEIGHT"`` in pixels.

    Raises:
        InputError: if it is none.
    """
    sides = re.fullmatch(r"([1-9]\d{1,4})x([1-9]\d{1,4})", size)
    if sides is None:
        raise InputError(f"expected a size such as 1920x1080, got {size!r}")
    return int(sides[2]), int(sides[1])


def _perception(
    name: str | Path,
    bundle: Bundle,
    words: Sequence[str] | None,
    config: PerceiverConfig | None,
) -> Perception:
    import cv2

    from ..perception.perceiver import Perceiver

    # Its own threads save nothing on pictures this small, and wait for each other, up to .2 s,
    # where the other cores are busy.
    cv2.setNumThreads(1)
    perceiver = Perceiver(bundle, words, config=config)
    told = [*bundle.warnings, *_unknown(perceiver, bundle, words or ())]

    def warnings() -> list[str]:
        return [*told, *([perceiver.domain_warning] if perceiver.domain_warning else [])]

    def stage_ms() -> dict[str, float]:
        return {
            stage: time.mean_ms * time.runs
            for stage, time in perceiver.timings.items()
            if stage != "total"
        }

    def counts() -> dict[str, Any]:
        return {**asdict(perceiver.counts), **asdict(perceiver.tracker.counts)}

    identities = bundle_identities(bundle)
    return Perception(
        str(name), perceiver, identities, warnings, stage_ms, counts, perceiver.listen, bundle
    )


def _unknown(perceiver: Perceiver, bundle: Bundle, words: Sequence[str]) -> list[str]:
    """Return the warning about words that the detector does not know, as a list of 0 or 1."""
    unknown = perceiver.unknown(words)
    if not unknown:
        return []
    known = ", ".join(bundle.words.nouns) or "any noun of a few words"
    if len(unknown) == len(words):
        raise InputError(
            f"expected at least one word that the {bundle.name} set knows, got "
            f"{', '.join(unknown)}; it knows {known}"
        )
    return [f"the {bundle.name} set does not know: {', '.join(unknown)}; it knows {known}"]


def bundle_identities(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Return role -> {"id", "sha256": {file: hash}} for the networks of a bundle."""
    return {
        role: {"id": _id_of(bundle, role), "sha256": dict(entry.files)}
        for role, entry in sorted(bundle.manifest.networks.items())
    }


def set_folders(name: str | Path) -> tuple[str | Path, str | Path]:
    """Return what the two ``load_bundle`` take: perception's finds its part of a folder itself."""
    folder = models_home() / name if str(name) in ("edge", "server") else Path(name)
    speaking = folder / "reasoner"
    alone = str(name) == "embedded" or not speaking.is_dir()
    return name, "embedded" if alone else speaking


def _id_of(bundle: Bundle, role: str) -> str:
    source = bundle.network(role).source
    return f"{bundle.name}/{role}" if source is None else f"{source.id}@{source.revision}"
