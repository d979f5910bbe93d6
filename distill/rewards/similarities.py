"""How much a part of a picture looks like a text: what RISE's reward asks.

* :class:`ClipSimilarity`: CLIP's two towers, the cosine of the crop's and the text's embedding,
  as in the paper (ViT-B/32). From a folder or ``owner/name@commit``.
* :class:`OwlSimilarity`: OWLv2's towers through a perception bundle, so also the embedded set
  without any download: the detector's own image-text score of the region, 0 to 1. A detector
  with an open vocabulary reads the whole text; one with a closed vocabulary (the embedded one)
  reads the nouns of the text that it knows, each with its colour, and the best one counts. It is
  the measure of the tool ``similarity`` (``deploy/refine``), on a box in place of a mask.

Neither knows the truth, and neither sees where an object stands.

Not covered: SigLIP and other pairs of towers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ...perception.bundle import load_bundle
from ...perception.detector import Detector
from ...twin.errors import InputError, ModelError
from .embedders import library_of, place_of

__all__ = ["ClipSimilarity", "OwlSimilarity", "Similarity", "View", "similarity_of"]

Image = NDArray[np.uint8]

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_MARGIN = 0.1  # of the box's longer side, on each side of a crop
_BATCH = 32  # crops at once: bounds the memory of CLIP's towers
_WORD = re.compile(r"[^\W\d_]+")
_MAX_NOUN_WORDS = 3
_MAX_PHRASES = 8  # of one text that are compared


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A box of a picture and the text to compare it with.

    Args:
        picture_hw3: (H, W, 3) uint8 RGB.
        box_xyxy: in its pixels.
        text: such as a question.
    """

    picture_hw3: Image
    box_xyxy: tuple[float, float, float, float]
    text: str

    def __post_init__(self) -> None:
        shape = self.picture_hw3.shape
        if self.picture_hw3.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise InputError(
                f"expected a picture (H, W, 3) uint8, got {shape} {self.picture_hw3.dtype}"
            )


class Similarity(Protocol):
    """Compares parts of pictures with texts."""

    name: str

    def compare(self, views: Sequence[View]) -> list[float | None]:
        """One number per view, higher for more alike; None for a text it can not read."""
        ...


class ClipSimilarity:
    """CLIP of transformers: cosine of image and text embedding, −1 to 1 (0.2 to 0.35 in practice).

    The crop is the box with a tenth around it, widened to a square as far as the picture goes,
    scaled so that its shorter side fits, and cut to the middle, as CLIP's own preprocessing does.

    Args:
        source: a folder with config.json, model.safetensors and tokenizer files, or a checkpoint
            of the hub as ``owner/name@commit``.
        device: such as ``cpu`` or ``cuda:0``.

    Raises:
        MissingExtraError: if torch or transformers is missing.
        ModelError: if the checkpoint cannot be used.
    """

    def __init__(self, source: str | Path, *, device: str = "cpu") -> None:
        place, options = place_of(source)
        self._torch, library = library_of("torch"), library_of("transformers")
        self.name, self.device = str(source), device
        try:
            self._tokenizer: Any = library.AutoTokenizer.from_pretrained(
                place, trust_remote_code=False, **options
            )
            model: Any = library.CLIPModel.from_pretrained(place, use_safetensors=True, **options)
        except Exception as error:  # the libraries raise OSError, ValueError, KeyError and more
            raise ModelError(
                f"expected {source} to load in transformers as CLIP of safetensors, got: "
                f"{str(error).splitlines()[0][:200]}"
            ) from error
        self._model = model.float().eval().requires_grad_(False).to(device)
        self._side = int(model.config.vision_config.image_size)
        self._most = int(model.config.text_config.max_position_embeddings)
        self._mean, self._std = _normalisation(Path(place))

    def compare(self, views: Sequence[View]) -> list[float | None]:
        """Cosines, one per view; texts beyond the tower's positions (77) are cut."""
        parts = [self._compare(views[k : k + _BATCH]) for k in range(0, len(views), _BATCH)]
        return [score for part in parts for score in part]

    def _compare(self, views: Sequence[View]) -> list[float]:
        pixels_nhw3 = np.stack([self._pixels(view) for view in views])
        pixels = self._torch.from_numpy(pixels_nhw3.transpose(0, 3, 1, 2).copy()).to(self.device)
        texts = [view.text for view in views]
        given = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._most, return_tensors="pt"
        ).to(self.device)
        with self._torch.inference_mode():
            out = self._model(
                input_ids=given["input_ids"],
                attention_mask=given["attention_mask"],
                pixel_values=pixels,
            )
            cosine = self._torch.nn.functional.cosine_similarity(out.image_embeds, out.text_embeds)
        return [float(value) for value in cosine.cpu()]

    def _pixels(self, view: View) -> NDArray[np.float32]:
        crop = _square_crop(view)
        height, width = crop.shape[:2]
        scale = self._side / min(height, width)
        size = (max(round(width * scale), self._side), max(round(height * scale), self._side))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        scaled = cv2.resize(crop, size, interpolation=how)
        x, y = (size[0] - self._side) // 2, (size[1] - self._side) // 2
        middle = scaled[y : y + self._side, x : x + self._side].astype(np.float32) / 255
        return np.asarray((middle - self._mean) / self._std, np.float32)


