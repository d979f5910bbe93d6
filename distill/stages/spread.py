"""Numbered pieces of work over the workers of a Ray cluster (Ray Data, one actor per worker).

Each worker is made once and then asked for one piece after the other. When a worker dies, Ray makes
another and asks it for the pieces whose results had not come back; so a piece may be computed
twice, and it is for the caller to take it once (:class:`.ledger.Ledger` does).

Where ``RAY_ADDRESS`` names a cluster, that one is used; else a small one is started on this machine
and stopped at the end. Workers on other machines need this package and, at the same path, what the
recipe names (work folder, cached tasks). Results travel back to the caller, who writes them.

Not covered: a lost head node or caller; start the same command again, it goes on.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from ...twin.errors import EdgeTwinError, MissingExtraError, TrainingError

__all__ = ["Piece", "Worker", "spread"]

_STORE_BYTES = 100 * 2**20  # results are a few kilobytes each and are taken at once
_MOST_BLOCKS = 4096  # with more pieces than this, a block holds several


class Worker(Protocol):
    """What runs on a worker: made with plain arguments, asked for pieces by number."""

    def piece(self, number: int) -> dict[str, Any]:
        """A piece as a record of JSON; the same whichever worker is asked."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """A result: which piece, what it is, and the process that computed it."""

    number: int
    record: dict[str, Any]
    process: str


def spread(
    kind: type[Worker], arguments: dict[str, Any], numbers: Sequence[int], workers: int
) -> Generator[Piece, None, None]:
    """Compute pieces on ``workers`` workers; they come in any order, some perhaps twice.

    Args:
        kind: the worker's class, importable where the workers are.
        arguments: what it is made with, plain values.
        numbers: the pieces.
        workers: how many; each takes one CPU, and one GPU where the cluster has any.

    Raises:
        MissingExtraError: without Ray.
        TrainingError: if a worker fails again and again; errors of this package come as they are.
    """
    if not numbers:
        return
    with _cluster(workers) as ray:
        rows = ray.data.from_items(
            [{"number": number} for number in numbers],
            override_num_blocks=min(len(numbers), _MOST_BLOCKS),
        ).map_batches(
            _Actor,
            fn_constructor_kwargs={"kind": kind, "arguments": arguments},
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=1 if ray.cluster_resources().get("GPU", 0) else None,
        )
        try:
            for row in rows.iter_rows():
                yield Piece(int(row["number"]), json.loads(row["record"]), str(row["process"]))
        except ray.exceptions.RayError as error:
            raise _cause(error) from error


class _Actor:
    """A worker in an actor of Ray Data; tables hold the records as text."""

    def __init__(self, kind: type[Worker], arguments: dict[str, Any]) -> None:
        self._worker = kind(**arguments)
        self._process = f"{os.uname().nodename}:{os.getpid()}"

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        numbers = [int(number) for number in batch["number"]]
        return {
            "number": numbers,
            "record": [json.dumps(self._worker.piece(number)) for number in numbers],
            "process": [self._process] * len(numbers),
        }


@contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    """Ray, connected; a cluster that was started here is stopped."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray[data]", "ray") from error
    started = not ray.is_initialized()
    if started and os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    elif started:
        ray.init(
            num_cpus=workers,
            object_store_memory=_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    context = ray.data.DataContext.get_current()
    before, context.enable_progress_bars = context.enable_progress_bars, False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    try:
        yield ray
    finally:
        context.enable_progress_bars = before
        if started:
            ray.shutdown()


def _cause(error: BaseException) -> EdgeTwinError:
    """This package's own error behind one of Ray's, if there is one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, EdgeTwinError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return TrainingError(
        f"expected the workers to go on, got: {lines[-1][:200]}; what is written is kept: "
        "run the same command again"
    )
