"""What has been rolled out, on disk: every item exactly once, whatever is killed and when.

The work is cut into *parts* of consecutive tasks; an item is one sample of one task, ``(index,
sample)``. A part's lines are appended in one write and count only when all of them are there.
Opening a ledger drops what a kill left unfinished and anything that stands there twice; a part
that comes again is not written again, only counted. Closed, the lines lie in the order of the
items, so that a run that was killed, or was spread over many workers, ends with the same bytes as
one that was not.

Each line is a record with ``index``, ``sample`` and ``twin``, the digest of the twin's text; the
texts lie in ``twins.jsonl`` once each.

Not covered: two writers (the second is refused), folders without locks (some network drives).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ...twin.errors import InputError, OutputError

__all__ = ["Ledger", "Part", "Plan"]

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How the work is cut: ``tasks`` tasks in parts of ``size``, ``samples`` of each."""

    tasks: int
    size: int
    samples: int

    @property
    def parts(self) -> int:
        """How many parts there are; the last may be shorter."""
        return -(-self.tasks // self.size)

    @property
    def items(self) -> int:
        """How many items there are."""
        return self.tasks * self.samples

    def indices(self, part: int) -> range:
        """Which tasks are of a part."""
        return range(part * self.size, min(self.tasks, (part + 1) * self.size))

    def expected(self, part: int) -> list[tuple[int, int]]:
        """The items of a part in their order."""
        return [(i, s) for i in self.indices(part) for s in range(self.samples)]


@dataclass(frozen=True, slots=True)
class Part:
    """What was made of a part: its lines in order, and the twins by digest."""

    number: int
    lines: Sequence[Line]
    twins: Mapping[str, Line]


class Ledger:
    """The open ledger of a folder; use it in a ``with`` block.

    ``dropped`` counts lines that a kill had left, ``again`` parts that came twice.

    Raises:
        InputError: if another run has it open, or a line is not one of this plan.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.plan = folder, plan
        self.path, self._twins_path = folder / "chains.jsonl", folder / "twins.jsonl"
        self.dropped, self.again = 0, 0
        self._spans: dict[int, tuple[int, int]] = {}  # part: where its lines lie, in file order
        self._lock: IO[bytes] = (folder / "lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise InputError(
                f"expected {folder} to be free, got one that another run writes; wait for its end"
            ) from error
        try:
            self._known = self._read_twins()
            self._recover()
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.close()

    @property
    def missing(self) -> list[int]:
        """Parts that are not there yet, ascending."""
        return [part for part in range(self.plan.parts) if part not in self._spans]

    @property
    def items(self) -> int:
        """Items that are there."""
        return sum(len(self.plan.indices(part)) for part in self._spans) * self.plan.samples

    def add(self, part: Part) -> bool:
        """Write a part; False if it was there already.

        Raises:
            OutputError: if its lines are not exactly the part's items, or cannot be written.
        """
        if part.number in self._spans:
            self.again += 1
            return False
        found = [(line["index"], line["sample"]) for line in part.lines]
        if found != self.plan.expected(part.number):
            raise OutputError(
                f"expected the {len(self.plan.expected(part.number))} items of part "
                f"{part.number} in order, got {len(found)} items; nothing of it was written"
            )
        fresh = {sha: twin for sha, twin in part.twins.items() if sha not in self._known}
        if fresh:
            _append(self._twins_path, [{"twin": sha, **twin} for sha, twin in fresh.items()])
            self._known.update(fresh)
        self._spans[part.number] = _append(self.path, part.lines)
        return True

    def finish(self) -> None:
        """Put lines and twins into the order of the items and check that each is there once.

        Raises:
            OutputError: if an item is there twice, or a part lacks one.
        """
        if list(self._spans) != sorted(self._spans):
            self._rewrite(sorted(self._spans))
        order: dict[str, None] = {}
        found = 0
        expected = (item for part in sorted(self._spans) for item in self.plan.expected(part))
        for line in self.lines():
            item = (line["index"], line["sample"])
            wanted = next(expected, None)
            if item != wanted:
                raise OutputError(
                    f"expected item {wanted} in {self.path}, got {item}; delete it and roll again"
                )
            if line["twin"] not in self._known:
                raise OutputError(
                    f"expected the twin {line['twin']} in {self._twins_path}, got none; "
                    f"delete {self.folder} and roll again"
                )
            order.setdefault(line["twin"])
            found += 1
        if found != self.items:
            raise OutputError(f"expected {self.items} items in {self.path}, got {found}")
        _replace(
            self._twins_path,
            (json.dumps({"twin": sha, **self._known[sha]}).encode() + b"\n" for sha in order),
        )

    def lines(self) -> Iterator[dict[str, Any]]:
        """The lines as they lie in the file."""
        if self.path.exists():
            with self.path.open("rb") as file:
                yield from map(json.loads, file)

    @property
    def twins(self) -> Mapping[str, Line]:
        """The twins by digest: ``seed`` and ``text``."""
        return self._known

    def _recover(self) -> None:
        """Find the complete parts, and rewrite the file if there is anything else in it."""
        if not self.path.exists():
            return
        open_items: list[tuple[int, int]] = []
        start = offset = total = 0
        with self.path.open("rb") as file:
            for raw in file:
                total += 1
                item = _item(raw)
                part = item[0] // self.plan.size if item else -1
                if not open_items or part != open_items[0][0] // self.plan.size:
                    start, open_items = offset, []
                offset += len(raw)
                if item is None:
                    continue
                if not (0 <= item[0] < self.plan.tasks and 0 <= item[1] < self.plan.samples):
                    raise InputError(
                        f"{self.path}: expected items of {self.plan.tasks} tasks, got {item}; "
                        "give another work folder"
                    )
                open_items.append(item)
                if open_items == self.plan.expected(part) and part not in self._spans:
                    self._spans[part] = (start, offset - start)
                    open_items = []
        self.dropped = total - self.items
        if self.dropped:
            self._rewrite(list(self._spans))

    def _rewrite(self, parts: Sequence[int]) -> None:
        """The file with these parts in this order and nothing else."""
        with self.path.open("rb") as file:

            def pieces() -> Iterator[bytes]:
                for part in parts:
                    offset, length = self._spans[part]
                    file.seek(offset)
                    yield file.read(length)

            _replace(self.path, pieces())
        offset, spans = 0, {}
        for part in parts:
            spans[part] = (offset, self._spans[part][1])
            offset += spans[part][1]
        self._spans = spans

    def _read_twins(self) -> dict[str, Line]:
        found: dict[str, Line] = {}
        torn = False
        if self._twins_path.exists():
            with self._twins_path.open("rb") as file:
                for raw in file:
                    try:
                        record = json.loads(raw) if raw.endswith(b"\n") else {}
                        found[record.pop("twin")] = record
                    except (ValueError, KeyError):
                        torn = True
        if torn:
            lines = (json.dumps({"twin": k, **v}).encode() + b"\n" for k, v in found.items())
            _replace(self._twins_path, lines)
        return found


def _item(raw: bytes) -> tuple[int, int] | None:
    """The item of a line; None for a line that a kill tore."""
    if not raw.endswith(b"\n"):
        return None
    try:
        record = json.loads(raw)
        return int(record["index"]), int(record["sample"])
    except (ValueError, KeyError, TypeError):
        return None


def _append(path: Path, lines: Sequence[Line]) -> tuple[int, int]:
    """Append lines in one write and see them on the disk; returns where they lie."""
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    try:
        with path.open("ab") as file:
            start = file.tell()
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"expected to write {path}, got: {error}") from error
    return start, len(data)


def _replace(path: Path, pieces: Iterator[bytes]) -> None:
    """Write a file anew; it stands under its name only when it is complete."""
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
