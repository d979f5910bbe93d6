"""Packages ``tensorrt`` and ``cuda`` whose one plan runs: twice its input, on the host's memory.

They keep the rules that the engine's calls have to follow, and say which one was broken: memory
is what was allocated and not freed, a run reads its addresses and shapes when it is put on the
stream, nothing may wait or be freed while a stream is recorded, a graph repeats the addresses
and shapes that it was recorded with. What a GPU does with a plan, only a GPU can say.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .tensorrt_standin import Device

_CUDA = '''
import ctypes

calls = []        # every function, in order
memory = {}       # address -> bytes that are allocated
recording = None  # what is put on the stream meanwhile
graphs = {}       # handle -> what it repeats
refuses = False   # to record


class cudaMemcpyKind:
    cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost = 1, 2


class cudaStreamCaptureMode:
    cudaStreamCaptureModeThreadLocal = 1


class _Found:
    name = b"Orin"
    major, minor = 8, 7


def _noted(function):
    def call(*arguments):
        calls.append(function.__name__)
        return function(*arguments)
    call.__name__ = function.__name__
    return call


def put(work):
    """Do it now, or later where the stream is recorded."""
    work() if recording is None else recording.append(work)


def cudaGetDeviceCount():
    return 0, 1


def cudaGetDevice():
    return 0, 0


def cudaGetDeviceProperties(device):
    return 0, _Found


def cudaGetErrorString(error):
    return 0, b"operation not permitted when stream is capturing"


def cudaGetLastError():
    return (0,)


def cudaStreamCreate():
    return 0, 7


def cudaStreamDestroy(stream):
    return (0,)


def _new(size):
    block = ctypes.create_string_buffer(size)
    memory[ctypes.addressof(block)] = block
    return 0, ctypes.addressof(block)


def cudaMalloc(size):
    return _new(size)


def cudaMallocHost(size):
    return _new(size)


@_noted
def cudaFree(address):
    del memory[address]
    return (0,)


def cudaFreeHost(address):
    del memory[address]
    return (0,)


def cudaMemcpyAsync(to, source, nbytes, kind, stream):
    put(lambda: ctypes.memmove(to, source, nbytes))
    return (0,)


@_noted
def cudaStreamSynchronize(stream):
    return (900 if recording is not None else 0,)


@_noted
def cudaStreamBeginCapture(stream, mode):
    global recording
    assert recording is None
    recording = []
    return (0,)


@_noted
def cudaStreamEndCapture(stream):
    global recording
    done, recording = recording, None
    return (901, None) if refuses else (0, done)


@_noted
def cudaGraphInstantiate(graph, flags):
    handle = max(graphs, default=100) + 1
    graphs[handle] = list(graph)
    return 0, handle


def cudaGraphDestroy(graph):
    return (0,)


@_noted
def cudaGraphExecDestroy(handle):
    del graphs[handle]
    return (0,)


@_noted
def cudaGraphLaunch(handle, stream):
    for work in graphs[handle]:
        put(work)
    return (0,)
'''

_TENSORRT = """
import ctypes

import numpy as np

from cuda.bindings import runtime as cuda

__version__ = "10.3.0"
contexts = []
on_host = False


class ILogger:
    class Severity:
        ERROR = 1

    def __init__(self):
        pass


class DataType:
    FLOAT, HALF, INT64, INT32, INT8, UINT8, BOOL = range(7)


class TensorIOMode:
    INPUT, OUTPUT = 1, 2


class TensorLocation:
    DEVICE, HOST = 0, 1


class ExecutionContextAllocationStrategy:
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class Runtime:
    def __init__(self, logger):
        pass

    def deserialize_cuda_engine(self, data):
        return _Engine()


class _Engine:
    num_io_tensors, num_optimization_profiles, device_memory_size_v2 = 2, 2, 64

    def get_tensor_name(self, index):
        return "xy"[index]

    def get_tensor_shape(self, name):
        return (-1, 3)

    def get_tensor_dtype(self, name):
        return DataType.FLOAT

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == "x" else TensorIOMode.OUTPUT

    def get_tensor_location(self, name):
        return TensorLocation.HOST if on_host and name == "x" else TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name, profile):
        return [((1, 3), (4, 3), (8, 3)), ((9, 3), (16, 3), (32, 3))][profile]

    def create_execution_context(self, strategy):
        contexts.append(_Context(strategy))
        return contexts[-1]


class _Context:
    def __init__(self, strategy):
        self.managed = strategy == ExecutionContextAllocationStrategy.USER_MANAGED
        self.active_optimization_profile, self.block = 0, None
        self.shapes, self.addresses, self.ran = {}, {}, set()

    def set_device_memory(self, address, size):
        assert self.managed and size >= 64 and address in cuda.memory
        self.block = address

    def set_optimization_profile_async(self, profile, stream):
        assert cuda.recording is None
        self.active_optimization_profile = profile
        return True

    def set_input_shape(self, name, shape):
        low, high = ((1, 8), (9, 32))[self.active_optimization_profile]
        self.shapes[name] = shape
        return low <= shape[0] <= high

    def get_tensor_shape(self, name):
        return self.shapes["x"]

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return address in cuda.memory

    def execute_async_v3(self, stream):
        assert not self.managed or self.block in cuda.memory, "no memory to work in"
        shape, at = tuple(self.shapes["x"]), dict(self.addresses)
        assert cuda.recording is None or shape in self.ran, "new shapes while recording"
        self.ran.add(shape)
        nbytes = 4 * shape[0] * shape[1]

        def double():
            assert at["x"] in cuda.memory and at["y"] in cuda.memory, "memory that was freed"
            values = np.frombuffer(ctypes.string_at(at["x"], nbytes), np.float32)
            ctypes.memmove(at["y"], (values * 2).tobytes(), nbytes)

        cuda.put(double)
        return True
"""


class RunningDevice(Device):
    """A machine whose TensorRT runs the one plan that there is."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        self._write("tensorrt/__init__.py", _TENSORRT)
        self._write("cuda/bindings/runtime.py", _CUDA)
        self.forget()
