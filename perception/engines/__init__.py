"""Inference engines: one protocol, ONNX Runtime on every device, TensorRT, torch."""

from __future__ import annotations

from pathlib import Path

from ...twin.errors import InputError, ModelError
from .base import Engine, Port
from .ort import DEVICES, OnnxRuntimeEngine, available_devices
from .tensorrt import TensorRtEngine, has_tensorrt
from .tensorrt_build import build_plan, cached_plan
from .tensorrt_plan import PlanOptions, bundle_plans, find_plan
from .torch_engine import TorchEngine

__all__ = [
    "DEVICES",
    "Engine",
    "OnnxRuntimeEngine",
    "PlanOptions",
    "Port",
    "TensorRtEngine",
    "TorchEngine",
    "available_devices",
    "build_plan",
    "bundle_plans",
    "cached_plan",
    "open_engine",
]

_PLANS = (".engine", ".plan")


def open_engine(
    path: str | Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    gpu_memory_mb: int = 2048,
    fp16: bool = False,
    plans: Path | None = None,
    cuda_graphs: bool = False,
) -> Engine:
    """Open a compiled network by its file name's ending.

    ``.engine`` and ``.plan`` are TensorRT plans. ``.onnx`` runs in ONNX Runtime, or with
    ``device="tensorrt"`` in TensorRT itself where it is installed (its plan is built at first
    use, in minutes, and kept: :mod:`.tensorrt_build`), else in ONNX Runtime's TensorRT
    provider. ``fp16`` is for TensorRT alone. ``plans`` is the folder of the plans that were
    built for the file's bundle on this device: its plan is used for device ``"tensorrt"``, and
    for ``"auto"`` where TensorRT is installed. ``cuda_graphs`` is for TensorRT's plans
    (:class:`.tensorrt.TensorRtEngine`).

    Raises:
        ModelError: if the file is missing, of an unknown kind, or cannot be opened, or the
            device is not available.
        InputError: if ``device`` is not one of :data:`DEVICES`, or not one for the file, or has
            no plan to launch as CUDA graphs.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"expected a network at {file}, got no such file; restore the weights")
    if file.suffix in _PLANS:
        if device not in ("auto", "tensorrt"):
            raise InputError(f"expected device 'tensorrt' for plan {file.name}, got {device!r}")
        return TensorRtEngine(file, cuda_graphs=cuda_graphs)
    if file.suffix != ".onnx":
        raise ModelError(
            f"expected a network ending in .onnx, {' or '.join(_PLANS)}, got {file.name}"
        )
    if plans is not None and (device == "tensorrt" or (device == "auto" and has_tensorrt())):
        plan = find_plan(plans, file)
        if plan is not None:
            return TensorRtEngine(plan, cuda_graphs=cuda_graphs)
    if device == "tensorrt" and has_tensorrt():
        options = PlanOptions(fp16=fp16, workspace_mb=gpu_memory_mb)
        return TensorRtEngine(cached_plan(file, options=options), cuda_graphs=cuda_graphs)
    if cuda_graphs:
        raise InputError(
            f"expected a TensorRT plan of {file.name} to launch as CUDA graphs, got device "
            f"{device!r} without one; build it with `edgetwin engines BUNDLE`, or leave CUDA "
            "graphs off"
        )
    if device == "tensorrt" and device not in available_devices():
        raise ModelError(
            "expected TensorRT for device 'tensorrt', got neither the packages tensorrt and "
            "cuda-python nor an onnxruntime with TensorrtExecutionProvider: "
            "pip install 'edgetwin[tensorrt]' or onnxruntime-gpu (on a Jetson with JetPack 7: its "
            "own, in a venv made with --system-site-packages), or use device 'cpu'"
        )
    return OnnxRuntimeEngine(
        file, device=device, threads=threads, gpu_memory_mb=gpu_memory_mb, fp16=fp16
    )
