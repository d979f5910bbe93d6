"""Which objects of a twin a true mask means: the ids that cover it best.

Greedy: the id whose mask raises the IoU most is added, again and again, while one does. The IoU is
that of :func:`..tasks.task.iou_of`: per frame, averaged over the frames in which either has a
pixel. Per frame the candidates' masks are laid over each other once and the pixels counted by
which candidates cover them; every union is then a sum of these counts, exact and fast.

Not covered: more than 12 candidates (those that share most pixels with the truth); the best
subset where greedy choice misses it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...twin import mask as masks
from ...twin.schema import FrameTwin, Rle
from ...twin.window import TwinWindow

__all__ = ["MAX_CANDIDATES", "Match", "best_ids"]

MAX_CANDIDATES = 12
"""With the truth 13 bits: a table of 8,192 counts per frame."""


@dataclass(frozen=True, slots=True)
class Match:
    """The ids that cover a truth best, ascending, and their IoU with it."""

    ids: tuple[int, ...]
    iou: float


def best_ids(
    window: TwinWindow, truth: Mapping[int, Rle], ignore: Mapping[int, Rle] | None = None
) -> Match:
    """The ids whose masks cover the truth best.

    Args:
        window: the twin, with masks.
        truth: true masks by frame index, of the frames' size; a frame that is missing has none.
        ignore: pixels left out of every count, by frame index.

    Raises:
        InputError: for masks of another size than their frame's.
    """
    truth = {frame: rle for frame, rle in truth.items() if masks.area(rle)}
    if not truth:
        return Match((), 1.0)
    candidates = _candidates(window, truth)
    if not candidates:
        return Match((), 0.0)
    tables = [
        table
        for frame in window.frames
        if (table := _table(frame, candidates, truth, ignore or {})) is not None
    ]
    chosen, best = 0, 0.0
    while True:
        tried = [chosen | 1 << k for k in range(len(candidates)) if not chosen >> k & 1]
        scores = [_iou(tables, code, len(candidates)) for code in tried]
        if not scores or max(scores) <= best:
            break
        best = max(scores)
        chosen = tried[scores.index(best)]
    ids = (i for k, i in enumerate(candidates) if chosen >> k & 1)
    return Match(tuple(sorted(ids)), best)


def _candidates(window: TwinWindow, truth: Mapping[int, Rle]) -> list[int]:
    """Ids that share a pixel with the truth in any frame, the most first."""
    shared: Counter[int] = Counter()
    for frame in window.frames:
        rle = truth.get(frame.index)
        for key, own in _visible(frame).items() if rle is not None else ():
            shared[key] += masks.intersection(own, rle) if rle is not None else 0
    return [key for key, pixels in shared.most_common(MAX_CANDIDATES) if pixels]


def _visible(frame: FrameTwin) -> dict[int, Rle]:
    return {
        i: obj.mask
        for i, obj in frame.objects.items()
        if obj.state == "visible" and obj.mask is not None
    }


def _table(
    frame: FrameTwin,
    candidates: list[int],
    truth: Mapping[int, Rle],
    ignore: Mapping[int, Rle],
) -> NDArray[np.int64] | None:
    """Pixels by the set of candidates that cover them (bits) and the truth (the highest bit).

    None where the frame has a pixel of neither.
    """
    seen = {i: rle for i, rle in _visible(frame).items() if i in candidates}
    rle = truth.get(frame.index)
    if not seen and rle is None:
        return None
    covers_hw = np.zeros((frame.height, frame.width), np.uint16)
    for i, own in seen.items():
        covers_hw |= masks.decode(own).astype(np.uint16) << candidates.index(i)
    if rle is not None:
        covers_hw |= masks.decode(rle).astype(np.uint16) << len(candidates)
    if frame.index in ignore:
        covers_hw[masks.decode(ignore[frame.index])] = 0
    table = np.bincount(covers_hw.ravel(), minlength=2 << len(candidates))
    return np.asarray(table, np.int64)


def _iou(tables: list[NDArray[np.int64]], chosen: int, bits: int) -> float:
    codes = np.arange(2 << bits)
    true, given = codes >> bits == 1, codes & chosen != 0
    found = []
    for table in tables:
        joined = int(table[true | given].sum())
        if joined:
            found.append(int(table[true & given].sum()) / joined)
    return sum(found) / len(found) if found else 0.0
