"""Minimum-cost assignment: the arithmetic under the tracker.

``assign`` is the Hungarian method in the shortest-augmenting-path form of Jonker and
Volgenant (Computing 38, 1987), O(n^2 m), for the few dozen rows that tracking needs; SciPy,
which has the same, is not on the device.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError

__all__ = ["assign"]

F64 = NDArray[np.float64]


def assign(
    cost_nm: NDArray[np.floating], max_cost: float = np.inf, *, most: bool = True
) -> list[tuple[int, int]]:
    """Match rows to columns one to one at the least total cost.

    ``cost_nm`` is (N, M); infinity, or more than ``max_cost``, forbids a pair. Of all
    assignments with the most pairs, the cheapest is taken; with ``most`` False, a row left
    without a column counts as ``max_cost``, so that one good pair is not given up for two poor
    ones. Returns (row, column) pairs by rising row.

    Raises:
        InputError: if the costs are not a matrix, or hold NaN or minus infinity.
    """
    cost = np.asarray(cost_nm, dtype=np.float64)
    if cost.ndim != 2 or np.isnan(cost).any() or np.isneginf(cost).any():
        raise InputError(
            f"expected a cost matrix (N, M) without NaN, got shape {cost.shape}"
            + (" with NaN or minus infinity" if cost.ndim == 2 else "")
        )
    if 0 in cost.shape:
        return []
    finite = np.isfinite(cost) & (cost <= max_cost)
    # A forbidden pair costs more than any set of allowed ones, so it is used last of all.
    span = float(np.abs(cost[finite]).sum()) if finite.any() else 0.0
    unused = 2.0 * span + 1.0 if most or np.isinf(max_cost) else max_cost
    padded = np.where(finite, cost, unused)
    flipped = cost.shape[0] > cost.shape[1]
    columns = _augment(padded.T if flipped else padded)
    pairs = [(int(c), r) if flipped else (r, int(c)) for r, c in enumerate(columns)]
    return sorted((r, c) for r, c in pairs if finite[r, c])


def _augment(cost: F64) -> NDArray[np.int64]:
    """Return the column of each row; needs no more rows than columns and finite costs."""
    n, m = cost.shape
    u, v = np.zeros(n), np.zeros(m)
    row_of = np.full(m, -1, dtype=np.int64)
    column_of = np.full(n, -1, dtype=np.int64)
    for start in range(n):
        shortest = np.full(m, np.inf)
        parent = np.full(m, -1, dtype=np.int64)
        done = np.zeros(m, dtype=bool)
        row, reached = start, 0.0
        visited = [start]
        while True:
            length = reached + cost[row] - u[row] - v
            better = ~done & (length < shortest)
            shortest[better] = length[better]
            parent[better] = row
            column = int(np.argmin(np.where(done, np.inf, shortest)))
            reached = float(shortest[column])
            done[column] = True
            if row_of[column] < 0:
                break
            row = int(row_of[column])
            visited.append(row)
        u[start] += reached
        for other in visited[1:]:
            u[other] += reached - shortest[column_of[other]]
        v[done] -= reached - shortest[done]
        while column >= 0:  # turn the path over, from its end back to the start
            row = int(parent[column])
            row_of[column] = row
            column, column_of[row] = int(column_of[row]), column
            if row == start:
                break
    return column_of
