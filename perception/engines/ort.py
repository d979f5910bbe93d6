"""ONNX Runtime: the device engine on CPU, CUDA and through ONNX Runtime's TensorRT provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ...twin.errors import InputError, ModelError
from .base import Port
from .checks import check_inputs

__all__ = ["DEVICES", "OnnxRuntimeEngine", "available_devices"]

ort: Any = onnxruntime  # its typing exports none of the names used here

# Fastest first; "auto" takes the first CUDA-or-CPU one. TensorRT builds an engine at first use
# (minutes), so it is chosen only by name.
_PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
DEVICES = ("auto", *_PROVIDERS)

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(bool)": "bool",
}


def available_devices() -> tuple[str, ...]:
    """Return the devices that the installed onnxruntime offers, fastest first."""
    present = set(ort.get_available_providers())
    return tuple(name for name, provider in _PROVIDERS.items() if provider in present)


def _providers(device: str, gpu_memory_mb: int) -> list[str | tuple[str, dict[str, Any]]]:
    present = available_devices()
    if device not in DEVICES:
        raise InputError(f"expected a device among {', '.join(DEVICES)}, got {device!r}")
    if device == "auto":
        device = "cuda" if "cuda" in present else "cpu"
    if device not in present:
        raise ModelError(
            f"expected an onnxruntime with {_PROVIDERS[device]} for device {device!r}, the one "
            f"installed has {', '.join(present)}; install onnxruntime-gpu (on a Jetson: "
            "JetPack's wheel) or use device 'cpu'"
        )
    # Bounded arena: it grows by what is asked (not by powers of two) up to the limit.
    cuda = ("CUDAExecutionProvider", {
        "gpu_mem_limit": gpu_memory_mb * 2**20,
        "arena_extend_strategy": "kSameAsRequested",
    })  # fmt: skip
    cpu = "CPUExecutionProvider"
    if device == "cpu":
        return [cpu]
    if device == "cuda":
        return [cuda, cpu]
    tensorrt = ("TensorrtExecutionProvider", {
        "trt_max_workspace_size": gpu_memory_mb * 2**20,
        "trt_fp16_enable": True,
    })  # fmt: skip
    return [tensorrt, cuda, cpu] if "cuda" in present else [tensorrt, cpu]


class OnnxRuntimeEngine:
    """One ONNX file in ONNX Runtime.

    ``threads`` bounds the intra-operator threads (None: one per physical core, which
    onnxruntime decides); ``gpu_memory_mb`` bounds the arena of one network on a GPU. On the
    CPU the arena grows only by what is asked, and is shrunk never: a network with fixed
    shapes reaches a steady size after its first run.

    Raises:
        ModelError: if the file cannot be read as ONNX, or the device is not available.
        InputError: if ``device`` is not one of :data:`DEVICES`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        gpu_memory_mb: int = 2048,
    ) -> None:
        self._name = Path(path).name
        providers = _providers(device, gpu_memory_mb)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.inter_op_num_threads = 1
        if threads is not None:
            options.intra_op_num_threads = threads
        # Idle threads of several sessions must not spin against each other on two cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = ort.InferenceSession(
                str(path), sess_options=options, providers=providers
            )
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            raise ModelError(
                f"expected a network that onnxruntime {ort.__version__} can open at {path}, got: "
                f"{_first_line(error)}; restore the file, or export it again"
            ) from error
        self._inputs = tuple(_port(arg) for arg in self._session.get_inputs())
        self._outputs = tuple(_port(arg) for arg in self._session.get_outputs())
        self._names = [port.name for port in self._outputs]
        used = self._session.get_providers()[0]
        self._device = next(name for name, value in _PROVIDERS.items() if value == used)

    @property
    def inputs(self) -> tuple[Port, ...]:
        """Input ports in the network's order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """Output ports in the network's order."""
        return self._outputs

    @property
    def device(self) -> str:
        """Where it runs: ``"cpu"``, ``"cuda"`` or ``"tensorrt"``."""
        return self._device

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once; see :class:`~edgetwin.perception.engines.Engine`.

        Raises:
            InputError: if the arrays do not fit the ports.
            ModelError: if the network is closed or fails inside onnxruntime.
        """
        if self._session is None:
            raise ModelError(f"{self._name}: expected an open engine, got one that was closed")
        check_inputs(self._name, self._inputs, inputs)
        try:
            values = self._session.run(self._names, inputs)
        except Exception as error:
            shapes = {name: array.shape for name, array in inputs.items()}
            raise ModelError(
                f"{self._name}: expected a result, got from onnxruntime: {_first_line(error)} "
                f"(inputs {shapes})"
            ) from error
        return {name: np.asarray(v) for name, v in zip(self._names, values, strict=True)}

    def close(self) -> None:
        """Release the session."""
        self._session = None


def _port(arg: Any) -> Port:
    shape = tuple(d if isinstance(d, int | str) else None for d in arg.shape)
    return Port(arg.name, shape, _DTYPES.get(arg.type, arg.type))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
