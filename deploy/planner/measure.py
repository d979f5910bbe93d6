"""Predictions beside measurements on the machine at hand, graph by graph.

Every graph runs on made-up inputs of the sizes that were counted; only its time matters. The
median of the runs is compared; the least is given too, since other work on the machine can only
lengthen a run.

Not covered: the order of runs (a real frame alternates between graphs), our own code; see
``edgetwin bench`` for whole frames.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...perception.bundle import Bundle
from ...perception.engines import Port
from ...reasoner.models.base import LanguageModel
from ...twin.errors import InputError
from .devices import Device
from .language import LanguageCounts
from .predict import Assumptions, Stream, estimate, graph_ms
from .uses import USES, SetCounts, sizes_of

__all__ = ["Compared", "compare_answers", "compare_graphs", "made_up"]

_PATIENCE_S = 20.0  # a graph that is slower than this in all is measured fewer times
_TEXT = "The red mug stands left of the blue bowl on the table, the book lies behind it. "


@dataclass(frozen=True, slots=True)
class Compared:
    """A prediction and a measurement, in milliseconds; ``least_ms`` the fastest of ``runs``."""

    what: str
    predicted_ms: float
    measured_ms: float
    least_ms: float
    runs: int
    bound: str = ""

    @property
    def error(self) -> float:
        """How much the prediction is above (+) or below (-) the measurement, as a share of it."""
        return self.predicted_ms / self.measured_ms - 1


def compare_graphs(
    bundle: Bundle,
    counts: SetCounts,
    device: Device,
    assumed: Assumptions,
    *,
    objects: int = 4,
    runs: int = 20,
) -> list[Compared]:
    """Run every graph of a bundle and compare.

    Raises:
        InputError: if ``runs`` is below 1.
        ModelError: if a graph cannot be run.
    """
    if runs < 1:
        raise InputError(f"expected at least one run of each graph, got {runs}")
    found = []
    for use in USES:
        work = counts.at(use, objects)
        if work is None:
            continue
        engine = bundle.engine(use.graph)
        feeds = made_up(engine.inputs, sizes_of(use, objects))
        times = _times(lambda e=engine, f=feeds: e.run(f), runs)  # type: ignore[misc]
        engine.close()
        ms, bound = graph_ms(work, device, assumed)
        name = f"{use.graph.removesuffix('.onnx')} ({use.name})"
        found.append(Compared(name, ms, statistics.median(times), min(times), len(times), bound))
    return found


def compare_answers(
    model: LanguageModel,
    language: LanguageCounts,
    device: Device,
    assumed: Assumptions,
    counts: SetCounts,
    *,
    runs: int = 5,
) -> list[Compared]:
    """Read a prompt of the assumed length and generate the assumed number of tokens.

    Raises:
        ModelError: if the model fails.
    """
    foretold = estimate(counts, device, Stream(256, 256, 1), language=language, assumed=assumed)
    assert foretold.answers is not None
    prompt = _TEXT
    while model.count(prompt) < assumed.prompt_tokens:
        prompt += _TEXT
    reads, tokens = [], []
    for _ in range(runs):
        context = model.open()
        start = time.perf_counter()
        context.read([prompt])
        first = context.generate((), 1, time.monotonic() + _PATIENCE_S)
        middle = time.perf_counter()
        piece = context.generate((), assumed.steps, time.monotonic() + _PATIENCE_S)
        end = time.perf_counter()
        context.close()
        reads.append(1000 * (middle - start) / max(1, model.count(prompt) + first.tokens - 1))
        if piece.tokens:
            tokens.append(1000 * (end - middle) / piece.tokens)
    answers = foretold.answers
    steps_ms = 1000 * assumed.steps / answers.tokens_per_s
    read_ms = (answers.first_ms - steps_ms) / assumed.prompt_tokens
    found = [_compared("language: a prompt's token", read_ms, reads)]
    if tokens:
        found.append(_compared("language: a generated token", 1000 / answers.tokens_per_s, tokens))
    return found


def made_up(ports: Sequence[Port], sizes: dict[str, int]) -> dict[str, NDArray[Any]]:
    """Return inputs for a graph: noise, whole numbers within every vocabulary, labels of points.

    Raises:
        InputError: if a free dimension has no size.
    """
    source = np.random.default_rng(0)
    feeds: dict[str, NDArray[Any]] = {}
    for port in ports:
        shape = []
        for dim in port.shape:
            size = sizes.get(str(dim), 1) if isinstance(dim, str) else dim
            if size is None:
                raise InputError(f"expected a size for a dimension of {port.name!r}, got none")
            shape.append(size)
        kind = np.dtype(port.dtype)
        if kind.kind == "f":
            feeds[port.name] = np.abs(source.standard_normal(shape)).astype(kind)
        else:
            feeds[port.name] = np.ones(shape, kind)
    return feeds


def _times(work: Callable[[], object], runs: int) -> list[float]:
    """Return milliseconds per run, after one that is not counted."""
    work()
    times: list[float] = []
    while len(times) < runs and sum(times) < 1000 * _PATIENCE_S:
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return times


def _compared(what: str, predicted_ms: float, times: list[float]) -> Compared:
    return Compared(what, predicted_ms, statistics.median(times), min(times), len(times))
