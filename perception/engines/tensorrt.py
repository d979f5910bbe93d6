"""TensorRT: runs a serialised plan with NVIDIA's Python API, releases 10 and 11.

Needs ``tensorrt`` and ``cuda-python`` (``[tensorrt]`` extra; a Jetson with JetPack 7 has its own
TensorRT, that of JetPack 6 is for Python 3.10), imported when the first plan opens. A plan is code for one GPU: open only plans
that you or someone you trust built.

Checked without a GPU: the types of every call against NVIDIA's binding, of releases 10 and
11. Not covered: several GPUs, DLA cores, plans with outputs whose size depends on data.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import InputError, MissingExtraError, ModelError
from .base import Port
from .checks import check_inputs
from .cuda import Buffer, Cuda, has_cuda_python
from .cuda_graphs import Captured, CudaGraphs
from .parts import run_in_parts
from .tensorrt_plan import PlanRecord, check_bytes, check_record, read_record

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["TensorRtEngine", "has_tensorrt", "new_logger", "require_tensorrt"]

_OLDEST = 10
_LOG_LINES = 20  # of TensorRT's errors, for the message of ours: the last say what happened

Range = tuple[tuple[int, ...], tuple[int, ...]]


def has_tensorrt() -> bool:
    """Return whether TensorRT and cuda-python are installed, without importing them."""
    spec = importlib.util.find_spec("tensorrt")
    return spec is not None and spec.origin is not None and has_cuda_python()


def require_tensorrt() -> str:
    """Return the version of the installed TensorRT.

    Raises:
        ModelError: if it is missing, cannot be loaded, or is older than release 10.
    """
    try:
        import tensorrt as trt

        version = str(trt.__version__)
    except (ImportError, OSError, AttributeError) as error:
        raise ModelError(
            f"{MissingExtraError('tensorrt', 'tensorrt')} (on a Jetson with JetPack 7: its own, in "
            f"a venv made with --system-site-packages): {error}"
        ) from error
    if int(version.split(".")[0]) < _OLDEST:
        raise ModelError(
            f"expected TensorRT {_OLDEST} or later, got {version}; update it (on a Jetson: "
            "JetPack 7), or use device 'cuda'"
        )
    return version


def new_logger() -> tuple[trt.ILogger, deque[str]]:
    """Return a logger for TensorRT and the last errors and warnings it was told."""
    import tensorrt as trt

    lines: deque[str] = deque(maxlen=_LOG_LINES)

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if int(severity) <= int(trt.ILogger.Severity.ERROR):
                lines.append(msg)

    return Log(), lines


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A plan in use; TensorRT wants its logger and runtime to outlive it."""

    logger: trt.ILogger
    runtime: trt.Runtime
    engine: trt.ICudaEngine
    context: trt.IExecutionContext


