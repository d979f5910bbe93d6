"""Simulated pictures into what the detector learns from: pixels, patches, boxes.

Positives are dense: every patch of which one object covers at least 90 of 256 pixels, and
for an object with no such patch the one it covers most. Patches with 25 to 89 object pixels
are left out of the class losses. An object's n patches weigh 1/√n each.
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
    "DENSE",
    "FAINT",
    "Batch",
    "Pictures",
    "augment",
    "boxes_of",
    "make_batch",
    "paste",
    "photometric",
    "repaint",
    "shrink",
    "targets",
]

DENSE = 90  # pixels of a 16 x 16 patch that make it a positive
FAINT = 25  # from here to DENSE it is neither positive nor background
SLIVER = 40  # pixels below which an object is neither positive nor background
PASTED = 0.35  # of the pictures get objects of another one


class Pictures(Protocol):
    """What ``distill.sim.shards.open_images`` returns."""

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """(N, H, W, 3)."""
        ...

    @property
    def ids(self) -> NDArray[np.uint8]:
        """(N, H, W), 0 = background."""
        ...

    @property
    def objects(self) -> Sequence[Mapping[str, Any]]:
        """N records with ``objects``: a list of id, category, color."""
        ...

    def __len__(self) -> int: ...


@dataclass
class Batch:
    """B pictures and their K positive patches.

    ``pixels`` (B, 3, S, S) normalised; ``row``, ``patch``, ``noun``, ``color`` (K,) int64
    (a colour of −1 is not known);
    ``box`` (K, 4) as (cx, cy, w, h) in units of the square; ``weight`` (K,); ``ignored``
    (B, P) bool.
    """

    pixels: Tensor
    row: Tensor
    patch: Tensor
    noun: Tensor
    color: Tensor
    box: Tensor
    weight: Tensor
    ignored: Tensor

    def to(self, device: str) -> Batch:
        """Move to a device."""
        return Batch(**{k: v.to(device, non_blocking=True) for k, v in vars(self).items()})


def boxes_of(ids_hw: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
    """Return the visible boxes (count, 4) of ids 1..count; zeros for one that is not there."""
    boxes = np.zeros((count, 4), np.float32)
    for k in range(1, count + 1):
        mask = (ids_hw == k).view(np.uint8)
        x, y, w, h = cv2.boundingRect(mask)
        boxes[k - 1] = (x, y, x + w, y + h)
    return boxes


def targets(
    ids_hw: NDArray[np.uint8], count: int, patch: int = 16
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Assign patches to objects.

    Returns the positive patches (K,), their objects (K,) 0-based, weights (K,) and the
    ignored patches (P,). The thresholds are for 256-pixel patches and scale with others.
    """
    height, width = ids_hw.shape
    rows, cols = height // patch, width // patch
    where = (np.arange(height) // patch)[:, None] * cols + np.arange(width) // patch
    flat = where.ravel() * (count + 1) + ids_hw.ravel()
    cover = np.bincount(flat, minlength=rows * cols * (count + 1)).reshape(-1, count + 1)[:, 1:]
    if count == 0:
        none = np.zeros(0, np.int64)
        return none, none, np.zeros(0, np.float32), np.zeros(rows * cols, np.bool_)
    scale = patch * patch / 256
    owner, most = cover.argmax(axis=1), cover.max(axis=1)
    positive = most >= DENSE * scale
    ignored = (most >= FAINT * scale) & ~positive
    for k in range(count):
        if cover[:, k].any() and not (positive & (owner == k)).any():
            best = int(cover[:, k].argmax())
            if not positive[best]:
                positive[best], ignored[best], owner[best] = True, False, k
    patches = np.flatnonzero(positive)
    objects = owner[patches]
    weights = 1.0 / np.sqrt(np.bincount(objects, minlength=count)[objects])
    return patches, objects, weights.astype(np.float32), ignored


def augment(
    rgb_hw3: NDArray[np.uint8], ids_hw: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], set[int]]:
    """Mirror, paint, light, noise, compression; some become landscape frames or smaller.

    Returns the picture, its ids and the ids of repainted objects. All other hues stay what
    they are, because colour words are learnt: gains differ by at most 5 % between channels.
    """
    if rng.random() < 0.5:
        rgb_hw3, ids_hw = rgb_hw3[:, ::-1], ids_hw[:, ::-1]
    rgb, ids = np.array(rgb_hw3), np.array(ids_hw)
    rgb, painted = repaint(rgb, ids, rng)
    kind = rng.random()
    if kind < 0.1:
        rgb, ids = _landscape(rgb, ids, rng)
    elif kind < 0.25:
        rgb, ids = shrink(rgb, ids, rng)
    return photometric(rgb, rng), ids, painted


