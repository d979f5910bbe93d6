"""Tasks on disk: twins and questions as JSON lines, read one at a time, every byte accounted for.

A folder holds::

    manifest.json          version, counts, and the SHA-256 of tasks.jsonl: the data's hash
    tasks.jsonl            one task per line; it names its twin's file and that file's SHA-256
    twins/ab/abcd….jsonl   the frames of one twin, masks included; shared by the tasks that ask it

So the one hash in the manifest covers everything. ``tasks.jsonl`` is checked when the folder is
opened, a twin when it is first read; a damaged file is refused by its name. The manifest is
written last: a folder without one was never finished.

Not covered: pictures, which are named but not copied; changing a folder in place.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...twin.errors import InputError, OutputError, SchemaError
from ...twin.files import replace
from ...twin.jsonl import frame_from_json
from ...twin.schema import Rle
from ...twin.window import DEFAULT_MAX_FRAMES, TwinWindow
from ..reasoner.records import Question
from .task import Task, Tasks

__all__ = [
    "CachedTasks",
    "TwinRef",
    "finish",
    "line_of",
    "put_twin",
    "read_tasks",
    "read_window",
    "write_tasks",
]

VERSION = 1
_KEPT = 64  # twins in memory: training draws neighbours of a shuffled order, not all at once
_MANIFEST, _TASKS = "manifest.json", "tasks.jsonl"
_AGAIN = "write it again with 'edgetwin distill twins'"


@dataclass(frozen=True, slots=True)
class TwinRef:
    """Where a twin lies below the folder, and what its bytes are."""

    file: str
    sha256: str
    max_frames: int = DEFAULT_MAX_FRAMES


def write_tasks(folder: str | Path, tasks: Iterable[Task]) -> str:
    """Write tasks and their twins; return the data's hash.

    A twin that several tasks share (the same window object, or the same frames) is written once.
    Tasks are taken one at a time; one that comes again, equal in everything, is written once.

    Raises:
        InputError: if two different tasks have one key, or there is none.
        OutputError: if something cannot be written; without a manifest the folder is not read.
    """
    folder = Path(folder)
    written: list[tuple[TwinWindow, TwinRef]] = []  # the last few: tasks of a twin lie together

    def put(window: TwinWindow) -> TwinRef:
        found = next((ref for known, ref in written if known is window), None)
        if found is None:
            found = put_twin(folder, window)
            written.insert(0, (window, found))
            del written[2:]
        return found

    def lines() -> Iterable[str]:
        for task in tasks:
            whole = None if task.whole is None else put(task.whole)
            yield line_of(task, put(task.window), whole)

    return finish(folder, lines())


def put_twin(folder: Path, window: TwinWindow, name: str | None = None) -> TwinRef:
    """Write one twin unless it is there; ``name`` (hex) in place of its content's hash.

    Raises:
        OutputError: if it cannot be written.
    """
    data = "".join(f.model_dump_json() + "\n" for f in window.frames).encode()
    digest = hashlib.sha256(data).hexdigest()
    stem = name or digest
    file = f"twins/{stem[:2]}/{stem}.jsonl"
    path = folder / file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if name is not None or not path.exists():
            replace(path, data)
    except OSError as error:
        raise OutputError(f"expected to write {path}, got: {error}; free space") from error
    return TwinRef(file, digest, window.max_frames)


def line_of(task: Task, twin: TwinRef, whole: TwinRef | None = None) -> str:
    """A task as its line of ``tasks.jsonl``, without the line's end."""
    record = {
        "key": task.key,
        "twin": asdict(twin),
        "whole": None if whole is None else asdict(whole),
        "question": task.question,
        "ids": task.ids,
        "truth": None
        if task.truth is None
        else {str(place): rle.model_dump(mode="json") for place, rle in task.truth.items()},
        "mode": task.mode,
        "turns": task.turns,
        "level": task.level,
        "source": task.source,
        "reference": None if task.reference is None else asdict(task.reference),
        "pictures": task.pictures,
    }
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False)


