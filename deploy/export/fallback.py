"""Chooses each graph's number format: the wanted one, or a finer one where its outputs suffer.

A graph is judged by its own outputs on inputs that calibrated nothing: per output the RMS of
the difference over the RMS of the float32 output, the worst output counting; of mask logits
also the IoU of the masks they stand for, and of features that of the masks which a later graph
makes of them (:mod:`.later`). :data:`BOUNDS` gives what is allowed.

The bounds are those of single graphs; what they do together is measured by the verification.
Not covered: mixing formats inside a graph, the choice by speed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...perception.engines import Engine, open_engine
from ...twin.errors import InputError, ModelError
from .graphs import GRAPH_PRECISIONS, Feeds, GraphPrecision, Rest, convert
from .later import Later
from .targets import Target

__all__ = ["BOUNDS", "Bound", "Chosen", "Errors", "Tried", "choose", "ladder", "output_errors"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Bound:
    """What is allowed: ``error`` at most, ``mask_iou`` at least."""

    error: float
    mask_iou: float


BOUNDS: dict[GraphPrecision, Bound] = {
    "fp32": Bound(1e-3, 0.999),  # simplification reorders sums
    "fp16": Bound(0.01, 0.99),  # eleven bits per value; some ten layers deep
    "int8": Bound(0.05, 0.97),  # the embedded set stays below, see tests and docs/deployment.md
}
"""Format -> bound of one graph's outputs."""


@dataclass(frozen=True, slots=True)
class Errors:
    """``outputs`` is output -> relative RMS difference; ``mask_iou`` of mask logits, the mean."""

    outputs: dict[str, float]
    mask_iou: float | None = None

    @property
    def worst(self) -> float:
        """Of all outputs; infinite where one is not a number."""
        values = list(self.outputs.values())
        return max(values) if np.isfinite(values).all() else float("inf")


@dataclass(frozen=True, slots=True)
class Tried:
    """One format: its errors, or why it could not be had; ``kept`` if it met its bound."""

    precision: GraphPrecision
    errors: Errors | None
    kept: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The format that a graph is in, its worst output's error, and all that was tried."""

    wanted: GraphPrecision
    precision: GraphPrecision
    error: float | None
    tried: tuple[Tried, ...]

    @property
    def fell_back(self) -> str | None:
        """Why the graph is not in the wanted format; None where it is."""
        failed = [f"{one.precision}: {one.reason}" for one in self.tried if not one.kept]
        return "; ".join(failed) or None


def ladder(wanted: GraphPrecision, target: Target = "cuda") -> tuple[GraphPrecision, ...]:
    """Formats to try in turn; a processor gains nothing from float16 in between.

    Raises:
        InputError: if the format is unknown.
    """
    if wanted not in GRAPH_PRECISIONS:
        raise InputError(f"expected one of {', '.join(GRAPH_PRECISIONS)}, got {wanted!r}")
    steps: dict[GraphPrecision, tuple[GraphPrecision, ...]] = {
        "fp32": ("fp32",),
        "fp16": ("fp16", "fp32"),
        "int8": ("int8", "fp32") if target == "cpu" else ("int8", "fp16", "fp32"),
    }
    return steps[wanted]


