"""Sources as they are given on a command line, as what streams are made from.

Not covered: whether they can be opened; that is for who adds the stream.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Protocol

from ...twin.errors import InputError
from ..live.records import StreamSpec
from ..track import parse_words

__all__ = ["SourceOptions", "specs_of"]

_NAMED = re.compile(r"([a-z0-9][a-z0-9_-]{0,31})=(.+)", re.S)
_MAX_LIST = 64 * 1024  # bytes of a file of sources


class SourceOptions(Protocol):
    """What the options of any command say about its sources."""

    @property
    def sources(self) -> tuple[str, ...]:
        """As they were given."""
        ...

    @property
    def words(self) -> str | None:
        """What to look for."""
        ...

    @property
    def fps(self) -> float:
        """Asked of cameras; the rate of folders."""
        ...

    @property
    def loop(self) -> bool:
        """Whether files begin anew."""
        ...

    @property
    def live(self) -> bool | None:
        """Whether files run by their own clock."""
        ...

    @property
    def record(self) -> bool:
        """Whether twins are kept on disk."""
        ...


def specs_of(options: SourceOptions) -> list[StreamSpec]:
    """Return what is to be opened; a message never holds a source that may have a password.

    Raises:
        InputError: if a file of sources cannot be read, or an entry is none.
    """
    entries: list[str] = []
    for text in options.sources:
        entries += _listed(Path(text[1:])) if text.startswith("@") else [text]
    words = None if options.words is None else list(parse_words(options.words))
    common: dict[str, Any] = {
        "words": words,
        "fps": options.fps,
        "loop": options.loop,
        "live": options.live,
        "record": options.record,
    }
    specs = []
    for number, entry in enumerate(entries, 1):
        named = None if os.path.exists(entry) else _NAMED.fullmatch(entry)
        name, source = (named[1], named[2]) if named else (None, entry)
        try:
            specs.append(StreamSpec(id=name, source=source, **common))
        except ValueError as error:
            raise InputError(
                f"expected a source of 1 to 4096 characters and a rate in (0, 240], got another "
                f"as source {number}"
            ) from error
    return specs


def _listed(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_LIST + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"expected a file of sources, got {path}: {reason}") from error
    if len(text) > _MAX_LIST:
        raise InputError(f"expected a file of sources of at most {_MAX_LIST} bytes, got {path}")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