class OwlSimilarity:
    """OWLv2 of a perception bundle: the score of the patches under the box, 0 to 1.

    Args:
        source: ``embedded``, a bundle's folder, or a detector that is open already.

    Raises:
        ModelError: if the bundle's detector cannot be used.
    """

    def __init__(self, source: str | Path | Detector = "embedded") -> None:
        if isinstance(source, Detector):
            self.name, self._detector = "detector", source
        else:
            self.name, self._detector = str(source), Detector(load_bundle(source, threads=1))

    def compare(self, views: Sequence[View]) -> list[float | None]:
        """Scores, one per view; None where the detector knows no word of the text."""
        return [self._one(view) for view in views]

    def phrases(self, text: str) -> list[tuple[str | None, str]]:
        """(colour or None, noun) of a text as far as the detector knows them, at most 8.

        With an open vocabulary, the whole text if it is short enough for the text tower.
        """
        detector = self._detector
        if not detector.nouns:
            whole = " ".join(text.lower().split())
            return [] if detector.unknown([whole]) else [(None, whole)]
        words = [word.lower() for word in _WORD.findall(text)]
        found: dict[tuple[str | None, str], None] = {}
        for start in range(len(words)):
            for noun in _nouns(words[start : start + _MAX_NOUN_WORDS], detector.nouns):
                before = words[start - 1] if start else ""
                found[before if before in detector.config.colors else None, noun] = None
        return list(found)[:_MAX_PHRASES]

    def _one(self, view: View) -> float | None:
        phrases = self.phrases(view.text)
        if not phrases:
            return None
        nouns = [noun for _, noun in phrases]
        seen = self._detector.look(view.picture_hw3, nouns)
        mask_1hw = np.zeros((1, *view.picture_hw3.shape[:2]), np.bool_)
        x0, y0, x1, y1 = _inside(view)
        mask_1hw[0, y0:y1, x0:x1] = True
        return max(self._score(seen, mask_1hw, color, noun) for color, noun in phrases)

    def _score(self, seen: Any, mask_1hw: NDArray[np.bool_], color: str | None, noun: str) -> float:
        named = self._detector.label_regions(seen, mask_1hw, [noun], min_score=0.0)
        score = float(named.scores_n[0])
        if color is None:
            return score
        share = float(named.color_scores_n[0])
        others = max(len(self._detector.config.colors) - 1, 1)
        return score * (share if named.colors[0] == color else (1 - share) / others)


def similarity_of(source: str | Path = "embedded", *, device: str = "cpu") -> Similarity:
    """``embedded`` or a perception bundle's folder (OWLv2), or CLIP by folder or hub id.

    Raises:
        ModelError: if the model cannot be used.
    """
    bundle = source == "embedded" or (Path(source) / "manifest.json").is_file()
    return OwlSimilarity(source) if bundle else ClipSimilarity(source, device=device)


def _nouns(words: Sequence[str], known: Sequence[str]) -> list[str]:
    """The longest known noun that these words begin with, plural or not."""
    for n in range(len(words), 0, -1):
        phrase = " ".join(words[:n])
        for form in (phrase, phrase.removesuffix("s"), phrase.removesuffix("es")):
            if form in known:
                return [form]
    return []


def _inside(view: View) -> tuple[int, int, int, int]:
    """The box in whole pixels inside the picture, at least one pixel wide and high."""
    height, width = view.picture_hw3.shape[:2]
    x0, y0, x1, y1 = (round(v) for v in view.box_xyxy)
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    return x0, y0, min(max(x1, x0 + 1), width), min(max(y1, y0 + 1), height)


def _square_crop(view: View) -> Image:
    """The box with its margin, widened to a square as far as the picture goes."""
    height, width = view.picture_hw3.shape[:2]
    x0, y0, x1, y1 = _inside(view)
    side = round((1 + 2 * _MARGIN) * max(x1 - x0, y1 - y0))
    across, down = min(max(side, x1 - x0), width), min(max(side, y1 - y0), height)
    left = min(max(round((x0 + x1 - across) / 2), 0), width - across)
    top = min(max(round((y0 + y1 - down) / 2), 0), height - down)
    return np.ascontiguousarray(view.picture_hw3[top : top + down, left : left + across])


def _normalisation(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation of a checkpoint's pixels; CLIP's own where it does not say."""
    path = folder / "preprocessor_config.json"
    record: Any = {}
    if path.is_file():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"expected JSON in {path}, got: {error}") from error
    mean, std = record.get("image_mean") or _MEAN, record.get("image_std") or _STD
    return np.asarray(mean, np.float32), np.asarray(std, np.float32)