def choose(
    source: Path,
    target: Path,
    wanted: GraphPrecision,
    feeds: Feeds,
    held_out: Feeds,
    *,
    steps: tuple[GraphPrecision, ...] | None = None,
    rest: Rest = "fp32",
    bounds: Mapping[GraphPrecision, Bound] | None = None,
    later: Later | None = None,
) -> Chosen:
    """Write ``source`` to ``target`` in the first format of ``steps`` that meets its bound.

    ``feeds`` calibrate int8, ``held_out`` judge. ``steps`` are those of :func:`ladder`; their
    last must be fp32. ``rest`` is what int8 leaves (:func:`~.graphs.convert`); ``later`` makes
    masks of the outputs. Without inputs to judge by a graph stays fp32.

    Raises:
        InputError: if ``steps`` do not end with fp32.
        ModelError: if even fp32 misses its bound: the file is damaged.
    """
    steps = steps or ladder(wanted)
    if steps[-1] != "fp32":
        raise InputError(f"expected steps that end with fp32, got {', '.join(steps)}")
    allowed = {**BOUNDS, **(bounds or {})}
    reference = open_engine(source, device="cpu", threads=1)
    tried: list[Tried] = []
    try:
        for step in steps:
            make = partial(convert, source, target, step, feeds, rest=rest)
            judge = partial(output_errors, reference, held_out=held_out, later=later)
            one = _try(make, target, step, feeds, held_out, judge, allowed[step])
            tried.append(one)
            if one.kept:
                error = None if one.errors is None else one.errors.worst
                return Chosen(wanted, step, error, tuple(tried))
    finally:
        reference.close()
    target.unlink(missing_ok=True)
    raise ModelError(
        f"expected {source.name} as fp32 within {allowed['fp32'].error:g} of its source, got "
        f"{tried[-1].reason}; export the network again"
    )


def output_errors(
    reference: Engine, engine: Engine, held_out: Feeds, later: Later | None = None
) -> Errors:
    """Compare two engines of one graph over inputs, and what ``later`` makes of their outputs."""
    off: defaultdict[str, float] = defaultdict(float)
    scale: defaultdict[str, float] = defaultdict(float)
    overlaps: list[float] = []
    for feed in held_out:
        expected, got = reference.run(dict(feed)), engine.run(dict(feed))
        for name, values in expected.items():
            wide = values.astype(np.float64)
            off[name] += float(((wide - got[name]) ** 2).sum())
            scale[name] += float((wide**2).sum())
        if later is not None:
            expected, got = later(expected), later(got)
        if "mask_logits" in expected:
            overlaps += _overlaps(expected["mask_logits"], got["mask_logits"])
    outputs = {name: _relative(off[name], scale[name]) for name in off}
    return Errors(outputs, float(np.mean(overlaps)) if overlaps else None)


def _try(
    make: Callable[[], None],
    target: Path,
    step: GraphPrecision,
    feeds: Feeds,
    held_out: Feeds,
    judge: Callable[[Engine], Errors],
    bound: Bound,
) -> Tried:
    if step == "int8" and not len(feeds):
        return Tried(step, None, False, "no inputs to calibrate with")
    if step != "fp32" and not len(held_out):
        return Tried(step, None, False, "no inputs to judge it by")
    try:
        make()
        engine = open_engine(target, device="cpu", threads=1)
    except ModelError as error:
        if step == "fp32":
            raise
        return Tried(step, None, False, str(error)[:300])
    if not len(held_out):
        engine.close()
        return Tried(step, None, True)
    try:
        errors = judge(engine)
    finally:
        engine.close()
    reason = _misses(errors, bound)
    return Tried(step, errors, not reason, reason)


def _misses(errors: Errors, bound: Bound) -> str:
    """Say what is out of bounds, "" if nothing is."""
    if not errors.worst <= bound.error:
        name = max(errors.outputs, key=lambda key: np.nan_to_num(errors.outputs[key], nan=np.inf))
        return f"error {errors.worst:.3g} of {name}, at most {bound.error:g}"
    if errors.mask_iou is not None and not errors.mask_iou >= bound.mask_iou:
        return f"mask IoU {errors.mask_iou:.3f}, at least {bound.mask_iou:g}"
    return ""


def _relative(off: float, scale: float) -> float:
    """RMS over RMS; an output that is all zeros may not change."""
    if scale == 0:
        return 0.0 if off == 0 else float("inf")
    return float(np.sqrt(off / scale))


def _overlaps(one: NDArray[Any], other: NDArray[Any]) -> list[float]:
    """IoU of every pair of masks; two empty ones are equal."""
    height, width = one.shape[-2:]
    a, b = (values.reshape(-1, height, width) > 0 for values in (one, other))
    both, either = (a & b).sum(axis=(1, 2)), (a | b).sum(axis=(1, 2))
    return [float(i / u) if u else 1.0 for i, u in zip(both, either, strict=True)]
