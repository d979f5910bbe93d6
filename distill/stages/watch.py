"""What a person sees of a training: progress, a curve, samples of chains, scores on the way.

:class:`Log` writes the files and the bar; :class:`Watch` is the callback that feeds it from a
``transformers`` trainer (SFT and GRPO alike). A run that goes on from a checkpoint cuts off what
was written after it, so that both files describe one trajectory.

``curve.jsonl`` has one line per logged step: ``step``, ``seconds``, ``reward``,
``rewards/<name>``, ``tokens/rationale``, ``tokens/own``, ``kl``, ``entropy``, ``loss``,
``grad_norm``, ``malformed``, ``skipped/<reward>``, and at scoring steps ``val/exact`` and
``val/tokens``. ``samples.jsonl`` has the chains handed to :meth:`Log.sample`.

Not covered: on several machines only the first process's values are noted; those that the trainer
itself gathers are over all. Time spent on scoring is not in ``seconds``.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback

from .memory import trim

__all__ = ["Log", "Watch", "last_checkpoint", "plain_arguments", "same_randomness"]

_SAMPLES = 8  # chains kept per logged step: enough to read, few enough for thousands of steps
_TRIM_EVERY = 5  # steps
_SHOWN = ("loss", "reward", "val/exact")
Scorer = Callable[[], Mapping[str, float]]


class Log:
    """The two files and the bar of a stage's folder.

    Args:
        folder: receives ``curve.jsonl`` and ``samples.jsonl``.
        title: what the bar is called.
        total: steps (or seconds) of the whole run; None if it is not known.
        clock: seconds; tests replace it.
    """

    def __init__(
        self,
        folder: Path,
        title: str,
        *,
        total: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.title, self.clock = folder, title, clock
        self.total, self.seconds = total, 0.0
        self._since: float | None = None
        self._values: dict[str, list[float]] = defaultdict(list)
        self._samples: deque[dict[str, Any]] = deque(maxlen=_SAMPLES)
        self._bar: Progress | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def begin(self, step: int) -> None:
        """Start, or go on after ``step``: later lines are cut off, the time goes on."""
        for name in ("curve.jsonl", "samples.jsonl"):
            rows = _cut(self.folder / name, step)
            if name == "curve.jsonl":
                self.seconds = float(rows[-1].get("seconds", 0.0)) if rows else 0.0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn(
                "{task.completed:.0f}/{task.total:.0f}" if self.total else "{task.completed:.0f}"
            ),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}"),
        )
        self._bar.add_task(self.title, total=self.total, completed=step, shown="")
        self._bar.start()
        self._since = self.clock()

    def fresh(self, values: Mapping[str, float]) -> None:
        """Begin the curve anew, with what was there before the first step."""
        (self.folder / "curve.jsonl").unlink(missing_ok=True)
        (self.folder / "samples.jsonl").unlink(missing_ok=True)
        self.line(0, values)

    def tick(self, completed: float | None = None) -> float:
        """Count the time since the last tick; returns the seconds of training so far."""
        now = self.clock()
        if self._since is not None:
            self.seconds += now - self._since
            self._since = now
        if self._bar is not None and completed is not None:
            self._bar.update(self._bar.task_ids[0], completed=completed)
        return self.seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time in here is not training; randomness is as it was afterwards."""
        self.tick()
        try:
            with same_randomness():
                yield
        finally:
            if self._since is not None:
                self._since = self.clock()

    def note(self, values: Mapping[str, float]) -> None:
        """Values of the step; the next line has their mean. Those that are not finite are left out."""
        for name, value in values.items():
            if math.isfinite(value):
                self._values[name].append(float(value))

    def sample(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Chains to write at the next line, the last few of them."""
        self._samples.extend(dict(row) for row in rows)

    def take(self) -> dict[str, float]:
        """The means of what was noted since the last line."""
        found = {name: sum(v) / len(v) for name, v in self._values.items()}
        self._values.clear()
        return found

    def line(self, step: int, values: Mapping[str, float]) -> list[dict[str, Any]]:
        """Write a line of the curve and the samples; returns the samples written."""
        row = {"step": step, "seconds": round(self.tick(), 2), **_rounded(values)}
        _append(self.folder / "curve.jsonl", [row])
        samples = [{"step": step, **row} for row in self._samples]
        self._samples.clear()
        _append(self.folder / "samples.jsonl", samples)
        if self._bar is not None:
            shown = " ".join(f"{k} {row[k]:.3g}" for k in _SHOWN if k in row)
            self._bar.update(self._bar.task_ids[0], shown=shown)
        return samples

    def close(self) -> None:
        """Stop the bar; may be called twice."""
        self.tick()
        self._since = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Watch(TrainerCallback):
    """Feeds a :class:`Log` from a trainer, scores on the way and stops when the time is over.

    Args:
        folder: the stage's folder in the work folder.
        title: what the bar is called.
        minutes: budget of all starts of the run together; None for no limit.
        score_every: steps between scores; 0 only at the end.
        scorer: gives ``val/exact``, ``val/tokens`` …; it may call :meth:`sample`.
        publish: gets (samples, step) at each line, for trackers.
        clock: seconds; tests replace it.

    Use :meth:`attach` rather than ``callbacks=[…]``, and :meth:`close` in a ``finally``.
    """

    def __init__(
        self,
        folder: Path,
        title: str,
        *,
        minutes: float | None = None,
        score_every: int = 0,
        scorer: Scorer | None = None,
        publish: Callable[[list[dict[str, Any]], int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.log = Log(folder, title, clock=clock)
        self.minutes, self.score_every, self.scorer = minutes, score_every, scorer
        self.publish, self.scores = publish, dict[str, float]()
        self.note, self.sample = self.log.note, self.log.sample

    def attach(self, trainer: Any) -> Watch:
        """Stand before the trackers' callbacks, so that they get what is noted here too."""
        from transformers import PrinterCallback, ProgressCallback

        for kind in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(kind)
        trainer.callback_handler.callbacks.insert(0, self)
        return self

    def close(self) -> None:
        """Stop the bar, also after an error."""
        self.log.close()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the bar."""
        if state.is_world_process_zero:
            self.log.total = state.max_steps
            self.log.begin(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count, score, and stop when the time is over."""
        if state.global_step % _TRIM_EVERY == 0:
            trim()
        seconds = _first_process(self.log.tick(state.global_step))
        over = self.minutes is not None and seconds >= 60 * self.minutes
        last = over or state.global_step >= state.max_steps
        if over:
            control.should_training_stop = control.should_save = True
        due = self.score_every and state.global_step % self.score_every == 0
        if self.scorer is not None and (due or last):
            with self.log.paused():
                self.scores = dict(self.scorer())
            self.note(self.scores)
            control.should_log = True
        if last:
            control.should_log = True

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Write a line; what was noted is added to ``logs`` for the trackers after this."""
        if logs is None or not state.is_world_process_zero or "train_runtime" in logs:
            return
        logs.update(self.log.take())
        samples = self.log.line(state.global_step, _named(logs))
        if self.publish is not None and samples:
            self.publish(samples, state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop the bar."""
        self.close()


def plain_arguments(recompute: bool) -> dict[str, Any]:
    """Arguments of any trainer that is watched: it saves by steps and is silent itself.

    ``recompute`` trades time for memory (activation checkpointing), under the name that the
    installed transformers has for it.
    """
    from transformers import TrainingArguments

    known = TrainingArguments.__dataclass_fields__
    new, old = "activation_checkpointing", "gradient_checkpointing"
    return {
        new if new in known else old: recompute,
        "save_strategy": "steps",
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete ``checkpoint-<step>`` of a folder; None if there is none.

    The trainer writes ``trainer_state.json`` last: a checkpoint without it was interrupted.
    """
    for path in sorted(folder.glob("checkpoint-*"), key=_step_of, reverse=True):
        try:
            state = json.loads((path / "trainer_state.json").read_text())
        except (OSError, ValueError):
            continue
        if state.get("global_step") == _step_of(path):
            return path
    return None


@contextmanager
def same_randomness() -> Iterator[None]:
    """Python's, NumPy's and torch's generators are left as they were found."""
    import numpy as np

    python, arrays, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        torch.set_rng_state(cpu)
        if devices:
            torch.cuda.set_rng_state_all(devices)


def _named(logs: Mapping[str, Any]) -> dict[str, float]:
    """TRL's names as the curve has them: ``rewards/<name>/mean`` is ``rewards/<name>``."""
    found = {}
    for name, value in logs.items():
        if isinstance(value, (int, float)) and not name.endswith("/std"):
            found[name.removesuffix("/mean") if name.startswith("rewards/") else name] = float(
                value
            )
    return found


def _first_process(seconds: float) -> float:
    """The first process's clock, so that all processes stop at the same step."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return seconds
    shared = [seconds]
    torch.distributed.broadcast_object_list(shared, src=0)
    return shared[0]


def _cut(path: Path, step: int) -> list[dict[str, Any]]:
    """Drop the lines after ``step`` and a torn last one; returns the rest."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row["step"] <= step:
            rows.append(row)
    beside = path.with_suffix(".part")
    beside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    beside.replace(path)
    return rows


def _append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if lines:
        with path.open("a", encoding="utf-8") as file:
            file.write(lines)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in values.items() if math.isfinite(value)}


def _step_of(path: Path) -> int:
    digits = path.name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else -1
