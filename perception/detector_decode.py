"""What a detector's patches saw, and how it becomes detections: no networks in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError, ModelError
from .boxes import box_iou, suppress
from .records import Detections

__all__ = ["DetectorConfig", "PatchView", "Queries", "best_colors", "decode", "sigmoid"]


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """The detector's entry in a bundle's manifest.

    ``mean``, ``std`` and ``pad_value`` are the checkpoint's pixel statistics (0–1 scale).
    ``nouns`` and ``colors`` are what it was trained on; empty for an open vocabulary.
    ``resize`` is how a frame becomes a square (:func:`~edgetwin.perception.boxes.to_square`).
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
    resize: str = "area"
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


@dataclass(frozen=True, slots=True)
class PatchView:
    """What the P patches of one picture (a square grid, row by row) saw; good for one frame.

    ``boxes_xyxy_p4`` (P, 4) float32 pixels of the picture, clipped to it; ``logits_pq`` (P, Q)
    against ``queries``; ``objectness_p`` (P,) in [0, 1]: whether some object is there, of any
    kind; all before suppression. ``size_hw`` is the picture's size.
    """

    queries: Queries
    boxes_xyxy_p4: NDArray[np.float32]
    logits_pq: NDArray[np.float32]
    objectness_p: NDArray[np.float32]
    size_hw: tuple[int, int]

    def columns(self, nouns: Sequence[str]) -> tuple[Queries, NDArray[np.float32]]:
        """Return queries and logits of some of the nouns only, with all colours.

        Raises:
            InputError: if a noun was not looked for.
        """
        own = self.queries
        if tuple(nouns) == own.nouns:
            return own, self.logits_pq
        missing = [noun for noun in nouns if noun not in own.nouns]
        if missing:
            raise InputError(
                f"expected words that were looked for, got {missing[:5]}; give them to look() too"
            )
        rows = [own.nouns.index(noun) for noun in nouns]
        by_noun, colors, pairs = own.split(self.logits_pq)
        pairs = pairs[:, rows].reshape(len(colors), -1)
        chosen = Queries(tuple(nouns), own.colors)
        return chosen, np.concatenate([by_noun[:, rows], colors, pairs], axis=1)


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
    scores = sigmoid(nouns.max(axis=1))
    sides = boxes_xyxy_p4[:, 2:] - boxes_xyxy_p4[:, :2]
    # Patches of the padding point out of the picture: clipped, their boxes have no area.
    rows = np.flatnonzero((scores > config.score_threshold) & (sides > 0).all(axis=1))
    if rows.size == 0:
        return Detections.empty()
    rows = rows[np.argsort(-scores[rows], kind="stable")][:256]  # bounded: N² overlaps
    boxes, scores = boxes_xyxy_p4[rows], scores[rows]
    nouns, colors, pairs = nouns[rows], colors[rows], pairs[rows]
    kept = suppress(boxes, scores, nouns.argmax(axis=1), iou=config.nms_iou, inside=config.inside)
    if config.vote_iou > 0:
        kept, weights = _votes(boxes, scores, kept, config)
        nouns, colors = weights @ nouns, weights @ colors
        # Rounded weights may sum to a little over one: a mean lies among what it is of.
        boxes = np.clip(weights @ boxes, boxes.min(axis=0), boxes.max(axis=0))
        pairs, scores = np.einsum("kp,pnc->knc", weights, pairs), scores[kept]
        # Boxes of one object drift together when they are averaged: look once more.
        best = nouns.argmax(axis=1)
        kept = suppress(boxes, scores, best, iou=config.nms_iou, inside=config.inside)
    if not kept:
        return Detections.empty()
    nouns, colors, pairs = nouns[kept], colors[kept], pairs[kept]
    boxes, scores = boxes[kept], scores[kept]
    best = nouns.argmax(axis=1)
    label_scores = sigmoid(nouns.max(axis=1))
    words, color_scores = best_colors(colors, pairs, best, queries)
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


def best_colors(
    colors_nc: NDArray[np.float32],
    pairs_nnc: NDArray[np.float32],
    best_n: NDArray[np.int64],
    queries: Queries,
) -> tuple[tuple[str | None, ...], NDArray[np.float32]]:
    """Return each row's colour, or None where no colour was asked for, and its share (N,).

    ``colors_nc`` are logits of colours alone, ``pairs_nnc`` of nouns (the best is ``best_n``)
    with colours.
    """
    n = len(best_n)
    if not queries.colors:
        return (None,) * n, np.ones(n, np.float32)
    evidence = colors_nc + pairs_nnc[np.arange(n), best_n]
    evidence = evidence - evidence.max(axis=1, keepdims=True)
    share = np.exp(evidence)
    share /= share.sum(axis=1, keepdims=True)
    words = tuple(queries.colors[int(i)] for i in evidence.argmax(axis=1))
    return words, share.max(axis=1).astype(np.float32)


def sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logistic function, float32, without overflow."""
    y: NDArray[np.float32] = (1.0 / (1.0 + np.exp(-np.clip(x, -60, 60)))).astype(np.float32)
    return y
