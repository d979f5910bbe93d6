"""Pictures with object ids into what the segmenter learns from: windows, prompts, targets.

A window is a square of the picture, its corner a multiple of 16 pixels (one token of the
coarsest feature map). Prompts stay in the coordinates of the whole picture, so a window looks
to the network like the part of the picture that it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "BOTH",
    "BOX",
    "POINT",
    "SLOTS",
    "PromptMix",
    "Prompts",
    "WindowBatch",
    "boxes_and_masks",
    "cell_weights",
    "geometry_batch",
    "make_prompts",
    "normalise",
    "toy_pictures",
    "window_batch",
]

TOKEN = 16  # pixels of the picture per token of the coarsest feature map
STRIDE = 4  # pixels per cell of the predicted mask
OUTSIDE = 0.1  # weight of cells that have nothing to do with the prompt
SMALLEST = 30  # pixels of an object in a window below which it is left out
BOX, POINT, BOTH = 0, 1, 2
SLOTS = {BOX: slice(1, 3), POINT: slice(0, 1), BOTH: slice(0, 3)}  # which slots a kind uses
NONE_LABEL = -1  # "no point here", SAM 2's padding


class Pictures(Protocol):
    """What ``distill.sim.shards.open_images`` returns, as far as it is needed here."""

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """(N, H, W, 3)."""
        ...

    @property
    def ids(self) -> NDArray[np.uint8]:
        """(N, H, W), 0 = background."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class PromptMix:
    """How prompts are drawn: shares of box, point and both; share and size of box jitter."""

    box: float = 0.8
    point: float = 0.2
    both: float = 0.0
    jittered: float = 0.5
    jitter: float = 0.07


@dataclass
class Prompts:
    """N prompts of 3 slots: ``points`` (N, 3, 2) xy pixels, ``labels`` (N, 3), ``kinds`` (N,).

    Slot 0 is for a pixel of the object, 1 and 2 for a box's corners; unused ones have label -1.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    kinds: NDArray[np.int64]


@dataclass
class WindowBatch:
    """B windows and their N objects.

    ``pixels`` (B, 3, S, S) normalised; ``offsets`` (B, 2) token column and row of the window;
    ``row`` (N,) the window of each object; ``points`` (N, 3, 2); ``labels`` (N, 3); ``target``
    (N, S/4, S/4) share of the cell that the object covers; ``weight`` like it; ``kinds`` (N,).
    """

    pixels: Tensor
    offsets: Tensor
    row: Tensor
    points: Tensor
    labels: Tensor
    target: Tensor
    weight: Tensor
    kinds: Tensor

    def to(self, device: str) -> WindowBatch:
        """Return the batch on a device."""
        return WindowBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def normalise(
    pictures_bhw3: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """Return (B, 3, H, W) float pixels with the mean taken off and divided by the spread."""
    pixels = torch.tensor(pictures_bhw3).permute(0, 3, 1, 2).float() / 255
    shift = torch.tensor(mean).view(1, 3, 1, 1)
    return (pixels - shift) / torch.tensor(std).view(1, 3, 1, 1)


def boxes_and_masks(
    ids_hw: NDArray[np.uint8], smallest: int = SMALLEST
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Return ids (N,), boxes (N, 4) xyxy with exclusive far edges and masks (N, H, W)."""
    counts = np.bincount(ids_hw.ravel(), minlength=1)
    counts[0] = 0
    found = np.flatnonzero(counts >= smallest)
    masks = ids_hw[None] == found[:, None, None].astype(np.uint8)
    boxes = np.zeros((len(found), 4), np.float32)
    for k, mask in enumerate(masks):
        xs, ys = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        boxes[k] = (xs[0], ys[0], xs[-1] + 1, ys[-1] + 1)
    return found, boxes, masks


