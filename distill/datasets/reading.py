"""What every reader needs: JSON of a known kind, names that stay inside a folder, pictures.

Data sets come from outside. A name in them never leads out of the data set's folder, a file is
read up to a bound, and what is missing is named with where to get it.

Not covered: symbolic links inside the folder, which are the owner's and are followed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ...twin.errors import InputError

__all__ = ["MAX_FILE_BYTES", "first_folder", "inside", "mapping", "picture", "read_json", "value"]

MAX_FILE_BYTES = 8 * 2**30
"""The largest list that is read: MeViS's masks are about 1 GB."""


def read_json(path: Path, hint: str, encodings: Sequence[str] = ("utf-8",)) -> Any:
    """The content of a JSON file, read in the first of ``encodings`` that fits.

    Raises:
        InputError: if the file is missing (``hint`` says where to get it), too large or no JSON.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"expected {path} of at most {MAX_FILE_BYTES} bytes, got more")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"expected the file {path}, got: {error.strerror}; {hint}") from error
    for encoding in encodings:
        try:
            return json.loads(data.decode(encoding))
        except UnicodeDecodeError:
            continue
        except (ValueError, RecursionError) as error:
            raise InputError(f"expected JSON in {path}, got: {str(error)[:200]}; {hint}") from error
    raise InputError(f"expected text in {' or '.join(encodings)} in {path}, got other bytes")


def mapping(found: Any, where: str) -> dict[str, Any]:
    """``found`` if it is a mapping.

    Raises:
        InputError: if it is not; ``where`` says what it should have been.
    """
    if not isinstance(found, dict):
        raise InputError(f"{where}: expected a mapping, got {type(found).__name__}")
    return found


def value(record: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """``record[key]`` if it is of a kind; true and false are no numbers.

    Raises:
        InputError: if there is no such key, or its value is of another kind.
    """
    found = mapping(record, where).get(key)
    wrong_bool = isinstance(found, bool) and kind is not bool
    if not isinstance(found, kind) or wrong_bool:
        kinds = kind if isinstance(kind, tuple) else (kind,)
        raise InputError(
            f"{where}: expected {key!r} as {' or '.join(k.__name__ for k in kinds)}, got "
            f"{str(found)[:60]!r}; the file may be of another version of the data set"
        )
    return found


def inside(folder: Path, name: str) -> Path:
    """The path of a name that a data set gives, below ``folder``.

    Raises:
        InputError: for a name that is empty or absolute, or that leads out of the folder.
    """
    parts = PurePosixPath(name).parts
    hostile = any(part in ("..", "/") for part in parts) or any(c in name for c in "\\\0:")
    if not parts or hostile or len(name) > 1000:
        raise InputError(
            f"expected a name below {folder}, got {name[:80]!r}: the list was made by someone who "
            "wants other files read; get the data set from its authors"
        )
    return folder.joinpath(*parts)


def picture(folder: Path, name: str, hint: str) -> Path:
    """The path of a picture that has to be there.

    Raises:
        InputError: as :func:`inside`, and for a picture that is missing; ``hint`` says where to
            get it.
    """
    path = inside(folder, name)
    if not path.is_file():
        raise InputError(f"expected the picture {path}, got nothing there; {hint}")
    return path


def first_folder(root: str | Path, name: str, mark: str, hint: str) -> Path:
    """``root`` or its folder ``name``, whichever holds ``mark``.

    Raises:
        InputError: if neither does.
    """
    for folder in (Path(root) / name, Path(root)):
        if (folder / mark).exists():
            return folder
    raise InputError(f"expected {mark} in {root} or {Path(root) / name}, got neither; {hint}")
