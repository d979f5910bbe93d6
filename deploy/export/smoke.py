"""A short life of a bundle in a process of its own: it sees a few frames and answers a question.

``python -m edgetwin.deploy.export.smoke BUNDLE`` prints one JSON object. Run by :mod:`.upgrade`
in a child, so that a bundle that crashes, hangs or eats the memory takes nothing with it.

Without a clip it sees three drawn pictures, whose contents are nothing that a set must know,
and reads a fixed twin whose right answer is known. Not covered: how good a bundle is; that is
what `edgetwin export --verify` measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...twin.errors import EdgeTwinError, InputError, ModelError
from ...twin.frame import Frame
from ...twin.schema import FrameTwin, ObjectTwin
from ...twin.window import TwinWindow

if TYPE_CHECKING:
    from ..models import Models

__all__ = ["QUESTION", "Smoke", "smoke"]

QUESTION = "What is left of the blue bowl?"
_RIGHT = (1,)
_MOST_FRAMES = 64
_WORDS = ("cup", "box")  # for sets that know any noun and must be told what to look for


@dataclass(frozen=True, slots=True)
class Smoke:
    """What the bundle did: frames seen, objects in the last, and how it answered."""

    frames: int
    objects: int
    question: str
    status: str
    ids: tuple[int, ...]
    load_ms: float
    see_ms: float
    answer_ms: float


def smoke(
    folder: str | Path,
    *,
    clip: str | Path | None = None,
    question: str | None = None,
    words: Sequence[str] | None = None,
) -> Smoke:
    """Load a bundle, let it see and let it answer.

    Args:
        folder: the bundle.
        clip: a video, picture or folder of frames; at most 64 frames of it are seen.
        question: asked about what it saw; else a fixed question about a fixed twin.
        words: what to look for.

    Raises:
        ModelError: if the bundle cannot be loaded, or answers wrongly or with an error.
        InputError: if a question of one's own comes without a clip.
    """
    from ...perception.bundle import load_bundle
    from ..models import load_models, set_folders

    if question is not None and clip is None:
        raise InputError("expected a clip for a question of your own, got none: add --clip")
    if words is None and not load_bundle(set_folders(folder)[0]).words.nouns:
        words = _WORDS
    began = time.perf_counter()
    models = load_models(folder, words)
    loaded = time.perf_counter()
    window = _seen(models, clip)
    saw = time.perf_counter()
    asked = question or QUESTION
    answer = models.reasoner.answer(asked, window if question else known_twin())
    told = answer.model_dump(mode="json")
    ended = time.perf_counter()
    done = Smoke(
        len(window),
        len(window.last.objects) if window.last else 0,
        asked,
        str(told["status"]),
        tuple(told["ids"]),
        *(round(1000 * s, 1) for s in (loaded - began, saw - loaded, ended - saw)),
    )
    if done.status == "error":
        raise ModelError(
            f"expected an answer to {asked!r} from {folder}, got an error: {told.get('message')}"
        )
    if question is None and (done.status, done.ids) != ("ok", _RIGHT):
        raise ModelError(
            f"expected the answer {list(_RIGHT)} to {asked!r} about a fixed twin from {folder}, got "
            f"{done.status} {list(done.ids)}; the language model of the bundle is not usable"
        )
    return done


def known_twin() -> TwinWindow:
    """Return one frame of 256x256: a red mug (1) at the left, a blue bowl (2) at the right."""
    objects = {
        1: _object(1, "mug", "red", (50.0, 110.0, 90.0, 150.0)),
        2: _object(2, "bowl", "blue", (160.0, 105.0, 210.0, 155.0)),
    }
    return TwinWindow([FrameTwin(index=0, timestamp_s=0.0, width=256, height=256, objects=objects)])


def _object(
    place: int, label: str, color: str, box_xyxy: tuple[float, float, float, float]
) -> ObjectTwin:
    x0, y0, x1, y1 = box_xyxy
    return ObjectTwin(
        id=place,
        semantic_label=label,
        attributes={"color": color},
        confidence=0.9,
        box_xyxy=box_xyxy,
        centroid=((x0 + x1) / 2, (y0 + y1) / 2),
        area=int((x1 - x0) * (y1 - y0)),
        first_seen=0.0,
        last_seen=0.0,
    )


def _seen(models: Models, clip: str | Path | None) -> TwinWindow:
    if clip is None:
        frames = _drawn()
    else:
        from ..stream.source import open_source

        frames = list(islice(open_source(clip), _MOST_FRAMES))
    window = TwinWindow()
    for frame in frames:
        window.append(models.perceiver.observe(frame))
    return window


def _drawn() -> list[Frame]:
    """Three pictures of 256x256: a grey slope with a red square that moves."""
    frames = []
    for index in range(3):
        image = np.empty((256, 256, 3), np.uint8)
        image[:] = np.linspace(90, 160, 256, dtype=np.uint8)[None, :, None]
        image[100:150, 60 + 10 * index : 110 + 10 * index] = (200, 30, 30)
        frames.append(Frame(index, index / 10, image))
    return frames


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, print; 2 if the bundle did not pass."""
    parser = argparse.ArgumentParser(prog="python -m edgetwin.deploy.export.smoke")
    parser.add_argument("bundle")
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--question")
    parser.add_argument("--words")
    got = parser.parse_args(arguments)
    words = [w.strip() for w in got.words.split(",") if w.strip()] if got.words else None
    try:
        done = smoke(got.bundle, clip=got.clip, question=got.question, words=words)
    except EdgeTwinError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(json.dumps(asdict(done)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
