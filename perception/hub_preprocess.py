"""A checkpoint's ``preprocessor_config.json`` into what our own pre-processing is told.

Every switch of the file is looked at: what we do differently, or not at all, is refused, so
that a checkpoint never sees other pictures than it was trained with. Keys that are null or
false ask for nothing. Where a file leaves a key out, the published processor's default holds
(transformers: ``Owlv2ImageProcessor``, ``Sam2ImageProcessor``, ``DPTImageProcessor``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..twin.errors import ModelError
from .hub import Checkpoint

__all__ = ["preprocessing"]

_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # DPT's default

_PROCESSORS = {
    "detector": ("Owlv2ImageProcessor",),
    "segmenter": ("Sam2ImageProcessor", "Sam2VideoVideoProcessor"),
    "depth": ("DPTImageProcessor",),
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "detector": {"size": 960, "resample": 2, "do_pad": True, "constants": _CLIP},
    "segmenter": {"size": 1024, "resample": 2, "do_pad": False, "constants": _IMAGENET},
    "depth": {"size": 384, "resample": 3, "do_pad": False, "constants": _HALF},
}
_RESAMPLE = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
# Keys that change nothing of what a network sees here.
_NEUTRAL = {
    "_valid_processor_keys",
    "backend",
    "data_format",
    "default_to_square",
    "device",
    "disable_grouping",
    "do_convert_rgb",
    "feature_extractor_type",
    "image_processor_type",
    "input_data_format",
    "mask_size",
    "model_input_names",
    "num_frames",
    "processor_class",
    "return_metadata",
    "return_tensors",
    "size_divisor",
    "video_metadata",
    "video_processor_type",
}
_READ = {
    "do_normalize",
    "do_pad",
    "do_rescale",
    "do_resize",
    "ensure_multiple_of",
    "image_mean",
    "image_std",
    "keep_aspect_ratio",
    "resample",
    "rescale",
    "rescale_factor",
    "size",
}


def preprocessing(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the pre-processing part of a network's manifest config.

    ``image_size``, ``mean``, ``std``, and ``resize`` (detector: ``"gaussian"``; others a
    kernel of :mod:`~edgetwin.perception.resample`); a detector's ``pad_value``; depth's
    ``fit`` and ``multiple``.

    Raises:
        ModelError: if there is no preprocessor_config.json, or it asks for anything else.
    """
    values = checkpoint.json("preprocessor_config.json")
    if values is None:
        nested = checkpoint.json("processor_config.json") or {}
        values = nested.get("image_processor") or nested.get("video_processor")
    if not isinstance(values, dict):
        raise ModelError(
            f"expected preprocessor_config.json in {checkpoint.folder}, got no such file; "
            "download the checkpoint again"
        )
    reader = _Reader(checkpoint, values)
    reader.check_switches()
    mean, std = reader.constants()
    result: dict[str, Any] = {"image_size": reader.side(), "mean": mean, "std": std}
    kernel = reader.kernel()
    if checkpoint.role == "detector":
        if kernel != "bilinear":
            raise reader.refuse("resample", "2 (bilinear), which is what OWLv2 was trained with")
        return result | {"resize": "gaussian", "pad_value": 0.0}
    result["resize"] = kernel
    if checkpoint.role == "depth":
        keeps = bool(values.get("keep_aspect_ratio", False))
        multiple = int(values.get("ensure_multiple_of") or 1)
        result |= {"fit": "keep_aspect" if keeps else "stretch", "multiple": multiple}
    return result


class _Reader:
    def __init__(self, checkpoint: Checkpoint, values: Mapping[str, Any]) -> None:
        self.checkpoint, self.values = checkpoint, values
        self.defaults = _DEFAULTS[checkpoint.role]

    def refuse(self, key: str, expected: str) -> ModelError:
        return ModelError(
            f"expected {key} {expected} in the preprocessor_config.json of {self.checkpoint.id}, "
            f"got {self.values.get(key)!r}, which this project's pre-processing does not do; use "
            "a published checkpoint of this architecture"
        )

    def check_switches(self) -> None:
        """Refuse whatever is asked for and not done here."""
        values, role = self.values, self.checkpoint.role
        kind = values.get("image_processor_type") or values.get("feature_extractor_type")
        names = {n + tail for n in _PROCESSORS[role] for tail in ("", "Fast", "Pil")}
        if kind is not None and kind not in names:
            raise self.refuse("image_processor_type", f"{' or '.join(_PROCESSORS[role])}")
        for key in ("do_resize", "do_rescale", "rescale", "do_normalize"):
            if values.get(key, True) is False:
                raise self.refuse(key, "true")
        factor = values.get("rescale_factor", 1 / 255)
        if not isinstance(factor, int | float) or not math.isclose(factor, 1 / 255, rel_tol=1e-4):
            raise self.refuse("rescale_factor", "1/255")
        pads = bool(values.get("do_pad", self.defaults["do_pad"]))
        if pads != self.defaults["do_pad"]:
            raise self.refuse("do_pad", str(self.defaults["do_pad"]).lower())
        depth_only = {"keep_aspect_ratio", "ensure_multiple_of"} if role != "depth" else set()
        for key, value in values.items():
            unknown = key not in _NEUTRAL | _READ or key in depth_only
            if unknown and value not in (None, False):
                raise self.refuse(key, "unset")

    def constants(self) -> tuple[list[float], list[float]]:
        """Return mean and deviation of three channels."""
        found = []
        for key, default in zip(
            ("image_mean", "image_std"), self.defaults["constants"], strict=True
        ):
            value = self.values.get(key, default)
            numbers = isinstance(value, Sequence) and len(value) == 3
            if not numbers or not all(isinstance(v, int | float) for v in value):
                raise self.refuse(key, "three numbers")
            found.append([float(v) for v in value])
        if min(found[1]) <= 0:
            raise self.refuse("image_std", "three positive numbers")
        return found[0], found[1]

    def side(self) -> int:
        """Return the side of the square size."""
        size = self.values.get("size", self.defaults["size"])
        if isinstance(size, Mapping) and set(size) == {"height", "width"}:
            size = size["height"] if size["height"] == size["width"] else None
        if not isinstance(size, int) or not 14 <= size <= 4096:
            raise self.refuse("size", "a square of 14 to 4096 pixels")
        return size

    def kernel(self) -> str:
        """Return the resampling kernel's name."""
        number = self.values.get("resample", self.defaults["resample"])
        if number not in _RESAMPLE:
            raise self.refuse("resample", "2 (bilinear) or 3 (bicubic)")
        return _RESAMPLE[number]
