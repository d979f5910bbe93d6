"""The graphs of a set as torch modules: what exported files are compared with.

:func:`open_module` is the one place that says which module stands behind a graph's file name;
live hub checkpoints run through it too (:mod:`.hub_bundle`). :class:`TorchBundle` opens the
safetensors that lie beside the graphs of an embedded set.

Not covered: exported hub sets, which keep no safetensors; open their checkpoints instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Sam2VideoConfig,
    Sam2VideoModel,
)

from ...twin.errors import ModelError
from ..bundle import Bundle
from ..engines import Engine, Port
from ..engines.torch_engine import TorchEngine
from .depth import DepthGraph
from .detector import IMAGE_OUTPUTS, DetectorImage, DetectorText
from .segmenter_bundle import TorchSegmenterBundle

__all__ = ["TorchBundle", "load_safetensors", "open_module"]

_CLASSES: dict[str, tuple[Any, Any]] = {
    "depth": (DepthAnythingConfig, DepthAnythingForDepthEstimation),
    "detector": (Owlv2Config, Owlv2ForObjectDetection),
    "segmenter": (Sam2VideoConfig, Sam2VideoModel),
}


class TorchBundle(Bundle):
    """A bundle whose graphs run in torch, float32, from ``<role>.safetensors`` beside them.

    Raises:
        ModelError: if a network has no such file, or it does not fit.
    """

    def __init__(self, bundle: Bundle, *, device: str = "cpu") -> None:
        super().__init__(bundle.directory, bundle.manifest, device=device, threads=bundle.threads)
        self._models = {
            role: load_safetensors(self.path(f"{role}.safetensors"), role)
            for role in sorted(bundle.manifest.networks)
        }

    def engine(self, filename: str) -> Engine:
        """Return the torch engine of the graph that the file name stands for."""
        return open_module(filename, self._models, self.device)


def open_module(filename: str, models: Mapping[str, Any], device: str = "cpu") -> Engine:
    """Return the engine of the module that a bundle's file name stands for.

    Args:
        filename: such as ``depth.onnx``.
        models: role -> transformers model.
        device: torch's name of it.

    Raises:
        ModelError: for an unknown file name.
    """
    if filename.startswith("segmenter_"):
        return TorchSegmenterBundle(models["segmenter"], device).engine(filename)
    picture = Port("pixel_values", (1, 3, None, None), "float32")
    if filename == "depth.onnx":
        return _engine(DepthGraph(models["depth"]), [picture], ["depth"], device)
    if filename == "detector_image.onnx":
        queries = Port("query_embeds", (None, None), "float32")
        module = DetectorImage(models["detector"])
        return _engine(module, [picture, queries], list(IMAGE_OUTPUTS), device)
    if filename == "detector_text.onnx":
        ids = Port("input_ids", (None, None), "int64")
        return _engine(DetectorText(models["detector"]), [ids], ["query_embeds"], device)
    raise ModelError(f"expected a graph's file name, got {filename!r}")


def load_safetensors(path: str | Path, role: str) -> Any:
    """Return the model of an exported ``<role>.safetensors``, float32, in eval mode.

    Raises:
        ModelError: if the file is none of this role.
    """
    config_class, model_class = _CLASSES[role]
    try:
        with safe_open(str(path), framework="pt") as file:
            about = json.loads((file.metadata() or {})["config"])
            tensors = {k: file.get_tensor(k).float() for k in file.keys()}  # noqa: SIM118
        model = model_class(config_class(**about))
        model.load_state_dict(tensors)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"expected an exported {role} at {path}, got {type(error).__name__}: "
            f"{(str(error).splitlines() or ['no reason'])[0][:200]}; export it again"
        ) from error
    return model.eval().requires_grad_(False)


def _engine(module: torch.nn.Module, inputs: list[Port], outputs: list[str], device: str) -> Engine:
    return TorchEngine(module, inputs, [Port(n, (), "float32") for n in outputs], device=device)
