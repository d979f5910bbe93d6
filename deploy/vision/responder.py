"""A run's models made of a vision-language model: ``edgetwin run --reasoner rsvp | vlm``.

The perceiver asks while frames come (:mod:`.perceiver`); the responder looks up what came of a
question and gives the same answer record as the default reasoner: ids, rationale, description,
tokens, and in ``transcript`` and ``results`` what was asked, said and done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from ...perception.bundle import Bundle, load_bundle
from ...perception.detector import Detector
from ...perception.regions import mask_boxes
from ...perception.segmenter import Segmenter
from ...reasoner.answer import Answer
from ...reasoner.prompts import Mode, clean_question
from ...twin.errors import InputError, ToolError
from ...twin.frame import Frame
from ...twin.window import TwinWindow
from ..models import Models, bundle_identities, set_folders
from ..refine import Proposal as RefineProposal
from .base import Proposer, VisionModel
from .perceiver import Asked, VisionPerceiver, keyframes_of
from .pictures import family_of
from .rsvp import Rsvp, RsvpConfig
from .sight import Sight
from .vlm import Vlm, VlmConfig

__all__ = ["Policy", "VisionResponder", "load_proposer", "refine_hook", "vision_models"]

Policy = Literal["rsvp", "vlm"]


def load_proposer(
    policy: Policy,
    model: VisionModel,
    bundle: Bundle,
    *,
    mode: Mode = "concise",
    family: str = "auto",
    segmenter: Segmenter | None = None,
) -> Proposer:
    """A policy over a model and a set's networks; ``family`` as in :func:`.pictures.family_of`.

    Raises:
        InputError: for another policy or family.
        ModelError: if the set lacks a network.
    """
    if policy not in get_args(Policy):
        raise InputError(f"expected the reasoner rsvp or vlm, got {policy!r}")
    sight = Sight(Detector(bundle), segmenter or Segmenter(bundle))
    if policy == "rsvp":
        return Rsvp(model, sight, RsvpConfig(mode=mode))
    return Vlm(model, sight, VlmConfig(mode=mode, family=family_of(family, model.name)))


def vision_models(
    models: str | Path | Bundle,
    questions: Sequence[str],
    *,
    reasoner: Policy,
    model: VisionModel,
    mode: Mode = "concise",
    family: str = "auto",
    frames: int | None = None,
    keyframes: int = 1,
    at: Sequence[int] | None = None,
) -> Models:
    """Models for one run whose eyes are a vision-language model's.

    Args:
        models: the set whose detector and segmenter are prompted, or its bundle.
        questions: what will be asked; they are put while frames are perceived.
        reasoner: ``"rsvp"`` or ``"vlm"``.
        model: an endpoint, or :class:`.qwen.QwenVl`.
        mode: how the model is to reason.
        family: what the model's coordinates mean (``"vlm"`` only).
        frames: of the source, if known, from which ``keyframes`` are evenly chosen.
        keyframes: how many, the first frame among them.
        at: or these frames.

    Raises:
        InputError: for another reasoner or family, or no keyframe.
        ModelError: if the set cannot be had.
    """
    bundle = models if isinstance(models, Bundle) else load_bundle(set_folders(models)[0])
    segmenter = Segmenter(bundle)
    proposer = load_proposer(reasoner, model, bundle, mode=mode, family=family, segmenter=segmenter)
    chosen = keyframes_of(frames, keyframes) if at is None else frozenset(at)
    if not chosen:
        raise InputError("expected at least one keyframe, got none")
    entry = bundle.manifest.networks.get("segmenter")
    remembers = entry is not None and bool(entry.config.get("memory", False))
    perceiver = VisionPerceiver(proposer, segmenter, questions, chosen, remembers=remembers)
    identities = bundle_identities(bundle)
    identities.pop("depth", None)  # not looked at
    identities["reasoner"] = {"id": f"{reasoner}/{model.name}", "sha256": model.sha256}

    def warnings() -> list[str]:
        late = min(chosen)
        told = []
        if late:
            told.append(f"frames before {late} show nothing: objects are followed forwards")
        if perceiver.left_out:
            told.append(f"{perceiver.left_out} further objects were left out")
        return told

    return Models(
        bundle.name if isinstance(models, Bundle) else str(models),
        perceiver,
        identities,
        warnings,
        reasoner=VisionResponder(perceiver, reasoner, model, mode),
    )


class VisionResponder:
    """Answers the questions that a :class:`~.perceiver.VisionPerceiver` was given."""

    def __init__(
        self, perceiver: VisionPerceiver, policy: str, model: VisionModel, mode: Mode
    ) -> None:
        self._perceiver, self._policy, self._mode = perceiver, policy, mode
        self._model = {"id": f"{policy}/{model.name}", "sha256": model.sha256}

    def answer(self, query: str, window: TwinWindow) -> Answer:
        """The answer to one of the questions.

        Raises:
            QueryError: if the question is empty, too long or not text.
            InputError: if it is none of those that the perceiver was given.
        """
        asked = self._perceiver.asked.get(clean_question(query))
        if asked is None:
            raise InputError(
                "expected one of the questions that were put while frames were perceived, got "
                "another: give it to the run"
            )
        ids = [i for i in asked.ids if i in window]
        status, message = _status(asked, ids, window)
        return Answer(
            status=status,
            ids=ids,
            intervals=_intervals(window, ids),
            mode=self._mode,
            rationale=_told(asked, "rationale"),
            description=_told(asked, "description"),
            plan=[{"tool": self._policy, "frame": index} for index, _ in asked.proposals],
            results=[
                {k: v for k, v in p.trace.items() if k != "replies"} for _, p in asked.proposals
            ],
            repairs=sum(max(0, len(p.trace.get("replies", ())) - 1) for _, p in asked.proposals),
            tokens=_sums([p.tokens for _, p in asked.proposals], int),
            ms=_sums([p.ms for _, p in asked.proposals], float),
            model=self._model,
            message=message,
            transcript="\n".join(
                text for _, p in asked.proposals for text in p.trace.get("replies", ())
            ),
        )


def refine_hook(proposer: Proposer) -> Callable[[str, Frame], list[RefineProposal]]:
    """The policy as ``Refiner(..., propose=...)`` takes it.

    What it gives raises ModelError if the model cannot be asked, ToolError if its replies
    cannot be used.
    """

    def propose(query: str, frame: Frame) -> list[RefineProposal]:
        found = proposer.propose(frame.image_hw3, query)
        if found.status == "error":
            raise ToolError(f"propose: {found.message}; ask in other words")
        boxes = mask_boxes(found.masks_nhw)
        return [
            RefineProposal(
                box_xyxy=(float(b[0]), float(b[1]), float(b[2]), float(b[3])),
                label=found.labels[row],
                color=found.colors[row],
                score=float(found.scores_n[row]),
                mask_hw=found.masks_nhw[row],
            )
            for row, b in enumerate(boxes)
        ]

    return propose


def _status(
    asked: Asked, ids: list[int], window: TwinWindow
) -> tuple[Literal["ok", "none", "stale", "error"], str]:
    if ids:
        if any(window.visible_at_end(i) for i in ids):
            return "ok", asked.error
        return "stale", "none of these objects is visible in the newest frame"
    if asked.error:
        return "error", asked.error
    said = {p.status: p.message for _, p in reversed(asked.proposals)}
    if "none" in said:
        return "none", said["none"]
    return "error", said.get("error", "the video has no frame at which the model is asked")


def _told(asked: Asked, name: str) -> str:
    """The first keyframe's rationale or description that is not empty."""
    return next((text for _, p in asked.proposals if (text := getattr(p, name))), "")


def _sums(rows: list[dict[str, Any]], kind: type[Any]) -> dict[str, Any]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: kind(sum(row.get(name, 0) for row in rows)) for name in names}


def _intervals(window: TwinWindow, ids: Sequence[int]) -> list[tuple[float, float]]:
    """Merged (start, end) seconds in which any of the ids is visible, frame by frame."""
    merged: list[tuple[float, float]] = []
    going = False
    for frame in window.frames:
        seen = any((o := frame.objects.get(i)) is not None and o.state == "visible" for i in ids)
        if seen and going:
            merged[-1] = (merged[-1][0], frame.timestamp_s)
        elif seen:
            merged.append((frame.timestamp_s, frame.timestamp_s))
        going = seen
    return merged
