"""Runs a network on more entries than it takes at once: in parts, put together again.

Only along dimensions whose entries do not know of each other (``Bound.apart``), so the result
is the one that a single call would give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Port
from .profiles import bound

__all__ = ["run_in_parts", "splits"]

Arrays = dict[str, NDArray[Any]]


def splits(inputs: Sequence[Port]) -> frozenset[str]:
    """Return the names of the free dimensions along which these inputs may be cut."""
    found = [bound(p.name, d) for p in inputs for d in p.shape if isinstance(d, str)]
    return frozenset(b.dim for b in found if b is not None and b.apart)


def run_in_parts(
    run: Callable[[Arrays], Arrays],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    most: Mapping[str, int],
    arrays: Arrays,
) -> Arrays:
    """Call ``run`` so often that no cuttable dimension is larger than ``most`` says.

    Outputs are joined along the dimension of the same name; those without it are the first
    part's. Dimensions that may not be cut are left as they are.
    """
    for dim in sorted(splits(inputs) & most.keys()):
        size, limit = _size(dim, inputs, arrays), most[dim]
        if size > limit:
            parts = [
                run_in_parts(
                    run, inputs, outputs, most, _cut(dim, inputs, arrays, start, start + limit)
                )
                for start in range(0, size, limit)
            ]
            return {port.name: _joined(dim, port, parts) for port in outputs}
    return run(arrays)


def _size(dim: str, ports: Sequence[Port], arrays: Arrays) -> int:
    port = next(p for p in ports if dim in p.shape)
    return int(arrays[port.name].shape[port.shape.index(dim)])


def _cut(dim: str, ports: Sequence[Port], arrays: Arrays, start: int, stop: int) -> Arrays:
    cut = dict(arrays)
    for port in ports:
        if dim in port.shape:
            where = (slice(None),) * port.shape.index(dim) + (slice(start, stop),)
            cut[port.name] = np.ascontiguousarray(arrays[port.name][where])
    return cut


def _joined(dim: str, port: Port, parts: list[Arrays]) -> NDArray[Any]:
    if dim not in port.shape:
        return parts[0][port.name]
    return np.concatenate([part[port.name] for part in parts], axis=port.shape.index(dim))
