"""SAM 2 or EdgeTAM around four graphs: pictures and prompts to masks, memory to follow them.

Every step is stateless; what is remembered of a video lives in a
:class:`~edgetwin.perception.memory_bank.MemoryBank` that the caller owns::

    features = segmenter.encode(image)
    masks = segmenter.from_boxes(features, boxes_xyxy_n4)   # row i is box i
    segmenter.remember(features, masks, bank, ids)          # frame 0
    bank.advance()                                          # next frame
    features = segmenter.encode(image)
    masks = segmenter.propagate(features, bank)             # rows follow bank.ids()
    segmenter.remember(features, masks, bank, bank.ids())

Not covered: mask prompts, several masks per prompt, corrections of a tracked frame by clicks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError, ModelError
from .engines import Engine
from .memory_bank import MemoryBank
from .records import Masks
from .resample import KERNELS, resize
from .tidy import tidy

__all__ = ["ImageFeatures", "MemoryBank", "SegmentedMasks", "Segmenter", "SegmenterConfig"]

Array = NDArray[np.float32]
_OUTSIDE = -4.0  # logit of cells outside a prompted box: surely not, but smooth to resize
_NO_OBJECT = -1024.0  # SAM 2's mask logit where no object is


class _Network(Protocol):
    @property
    def config(self) -> Mapping[str, Any]: ...


class _Bundle(Protocol):
    def network(self, name: str) -> _Network: ...
    def engine(self, filename: str) -> Engine: ...


@dataclass(frozen=True, slots=True)
class SegmenterConfig:
    """The segmenter's entry in a bundle's manifest.

    ``image_size`` is the graphs' square input; ``mean`` and ``std`` its pixel statistics and
    ``resize`` how pictures get there, ``"area"`` (OpenCV's, where they shrink) or a kernel of
    :mod:`.resample`; ``width`` the length of an object pointer. What one object's memory attention reads:
    ``memories`` (one prompted, the others recent; ``prompts`` prompted ones where that is more),
    ``pointers``, and ``oldest_pointer``, the age that older pointers are counted as (None: their
    own; absent: ``pointers`` - 1). ``memory_dtype`` is how memories are kept, ``"float32"`` or
    ``"bfloat16"``.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    width: int
    memories: int = 7
    pointers: int = 16
    prompts: int = 1
    oldest_pointer: int | None = 15
    memory_dtype: str = "float32"
    resize: str = "area"

    @classmethod
    def from_manifest(cls, values: Mapping[str, Any]) -> SegmenterConfig:
        """Read the manifest's ``config``; keys of other readers are left alone.

        Raises:
            ModelError: if a needed key is missing or a value makes no sense.
        """
        names = {f.name for f in fields(cls)}
        known: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in names
        }
        if "oldest_pointer" not in known and isinstance(known.get("pointers"), int):
            known["oldest_pointer"] = known["pointers"] - 1
        try:
            config = cls(**known)
            sound = (
                len(config.mean) == len(config.std) == 3
                and min(config.std) > 0
                and config.image_size > 0
                and config.image_size % 16 == 0
                and min(config.memories, config.pointers, config.prompts) > 0
                and config.memory_dtype in ("float32", "bfloat16")
                and config.resize in ("area", *KERNELS)
            )
        except TypeError as error:
            raise ModelError(
                f"expected the segmenter config with image_size, mean, std and width, got {error}; "
                "export the network again"
            ) from error
        if not sound:
            raise ModelError(
                "expected image_size a positive multiple of 16, three means and positive "
                "deviations, bounds of at least 1, memory_dtype float32 or bfloat16 and resize area "
                f"or one of {KERNELS}, got "
                f"{config}; export the network again"
            )
        return config


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """One encoded picture of ``height`` x ``width`` pixels.

    ``embedding`` and ``image_embedding`` (1, C, E, E), the latter for prompts without memory;
    ``high_res_0`` (1, C/8, 4E, 4E), ``high_res_1`` (1, C/4, 2E, 2E); all float32.
    """

    height: int
    width: int
    embedding: Array
    image_embedding: Array
    high_res_0: Array
    high_res_1: Array


@dataclass(frozen=True, slots=True)
class SegmentedMasks(Masks):
    """Masks at the frame's size with what memory needs of them.

    ``logits_nhw`` (N, 4E, 4E) float32 mask logits of the network's own size; ``pointers_nc``
    (N, C); ``object_logits_n`` (N,), above zero where the object is in the picture;
    ``prompted``: whether they come from prompts rather than from memory.
    """

    logits_nhw: Array
    pointers_nc: Array
    object_logits_n: Array
    prompted: bool


