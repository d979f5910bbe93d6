"""From one bundle to the next on a device, without a moment with none.

``LINK`` is a symbolic link to the bundle in use, which the service is given as its models. A new
bundle takes its place only after every file of it was hashed, its plans were built where
TensorRT is, and a process of its own has seen and answered with it (:mod:`.smoke`). The link is
replaced in one step (``rename``), so a reader finds the old bundle or the new one. The one before
stays where it is and is remembered as ``LINK.previous`` for :func:`rollback`.

Not covered: fetching bundles, deleting old ones, restarting the service (the command says how).
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...twin.errors import InputError, ModelError, OutputError
from .engines import build_engines, here
from .manifest import load

__all__ = ["Upgraded", "previous_of", "rollback", "try_bundle", "upgrade"]

_SMOKE_S = 300.0  # a cold start of the real-size set on a small board, with room
_TOLD = 600  # characters of what a child said last


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What the link pointed to and points to now, and what the new bundle did before."""

    link: Path
    now: Path
    before: Path | None
    bytes: int
    smoke: dict[str, Any]
    engines: tuple[str, ...] = ()


def upgrade(
    new: str | Path,
    link: str | Path,
    *,
    clip: str | Path | None = None,
    question: str | None = None,
    words: str | None = None,
    engines: bool = True,
    timeout_s: float = _SMOKE_S,
) -> Upgraded:
    """Verify a new bundle and make it the current one; on any error the old one stays.

    Args:
        new: the new bundle's folder; it stays there.
        link: the symbolic link in use; made where there is none.
        clip: what the new bundle has to see; drawn pictures if None.
        question: what it has to answer about the clip; else a fixed question, rightly.
        words: what to look for on the clip, separated by commas.
        engines: build its TensorRT plans first, where there is TensorRT.
        timeout_s: how long the trial may take.

    Raises:
        InputError: if the link is a folder or file, or already points to the new bundle.
        ModelError: if a file is missing or changed, or the trial fails.
        OutputError: if the link cannot be replaced.
    """
    folder, place = Path(new).resolve(), Path(link)
    with _locked(place):
        before = _target(place)
        if before == folder:
            raise InputError(f"expected another bundle than {folder}, which {place} points to")
        read = load(folder).verify()
        built: tuple[str, ...] = ()
        if engines and here().able:
            report = build_engines(folder)
            built = tuple(f"{graph.network}: {graph.state}" for graph in report.graphs)
        done = try_bundle(folder, clip=clip, question=question, words=words, timeout_s=timeout_s)
        if before is not None:
            _point(_previous(place), before)
        _point(place, folder)
    return Upgraded(place, folder, before, read, done, built)


def rollback(link: str | Path) -> Upgraded:
    """Make the bundle before the current one, which is then the one before.

    Its files are hashed first; it is not tried again.

    Raises:
        InputError: if there is none to go back to.
        ModelError: if a file of it is missing or changed.
        OutputError: if the link cannot be replaced.
    """
    place = Path(link)
    with _locked(place):
        now, before = _target(place), _target(_previous(place))
        if before is None or now is None:
            raise InputError(
                f"expected a bundle before the current one at {_previous(place)}, got none; there "
                "is nothing to go back to"
            )
        read = load(before).verify()
        _point(place, before)
        _point(_previous(place), now)
    return Upgraded(place, before, now, read, {})


def previous_of(link: str | Path) -> Path | None:
    """Return the bundle that :func:`rollback` goes back to."""
    return _target(_previous(Path(link)))


def try_bundle(
    folder: Path,
    *,
    clip: str | Path | None = None,
    question: str | None = None,
    words: str | None = None,
    timeout_s: float = _SMOKE_S,
) -> dict[str, Any]:
    """Let a bundle see and answer in a process of its own; returns what it said.

    Raises:
        ModelError: if it fails, crashes or takes longer; says what it said last.
    """
    command = [sys.executable, "-m", "edgetwin.deploy.export.smoke", str(folder)]
    for name, value in (("--clip", clip), ("--question", question), ("--words", words)):
        if value is not None:
            command += [name, str(value)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise _unfit(folder, f"no answer within {timeout_s:.0f} s") from error
    if done.returncode < 0:
        raise _unfit(folder, f"a crash with signal {-done.returncode}")
    if done.returncode:
        raise _unfit(folder, _last(done.stderr))
    try:
        return dict(json.loads(_last(done.stdout)))
    except ValueError as error:
        raise _unfit(folder, _last(done.stdout)) from error


def _unfit(folder: Path, what: str) -> ModelError:
    return ModelError(
        f"expected {folder} to see and answer before it is put in place, got: {what}; the bundle "
        "in use stays"
    )


def _last(text: str) -> str:
    lines: Sequence[str] = text.strip().splitlines()
    return lines[-1].removeprefix("error: ")[:_TOLD] if lines else "nothing"


def _previous(link: Path) -> Path:
    return link.with_name(f"{link.name}.previous")


def _target(link: Path) -> Path | None:
    """Where a link points; None where there is none."""
    if link.is_symlink():
        return (link.parent / os.readlink(link)).resolve()
    if link.exists():
        raise InputError(
            f"expected a symbolic link at {link}, got a folder or file; move it away, and the "
            "upgrade makes the link"
        )
    return None


def _point(link: Path, folder: Path) -> None:
    """Let a link point to a folder, from one moment to the next.

    The target is relative, so that both may lie on a disk that is mounted elsewhere.
    """
    target = os.path.relpath(folder, link.parent.resolve())
    try:
        with tempfile.TemporaryDirectory(dir=link.parent, prefix=f".{link.name}-") as beside:
            made = Path(beside) / "link"
            made.symlink_to(target)
            os.replace(made, link)
        handle = os.open(link.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise OutputError(
            f"expected to write the link {link}, got {error.strerror}; the bundle in use stays"
        ) from error


@contextmanager
def _locked(link: Path) -> Iterator[None]:
    """Keep two upgrades of one link apart."""
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(link.parent, os.O_RDONLY)
    except OSError as error:
        raise OutputError(
            f"expected a folder for the link at {link.parent}, got {error.strerror}"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(
                f"expected to be the only upgrade of {link}, got another that is at work; wait"
            ) from error
        yield
    finally:
        os.close(handle)
