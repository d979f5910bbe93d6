"""Trackers of a training: trackio, TensorBoard, Weights & Biases.

What :class:`..stages.watch.Watch` writes into a line of the curve goes to them too: rewards and
their parts, tokens, KL, entropy, scores. Chains are sent as text (TensorBoard) or a table.

Everything stays on the machine unless the user has set a tracker up otherwise: trackio gets no
Space, and TensorBoard writes into the stage's folder. Weights & Biases follows its own settings
(``WANDB_MODE=offline`` keeps it here).

Not covered: other trackers of ``transformers``; they can be named in its environment variables.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ...twin.errors import InputError, MissingExtraError

__all__ = ["TRACKERS", "Tracker", "publisher", "report_to"]

Tracker = Literal["tensorboard", "trackio", "wandb"]
TRACKERS: dict[Tracker, str] = {"tensorboard": "train", "trackio": "track", "wandb": "track"}
"""Name of a tracker -> the extra that installs it."""

_COLUMNS = ("key", "question", "text", "iou", "ending")
Publish = Callable[[list[dict[str, Any]], int], None]


def report_to(
    trackers: Sequence[str], folder: Path, stage: str, project: str = "edgetwin"
) -> dict[str, Any]:
    """Arguments of a ``transformers`` trainer that report to ``trackers``.

    Args:
        trackers: names; none reports nowhere.
        folder: of the stage; TensorBoard writes into ``tensorboard/`` there.
        stage: names the run, with the work folder's name.
        project: under which trackio and Weights & Biases list it.

    Raises:
        InputError: for an unknown name.
        MissingExtraError: for a tracker that is not installed, with the pip line.
    """
    from transformers import TrainingArguments

    for name in trackers:
        if name not in TRACKERS:
            raise InputError(
                f"expected trackers among {', '.join(TRACKERS)}, got {name!r}; correct 'track' in "
                "the recipe"
            )
        if find_spec(name) is None:
            raise MissingExtraError(name, TRACKERS[name])
    if "tensorboard" in trackers:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / "tensorboard")
    if "wandb" in trackers:
        os.environ["WANDB_PROJECT"] = project
        os.environ.setdefault("WANDB_DIR", str(folder))
    wanted: dict[str, Any] = {
        "report_to": list(dict.fromkeys(trackers)) or "none",
        "run_name": f"{folder.resolve().parent.name}-{stage}",
        "project": project,
        "trackio_space_id": None,
        "trackio_static_space_id": False,
    }
    known = {field.name for field in fields(TrainingArguments)}
    return {name: value for name, value in wanted.items() if name in known}


def publisher(trainer: Any, trackers: Sequence[str]) -> Publish | None:
    """What sends chains to the trackers of a trainer, for :class:`..stages.watch.Watch`."""
    senders: list[Publish] = []
    if "tensorboard" in trackers:
        senders.append(lambda rows, step: _tensorboard(trainer, rows, step))
    if "trackio" in trackers:
        senders.append(_trackio)
    if "wandb" in trackers:
        senders.append(_wandb)
    if not senders:
        return None

    def send(rows: list[dict[str, Any]], step: int) -> None:
        for sender in senders:
            sender(rows, step)

    return send


def as_text(row: Mapping[str, Any]) -> str:
    """A chain as a line of text: what was asked, what was said, what it was worth."""
    head = " · ".join(str(row[name]) for name in ("key", "question") if name in row)
    tail = ", ".join(f"{name} {row[name]}" for name in ("iou", "ending") if name in row)
    return f"{head}\n\n    {row.get('text', '')}\n\n{tail}"


def _tensorboard(trainer: Any, rows: Sequence[Mapping[str, Any]], step: int) -> None:
    from transformers.integrations import TensorBoardCallback

    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
            for number, row in enumerate(rows):
                callback.tb_writer.add_text(f"samples/{number}", as_text(row), step)


def _trackio(rows: list[dict[str, Any]], step: int) -> None:
    import pandas as pd
    import trackio

    if trackio.context_vars.current_run.get() is not None:
        trackio.log({"samples": trackio.Table(dataframe=pd.DataFrame(_table(rows)))}, step=step)


def _wandb(rows: list[dict[str, Any]], step: int) -> None:
    import wandb

    if wandb.run is not None:
        table = wandb.Table(columns=list(_COLUMNS), data=[list(r.values()) for r in _table(rows)])
        wandb.log({"samples": table}, commit=False)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: row.get(name) for name in _COLUMNS} for row in rows]
