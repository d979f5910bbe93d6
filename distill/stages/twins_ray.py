"""Twins of a data set over the workers of a Ray cluster.

A worker opens the perception networks once and builds the twins of whole pictures and videos, with
their tasks, into the folder that all workers and the caller see. Every file there has the name of
the hash of what it depends on and appears only when it is complete (:mod:`..datasets.twins`), so a
twin that is built twice, because a worker died, is one file. At the end the caller goes over all
pictures once more, builds what is missing, and writes the list of tasks, in which every key stands
once.

Not covered: folders that the workers do not share; pictures without a data set around them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..datasets.choose import dataset_of, read_dataset
from ..datasets.twins import Builder, BuildOptions, SetEyes, build_twins, group_of
from ..tasks.leaks import held_pictures
from .spread import spread

__all__ = ["TwinsWorker", "build_twins_with_ray"]


class TwinsWorker:
    """Perception on a worker; ``options`` as for :func:`..datasets.twins.build_twins`."""

    def __init__(
        self, name: str, root: str, split: str, out: str, models: str, options: dict[str, Any]
    ) -> None:
        samples = read_dataset(name, root, split)
        self._groups = [list(group) for _, group in itertools.groupby(samples, key=group_of)]
        self._builder = _builder(name, root, split, out, models, **options)

    def piece(self, number: int) -> dict[str, Any]:
        """Build a picture's or a video's twin and tasks; returns the file's name."""
        return {"file": self._builder.build(self._groups[number]).name}


def build_twins_with_ray(
    name: str,
    root: str | Path,
    split: str,
    out: str | Path,
    models: str | Path = "embedded",
    *,
    workers: int = 2,
    **options: Any,
) -> dict[str, Any]:
    """Build the twins and tasks of a data set's split on several workers.

    Args:
        name: the data set, as for :func:`..datasets.twins.build_twins`, like what follows.
        root: where it lies, for the workers too.
        split: as the data set names it.
        out: folder for the tasks, the same for all workers.
        models: a set's name or a folder.
        workers: how many.
        options: ``words``, ``keep_uncovered``, ``fps``, ``every``, ``max_frames``, ``device``.

    Returns:
        The report of the twins, and ``workers``, ``processes`` that delivered, ``pieces`` that
        came, ``pieces_again`` of them a second time, and ``by_caller``: twins that were still
        missing at the end.

    Raises:
        MissingExtraError: without Ray.
        InputError: for what the readers refuse, and when no task comes out.
        ModelError: if the models cannot be had.
        TrainingError: if workers fail again and again.
    """
    arguments = {
        "name": name,
        "root": str(Path(root).absolute()),
        "split": split,
        "out": str(Path(out).absolute()),
        "models": str(models),
        "options": options,
    }
    groups = sum(1 for _ in itertools.groupby(read_dataset(name, root, split), key=group_of))
    came: dict[int, int] = {}
    processes = set()
    for piece in spread(TwinsWorker, arguments, range(groups), workers):
        came[piece.number] = came.get(piece.number, 0) + 1
        processes.add(piece.process)
    report = asdict(build_twins(name, root, split, out, models, **options))
    return {
        **report,
        "engine": "ray",
        "workers": workers,
        "processes": len(processes),
        "pieces": len(came),
        "pieces_again": sum(came.values()) - len(came),
        "by_caller": report["built"],
    }


def _builder(
    name: str,
    root: str,
    split: str,
    out: str,
    models: str,
    *,
    words: Iterable[str] | None = None,
    keep_uncovered: bool = False,
    fps: float = 10.0,
    every: int = 1,
    max_frames: int = 600,
    device: str = "auto",
) -> Builder:
    """What :func:`..datasets.twins.build_twins` builds groups with, by the same options."""
    training = split not in dataset_of(name).held_out
    held = held_pictures(name, root) if training else frozenset()
    options = BuildOptions(keep_uncovered, fps, every, max_frames)
    return Builder(Path(out), SetEyes(models, words, device), options, held, training)
