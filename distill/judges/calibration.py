"""From a log-likelihood to a score in [0, 1]: a logistic fit, and how well it separates.

Good are chains of the teacher that answered rightly. Bad are three kinds, weighted alike:
``wrong`` (the teacher's chains of wrong answers and of plans that could not be computed),
``other`` (good chains of another question) and ``shuffled`` (good chains with the steps of their
plan in another order). The fit sees one half of the tasks; AUC and Brier score are of the other.

The curve is over x = -log(.01 - mean), mean being the log-probability per token: a model that has
learnt the task gives good chains -.01, wrong ones -.1 and foreign ones -1, steps that are alike
only in the logarithm. (Over the mean itself the Brier score of the embedded teacher was .074
instead of .039, and wrong chains scored .62 in the median instead of .19.)

Not covered: judges better than the likelihood allows. A chain that is likely is fluent and fits
the question, which is not the same as right: read ``auc_by["wrong"]`` before trusting it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...twin.errors import InputError, ModelError
from .likelihood import Likelihood, Until

__all__ = ["LEAST_AUC", "Calibration", "auc_of", "fit", "load_calibration", "logistic"]

LEAST_AUC = 0.6  # below, a score is hardly more than chance
_LEAST = 5  # chains of a kind without which it is left out
_STEPS, _RIDGE = 50, 1e-3
_FLOOR = 0.01  # about what a token costs that is as good as sure
Float = NDArray[np.float64]
_Samples = Mapping[str, Sequence[tuple[int, Likelihood]]]


class Calibration(BaseModel):
    """A logistic curve over the log-probability per token, with how well it separates.

    The score is 1 / (1 + exp(-(bias + slope · x))), x = -log(.01 - mean). ``auc`` is the mean of ``auc_by``, the
    areas under the curve of good against each kind of bad chains. ``chains`` counts them by kind
    in both halves; ``means`` are their mean log-probabilities per token.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    teacher: str
    teacher_sha256: str
    until: Until = "plan"
    slope: float
    bias: float
    auc: float = Field(ge=0, le=1)
    auc_by: dict[str, float]
    brier: float = Field(ge=0, le=1)
    chains: dict[str, int]
    means: dict[str, float]

    def score(self, found: Likelihood) -> float:
        """The calibrated score of a chain."""
        return _sigmoid(self.bias + self.slope * _abscissa(found.mean))

    def check(self) -> Calibration:
        """This calibration, if it may be used.

        Raises:
            ModelError: if it hardly separates good from bad.
        """
        if not self.auc >= LEAST_AUC or self.slope <= 0:
            raise ModelError(
                f"expected a local judge with an AUC of at least {LEAST_AUC} and a rising curve, "
                f"got {self.auc:.3f} and slope {self.slope:.2f} with {self.teacher}; take a "
                "teacher that has learnt the task, or an endpoint as judge"
            )
        return self

    def save(self, path: Path) -> None:
        """Write it as JSON; it appears under its name only when it is complete."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.part")
        partial.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        partial.replace(path)


def load_calibration(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        InputError: if the file is none.
    """
    try:
        return Calibration.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(
            f"expected a judge's calibration in {path}, got: {str(error).splitlines()[0]}; "
            "delete the file, and it is made again"
        ) from error


def fit(samples: _Samples, teacher: str, teacher_sha256: str, until: Until) -> Calibration:
    """Fit the curve on the tasks of even numbers and measure it on the others.

    Args:
        samples: (number of the task, likelihood) of the chains by kind; ``good`` and kinds of bad.
        teacher: where the teacher came from.
        teacher_sha256: hash of its weights.
        until: how far chains were read.

    Raises:
        ModelError: if there are too few good or too few bad chains in a half.
    """
    halves: list[dict[str, Float]] = []
    for half in (0, 1):
        placed = {
            kind: np.array([_abscissa(found.mean) for task, found in each if task % 2 == half])
            for kind, each in samples.items()
        }
        halves.append(placed)
    kinds = [k for k in samples if k != "good" and min(len(h[k]) for h in halves) >= _LEAST]
    good = min(len(half["good"]) for half in halves)
    if good < _LEAST or not kinds:
        shown = {kind: len(each) for kind, each in samples.items()}
        raise ModelError(
            f"expected at least {_LEAST} good and {_LEAST} bad chains in each half, got {shown}: "
            "calibrate on more tasks, or with a teacher that has learnt the task"
        )
    slope, bias = logistic(*_stacked(halves[0], kinds))
    held = halves[1]
    auc_by = {kind: auc_of(held["good"], held[kind]) for kind in kinds}
    x, y, weights = _stacked(held, kinds)
    scores = np.array([_sigmoid(bias + slope * value) for value in x])
    return Calibration(
        teacher=teacher,
        teacher_sha256=teacher_sha256,
        until=until,
        slope=slope,
        bias=bias,
        auc=sum(auc_by.values()) / len(auc_by),
        auc_by=auc_by,
        brier=float((weights * (scores - y) ** 2).sum() / weights.sum()),
        chains={kind: len(each) for kind, each in samples.items()},
        means={k: float(np.mean([f.mean for _, f in each])) for k, each in samples.items() if each},
    )


def logistic(x: Float, y: Float, weights: Float) -> tuple[float, float]:
    """(slope, bias) of the weighted logistic regression of y in {0, 1} on x (N,), by Newton.

    x is brought to mean 0 and deviation 1 for a weak ridge, which keeps separable data finite.
    """
    centre, spread = float(np.average(x, weights=weights)), float(x.std()) or 1.0
    design = np.stack([(x - centre) / spread, np.ones_like(x)], 1)  # (N, 2)
    share = weights / weights.sum()
    beta = np.zeros(2)
    ridge = np.diag([_RIDGE, 0.0])
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (share * (y - p)) - ridge @ beta
        curve = (design * (share * p * (1 - p))[:, None]).T @ design + ridge + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, gradient)
        beta = beta + np.clip(step, -2.0, 2.0)
        if float(np.abs(step).max()) < 1e-10:
            break
    return float(beta[0] / spread), float(beta[1] - beta[0] * centre / spread)


def auc_of(good: Float, bad: Float) -> float:
    """Probability that a good value is above a bad one, ties counting half."""
    above = (good[:, None] > bad[None]).mean() + 0.5 * (good[:, None] == bad[None]).mean()
    return float(above)


def _stacked(half: Mapping[str, Float], kinds: Sequence[str]) -> tuple[Float, Float, Float]:
    """Values, labels and weights: good as much as all bad, each kind of bad alike."""
    parts = [half["good"], *(half[kind] for kind in kinds)]
    shares = [1.0, *[1.0 / len(kinds)] * len(kinds)]
    labels = [np.full(len(p), float(n == 0)) for n, p in enumerate(parts)]
    weights = [np.full(len(p), s / len(p)) for p, s in zip(parts, shares, strict=True)]
    return np.concatenate(parts), np.concatenate(labels), np.concatenate(weights)


def _abscissa(mean: float) -> float:
    return -math.log(_FLOOR - min(mean, 0.0))


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(value, -60.0), 60.0)))
