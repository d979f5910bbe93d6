"""What every picture of the cards shares: size, letters, colours, and small PNG files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from ...twin.errors import OutputError

__all__ = ["COLOURS", "MAX_BYTES", "figure", "save", "save_array", "tidy"]

MAX_BYTES = 120_000
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D", "#A0A0A0")
"""Told apart by colour-blind eyes too (Okabe and Ito)."""
_DPI = 110
_CUT, _TREE = Image.Quantize.MEDIANCUT, Image.Quantize.FASTOCTREE  # true colours, few bytes
_STEPS = (
    (_CUT, 256, 1.0), (_TREE, 256, 1.0), (_TREE, 128, 1.0), (_TREE, 64, 1.0),
    (_TREE, 64, 0.85), (_TREE, 64, 0.7), (_TREE, 32, 0.6), (_TREE, 32, 0.45),
)  # fmt: skip


def figure(width: float = 8.0, height: float = 3.6) -> Figure:
    """A white figure of ``width`` × ``height`` inches, 110 dots per inch."""
    made = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(made)
    return made


def tidy(axes: Any, title: str, x: str, y: str) -> None:
    """Title, labels with units, a light grid, no box."""
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def save(made: Figure, path: str | Path, most: int = MAX_BYTES) -> int:
    """Write a figure as PNG with a palette; returns its bytes, see :func:`save_array`."""
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", metadata={"Software": ""})
    return save_array(np.asarray(Image.open(buffer).convert("RGB")), path, most)


def save_array(rgb_hw3: NDArray[np.uint8], path: str | Path, most: int = MAX_BYTES) -> int:
    """Write an RGB array as PNG of at most ``most`` bytes; returns how many it has.

    First colours are taken away, then size; the last try is written as it is.

    Raises:
        OutputError: if it cannot be written.
    """
    full = Image.fromarray(rgb_hw3)
    data = b""
    for how, count, scale in _STEPS:
        size = (max(1, round(full.width * scale)), max(1, round(full.height * scale)))
        part = full if scale == 1.0 else full.resize(size, Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        few = part.quantize(count, method=how, dither=Image.Dither.NONE)
        few.save(buffer, format="png", optimize=True)
        data = buffer.getvalue()
        if len(data) <= most:
            break
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}; choose another folder") from error
    return len(data)