class TensorRtEngine:
    """One plan (``.engine``) in TensorRT.

    Host and GPU buffers of every input and output are made once, at the largest size that
    the plan's profiles allow, and owned until :meth:`close`. Larger inputs are run in parts
    where the plan's record names a dimension that may be cut (see :mod:`.parts`). With
    ``cuda_graphs`` (from release 10.1) shapes that come back are launched as one graph each
    (:mod:`.cuda_graphs`); where CUDA refuses to record them, one RuntimeWarning says so and
    kernels are launched one by one as without.

    Raises:
        ModelError: if TensorRT or a GPU is missing, or the plan is of another release or GPU.
    """

    def __init__(self, path: str | Path, *, cuda_graphs: bool = False) -> None:
        plan = Path(path)
        self._name = plan.name
        version = require_tensorrt()
        self._cuda = Cuda()
        self._buffers: dict[str, Buffer] = {}
        self._lines: deque[str] = deque()
        self._loaded: _Loaded | None = None
        self._graphs = CudaGraphs(self._cuda) if cuda_graphs else None
        self._memory = 0  # on the GPU, that contexts share where there are graphs
        try:
            record = read_record(plan)
            if record is not None:
                check_record(plan, record, version, self._cuda.gpu)
            self._loaded = self._load(plan, version, record)
            inputs, outputs = self._ports()
            self._ranges = self._profile_ranges(inputs)
            self._allocate(inputs, outputs)
        except BaseException:
            self.close()
            raise
        self._inputs = record.named(inputs) if record else inputs
        self._outputs = record.named(outputs) if record else outputs
        self._most = {
            dim: max(most[port.name][1][axis] for most in self._ranges)
            for port in self._inputs
            for axis, dim in enumerate(port.shape)
            if isinstance(dim, str)
        }

    def _load(self, plan: Path, version: str, record: PlanRecord | None) -> _Loaded:
        import tensorrt as trt

        data = plan.read_bytes()
        if record is not None:
            check_bytes(plan, record, data)
        logger, self._lines = new_logger()
        runtime = trt.Runtime(logger)
        # Such plans bring a runtime of their own.
        runtime.engine_host_code_allowed = record is not None and record.version_compatible
        engine: trt.ICudaEngine | None = runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise ModelError(
                f"expected a plan of TensorRT {version} for {self._cuda.gpu.name} at {plan}, got: "
                f"{self._said()}; build it again here from its ONNX file"
            )
        return _Loaded(logger, runtime, engine, self._new_context(engine))

    def _new_context(self, engine: trt.ICudaEngine) -> trt.IExecutionContext:
        import tensorrt as trt

        strategies = trt.ExecutionContextAllocationStrategy
        shared = self._graphs is not None
        strategy = strategies.USER_MANAGED if shared else strategies.STATIC
        context: trt.IExecutionContext | None = engine.create_execution_context(strategy)
        if context is None:
            raise ModelError(
                f"{self._name}: expected GPU memory for the largest inputs, got: {self._said()}; "
                "build the plan with smaller profiles, or close other engines"
            )
        if shared:
            size = max(1, engine.device_memory_size_v2)
            self._memory = self._memory or int(self._cuda.call("cudaMalloc", size))
            context.set_device_memory(self._memory, size)
        return context

    @property
    def _live(self) -> _Loaded:
        if self._loaded is None:
            raise ModelError(f"{self._name}: expected an open engine, got one that was closed")
        return self._loaded

    def _ports(self) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        import tensorrt as trt

        engine = self._live.engine
        inputs: list[Port] = []
        outputs: list[Port] = []
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            shape = tuple(None if n < 0 else n for n in _dims(engine.get_tensor_shape(name)))
            port = Port(name, shape, _dtype(self._name, name, engine.get_tensor_dtype(name)))
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            (inputs if is_input else outputs).append(port)
        return tuple(inputs), tuple(outputs)

    def _profile_ranges(self, inputs: tuple[Port, ...]) -> list[dict[str, Range]]:
        """Return per profile the smallest and the largest shape of each input."""
        engine = self._live.engine
        found = []
        for profile in range(engine.num_optimization_profiles):
            ranges = {}
            for port in inputs:
                low, _, high = engine.get_tensor_profile_shape(port.name, profile)
                ranges[port.name] = (_dims(low), _dims(high))
            found.append(ranges)
        return found

    def _allocate(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> None:
        """Make buffers for the largest shapes of any profile and tell TensorRT of them."""
        context, largest = self._live.context, dict[str, int]()
        for profile, ranges in enumerate(self._ranges):
            self._choose(context, profile)
            shapes = {name: high for name, (_, high) in ranges.items()}
            for name, shape in (shapes | self._output_shapes(context, shapes, outputs)).items():
                largest[name] = max(largest.get(name, 0), _count(shape))
        for port in (*inputs, *outputs):
            nbytes = largest[port.name] * np.dtype(port.dtype).itemsize
            self._buffers[port.name] = Buffer(self._cuda, nbytes)

    @property
    def inputs(self) -> tuple[Port, ...]:
        """Input ports in the plan's order; free dimensions are named where a record is."""
        return self._inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """Output ports in the plan's order."""
        return self._outputs

    @property
    def device(self) -> str:
        """Where it runs: ``"tensorrt"``."""
        return "tensorrt"

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once; see :class:`~edgetwin.perception.engines.Engine`.

        Raises:
            InputError: if the arrays do not fit the ports or any profile of the plan.
            ModelError: if the engine is closed or fails inside TensorRT.
        """
        _ = self._live
        check_inputs(self._name, self._inputs, inputs)
        return run_in_parts(self._run_part, self._inputs, self._outputs, self._most, inputs)

    def _run_part(self, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        shapes = {name: array.shape for name, array in arrays.items()}
        profile = fitting_profile(self._name, self._ranges, shapes)
        for name, array in arrays.items():
            self._buffers[name].stage(array)
            self._buffers[name].upload(array.nbytes)
        captured = self._captured(profile, shapes)
        if captured is not None:
            self._cuda.launch(captured.graph)
            wanted = captured.outputs
        else:
            wanted = self._prepare(self._live.context, profile, shapes)
            self._launch(self._live.context)
        kinds = {port.name: port.dtype for port in self._outputs}
        for name, shape in wanted.items():
            self._buffers[name].download(_count(shape) * np.dtype(kinds[name]).itemsize)
        self._cuda.wait()
        return {name: self._buffers[name].read(s, kinds[name]) for name, s in wanted.items()}

    def _captured(self, profile: int, shapes: dict[str, tuple[int, ...]]) -> Captured | None:
        """Return the graph for inputs of these shapes; None where they are launched plainly."""
        if self._graphs is None:
            return None
        key = tuple(sorted(shapes.items()))
        found = self._graphs.find(key)
        if found is not None or not self._graphs.come_back(key):
            return found
        try:
            found = self._capture(profile, shapes)
        except ModelError as error:
            warnings.warn(f"{self._name}: runs without CUDA graphs: {error}", RuntimeWarning, 2)
            self._graphs.close()
            self._graphs = None
            return None
        self._graphs.keep(key, found)
        return found

    def _capture(self, profile: int, shapes: dict[str, tuple[int, ...]]) -> Captured:
        import tensorrt as trt

        engine = self._live.engine
        for port in (*self._inputs, *self._outputs):
            if engine.get_tensor_location(port.name) == trt.TensorLocation.HOST:
                raise ModelError(f"expected inputs on the GPU, got {port.name!r} read on the host")
        context = self._new_context(engine)
        outputs = self._prepare(context, profile, shapes)
        self._launch(context)  # TensorRT does outside of a recording what new shapes ask for
        self._cuda.wait()
        stream = self._cuda.stream
        return Captured(
            context, outputs, self._cuda.capture(lambda: bool(context.execute_async_v3(stream)))
        )

    def _prepare(
        self, context: trt.IExecutionContext, profile: int, shapes: dict[str, tuple[int, ...]]
    ) -> dict[str, tuple[int, ...]]:
        """Tell a context profile, shapes and addresses; return the shapes of the outputs."""
        self._choose(context, profile)
        wanted = self._output_shapes(context, shapes, self._outputs)
        for name in (*shapes, *wanted):
            self._address(context, name)
        return wanted

    def _launch(self, context: trt.IExecutionContext) -> None:
        if not context.execute_async_v3(self._cuda.stream):
            raise ModelError(f"{self._name}: expected a result, got: {self._said()}")

    def _choose(self, context: trt.IExecutionContext, profile: int) -> None:
        """Make a profile the active one, which needs the stream only when it changes."""
        if context.active_optimization_profile == profile:
            return
        if not context.set_optimization_profile_async(profile, self._cuda.stream):
            raise ModelError(f"{self._name}: expected profile {profile}, got: {self._said()}")
        self._cuda.wait()

    def _output_shapes(
        self,
        context: trt.IExecutionContext,
        shapes: dict[str, tuple[int, ...]],
        outputs: tuple[Port, ...],
    ) -> dict[str, tuple[int, ...]]:
        """Set the inputs' shapes and return those of the outputs."""
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise ModelError(
                    f"{self._name}: expected {name!r} to take {shape}, got: {self._said()}"
                )
        found = {port.name: _dims(context.get_tensor_shape(port.name)) for port in outputs}
        for name, shape in found.items():
            if any(n < 0 for n in shape):
                raise ModelError(
                    f"{self._name}: expected outputs whose size follows from the inputs', got "
                    f"{name!r} of {shape}; export the graph without data-dependent sizes"
                )
        return found

    def _address(self, context: trt.IExecutionContext, name: str) -> None:
        import tensorrt as trt

        buffer = self._buffers[name]
        on_host = self._live.engine.get_tensor_location(name) == trt.TensorLocation.HOST
        if not context.set_tensor_address(name, buffer.host if on_host else buffer.device):
            raise ModelError(f"{self._name}: expected memory for {name!r}, got: {self._said()}")

    def _said(self) -> str:
        """Return TensorRT's last complaint."""
        return " | ".join(list(self._lines)[-2:])[:600] or "no reason from TensorRT"

    def close(self) -> None:
        """Release the plan and its memory."""
        if self._graphs is not None:
            self._graphs.close()
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers.clear()
        self._loaded = None
        if self._memory:
            self._cuda.call("cudaFree", self._memory)
            self._memory = 0
        self._cuda.close()


def fitting_profile(
    where: str, ranges: list[dict[str, Range]], shapes: dict[str, tuple[int, ...]]
) -> int:
    """Return the first profile that takes inputs of these shapes.

    Raises:
        InputError: if none does; says what the plan takes.
    """
    for index, profile in enumerate(ranges):
        if all(
            len(low) == len(shapes[name])
            and all(a <= n <= b for a, n, b in zip(low, shapes[name], high, strict=True))
            for name, (low, high) in profile.items()
        ):
            return index
    takes = " or ".join(
        ", ".join(f"{name} {low} to {high}" for name, (low, high) in profile.items())
        for profile in ranges
    )
    raise InputError(
        f"{where}: expected inputs within the plan's profiles ({takes}), got {shapes}; build the "
        "plan with larger profiles"
    )


def _dtype(where: str, name: str, kind: trt.DataType) -> str:
    """Return numpy's name of an input's or output's type."""
    import tensorrt as trt

    known = {
        trt.DataType.FLOAT: "float32",
        trt.DataType.HALF: "float16",
        trt.DataType.INT64: "int64",
        trt.DataType.INT32: "int32",
        trt.DataType.INT8: "int8",
        trt.DataType.UINT8: "uint8",
        trt.DataType.BOOL: "bool",
    }
    if kind not in known:
        raise ModelError(
            f"{where}: expected inputs and outputs of types that numpy has, got {name!r} of "
            f"{kind}; export it as float32 or float16"
        )
    return known[kind]


def _dims(dims: trt.Dims) -> tuple[int, ...]:
    return tuple(int(dims[index]) for index in range(len(dims)))


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