def finish(folder: Path, lines: Iterable[str], extra: Mapping[str, Any] | None = None) -> str:
    """Write ``tasks.jsonl`` from lines and then the manifest; return the data's hash.

    ``extra`` goes into the manifest under ``about`` (how the tasks were made).

    Raises:
        InputError: if two different lines have one key, or there is none.
        OutputError: if something cannot be written.
    """
    keys: dict[str, bytes] = {}  # of a task: its line's hash
    twins: set[str] = set()
    digest = hashlib.sha256()
    partial = folder / f".{_TASKS}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MANIFEST).unlink(missing_ok=True)
        with partial.open("wb") as file:
            for line in lines:
                data = (line + "\n").encode()
                if not _is_new(line, data, keys, twins):
                    continue
                digest.update(data)
                file.write(data)
        if not keys:
            raise InputError("expected at least one task to write, got none")
        partial.replace(folder / _TASKS)
        manifest = {
            "version": VERSION,
            "tasks": len(keys),
            "twins": len(twins),
            "sha256": digest.hexdigest(),
            "about": dict(extra or {}),
        }
        replace(folder / _MANIFEST, json.dumps(manifest, indent=2).encode())
    except OSError as error:
        raise OutputError(f"expected to write tasks to {folder}, got: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return digest.hexdigest()


def _is_new(line: str, data: bytes, keys: dict[str, bytes], twins: set[str]) -> bool:
    """Whether a task was not written before; notes its key and its twins."""
    record = json.loads(line)
    digest = hashlib.sha256(data).digest()
    before = keys.setdefault(record["key"], digest)
    if before is digest:
        twins.update(ref["file"] for ref in (record["twin"], record["whole"]) if ref)
        return True
    if before != digest:
        raise InputError(
            f"expected every task under a key of its own, got two tasks {record['key']}"
        )
    return False


def read_tasks(folder: str | Path) -> CachedTasks:
    """The tasks of a folder, in order; each is read when it is asked for.

    Raises:
        InputError: if the folder is none of ours, was never finished, or its list of tasks is not
            the one that was written; when a task is read, also for its twin.
    """
    return CachedTasks(Path(folder))


class CachedTasks(Tasks):
    """Tasks on disk as a sequence; at most 64 twins are held in memory.

    Attributes:
        folder: where they lie.
        sha256: the data's hash.
        about: how they were made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = _manifest(folder)
        self.sha256: str = manifest["sha256"]
        self.about: dict[str, Any] = manifest.get("about", {})
        self._starts = array("Q", [0])
        self._windows: OrderedDict[str, TwinWindow] = OrderedDict()
        digest = hashlib.sha256()
        path = folder / _TASKS
        try:
            with path.open("rb") as file:
                for line in file:
                    digest.update(line)
                    self._starts.append(self._starts[-1] + len(line))
        except OSError as error:
            raise InputError(
                f"expected tasks in {path}, got: {error.strerror}; {_AGAIN}"
            ) from error
        if digest.hexdigest() != self.sha256 or len(self) != manifest["tasks"]:
            raise InputError(
                f"{path} is damaged: expected {manifest['tasks']} tasks with SHA-256 "
                f"{self.sha256}, got {len(self)} with {digest.hexdigest()}; {_AGAIN}"
            )

    def __len__(self) -> int:
        return len(self._starts) - 1

    def at(self, place: int) -> Task:
        """See :class:`~.task.Tasks`.

        Raises:
            InputError: if the task or its twin is damaged.
        """
        record = self._record(place)
        try:
            window = self._window(TwinRef(**record.pop("twin")))
            whole = record.pop("whole")
            return _task(record, window, None if whole is None else self._window(TwinRef(**whole)))
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise InputError(
                f"{self.folder / _TASKS}, line {place + 1}: expected a task, got {str(error)[:200]}; "
                f"{_AGAIN}"
            ) from error

    def _record(self, at: int) -> dict[str, Any]:
        with (self.folder / _TASKS).open("rb") as file:
            file.seek(self._starts[at])
            line = file.read(self._starts[at + 1] - self._starts[at])
        try:
            return dict(json.loads(line))
        except ValueError as error:
            raise InputError(
                f"{self.folder / _TASKS}, line {at + 1}: expected a task, got other text, which "
                f"was changed after it was opened; {_AGAIN}"
            ) from error

    def _window(self, ref: TwinRef) -> TwinWindow:
        window = self._windows.get(ref.sha256)
        if window is None:
            window = self._windows[ref.sha256] = read_window(self.folder, ref)
            while len(self._windows) > _KEPT:
                self._windows.popitem(last=False)
        self._windows.move_to_end(ref.sha256)
        return window


def read_window(folder: Path, ref: TwinRef) -> TwinWindow:
    """The twin that a task names.

    Raises:
        InputError: if its file is missing or not the one that was written.
    """
    path = folder / ref.file
    parts = Path(ref.file).parts
    if ".." in parts or Path(ref.file).is_absolute() or parts[:1] != ("twins",):
        raise InputError(f"expected a twin below {folder / 'twins'}, got {ref.file!r}; {_AGAIN}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"expected the twin {path}, got: {error.strerror}; {_AGAIN}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != ref.sha256:
        raise InputError(f"{path} is damaged: expected SHA-256 {ref.sha256}, got {found}; {_AGAIN}")
    try:
        frames = [frame_from_json(line) for line in data.decode().split("\n") if line]
        return TwinWindow(frames, ref.max_frames)
    except (SchemaError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}; {_AGAIN}") from error


def _task(record: dict[str, Any], window: TwinWindow, whole: TwinWindow | None) -> Task:
    truth, reference = record.pop("truth"), record.pop("reference")
    turns = _turns(record.pop("turns"))
    if reference is not None:
        reference = Question(**{**reference, "turns": _turns(reference.get("turns", ()))})
    return Task(
        **{**record, "ids": tuple(record["ids"])},
        window=window,
        whole=whole,
        truth=None
        if truth is None
        else {int(place): Rle.model_validate(rle) for place, rle in truth.items()},
        turns=turns,
        reference=reference,
    )


def _turns(found: Iterable[Any]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((str(asked), tuple(int(i) for i in ids)) for asked, ids in found)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / _MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        fits = manifest["version"] == VERSION and isinstance(manifest["sha256"], str)
        fits = fits and isinstance(manifest["tasks"], int)
    except OSError as error:
        raise InputError(
            f"expected a finished folder of tasks at {folder}, got no {_MANIFEST} "
            f"({error.strerror}); {_AGAIN}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: {str(error)[:200]}; {_AGAIN}") from error
    if not fits:
        raise InputError(f"{path}: expected version {VERSION}, got another one; {_AGAIN}")
    return dict(manifest)
