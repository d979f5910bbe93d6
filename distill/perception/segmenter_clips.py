"""Clips for the memory part: frames encoded once, objects and their truth over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Sam2VideoModel

from ...perception.graphs.configs_segmenter import SAM2_MEAN, SAM2_STD
from ...perception.graphs.segmenter_bundle import TorchSegmenterBundle
from ...perception.segmenter import Segmenter
from .segmenter_data import SMALLEST, STRIDE, boxes_and_masks, cell_weights, normalise
from .segmenter_eval import iou_of
from .segmenter_loss import Features, encode

__all__ = ["ClipPool", "Clips", "Sequence4", "draw_sequence", "evaluate_clips"]

MOVED = 6.0  # pixels between centres over a clip from which an object counts as moved


class Clips(Protocol):
    """What ``distill.sim.shards.open_clips`` returns, as far as it is needed here."""

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """(N, T, H, W, 3)."""
        ...

    @property
    def ids(self) -> NDArray[np.uint8]:
        """(N, T, H, W), 0 = background; an object keeps its number over a clip."""
        ...

    def __len__(self) -> int: ...


class ClipPool:
    """Features of at most ``size`` clips, encoded when first drawn; float16, on the CPU.

    The encoder is frozen, so they never go stale; the bound keeps memory flat (2 MB a clip of
    8 frames at 256 pixels).
    """

    def __init__(self, model: Sam2VideoModel, clips: Clips, size: int = 400) -> None:
        self.model, self.clips = model, clips
        self.size = min(size, len(clips))
        self._kept: dict[int, list[Features]] = {}

    def features(self, clip: int) -> list[Features]:
        """Return the features of every frame of a clip, each of one row."""
        if clip not in self._kept:
            if len(self._kept) >= self.size:
                self._kept.pop(next(iter(self._kept)))
            self._kept[clip] = self._encode(clip)
        device = self.model.device
        return [Features(*(v.to(device).float() for v in f)) for f in self._kept[clip]]

    @torch.no_grad()
    def _encode(self, clip: int) -> list[Features]:
        frames = []
        for rgb in self.clips.rgb[clip]:
            pixels = normalise(rgb[None], SAM2_MEAN, SAM2_STD).to(self.model.device)
            out = encode(self.model, pixels, torch.zeros(1, 2, dtype=torch.long))
            frames.append(Features(*(v.half().cpu() for v in out)))
        return frames


@dataclass
class Sequence4:
    """N objects over T frames of a clip.

    ``clip`` and ``frames`` say which; ``boxes`` (N, 4) and ``masks`` (N, H, W) of the first
    frame; ``target`` and ``weight`` (T, N, h, w) at stride 4; ``visible`` (T, N) bool.
    """

    clip: int
    frames: tuple[int, ...]
    boxes: NDArray[np.float32]
    masks: NDArray[np.bool_]
    target: Tensor
    weight: Tensor
    visible: Tensor


def draw_sequence(
    clips: Clips,
    rng: np.random.Generator,
    *,
    length: int = 4,
    most: int = 6,
    within: int | None = None,
) -> Sequence4 | None:
    """Draw a clip, ``length`` frames of it (every one or every second) and up to ``most`` objects.

    Objects that move are preferred. None if the first frame is empty. ``within`` limits the
    draw to the first so many clips.
    """
    clip = int(rng.integers(min(within or len(clips), len(clips))))
    total = clips.rgb.shape[1]
    step = int(rng.integers(1, 3)) if total > 2 * (length - 1) else 1
    span = step * (length - 1)
    start = int(rng.integers(0, total - span))
    frames = tuple(range(start, start + span + 1, step))
    if rng.random() < 0.3:
        frames = frames[::-1]  # backwards in time is a fair video too
    found, boxes, masks = boxes_and_masks(clips.ids[clip, frames[0]])
    if not len(found):
        return None
    ids = clips.ids[clip][list(frames)]
    moved = np.array([_travel(ids == key) for key in found])
    order = np.argsort(-(moved > MOVED).astype(float) - 0.5 * rng.random(len(found)))[:most]
    keys, boxes, masks = found[order], boxes[order], masks[order]
    cells = ids.shape[1] // STRIDE
    targets, weights = [], []
    for frame in ids:
        here = frame[None] == keys[:, None, None].astype(np.uint8)
        target = here.reshape(len(keys), cells, STRIDE, cells, STRIDE).mean((2, 4))
        target = target.astype(np.float32)
        targets.append(target)
        covered = (frame > 0).reshape(cells, STRIDE, cells, STRIDE).mean((1, 3))
        weights.append(cell_weights(_boxes(here), target, covered.astype(np.float32)))
    target = torch.from_numpy(np.stack(targets))
    visible = target.sum((2, 3)) * STRIDE**2 >= SMALLEST
    return Sequence4(
        clip, frames, boxes, masks, target, torch.from_numpy(np.stack(weights)), visible
    )


def _boxes(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Boxes of N masks; zeros where empty."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for k, mask in enumerate(masks):
        if mask.any():
            xs, ys = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
            boxes[k] = (xs[0], ys[0], xs[-1] + 1, ys[-1] + 1)
    return boxes


def _travel(masks: NDArray[np.bool_]) -> float:
    """Largest distance of the centre from where it first was, over the frames that show it."""
    centres = [np.argwhere(m).mean(0) for m in masks if m.any()]
    return max((float(np.linalg.norm(c - centres[0])) for c in centres), default=0.0)


def evaluate_clips(
    model: Sam2VideoModel, clips: Clips, *, limit: int, device: str = "cpu"
) -> dict[str, float]:
    """Track from true boxes on the first frame and compare with keeping the first mask.

    ``tracked`` and ``copied``: mean IoU over objects and later frames in which they can be
    seen (at least 30 pixels), without new prompts; ``_moving``: of objects that move;
    ``absent``: share of frames without the object in which nothing was drawn. Runs the
    engine-neutral segmenter, as the device does.
    """
    segmenter = Segmenter(TorchSegmenterBundle(model, device))
    rows: list[tuple[float, float, bool]] = []
    gone: list[bool] = []
    for clip in range(min(limit, len(clips))):
        ids_thw = np.asarray(clips.ids[clip])
        keys, boxes, _ = boxes_and_masks(ids_thw[0])
        if not len(keys):
            continue
        moves = [_travel(ids_thw == key) > MOVED for key in keys]
        bank = segmenter.new_bank()
        names: Sequence[Any] = keys.tolist()
        features = segmenter.encode(np.asarray(clips.rgb[clip, 0]))
        first = segmenter.from_boxes(features, boxes)
        segmenter.remember(features, first, bank, names)
        for frame in range(1, len(ids_thw)):
            bank.advance()
            features = segmenter.encode(np.asarray(clips.rgb[clip, frame]))
            now = segmenter.propagate(features, bank, names)
            segmenter.remember(features, now, bank, names)
            truth = ids_thw[frame][None] == keys[:, None, None].astype(np.uint8)
            tracked = iou_of(now.masks_nhw, truth)
            copied = iou_of(first.masks_nhw, truth)
            for k, seen in enumerate(truth.sum((1, 2)) >= SMALLEST):
                if seen:
                    rows.append((float(tracked[k]), float(copied[k]), moves[k]))
                elif not truth[k].any():
                    gone.append(not now.masks_nhw[k].any())
    table = np.array([r[:2] for r in rows]).reshape(-1, 2)
    moving = np.array([r[2] for r in rows], bool)
    scores = {"tracked": float(table[:, 0].mean()), "copied": float(table[:, 1].mean())}
    if moving.any():
        scores["tracked_moving"] = float(table[moving, 0].mean())
        scores["copied_moving"] = float(table[moving, 1].mean())
    if gone:
        scores["absent"] = float(np.mean(gone))
    return scores