def make_prompts(
    boxes: NDArray[np.float32], masks: NDArray[np.bool_], mix: PromptMix, rng: np.random.Generator
) -> Prompts:
    """Draw one prompt per object: its (perhaps jittered) box, a pixel of it, or both."""
    n = len(boxes)
    shares = np.array([mix.box, mix.point, mix.both])
    kinds = rng.choice(3, size=n, p=shares / shares.sum())
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    noise = rng.uniform(-mix.jitter, mix.jitter, (n, 4)) * (rng.random((n, 1)) < mix.jittered)
    corners = (boxes + noise * sides).reshape(n, 2, 2)
    points = np.zeros((n, 3, 2), np.float32)
    labels = np.full((n, 3), NONE_LABEL, np.int64)
    for k in range(n):
        if kinds[k] != BOX:
            ys, xs = np.nonzero(masks[k])
            pick = rng.integers(len(xs))
            points[k, 0] = xs[pick], ys[pick]
            labels[k, 0] = 1
        if kinds[k] != POINT:
            points[k, 1:] = corners[k]
            labels[k, 1:] = 2, 3
    return Prompts(points, labels, kinds)


def cell_weights(
    boxes: NDArray[np.float32],
    target: NDArray[np.float32],
    objects: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """What the cells (N, h, w) weigh in the loss.

    2 at contours, 1 in the box dilated by 20 % and 6 pixels and on other objects, where masks
    like to leak (``objects`` (h, w): share of the cell that any object covers), else 0.1.
    """
    n, height, width = target.shape
    grow = 0.2 * (boxes[:, 2:] - boxes[:, :2]) + 6
    low, high = (boxes[:, :2] - grow) / STRIDE, (boxes[:, 2:] + grow) / STRIDE
    ys, xs = np.arange(height)[None, :] + 0.5, np.arange(width)[None, :] + 0.5
    in_y = (ys > low[:, 1:2]) & (ys < high[:, 1:2])
    in_x = (xs > low[:, 0:1]) & (xs < high[:, 0:1])
    weight = np.where(in_y[:, :, None] & in_x[:, None, :], 1.0, OUTSIDE)
    if objects is not None:
        weight = np.where(objects[None] - target > 0.5, 1.0, weight)
    kernel = np.ones((3, 3), np.uint8)
    for k in range(n):
        edge = cv2.dilate(target[k], kernel) - cv2.erode(target[k], kernel) > 0.5
        weight[k][edge] = 2.0
    return weight.astype(np.float32)


def _vary(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change light, gamma and white balance; sometimes noise, blur or JPEG with thin chroma.

    The last three stand for cameras and H.264, which the simulator does not have.
    """
    levels = (np.arange(256) / 255) ** rng.uniform(0.8, 1.25)
    gain = rng.uniform(0.8, 1.2) * rng.uniform(0.94, 1.06, 3)
    table = np.clip(levels[:, None] * 255 * gain + rng.uniform(-12, 12), 0, 255)
    out: NDArray[Any] = cv2.LUT(np.ascontiguousarray(rgb), table.astype(np.uint8)[None])
    if rng.random() < 0.25:
        noise = rng.normal(0, rng.uniform(1, 6), out.shape)
        out = np.clip(out + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.15:
        out = cv2.GaussianBlur(out, (3, 3), float(rng.uniform(0.4, 0.9)))
    if rng.random() < 0.33:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))]
        out = np.asarray(cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR))
    return np.asarray(out, np.uint8)


def window_batch(
    pictures: Pictures,
    rng: np.random.Generator,
    *,
    windows: int,
    side: int,
    mix: PromptMix,
    mean: Sequence[float],
    std: Sequence[float],
    most: int = 12,
) -> WindowBatch:
    """Cut ``windows`` windows of ``side`` pixels out of random pictures, with all objects.

    ``side`` may be the whole picture. At most ``most`` objects per window.
    """
    whole = pictures.rgb.shape[1]
    pixels: list[NDArray[np.uint8]] = []
    offsets, rows = [], []
    points, labels, kinds, targets, weights = [], [], [], [], []
    while len(pixels) < windows:
        index = int(rng.integers(len(pictures)))
        place = rng.integers(0, (whole - side) // TOKEN + 1, size=2)
        x, y = (place * TOKEN).tolist()
        rgb, ids = pictures.rgb[index], pictures.ids[index]
        if rng.random() < 0.5:
            rgb, ids = rgb[:, ::-1], ids[:, ::-1]
        ids = np.ascontiguousarray(ids[y : y + side, x : x + side])
        found, boxes, masks = boxes_and_masks(ids)
        if not len(found):
            continue
        keep = rng.permutation(len(found))[:most]
        boxes, masks = boxes[keep], masks[keep]
        cells = side // STRIDE
        target = masks.reshape(-1, cells, STRIDE, cells, STRIDE).mean((2, 4)).astype(np.float32)
        prompts = make_prompts(boxes, masks, mix, rng)
        prompts.points += np.array([x, y], np.float32)
        rows.append(np.full(len(keep), len(pixels)))
        pixels.append(_vary(rgb[y : y + side, x : x + side], rng))
        offsets.append(place)
        points.append(prompts.points)
        labels.append(prompts.labels)
        kinds.append(prompts.kinds)
        targets.append(target)
        covered = (ids > 0).reshape(cells, STRIDE, cells, STRIDE).mean((1, 3))
        weights.append(cell_weights(boxes, target, covered.astype(np.float32)))
    return WindowBatch(
        pixels=normalise(np.stack(pixels), mean, std),
        offsets=torch.from_numpy(np.stack(offsets)).long(),
        row=torch.from_numpy(np.concatenate(rows)).long(),
        points=torch.from_numpy(np.concatenate(points)),
        labels=torch.from_numpy(np.concatenate(labels)),
        target=torch.from_numpy(np.concatenate(targets)),
        weight=torch.from_numpy(np.concatenate(weights)),
        kinds=torch.from_numpy(np.concatenate(kinds)),
    )


def geometry_batch(
    rng: np.random.Generator, *, prompts: int, picture: int, tokens: int = 8
) -> WindowBatch:
    """Boxes in random windows whose target is the inscribed ellipse: no picture at all.

    Teaches the decoder what a box prompt means before it sees features; ``pixels`` is empty,
    every prompt has a window of its own.
    """
    side = tokens * TOKEN
    offsets = rng.integers(0, picture // TOKEN - tokens + 1, size=(prompts, 2))
    size = rng.uniform(14, 100, (prompts, 2))
    low = rng.uniform(0, 1, (prompts, 2)) * (side - size)
    boxes = np.concatenate([low, low + size], axis=1).astype(np.float32)
    cells = np.arange(side // STRIDE) * STRIDE + STRIDE / 2
    centre, radius = (boxes[:, :2] + boxes[:, 2:]) / 2, size / 2
    dx = (cells[None, None, :] - centre[:, 0, None, None]) / radius[:, 0, None, None]
    dy = (cells[None, :, None] - centre[:, 1, None, None]) / radius[:, 1, None, None]
    target = (dx**2 + dy**2 <= 1).astype(np.float32)
    points = np.zeros((prompts, 3, 2), np.float32)
    points[:, 1:] = boxes.reshape(-1, 2, 2) + (offsets * TOKEN)[:, None]
    return WindowBatch(
        pixels=torch.zeros(prompts, 0),
        offsets=torch.from_numpy(offsets).long(),
        row=torch.arange(prompts),
        points=torch.from_numpy(points),
        labels=torch.tensor([NONE_LABEL, 2, 3]).expand(prompts, -1).contiguous(),
        target=torch.from_numpy(target),
        weight=torch.from_numpy(cell_weights(boxes, target)),
        kinds=torch.zeros(prompts, dtype=torch.long),
    )


@dataclass
class _Toy:
    """Pictures in memory."""

    rgb: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    objects: Sequence[Mapping[str, Any]] = ()

    def __len__(self) -> int:
        return len(self.rgb)


def toy_pictures(count: int, seed: int = 0, side: int = 256) -> _Toy:
    """Draw plain coloured ellipses, triangles and bars: for tests and smoke runs only."""
    rng = np.random.default_rng(seed)
    rgb = np.empty((count, side, side, 3), np.uint8)
    ids = np.zeros((count, side, side), np.uint8)
    for n in range(count):
        picture = np.full((side, side, 3), rng.integers(60, 190, 3), np.uint8)
        for k in range(1, int(rng.integers(4, 7))):
            shape = np.zeros((side, side), np.uint8)
            x, y = rng.integers(side // 8, side - side // 8, 2).tolist()
            a, b = rng.integers(side // 16, side // 6, 2).tolist()
            if k % 2:
                cv2.ellipse(shape, (x, y), (a, b), float(rng.uniform(0, 180)), 0, 360, 1, -1)
            else:
                corners = np.array([[x - a, y + b], [x + a, y + b // 2], [x, y - b]], np.int32)
                cv2.fillPoly(shape, [corners], (1,))
            picture[shape > 0] = rng.integers(0, 255, 3)
            ids[n][shape > 0] = k
        rgb[n] = picture
    return _Toy(rgb, ids)