class Segmenter:
    """Masks of objects from boxes, points or memory.

    Raises:
        ModelError: if the bundle's segmenter is incomplete or malformed.
    """

    def __init__(self, bundle: _Bundle) -> None:
        self.config = SegmenterConfig.from_manifest(bundle.network("segmenter").config)
        self._bundle = bundle
        self._encoder = bundle.engine("segmenter_encoder.onnx")
        self._decoder = bundle.engine("segmenter_decoder.onnx")
        # Opened when a video is first tracked: pictures alone never need them.
        self._memory_encoder: Engine | None = None
        self._memory_attention: Engine | None = None
        self._same_ages = False

    def new_bank(
        self, *, memories: int | None = None, prompts: int | None = None, max_objects: int = 64
    ) -> MemoryBank:
        """Return an empty bank with the network's bounds, or fewer memories (faster)."""
        config = self.config
        return MemoryBank(
            min(memories or config.memories, config.memories),
            config.pointers,
            max_objects,
            prompts=min(prompts or config.prompts, config.prompts),
            half=config.memory_dtype == "bfloat16",
        )

    def encode(self, image_hw3: NDArray[np.uint8]) -> ImageFeatures:
        """Encode a picture (H, W, 3) uint8 RGB of any size.

        Raises:
            InputError: if the picture has another shape or dtype.
        """
        if image_hw3.dtype != np.uint8 or image_hw3.ndim != 3 or image_hw3.shape[2] != 3:
            raise InputError(
                f"expected a picture (H, W, 3) uint8, got {image_hw3.shape} {image_hw3.dtype}"
            )
        height, width = image_hw3.shape[:2]
        side = self.config.image_size
        pixels: NDArray[Any] = image_hw3
        if self.config.resize != "area":
            pixels = resize(image_hw3, (side, side), self.config.resize)
        elif (height, width) != (side, side):
            how = cv2.INTER_AREA if height * width > side * side else cv2.INTER_LINEAR
            pixels = cv2.resize(image_hw3, (side, side), interpolation=how)
        scale = (1.0 / (255.0 * np.asarray(self.config.std))).astype(np.float32)
        shift = (-np.asarray(self.config.mean) / np.asarray(self.config.std)).astype(np.float32)
        planes = (pixels.astype(np.float32) * scale + shift).transpose(2, 0, 1)[None]
        out = self._encoder.run({"pixel_values": np.ascontiguousarray(planes)})
        names = ("embedding", "image_embedding", "high_res_0", "high_res_1")
        return ImageFeatures(height, width, *(out[name] for name in names))

    def from_boxes(
        self,
        features: ImageFeatures,
        boxes_xyxy_n4: NDArray[np.floating[Any]],
        *,
        margin: float | None = 0.1,
        points_xy_nk2: NDArray[np.floating[Any]] | None = None,
    ) -> SegmentedMasks:
        """Segment one object per box (pixels of the frame, exclusive far edges).

        Masks and logits are cut to the box, widened by ``margin`` of each side, and lose their
        crumbs (:func:`~edgetwin.perception.tidy.tidy`); None leaves what the network says. With
        ``points_xy_nk2`` each box comes with K points on its object: where boxes are imprecise.

        Raises:
            InputError: if boxes or points are not finite or not of shape (N, 4) and (N, K, 2).
        """
        boxes = np.asarray(boxes_xyxy_n4, np.float32)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise InputError(f"expected boxes_xyxy_n4 of shape (N, 4), got {boxes.shape}")
        prompts, kinds = boxes.reshape(-1, 2, 2), [2, 3]
        if points_xy_nk2 is not None:
            points = np.asarray(points_xy_nk2, np.float32)
            if points.ndim != 3 or points.shape[::2] != (len(boxes), 2):
                raise InputError(f"expected points_xy_nk2 ({len(boxes)}, K, 2), got {points.shape}")
            prompts = np.concatenate([prompts, points], axis=1)
            kinds += [1] * points.shape[1]
        labels = np.broadcast_to(np.array(kinds, np.int64), prompts.shape[:2])
        masks = self._prompted(features, prompts, labels)
        if margin is None or not len(masks):
            return masks
        logits = _cut(masks.logits_nhw, boxes, features, margin)
        return replace(tidy(masks, boxes, margin), logits_nhw=logits)

    def from_points(
        self,
        features: ImageFeatures,
        points_xy_nk2: NDArray[np.floating[Any]],
        labels_nk: NDArray[np.integer[Any]] | None = None,
    ) -> SegmentedMasks:
        """Segment one object per row of K points: label 1 on it (default), 0 off it.

        ``points_xy_nk2`` may be (N, 2) for one point each.

        Raises:
            InputError: if points or labels have other shapes or values.
        """
        points = np.asarray(points_xy_nk2, np.float32)
        if points.ndim == 2:
            points = points[:, None]
        if points.ndim != 3 or points.shape[2] != 2 or not points.shape[1]:
            raise InputError(f"expected points of shape (N, K, 2) or (N, 2), got {points.shape}")
        labels = np.ones(points.shape[:2], np.int64) if labels_nk is None else np.asarray(labels_nk)
        if labels.shape != points.shape[:2] or not np.isin(labels, (0, 1)).all():
            raise InputError(
                f"expected labels 0 or 1 of shape {points.shape[:2]}, got shape {labels.shape}"
            )
        return self._prompted(features, points, labels.astype(np.int64))

    def remember(
        self,
        features: ImageFeatures,
        masks: SegmentedMasks,
        bank: MemoryBank,
        ids: Sequence[int] | None = None,
        *,
        binary: bool | None = None,
    ) -> None:
        """Put the masks of the bank's current frame into it; row ``i`` is object ``ids[i]``.

        ``ids`` default to the row numbers. ``binary`` tells whether masks are made binary for
        the memory; by default those from prompts are. (SAM 2's session in transformers does it
        with all objects of a frame on which any is prompted.)

        Raises:
            InputError: if there are not as many different ids as masks.
        """
        keys = list(range(len(masks))) if ids is None else [int(i) for i in ids]
        if len(set(keys)) != len(masks):
            raise InputError(f"expected {len(masks)} different ids, one per mask, got {keys}")
        if not keys:
            return
        if self._memory_encoder is None:
            self._memory_encoder = self._bundle.engine("segmenter_memory_encoder.onnx")
        binary = masks.prompted if binary is None else binary
        memories = self._memory_encoder.run(
            {
                "embedding": features.embedding,
                "mask_logits": masks.logits_nhw,
                "object_logits": masks.object_logits_n,
                "prompted": np.full(len(keys), float(binary), np.float32),
            }
        )["memories"]
        for row, key in enumerate(keys):
            bank.store(key, memories[row], masks.pointers_nc[row], prompted=masks.prompted)

    def propagate(
        self, features: ImageFeatures, bank: MemoryBank, ids: Sequence[int] | None = None
    ) -> SegmentedMasks:
        """Find remembered objects in a new picture; rows follow ``ids`` (``bank.ids()``).

        An object that the network believes absent gets an empty mask.

        Raises:
            InputError: if an id is not in the bank.
        """
        keys = list(bank.ids() if ids is None else ids)
        if not keys:
            return self._empty(features, prompted=False)
        embedding = self._conditioned(features, bank, keys)
        points = np.zeros((len(keys), 1, 1, 2), np.float32)
        labels = np.full((len(keys), 1, 1), -1, np.int64)
        return self._decode(features, embedding, points, labels, prompted=False)

    def _conditioned(self, features: ImageFeatures, bank: MemoryBank, keys: list[int]) -> Array:
        """Run the memory attention, one call per number of memories -> (N, C, E, E)."""
        if self._memory_attention is None:
            self._memory_attention = self._bundle.engine("segmenter_memory_attention.onnx")
            # Networks exported before offsets were told apart by object take one row for all.
            ports = {port.name: port for port in self._memory_attention.inputs}
            self._same_ages = len(ports["memory_offsets"].shape) == 1
        groups = bank.groups(
            keys,
            oldest_memory=self.config.memories - 1,
            oldest_pointer=self.config.oldest_pointer,
            same_ages=self._same_ages,
        )
        parts = []
        for group in groups:
            ages, pointer_ages = group.memory_offsets, group.pointer_offsets
            inputs = {
                "embedding": features.embedding,
                "memories": group.memories,
                "memory_offsets": ages[0] if self._same_ages else ages,
                "pointers": group.pointers,
                "pointer_offsets": pointer_ages[0] if self._same_ages else pointer_ages,
            }
            parts.append(self._memory_attention.run(inputs)["conditioned"])
        order = {key: row for row, key in enumerate(k for g in groups for k in g.ids)}
        rows = [order[key] for key in keys]
        every = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return every if rows == list(range(len(every))) else every[rows]

    def _prompted(
        self, features: ImageFeatures, points_nk2: Array, labels_nk: NDArray[np.int64]
    ) -> SegmentedMasks:
        if not np.isfinite(points_nk2).all():
            raise InputError("expected finite prompt coordinates, got a NaN or an infinity")
        if not len(points_nk2):
            return self._empty(features, prompted=True)
        side = self.config.image_size
        scale = np.array([side / features.width, side / features.height], np.float32)
        return self._decode(
            features,
            features.image_embedding,
            np.ascontiguousarray(points_nk2 * scale)[None],
            np.ascontiguousarray(labels_nk)[None],
            prompted=True,
        )

    def _decode(
        self,
        features: ImageFeatures,
        embedding: Array,
        points: Array,
        labels: NDArray[np.int64],
        *,
        prompted: bool,
    ) -> SegmentedMasks:
        """Run the decoder on (B, P) prompts and bring its B x P masks to the frame's size."""
        out = self._decoder.run(
            {
                "embedding": embedding,
                "high_res_0": features.high_res_0,
                "high_res_1": features.high_res_1,
                "points": points,
                "labels": labels,
            }
        )
        logits = out["mask_logits"].reshape(-1, *out["mask_logits"].shape[2:])
        present = out["object_logits"].reshape(-1)
        logits = np.where(present[:, None, None] > 0, logits, np.float32(_NO_OBJECT))
        masks = np.zeros((len(logits), features.height, features.width), np.bool_)
        for small, mask in zip(logits, masks, strict=True):
            _enlarge(small, mask)
        return SegmentedMasks(
            masks_nhw=masks,
            scores_n=np.clip(out["iou"].reshape(-1), 0, 1).astype(np.float32),
            logits_nhw=logits,
            pointers_nc=out["pointers"].reshape(len(logits), -1),
            object_logits_n=present,
            prompted=prompted,
        )

    def _empty(self, features: ImageFeatures, *, prompted: bool) -> SegmentedMasks:
        cells = self.config.image_size // 4
        return SegmentedMasks(
            masks_nhw=np.zeros((0, features.height, features.width), np.bool_),
            scores_n=np.zeros(0, np.float32),
            logits_nhw=np.zeros((0, cells, cells), np.float32),
            pointers_nc=np.zeros((0, self.config.width), np.float32),
            object_logits_n=np.zeros(0, np.float32),
            prompted=prompted,
        )


