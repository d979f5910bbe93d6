"""Columnar records of perception, validated where they are made.

One record holds all objects of one picture, one column per property; row ``i`` of every
column is object ``i``. Dense masks exist only inside the perception loop: outside it they
are run-length encoded (:mod:`edgetwin.twin.mask`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError

__all__ = ["Detections", "Masks"]


@dataclass(frozen=True, slots=True)
class Detections:
    """What a detector found in one picture: N objects, columns of equal length.

    ``boxes_xyxy_n4`` is (N, 4) float32 pixels with exclusive right and bottom edges;
    ``scores_n`` (N,) float32 in [0, 1] says how sure the detector is that an object is
    there with this label; ``labels`` are nouns; ``colors`` are colour words or None where
    no colour was asked for or none fits. ``label_scores_n`` and ``color_scores_n`` are the
    separate confidences of the noun and of the colour, equal to ``scores_n`` when the
    detector does not tell them apart (give None).

    Raises:
        InputError: if columns differ in length, shape or dtype, or hold values that are not
            finite, scores outside [0, 1] or boxes whose edges are in the wrong order.
    """

    boxes_xyxy_n4: NDArray[np.float32]
    scores_n: NDArray[np.float32]
    labels: tuple[str, ...]
    colors: tuple[str | None, ...]
    label_scores_n: NDArray[np.float32] | None = None
    color_scores_n: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        boxes = self.boxes_xyxy_n4
        n = len(self.labels)
        if boxes.dtype != np.float32 or boxes.shape != (n, 4):
            raise InputError(
                f"expected boxes_xyxy_n4 of shape ({n}, 4) and dtype float32, one row per label, "
                f"got shape {boxes.shape} and dtype {boxes.dtype}"
            )
        if not np.isfinite(boxes).all():
            raise InputError("expected finite boxes_xyxy_n4, got a NaN or an infinity")
        if n and bool((boxes[:, 2:] < boxes[:, :2]).any()):
            raise InputError("expected boxes with x0 <= x1 and y0 <= y1, got one in wrong order")
        if len(self.colors) != n:
            raise InputError(f"expected {n} colors, one per label, got {len(self.colors)}")
        for name in ("scores_n", "label_scores_n", "color_scores_n"):
            column = getattr(self, name)
            if column is None and name != "scores_n":
                object.__setattr__(self, name, self.scores_n)
                continue
            _check_scores(name, column, n)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Sequence[int] | NDArray[np.integer]) -> Detections:
        """Return the rows in the order given (indices, not a boolean mask)."""
        index = np.asarray(rows, dtype=np.int64).reshape(-1)
        assert self.label_scores_n is not None
        assert self.color_scores_n is not None
        return Detections(
            boxes_xyxy_n4=self.boxes_xyxy_n4[index],
            scores_n=self.scores_n[index],
            labels=tuple(self.labels[int(i)] for i in index),
            colors=tuple(self.colors[int(i)] for i in index),
            label_scores_n=self.label_scores_n[index],
            color_scores_n=self.color_scores_n[index],
        )

    @classmethod
    def empty(cls) -> Detections:
        """Return the record of a picture in which nothing was found."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), (), ())


@dataclass(frozen=True, slots=True)
class Masks:
    """Segmented objects of one picture: ``masks_nhw`` (N, H, W) bool, ``scores_n`` (N,).

    ``scores_n`` is the segmenter's own estimate of the mask's quality (predicted IoU for
    SAM 2), float32 in [0, 1].

    Raises:
        InputError: if shapes, dtypes or lengths do not fit, or scores leave [0, 1].
    """

    masks_nhw: NDArray[np.bool_]
    scores_n: NDArray[np.float32]

    def __post_init__(self) -> None:
        masks = self.masks_nhw
        if masks.dtype != np.bool_ or masks.ndim != 3 or 0 in masks.shape[1:]:
            raise InputError(
                "expected masks_nhw of shape (N, H, W) and dtype bool, "
                f"got shape {masks.shape} and dtype {masks.dtype}"
            )
        _check_scores("scores_n", self.scores_n, masks.shape[0])

    def __len__(self) -> int:
        return int(self.masks_nhw.shape[0])

    def take(self, rows: Sequence[int] | NDArray[np.integer]) -> Self:
        """Return the rows in the order given; columns that a subclass adds follow."""
        index = np.asarray(rows, dtype=np.int64).reshape(-1)
        columns = ((f.name, getattr(self, f.name)) for f in fields(self))
        return replace(self, **{k: v[index] for k, v in columns if isinstance(v, np.ndarray)})

    def with_masks(self, masks_nhw: NDArray[np.bool_]) -> Self:
        """Return a copy with other masks of the same shape; all other columns stay."""
        if masks_nhw.shape != self.masks_nhw.shape:
            raise InputError(
                f"expected masks of shape {self.masks_nhw.shape}, got {masks_nhw.shape}"
            )
        return replace(self, masks_nhw=masks_nhw)

    @classmethod
    def empty(cls, height: int, width: int) -> Masks:
        """Return the record of a picture of this size without any object."""
        return cls(np.zeros((0, height, width), np.bool_), np.zeros(0, np.float32))


def _check_scores(name: str, column: NDArray[np.float32], n: int) -> None:
    if column.dtype != np.float32 or column.shape != (n,):
        raise InputError(
            f"expected {name} of shape ({n},) and dtype float32, "
            f"got shape {column.shape} and dtype {column.dtype}"
        )
    if n and not bool(((column >= 0) & (column <= 1)).all()):
        raise InputError(f"expected {name} within [0, 1], got {column.min()} to {column.max()}")
