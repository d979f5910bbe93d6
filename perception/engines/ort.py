"""ONNX Runtime: the device engine on CPU, CUDA and through ONNX Runtime's TensorRT provider.

Not covered: CUDA graphs. The CUDA provider (``enable_cuda_graph``) repeats one recorded run
whatever the shapes of the next one are, takes inputs and outputs bound to fixed addresses alone,
and refuses a session of which any node runs elsewhere; most graphs here have free dimensions, and
what the TensorRT provider (``trt_cuda_graph_enable``) does with them its documentation does not
say. Plans in TensorRT itself have them (:mod:`.tensorrt`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ...twin.errors import InputError, ModelError
from .base import Port
from .checks import check_inputs
from .parts import run_in_parts
from .profiles import Profile, bound, profiles
from .tensorrt_plan import plan_folder

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


def _providers(
    path: Path, device: str, gpu_memory_mb: int, fp16: bool
) -> list[str | tuple[str, dict[str, Any]]]:
    present = available_devices()
    if device not in DEVICES:
        raise InputError(f"expected a device among {', '.join(DEVICES)}, got {device!r}")
    if device == "auto":
        device = "cuda" if "cuda" in present else "cpu"
    if device not in present:
        raise ModelError(
            f"expected an onnxruntime with {_PROVIDERS[device]} for device {device!r}, the one "
            f"installed has {', '.join(present)}; install onnxruntime-gpu (on a Jetson: "
            "wheels of pypi.jetson-ai-lab.io) or use device 'cpu'"
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
    tensorrt = ("TensorrtExecutionProvider", _tensorrt_options(path, gpu_memory_mb, fp16))
    return [tensorrt, cuda, cpu] if "cuda" in present else [tensorrt, cpu]


def _tensorrt_options(path: Path, gpu_memory_mb: int, fp16: bool) -> dict[str, Any]:
    """Return the provider's options: one engine for all sizes, built once and kept on disk."""
    folder = plan_folder()
    options: dict[str, Any] = {
        "trt_max_workspace_size": gpu_memory_mb * 2**20,
        "trt_fp16_enable": fp16,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(folder),
    }
    reader = OnnxRuntimeEngine(path, device="cpu", threads=1, optimize=False)
    if any(isinstance(dim, str) for port in reader.inputs for dim in port.shape):
        options |= provider_shapes(profiles(reader.inputs))
    reader.close()
    return options


def provider_shapes(found: tuple[Profile, ...]) -> dict[str, str]:
    """Return profiles as the provider's options: ``input:1x2,...``, once per profile."""
    keys = ("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes")
    return {
        key: ",".join(
            f"{name}:{'x'.join(map(str, sizes[which]))}"
            for profile in found
            for name, sizes in profile.items()
        )
        for which, key in enumerate(keys)
    }


class OnnxRuntimeEngine:
    """One ONNX file in ONNX Runtime.

    ``threads`` bounds the intra-operator threads (None: one per physical core, which
    onnxruntime decides); ``gpu_memory_mb`` bounds the arena of one network on a GPU. On the
    CPU a network with free dimensions gives back what a run used; one with fixed shapes keeps
    it and reaches a steady size after its first run. ``fp16`` lets TensorRT compute in half
    precision; ``optimize=False`` opens the file as it is, for a look at its ports.

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
        fp16: bool = False,
        optimize: bool = True,
    ) -> None:
        self._name = Path(path).name
        providers = _providers(Path(path), device, gpu_memory_mb, fp16)
        self._session: Any = _session(path, providers, threads, optimize, arena=True)
        if any(not isinstance(n, int) for arg in self._session.get_inputs() for n in arg.shape):
            self._session = _session(path, providers, threads, optimize, arena=False)
        self._inputs = tuple(_port(arg) for arg in self._session.get_inputs())
        self._outputs = tuple(_port(arg) for arg in self._session.get_outputs())
        self._names = [port.name for port in self._outputs]
        used = self._session.get_providers()[0]
        self._device = next(name for name, value in _PROVIDERS.items() if value == used)
        self._most = _largest(self._inputs) if self._device == "tensorrt" else {}

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
        return run_in_parts(self._run_part, self._inputs, self._outputs, self._most, inputs)

    def _run_part(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
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


def _session(
    path: str | Path, providers: list[Any], threads: int | None, optimize: bool, *, arena: bool
) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    # Of a network with free dimensions an arena would keep the largest of every size it has
    # seen and go on growing while the number of objects changes; with fixed ones it is level,
    # and saves the cost of fresh memory.
    options.enable_cpu_mem_arena = arena
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if threads is not None:
        options.intra_op_num_threads = threads
    # Idle threads of several sessions must not spin against each other on two cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), sess_options=options, providers=providers)
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        raise ModelError(
            f"expected a network that onnxruntime {ort.__version__} can open at {path}, got: "
            f"{_first_line(error)}; restore the file, or export it again"
        ) from error


def _largest(ports: tuple[Port, ...]) -> dict[str, int]:
    """Return the largest size of each named free dimension that TensorRT's profiles give."""
    named = [(port, dim) for port in ports for dim in port.shape if isinstance(dim, str)]
    found = {dim: bound(port.name, dim) for port, dim in named}
    return {dim: limit.most for dim, limit in found.items() if limit is not None}


def _port(arg: Any) -> Port:
    shape = tuple(d if isinstance(d, int | str) else None for d in arg.shape)
    return Port(arg.name, shape, _DTYPES.get(arg.type, arg.type))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