def _enlarge(logits_hw: Array, mask_hw: NDArray[np.bool_]) -> None:
    """Write where the logits, bilinearly resized, are above zero; only around cells that are."""
    above = logits_hw > 0
    cells, pixels = [], []
    for axis in (0, 1):
        found = np.flatnonzero(above.any(1 - axis))
        if not len(found):
            return
        # Cut where a whole number of cells is a whole number of pixels, one cell further out:
        # what lies beyond the cut is below zero with or without its neighbours.
        size, length = logits_hw.shape[axis], mask_hw.shape[axis]
        step = size // math.gcd(size, length)
        low = max(int(found[0]) - 1, 0) // step * step
        high = min(-(-(int(found[-1]) + 2) // step) * step, size)
        cells.append(slice(low, high))
        pixels.append(slice(low * length // size, high * length // size))
    part = mask_hw[pixels[0], pixels[1]]
    crop = np.ascontiguousarray(logits_hw[cells[0], cells[1]])
    part[...] = cv2.resize(crop, part.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0


def _cut(logits_nhw: Array, boxes_xyxy_n4: Array, features: ImageFeatures, margin: float) -> Array:
    """Return logits that say no outside the boxes, widened as :func:`tidy` does.

    What memory is made of, so that a leak is not followed through the video.
    """
    height, width = logits_nhw.shape[1:]
    xs = (np.arange(width, dtype=np.float32) + 0.5) * (features.width / width)
    ys = (np.arange(height, dtype=np.float32) + 0.5) * (features.height / height)
    x0, y0, x1, y1 = (boxes_xyxy_n4[:, k, None] for k in range(4))
    grow_x, grow_y = margin * (x1 - x0), margin * (y1 - y0)
    in_x = (xs > x0 - grow_x) & (xs < x1 + grow_x)
    in_y = (ys > y0 - grow_y) & (ys < y1 + grow_y)
    inside = in_y[:, :, None] & in_x[:, None, :]
    return np.where(inside, logits_nhw, np.minimum(logits_nhw, np.float32(_OUTSIDE)))