def repaint(
    rgb: NDArray[np.uint8], ids: NDArray[np.uint8], rng: np.random.Generator, share: float = 0.5
) -> tuple[NDArray[np.uint8], set[int]]:
    """Turn the hue of some objects, or make them nearly white or black; returns their ids.

    A repainted object keeps its noun and loses its colour word. Without this the network
    takes colour as a hint of the noun, and never names a pair that training lacks.
    """
    painted: set[int] = set()
    for k in range(1, int(ids.max()) + 1):
        if rng.random() >= share:
            continue
        mask = ids == k
        pixels: Any = rgb[mask][None]
        if not pixels.size:
            continue
        hsv: Any = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV).astype(np.float32)
        kind = rng.random()
        if kind < 0.7:
            hsv[..., 0] = (hsv[..., 0] + rng.uniform(10, 170)) % 180
            hsv[..., 1:] *= rng.uniform(0.8, 1.2, 2)
        else:
            hsv[..., 1] *= 0.15
            hsv[..., 2] = hsv[..., 2] * 0.2 if kind < 0.85 else 90 + hsv[..., 2] * 0.65
        flat = np.clip(hsv, 0, [179, 255, 255]).astype(np.uint8)
        rgb[mask] = cv2.cvtColor(flat, cv2.COLOR_HSV2RGB)[0]
        painted.add(k)
    return rgb, painted


def shrink(
    rgb: NDArray[np.uint8], ids: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Show the picture smaller, anywhere in the square; its edge's pixels fill the rest.

    Small objects are rare in the cell (7 % are under 36 pixels).
    """
    side = rgb.shape[0]
    inner = int(side * rng.uniform(0.6, 0.95))
    top, left = (int(v) for v in rng.integers(0, side - inner + 1, 2))
    border = (top, side - inner - top, left, side - inner - left)
    small = cv2.resize(rgb, (inner, inner), interpolation=cv2.INTER_AREA)
    labels = cv2.resize(ids, (inner, inner), interpolation=cv2.INTER_NEAREST)
    filled: Any = cv2.copyMakeBorder(small, *border, cv2.BORDER_REPLICATE)
    blank: Any = cv2.copyMakeBorder(labels, *border, cv2.BORDER_CONSTANT, value=0)
    return filled, blank


def paste(
    picture: tuple[NDArray[np.uint8], NDArray[np.uint8], list[Mapping[str, Any]]],
    other: tuple[NDArray[np.uint8], NDArray[np.uint8], Sequence[Mapping[str, Any]]],
    rng: np.random.Generator,
    most: int = 2,
) -> None:
    """Paste up to ``most`` whole objects of another picture, in place; they may cover others.

    Only one object in 35 of the cell is covered by more than a quarter (copy-paste: G. Ghiasi
    et al., 2021). ``picture`` and ``other`` are pixels, ids and records.
    """
    rgb, ids, records = picture
    side = ids.shape[0]
    free = max((int(o["id"]) for o in records), default=0) + 1
    for index in rng.permutation(len(other[2]))[: int(rng.integers(1, most + 1))].tolist():
        record = other[2][index]
        mask = (other[1] == record["id"]).view(np.uint8)
        x, y, w, h = cv2.boundingRect(mask)
        if cv2.countNonZero(mask) < 150 or min(x, y, side - x - w, side - y - h) < 1:
            continue  # cut by the edge
        to_x, to_y = (int(v) for v in rng.integers(0, (side - w + 1, side - h + 1)))
        cut = mask[y : y + h, x : x + w] > 0
        rgb[to_y : to_y + h, to_x : to_x + w][cut] = other[0][y : y + h, x : x + w][cut]
        ids[to_y : to_y + h, to_x : to_x + w][cut] = free
        records.append({**record, "id": free})
        free += 1


def photometric(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change light, sharpness, compression and noise of a picture, and no hue."""
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.95, 1.05, 3)
    gamma, lift = rng.uniform(0.85, 1.18), rng.uniform(-0.04, 0.04)
    ramp = np.linspace(0, 1, 256)[:, None]
    table = np.clip(ramp**gamma * gain + lift, 0, 1) * 255
    image: Any = cv2.LUT(rgb, table.astype(np.uint8)[None])
    if rng.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.0))
    if rng.random() < 0.3:
        quality = int(rng.integers(35, 95))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if rng.random() < 0.3:
        noise: Any = np.empty(image.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(2**31)))
        cv2.randn(noise, (0, 0, 0), (rng.uniform(1, 6),) * 3)  # type: ignore[call-overload]
        image = np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    result: NDArray[np.uint8] = image
    return result


