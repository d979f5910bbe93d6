"""Procedural pictures for tabletops, (H, W, 3) uint8, the same on every machine."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["CELL_TABLES", "WILD_TABLES", "table_texture"]

CELL_TABLES: tuple[str, ...] = ("wood", "stone", "cloth")
WILD_TABLES: tuple[str, ...] = (
    *CELL_TABLES,
    "checker",
    "tiles",
    "grass",
    "sand",
    "stripes",
    "dots",
)
_SIZE = 256

Array = NDArray[np.float64]


def _noise(rng: np.random.Generator, cells_y: int, cells_x: int) -> Array:
    """Smooth periodic noise in 0–1, (256, 256)."""
    grid = rng.random((cells_y, cells_x))
    ys, xs = np.arange(_SIZE) * cells_y / _SIZE, np.arange(_SIZE) * cells_x / _SIZE
    y0, x0 = ys.astype(int), xs.astype(int)
    fy, fx = (ys - y0)[:, None], (xs - x0)[None, :]
    fy, fx = fy * fy * (3 - 2 * fy), fx * fx * (3 - 2 * fx)
    y1, x1 = (y0 + 1) % cells_y, (x0 + 1) % cells_x
    top = grid[np.ix_(y0, x0)] * (1 - fx) + grid[np.ix_(y0, x1)] * fx
    low = grid[np.ix_(y1, x0)] * (1 - fx) + grid[np.ix_(y1, x1)] * fx
    mixed: Array = top * (1 - fy) + low * fy
    return mixed


def _mix(low: tuple[float, ...], high: tuple[float, ...], weight: Array) -> Array:
    mixed: Array = np.array(low) * (1 - weight[..., None]) + np.array(high) * weight[..., None]
    return mixed


def _pattern(name: str, rng: np.random.Generator) -> Array:
    y, x = np.mgrid[0:_SIZE, 0:_SIZE]
    grain = rng.random((_SIZE, _SIZE))
    if name == "wood":
        rings = np.sin(2 * np.pi * (x / 32 + 0.5 * _noise(rng, 4, 8))) * 0.5 + 0.5
        return _mix((150, 112, 78), (188, 150, 110), 0.6 * rings + 0.4 * _noise(rng, 4, 64))
    if name == "stone":
        weight = 0.5 * _noise(rng, 8, 8) + 0.3 * _noise(rng, 32, 32) + 0.2 * grain
        return _mix((120, 122, 126), (170, 172, 174), weight)
    if name == "cloth":
        weave = ((x // 4 + y // 4) % 2) * 0.5 + 0.3 * grain + 0.2 * _noise(rng, 8, 8)
        return _mix((168, 176, 168), (200, 206, 196), weave)
    if name == "checker":
        return _mix((90, 90, 100), (200, 196, 186), ((x // 32 + y // 32) % 2) * 0.9 + 0.1 * grain)
    if name == "tiles":
        line = ((x % 64 < 4) | (y % 64 < 4)).astype(np.float64)
        return _mix((176, 150, 140), (90, 84, 80), line * 0.9 + 0.1 * grain)
    if name == "grass":
        return _mix((70, 96, 56), (120, 150, 90), 0.5 * _noise(rng, 32, 32) + 0.5 * grain)
    if name == "sand":
        return _mix((190, 170, 130), (222, 204, 168), 0.5 * _noise(rng, 16, 4) + 0.5 * grain)
    if name == "stripes":
        return _mix((120, 130, 160), (206, 206, 210), ((x // 24) % 2) * 0.9 + 0.1 * grain)
    dot = ((x % 48 - 24) ** 2 + (y % 48 - 24) ** 2 < 100).astype(np.float64)
    return _mix((196, 186, 192), (130, 110, 130), dot * 0.9 + 0.1 * grain)


@lru_cache(maxsize=16)
def table_texture(name: str) -> NDArray[np.uint8]:
    """The named tabletop."""
    rng = np.random.default_rng([7, WILD_TABLES.index(name)])
    return np.clip(_pattern(name, rng), 0, 255).astype(np.uint8)
