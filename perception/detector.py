"""OWLv2 around its graphs: words to queries, picture to boxes, nouns and colours.

Every noun is asked for alone, every colour alone, and every colour with every noun
("red mug"), all in one call of the image graph. 16 nouns and 8 colours are 152 queries,
which take 6.9 ms where the nouns alone take 6.8 (one thread), so nothing is gained by asking
for less. A noun is the best of the noun queries, a colour the best sum of its own query and
its query with that noun. With the embedded network either one alone names as many colours
right (all of 1,600 on validation pictures); checkpoints differ in which they answer well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError, ModelError
from .boxes import box_iou, from_square, suppress, to_square
from .bundle import Bundle
from .query_words import QueryTokenizer
from .records import Detections

__all__ = ["Detector", "DetectorConfig", "Queries", "decode", "normalise"]

_MAX_VOCABULARIES = 16  # cached text embeddings: one per vocabulary in use, oldest dropped


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """The detector's entry in a bundle's manifest.

    ``mean``, ``std`` and ``pad_value`` are the checkpoint's pixel statistics (0–1 scale).
    ``nouns`` and ``colors`` are what it was trained on; empty for an open vocabulary.
    ``template`` wraps every phrase ("a photo of a {}"). ``vote_iou`` (0 = off) merges the
    evidence of candidates that overlap a kept box by at least that much; ``min_support`` is
    the sum of scores that those must reach (a lone odd patch is no object). ``nms_iou`` and
    ``inside`` are those of :func:`~edgetwin.perception.boxes.suppress`.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    nouns: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    pad_value: float = 0.0
    template: str = "{}"
    max_tokens: int = 16
    score_threshold: float = 0.3
    nms_iou: float = 0.5
    inside: float = 0.85
    vote_iou: float = 0.0
    min_support: float = 0.0
    max_detections: int = 32

    @classmethod
    def from_manifest(cls, values: Mapping[str, Any]) -> DetectorConfig:
        """Read the manifest's ``config``; keys of other readers are left alone.

        Raises:
            ModelError: if a needed key is missing or has the wrong kind of value.
        """
        names = {f.name for f in fields(cls)}
        known: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list | tuple) else v
            for k, v in values.items()
            if k in names
        }
        try:
            config = cls(**known)
            sizes = int(config.image_size), len(config.mean), len(config.std)
        except TypeError as error:
            raise ModelError(
                f"expected the detector's config with image_size, mean and std, got {error}"
            ) from error
        if sizes[0] < 1 or sizes[1:] != (3, 3):
            raise ModelError(f"expected a size and three means and deviations, got {sizes}")
        return config