def _landscape(
    rgb: NDArray[np.uint8], ids: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    side = rgb.shape[0]
    height = int(side * rng.choice((9 / 16, 3 / 4)))
    top = int(rng.integers(0, side - height + 1))
    square, blank = np.zeros_like(rgb), np.zeros_like(ids)  # OWLv2 pads with black
    square[:height], blank[:height] = rgb[top : top + height], ids[top : top + height]
    return square, blank


def make_batch(
    pictures: Pictures,
    indices: NDArray[np.int64],
    rng: np.random.Generator | None,
    words: tuple[Sequence[str], Sequence[str]],
    stats: tuple[Sequence[float], Sequence[float]],
) -> Batch:
    """Read, augment (unless ``rng`` is None) and label the pictures of one step.

    ``words`` are the nouns and the colours, ``stats`` the mean and deviation of pixels.
    """
    nouns = {word: i for i, word in enumerate(words[0])}
    colors = {word: i for i, word in enumerate(words[1])}
    frames, lists, ignored = [], [], []
    for row, index in enumerate(indices.tolist()):
        rgb, ids = pictures.rgb[index], pictures.ids[index]
        painted: set[int] = set()
        records = list(pictures.objects[index]["objects"])
        if rng is not None:
            if rng.random() < PASTED:
                rgb, ids, more = np.array(rgb), np.array(ids), int(rng.integers(len(pictures)))
                source = (pictures.rgb[more], pictures.ids[more], pictures.objects[more]["objects"])
                paste((rgb, ids, records), source, rng)
            rgb, ids, painted = augment(rgb, ids, rng)
        count = max((int(o["id"]) for o in records), default=0)
        noun, color = np.full(count, -1), np.full(count, -1)
        for o in records:
            noun[o["id"] - 1] = nouns.get(o["category"], -1)
            color[o["id"] - 1] = -1 if o["id"] in painted else colors.get(o["color"], -1)
        if rng is not None:  # what is left of a covered object is no example of it
            noun[np.bincount(ids.ravel(), minlength=count + 1)[1 : count + 1] < SLIVER] = -1
        patches, owners, weights, skip = targets(ids, count)
        usable = noun[owners] >= 0
        skip[patches[~usable]] = True
        patches, owners, weights = patches[usable], owners[usable], weights[usable]
        x0, y0, x1, y1 = (boxes_of(ids, count)[owners] / ids.shape[0]).T
        box = np.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], axis=1)
        frames.append(np.asarray(rgb))
        ignored.append(skip)
        lists.append(
            (np.full(len(patches), row), patches, noun[owners], color[owners], box, weights)
        )
    parts = [np.concatenate(column) for column in zip(*lists, strict=True)]
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float()
    scale = 255 * torch.tensor(stats[1]).view(1, 3, 1, 1)
    mean = torch.tensor(stats[0]).view(1, 3, 1, 1) * 255
    row_k, patch_k, noun_k, color_k, box_k4, weight = (torch.from_numpy(p) for p in parts)
    return Batch(
        pixels=(pixels - mean) / scale,
        row=row_k,
        patch=patch_k,
        noun=noun_k,
        color=color_k,
        box=box_k4.float(),
        weight=weight.float(),
        ignored=torch.from_numpy(np.stack(ignored)),
    )
