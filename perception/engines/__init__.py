"""Inference engines: one protocol, ONNX Runtime on every device, torch for workstations."""

from __future__ import annotations

from pathlib import Path

from ...twin.errors import ModelError
from .base import Engine, Port
from .ort import DEVICES, OnnxRuntimeEngine, available_devices
from .torch_engine import TorchEngine

__all__ = [
    "DEVICES",
    "Engine",
    "OnnxRuntimeEngine",
    "Port",
    "TorchEngine",
    "available_devices",
    "open_engine",
]


def open_engine(
    path: str | Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    gpu_memory_mb: int = 2048,
) -> Engine:
    """Open a compiled network by its file name's ending (``.onnx``: ONNX Runtime).

    Raises:
        ModelError: if the file is missing, of an unknown kind, or cannot be opened.
        InputError: if ``device`` is not one of :data:`DEVICES`.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"expected a network at {file}, got no such file; restore the weights")
    if file.suffix != ".onnx":
        raise ModelError(f"expected a network ending in .onnx, got {file.name}")
    return OnnxRuntimeEngine(file, device=device, threads=threads, gpu_memory_mb=gpu_memory_mb)