@dataclass(frozen=True, slots=True)
class Queries:
    """The phrases asked for, in the order of the logit columns.

    ``nouns`` N, then ``colors`` C, then every noun with every colour (N × C, noun by noun).
    """

    nouns: tuple[str, ...]
    colors: tuple[str, ...]

    @property
    def phrases(self) -> tuple[str, ...]:
        """Return all N + C + N·C phrases."""
        pairs = (f"{color} {noun}" for noun in self.nouns for color in self.colors)
        return (*self.nouns, *self.colors, *pairs)

    def split(
        self, logits_pq: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return noun (P, N), colour (P, C) and pair (P, N, C) logits."""
        n, c = len(self.nouns), len(self.colors)
        nouns, colors, pairs = np.split(logits_pq, [n, n + c], axis=1)
        return nouns, colors, pairs.reshape(len(logits_pq), n, c)


class Detector:
    """Finds objects by their nouns in one picture at a time.

    Words that the embedded network was not trained on are refused or reported
    (:meth:`unknown`), never guessed. Trained nouns that were not asked for still compete, so
    that a bottle is not called a mug only because nobody asked for bottles.

    Not thread-safe (neither are its engines). Not covered: prompts that are pictures.

    Raises:
        ModelError: if the bundle's detector is incomplete or malformed.
    """

    def __init__(self, bundle: Bundle) -> None:
        network = bundle.network("detector")
        self.config = DetectorConfig.from_manifest(network.config)
        self._tokenizer = QueryTokenizer.from_file(
            bundle.path("detector_tokenizer.json"), self.config.max_tokens
        )
        self._image = bundle.engine("detector_image.onnx")
        self._text = bundle.engine("detector_text.onnx")
        self._cache: dict[Queries, NDArray[np.float32]] = {}

    @property
    def nouns(self) -> tuple[str, ...]:
        """Trained nouns; empty when the vocabulary is open."""
        return self.config.nouns

    def unknown(self, vocabulary: Sequence[str]) -> list[str]:
        """Return the entries that the network does not know, in order."""
        return [entry for entry in vocabulary if self._parse(entry) is None]

    def detect(
        self, image_hw3: NDArray[np.uint8], vocabulary: Sequence[str] | None = None
    ) -> Detections:
        """Find every object that ``vocabulary`` names, best score first.

        An entry is a noun ("mug") or a colour and a noun ("red mug"); None means all trained
        nouns. Entries that the network does not know are left out (see :meth:`unknown`).

        Raises:
            InputError: if the picture is not (H, W, 3) uint8, or no entry is known.
        """
        if image_hw3.dtype != np.uint8 or image_hw3.ndim != 3 or image_hw3.shape[2] != 3:
            raise InputError(
                f"expected a picture (H, W, 3) uint8, got {image_hw3.shape} {image_hw3.dtype}"
            )
        wanted = self._wanted(vocabulary)
        extra = [noun for noun in wanted if noun not in self.config.nouns]
        queries = Queries((*self.config.nouns, *extra), self.config.colors)
        height, width = image_hw3.shape[:2]
        square = to_square(image_hw3, self.config.image_size, self.config.pad_value)
        out = self._image.run(
            {"pixel_values": normalise(square, self.config.mean, self.config.std),
             "query_embeds": self._embed(queries)}
        )  # fmt: skip
        boxes = from_square(out["boxes_cxcywh"][0], height, width)
        found = decode(boxes, out["logits"][0], queries, self.config)
        rows = [
            i
            for i, (label, color) in enumerate(zip(found.labels, found.colors, strict=True))
            if label in wanted and (None in wanted[label] or color in wanted[label])
        ]
        return found if len(rows) == len(found) else found.take(rows)

    def _parse(self, entry: str) -> tuple[str | None, str] | None:
        """Return (colour or None, noun), or None if the network does not know the entry."""
        phrase = " ".join(entry.lower().split())
        first, _, rest = phrase.partition(" ")
        color, noun = (first, rest) if rest and first in self.config.colors else (None, phrase)
        if not noun or (self.config.nouns and noun not in self.config.nouns):
            return None
        return None if self._tokenizer.unknown(noun) else (color, noun)

    def _wanted(self, vocabulary: Sequence[str] | None) -> dict[str, set[str | None]]:
        entries = self.config.nouns if vocabulary is None else vocabulary
        wanted: dict[str, set[str | None]] = {}
        for entry in entries:
            parsed = self._parse(entry)
            if parsed is not None:
                wanted.setdefault(parsed[1], set()).add(parsed[0])
        if not wanted:
            raise InputError(
                f"expected at least one word the detector knows, got {list(entries)}; "
                f"it knows {', '.join(self.config.nouns) or 'any noun: give one'}"
            )
        return wanted

    def _embed(self, queries: Queries) -> NDArray[np.float32]:
        cached = self._cache.pop(queries, None)
        if cached is None:
            phrases = [self.config.template.format(p) for p in queries.phrases]
            out = self._text.run({"input_ids": self._tokenizer.encode(phrases)})
            cached = out["query_embeds"].astype(np.float32)
            if len(self._cache) >= _MAX_VOCABULARIES:
                self._cache.pop(next(iter(self._cache)))
        self._cache[queries] = cached  # last used is last in order
        return cached


def normalise(
    square_hw3: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Return (1, 3, H, W) float32: (pixel / 255 − mean) / std."""
    scale = (1.0 / (255.0 * np.asarray(std))).astype(np.float32)
    shift = (-np.asarray(mean) / np.asarray(std)).astype(np.float32)
    pixels = square_hw3.astype(np.float32) * scale + shift
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def decode(
    boxes_xyxy_p4: NDArray[np.float32],
    logits_pq: NDArray[np.float32],
    queries: Queries,
    config: DetectorConfig,
) -> Detections:
    """Turn what P patches see into detections, best score first.

    A patch's score is the sigmoid of its best noun. After suppression the kept boxes gather
    the candidates that overlap them by ``vote_iou`` and average boxes and logits by score
    (skipped when it is 0): patches of one object vote on what it is, and a box that too few
    of them back is dropped.
    """
    nouns, colors, pairs = queries.split(logits_pq)
    scores = _sigmoid(nouns.max(axis=1))
    rows = np.flatnonzero(scores > config.score_threshold)
    if rows.size == 0:
        return Detections.empty()
    rows = rows[np.argsort(-scores[rows], kind="stable")][:256]  # bounded: N² overlaps
    boxes, scores = boxes_xyxy_p4[rows], scores[rows]
    nouns, colors, pairs = nouns[rows], colors[rows], pairs[rows]
    kept = suppress(boxes, scores, nouns.argmax(axis=1), iou=config.nms_iou, inside=config.inside)
    if config.vote_iou > 0:
        kept, weights = _votes(boxes, scores, kept, config)
        nouns, colors, boxes = weights @ nouns, weights @ colors, weights @ boxes
        pairs, scores = np.einsum("kp,pnc->knc", weights, pairs), scores[kept]
        # Boxes of one object drift together when they are averaged: look once more.
        best = nouns.argmax(axis=1)
        kept = suppress(boxes, scores, best, iou=config.nms_iou, inside=config.inside)
    if not kept:
        return Detections.empty()
    nouns, colors, pairs = nouns[kept], colors[kept], pairs[kept]
    boxes, scores = boxes[kept], scores[kept]
    best = nouns.argmax(axis=1)
    label_scores = _sigmoid(nouns.max(axis=1))
    words, color_scores = _colors(colors, pairs, best, queries)
    limit = config.max_detections
    found = Detections(
        boxes_xyxy_n4=boxes.astype(np.float32),
        scores_n=scores.astype(np.float32),
        labels=tuple(queries.nouns[int(i)] for i in best),
        colors=words,
        label_scores_n=label_scores,
        color_scores_n=color_scores,
    )
    return found if len(found) <= limit else found.take(range(limit))


def _votes(
    boxes_p4: NDArray[np.float32],
    scores_p: NDArray[np.float32],
    kept: list[int],
    config: DetectorConfig,
) -> tuple[list[int], NDArray[np.float32]]:
    """Return the kept rows that enough candidates back, and each one's votes (K, P), sum 1."""
    weights = np.where(box_iou(boxes_p4[kept], boxes_p4) >= config.vote_iou, scores_p[None], 0)
    weights[np.arange(len(kept)), kept] = scores_p[kept]  # even a box without area votes
    backed = weights.sum(axis=1) >= config.min_support
    rows = [k for k, ok in zip(kept, backed, strict=True) if ok]
    votes = weights[backed] / np.maximum(weights[backed].sum(axis=1, keepdims=True), 1e-9)
    return rows, votes.astype(np.float32)


def _colors(
    colors_nc: NDArray[np.float32],
    pairs_nnc: NDArray[np.float32],
    best_n: NDArray[np.int64],
    queries: Queries,
) -> tuple[tuple[str | None, ...], NDArray[np.float32]]:
    n = len(best_n)
    if not queries.colors:
        return (None,) * n, np.ones(n, np.float32)
    evidence = colors_nc + pairs_nnc[np.arange(n), best_n]
    evidence = evidence - evidence.max(axis=1, keepdims=True)
    share = np.exp(evidence)
    share /= share.sum(axis=1, keepdims=True)
    words = tuple(queries.colors[int(i)] for i in evidence.argmax(axis=1))
    return words, share.max(axis=1).astype(np.float32)


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    y: NDArray[np.float32] = (1.0 / (1.0 + np.exp(-np.clip(x, -60, 60)))).astype(np.float32)
    return y
