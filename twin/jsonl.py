"""Frames as JSON lines: one :class:`FrameTwin` per line, readable after a cut-off write.

A file whose writer was killed ends in half a line; reading gives every whole frame and marks the
reader as ``truncated``. Anything else that is wrong is an error with its line number.

A stream's file is only ever appended to. Frames that refinement changed afterwards lie, whole and
as they are at the end, in a file of their own beside it (``refined.jsonl``); :func:`overlaid`
puts the two together. The store needs no such file: :meth:`~.store.TwinStore.amend` replaces.

Not covered: compression, appending to an existing file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from pydantic import ValidationError

from .errors import InputError, OutputError, SchemaError
from .schema import FrameTwin

__all__ = [
    "FrameReader",
    "FrameWriter",
    "frame_from_json",
    "overlaid",
    "read_frames",
    "write_frames",
]

_MAX_LINE_CHARS = 64 * 2**20  # a frame of 1000 objects is about 1 MB; a hostile line must end


def frame_from_json(text: str) -> FrameTwin:
    """One frame from JSON text that came from outside.

    Raises:
        SchemaError: for text that is no JSON, repeats a key, holds NaN, nests too deeply or
            breaks the schema.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        if "\\u" in text or not text.isascii():  # a lone surrogate could never be written again
            json.dumps(value, ensure_ascii=False).encode()
        return FrameTwin.model_validate(value)
    except ValidationError as error:
        raise SchemaError(f"expected a frame of the twin, got {_first_problem(error)}") from None
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"expected a frame of the twin as JSON, got {_brief(error)}") from None


class FrameWriter:
    """Writes frames to a file, one line each, flushed to the system line by line.

    Raises:
        OutputError: if the file cannot be opened, written or closed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.written = 0
        self._file: TextIO
        try:
            self._file = path.open("w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise self._failed(error) from error

    def write(self, frame: FrameTwin) -> None:
        """Append one frame."""
        try:
            self._file.write(frame.model_dump_json() + "\n")
            self._file.flush()
        except (OSError, ValueError) as error:
            raise self._failed(error) from error
        self.written += 1

    def close(self) -> None:
        """Close the file; what was written stays."""
        try:
            self._file.close()
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except OutputError:
            if error is None:
                raise

    def _failed(self, error: Exception) -> OutputError:
        return OutputError(
            f"expected to write frames to {self._path}, got: {error}; {self.written} frames are "
            "written. Free space or choose another path"
        )


class FrameReader:
    """Iterates over the frames of a file; ``truncated`` tells whether half a line was left out.

    Raises:
        InputError: if the file cannot be read.
        SchemaError: for a broken line that is not the cut-off last one, with its number.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.truncated = False

    def __iter__(self) -> Iterator[FrameTwin]:
        self.truncated = False
        try:
            with self._path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                yield from self._frames(file)
        except OSError as error:
            raise InputError(f"expected a file of frames at {self._path}, got: {error}") from error

    def _frames(self, file: TextIO) -> Iterator[FrameTwin]:
        number = 0
        while line := file.readline(_MAX_LINE_CHARS):
            number += 1
            whole = line.endswith("\n")
            if not line.strip():
                continue
            try:
                frame = frame_from_json(line)
            except SchemaError as error:
                if not whole and len(line) < _MAX_LINE_CHARS:  # only the last line has no end
                    self.truncated = True
                    return
                raise SchemaError(f"{self._path}, line {number}: {error}") from error
            yield frame


def write_frames(path: Path, frames: Iterable[FrameTwin]) -> int:
    """Write all frames to a new file and return how many.

    Raises:
        OutputError: if the file cannot be written.
    """
    with FrameWriter(path) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.written


def read_frames(path: Path) -> list[FrameTwin]:
    """All whole frames of a file, without a last line that was cut off.

    Raises:
        InputError: if the file cannot be read.
        SchemaError: for a broken line that is not the cut-off last one.
    """
    return list(FrameReader(path))


def overlaid(frames: Iterable[FrameTwin], refined: Iterable[FrameTwin]) -> Iterator[FrameTwin]:
    """The frames of a stream, each replaced by its refined form where there is one.

    Frames belong together by source, index and time; of two refined forms the later one counts.
    ``refined`` is held in memory: it is at most a window.
    """
    newest = {(f.source_id, f.index, f.timestamp_s): f for f in refined}
    for frame in frames:
        yield newest.get((frame.source_id, frame.index, frame.timestamp_s), frame)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object that repeats a key")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name}, which is no JSON number")


def _brief(error: Exception) -> str:
    return "values nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part)[:40] for part in problem["loc"]) or "the frame"
    return f"at {place}: {problem['msg'][:200]}"
