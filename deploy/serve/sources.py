"""Which sources may be added over HTTP: kinds that the operator allowed, files below one folder.

A kind is read off the text before anything is opened, so that a refused one touches nothing.

Not covered: which hosts an allowed ``rtsp`` source may name; who allows the kind allows them all.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...twin.errors import SourceError
from .config import ServeSettings

__all__ = ["permitted"]

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_KINDS = {
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "sim": "simulated",
    "v4l2": "camera",
    "gst": "gstreamer",
}


def permitted(source: str, settings: ServeSettings) -> str:
    """Return the source to open: itself, or the whole path of a file below the media folder.

    Raises:
        SourceError: if its kind, or its place, is not allowed.
    """
    source = source.strip()
    scheme = _SCHEME.match(source)
    if scheme is None and not source.startswith("/dev/"):
        return _below(source, settings)
    kind = _KINDS.get(scheme[1].lower()) if scheme else "camera"
    if kind is None or kind not in settings.kinds:
        raise SourceError(
            f"expected a source of the kinds {', '.join(sorted(settings.kinds)) or '(none)'}, got "
            "another: the operator allows more with --allow"
        )
    return source


def _below(source: str, settings: ServeSettings) -> str:
    if settings.media is None:
        raise SourceError(
            "expected a source that is no file, got one: the operator allows those below a "
            "folder with --media"
        )
    refused = SourceError("expected a file or folder below the media folder, got another")
    if "\0" in source or source.startswith("~"):
        raise refused
    folder = settings.media.resolve()
    try:
        path = (folder / Path(source)).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise refused from error
    if not path.is_relative_to(folder):
        raise refused
    kinds = {"folder"} if path.is_dir() else {"video", "image"}
    if not kinds & settings.kinds or not (path.is_dir() or path.is_file()):
        raise refused
    return str(path)
