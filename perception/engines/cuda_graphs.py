"""CUDA graphs of one TensorRT plan: the kernels of a run launched by one call.

A graph holds the kernels, shapes and addresses of the run that it was recorded from, so there is
one for each set of input shapes, made when a set comes back, and each has an execution context
of its own, whose state its kernels refer to (TensorRT's developer guide, "CUDA Graphs"). The
contexts work in one shared memory, one after another on the engine's stream.

Not covered: inputs that TensorRT reads on the host, since a graph would repeat their values.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

from .cuda import Cuda

__all__ = ["Captured", "CudaGraphs", "Shapes"]

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes of a run's inputs, sorted."""

# Shapes that one network meets for long are its fixed ones, or a handful of numbers of objects;
# while tracks begin, memory attention meets more. Each keeps the state of a context on the GPU.
_MOST = 16
_SEEN = 64  # sets of shapes remembered as met once: more than begin together


@dataclass(frozen=True, slots=True)
class Captured:
    """A recorded run: its context, the shapes of its outputs, the graph."""

    context: Any
    outputs: dict[str, tuple[int, ...]]
    graph: Any


class CudaGraphs:
    """The graphs of one engine by input shapes, at most 16, the least recently used going first."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._kept: OrderedDict[Shapes, Captured] = OrderedDict()
        self._seen: deque[Shapes] = deque(maxlen=_SEEN)

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, shapes: Shapes) -> Captured | None:
        """The graph for inputs of these shapes, if there is one."""
        if shapes in self._kept:
            self._kept.move_to_end(shapes)
        return self._kept.get(shapes)

    def come_back(self, shapes: Shapes) -> bool:
        """Whether these shapes were asked about before; they are remembered now."""
        if shapes in self._seen:
            return True
        self._seen.append(shapes)
        return False

    def keep(self, shapes: Shapes, captured: Captured) -> None:
        """Add a graph; one above the bound is given back."""
        self._kept[shapes] = captured
        if len(self._kept) > _MOST:
            _, oldest = self._kept.popitem(last=False)
            self._cuda.call("cudaGraphExecDestroy", oldest.graph)

    def close(self) -> None:
        """Give every graph back; harmless when repeated."""
        while self._kept:
            _, captured = self._kept.popitem()
            self._cuda.call("cudaGraphExecDestroy", captured.graph)
