"""The little of CUDA that TensorRT leaves to its caller: memory, copies and one stream.

Through ``cuda-python``, NVIDIA's own bindings of the CUDA runtime, imported when the first
engine opens. Buffers come in pairs, pinned on the host and plain on the GPU, are made once
and live as long as their engine. Not covered: several GPUs (CUDA_VISIBLE_DEVICES chooses the
one used), managed memory.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import MissingExtraError, ModelError
from .driver import driver_version

__all__ = ["Buffer", "Cuda", "Gpu", "has_cuda_python"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU that plans are built for.

    ``compute`` is its compute capability, such as ``"8.7"``; ``driver`` the version of NVIDIA's
    driver, empty where the system does not say.
    """

    name: str
    compute: str
    driver: str = ""


def has_cuda_python() -> bool:
    """Return whether cuda-python is installed, without importing it."""
    try:
        return importlib.util.find_spec("cuda.bindings.runtime") is not None
    except ImportError:
        return False


class Cuda:
    """The CUDA runtime on the current GPU, with one stream.

    Raises:
        ModelError: if cuda-python is missing, or no GPU can be used; says what CUDA said.
    """

    def __init__(self) -> None:
        try:
            self._runtime: Any = importlib.import_module("cuda.bindings.runtime")
        except ImportError as error:
            raise ModelError(
                f"{MissingExtraError('cuda-python', 'tensorrt')} (of the CUDA release on this "
                f"machine; on a Jetson with CUDA 12: pip install 'cuda-python<13'): {error}"
            ) from error
        self.call("cudaGetDeviceCount")
        device = self.call("cudaGetDevice")
        found = self.call("cudaGetDeviceProperties", device)
        name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
        self.gpu = Gpu(name.rstrip("\0"), f"{found.major}.{found.minor}", driver_version())
        self._stream: Any = self.call("cudaStreamCreate")

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream)

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function of the CUDA runtime and return its first result, if any.

        Raises:
            ModelError: if CUDA reports an error.
        """
        try:
            error, *values = getattr(self._runtime, function)(*arguments)
        except RuntimeError as failed:  # the runtime library itself cannot be loaded
            raise ModelError(f"expected a CUDA runtime, got in {function}: {failed}") from failed
        if int(error):
            text = self._runtime.cudaGetErrorString(error)[1]
            text = text.decode() if isinstance(text, bytes) else str(text)
            raise ModelError(
                f"expected a usable NVIDIA GPU, got from {function}: {text} (error {int(error)}); "
                "check `nvidia-smi` (on a Jetson: `tegrastats`), or use device 'cpu'"
            )
        return values[0] if values else None

    def wait(self) -> None:
        """Wait until everything put on the stream is done."""
        self.call("cudaStreamSynchronize", self._stream)

    def copy(self, to: int, source: int, nbytes: int, *, upload: bool) -> None:
        """Put a copy between pinned host memory and the GPU on the stream."""
        kinds = self._runtime.cudaMemcpyKind
        kind = kinds.cudaMemcpyHostToDevice if upload else kinds.cudaMemcpyDeviceToHost
        self.call("cudaMemcpyAsync", to, source, nbytes, kind, self._stream)

    def capture(self, launch: Callable[[], bool]) -> Any:
        """Record what ``launch`` puts on the stream, which does not run; returns it as a graph.

        Raises:
            ModelError: if it says that it failed, or CUDA cannot record it.
        """
        # Engines of other threads go on allocating meanwhile, which a stricter mode forbids.
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", self._stream, mode)
        try:
            launched = launch()
        finally:
            error, recorded = self._runtime.cudaStreamEndCapture(self._stream)
        try:
            if not launched or int(error):
                raise ModelError(f"expected kernels that CUDA can record, got error {int(error)}")
            return self.call("cudaGraphInstantiate", recorded, 0)
        finally:
            if not int(error):
                self.call("cudaGraphDestroy", recorded)
            self._runtime.cudaGetLastError()  # or the next launch would be taken to have failed

    def launch(self, graph: Any) -> None:
        """Put a recorded graph on the stream."""
        self.call("cudaGraphLaunch", graph, self._stream)

    def close(self) -> None:
        """Destroy the stream."""
        if self._stream is not None:
            self.call("cudaStreamDestroy", self._stream)
            self._stream = None


class Buffer:
    """``nbytes`` of GPU memory and as many of pinned host memory."""

    def __init__(self, cuda: Cuda, nbytes: int) -> None:
        self._cuda, self.nbytes = cuda, nbytes
        self.device = self.host = 0
        size = max(nbytes, 1)
        try:
            self.device = int(cuda.call("cudaMalloc", size))
            self.host = int(cuda.call("cudaMallocHost", size))
        except BaseException:
            self.free()
            raise
        memory = (ctypes.c_uint8 * size).from_address(self.host)
        self._bytes: NDArray[np.uint8] = np.ctypeslib.as_array(memory)

    def stage(self, array: NDArray[Any]) -> None:
        """Copy an array into the pinned memory (any layout; it arrives in C order)."""
        view = self._bytes[: array.nbytes].view(array.dtype).reshape(array.shape)
        view[...] = array

    def upload(self, nbytes: int) -> None:
        """Put the copy to the GPU on the stream."""
        self._cuda.copy(self.device, self.host, nbytes, upload=True)

    def download(self, nbytes: int) -> None:
        """Put the copy from the GPU on the stream."""
        self._cuda.copy(self.host, self.device, nbytes, upload=False)

    def read(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Return what lies in the pinned memory as an array of its own."""
        kind = np.dtype(dtype)
        nbytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        return self._bytes[:nbytes].view(kind).reshape(shape).copy()

    def free(self) -> None:
        """Give both memories back; harmless when repeated."""
        if self.device:
            self._cuda.call("cudaFree", self.device)
        if self.host:
            self._cuda.call("cudaFreeHost", self.host)
        self.device = self.host = 0
