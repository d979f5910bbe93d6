"""Files that are there whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

__all__ = ["replace", "sha256_of"]


def replace(file: Path, data: bytes) -> None:
    """Write a file beside its place, sync it, and only then put it there.

    A reader sees the old file or the new one, after a crash too; the folder has to exist.

    Raises:
        OSError: if it cannot be written; the old file is as it was.
    """
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name[:40]}-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sha256_of(file: Path) -> str:
    """Return the hex SHA-256 of a file.

    Raises:
        OSError: if it cannot be read.
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
