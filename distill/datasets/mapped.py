"""Data sets whose key names are not known here, read through a small mapping file of the user's.

RVTBench and JiTBench are such: their key names could not be confirmed, so none are invented. The
mapping is JSON that says where things stand; every value but the first four is a path of keys
into one record, with dots between them (``video.name``)::

    {"name": "jitbench",                 what the tasks are called
     "file": "meta/{split}.json",        a list, a mapping or JSON lines; {split} is filled in
     "pictures": "frames",               the folder that the pictures or folders of frames lie in
     "held_out": ["test"],               splits that training never sees
     "at": "data",                       where in the file the records are, if not at its top
     "id": "qid",                        left out: the record's number, or its key in a mapping
     "folder": "video",                  the name of a picture or of a folder of frames
     "question": "query",                a text or a list of texts
     "masks": "segmentation",            per frame run lengths or null, or one; left out: none
     "level": "level", "kind": "type"}   left out: unknown

Not covered: the ready-built twins that RVTBench ships (twins are built here from its pictures);
masks as pictures; frames named in the file (all pictures of a folder are taken, by name).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...deploy.stream.source import PICTURES
from ...twin.errors import InputError
from ...twin.schema import Rle
from .coco_masks import rle_of
from .reading import MAX_FILE_BYTES, inside, read_json
from .sample import Sample

__all__ = ["Mapping", "is_mapping", "read_mapped", "read_mapping"]

_NAME = r"^[a-z0-9][a-z0-9_+-]{0,40}$"
_HINT = "correct the mapping file, or put the data set there"


class Mapping(BaseModel):
    """A mapping file; see the module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=_NAME)
    file: str
    pictures: str
    folder: str
    question: str
    held_out: tuple[str, ...] = ()
    at: str | None = None
    id: str | None = None
    masks: str | None = None
    level: str | None = None
    kind: str | None = None


def is_mapping(name: str) -> bool:
    """Whether the name of a data set is a mapping file's."""
    return name.endswith(".json")


def read_mapping(path: str | Path) -> Mapping:
    """The mapping file.

    Raises:
        InputError: if it is missing or says something else.
    """
    record = read_json(Path(path), "write one as distill/datasets/mapped.py describes")
    try:
        return Mapping.model_validate(record)
    except ValidationError as error:
        one = error.errors()[0]
        place = ".".join(str(part) for part in one["loc"]) or "the mapping"
        raise InputError(f"{path}: {place}: {one['msg']}") from error


def read_mapped(mapping: Mapping, root: str | Path, split: str) -> Iterator[Sample]:
    """The records of a split, in the order of the file.

    Raises:
        InputError: for what is not where the mapping says, pictures that are missing and broken
            masks.
    """
    if re.fullmatch(r"[\w-]{1,40}", split) is None:
        raise InputError(f"expected a split's name of letters and digits, got {split[:60]!r}")
    root = Path(root)
    path = inside(root, mapping.file.replace("{split}", split))
    folder = inside(root, mapping.pictures.replace("{split}", split))
    for number, (key, record) in enumerate(_records(path, mapping.at)):
        own = key if mapping.id is None else str(_at(record, mapping.id, f"{path}, {number}"))
        yield _sample(mapping, f"{mapping.name}/{split}/{own}", split, folder, record)


def _sample(mapping: Mapping, key: str, split: str, folder: Path, record: Any) -> Sample:
    place = inside(folder, str(_at(record, mapping.folder, key)))
    if place.is_dir():
        pictures = tuple(sorted(p for p in place.iterdir() if p.suffix.lower() in PICTURES))
    else:
        pictures = (place,) if place.is_file() else ()
    if not pictures:
        raise InputError(f"{key}: expected a picture or a folder of them at {place}; {_HINT}")
    asked = _at(record, mapping.question, key)
    texts = asked if isinstance(asked, list) else [asked]
    level = 0 if mapping.level is None else _at(record, mapping.level, key)
    masks = None if mapping.masks is None else _at(record, mapping.masks, key)
    digits = re.search(r"\d", str(level))
    return Sample(
        key=key,
        dataset=mapping.name,
        split=split,
        group=place.name,
        pictures=pictures,
        questions=tuple(dict.fromkeys(str(text).strip() for text in texts)),
        truth=None if mapping.masks is None else _truth(masks, len(pictures), key),
        kind="" if mapping.kind is None else str(_at(record, mapping.kind, key)),
        level=int(digits[0]) if digits else 0,
        folder=place if place.is_dir() else None,
    )


def _truth(found: Any, frames: int, where: str) -> dict[int, Rle]:
    """Masks per frame: a list, a mapping from places, or one mask of one picture."""
    if isinstance(found, dict) and "counts" in found:
        found = [found]
    if isinstance(found, list) and len(found) == frames:
        found = {str(place): rle for place, rle in enumerate(found)}
    if not isinstance(found, dict) or not all(str(place).isdecimal() for place in found):
        got = len(found) if isinstance(found, list) else type(found).__name__
        raise InputError(f"{where}: expected masks of {frames} frames, got {got}; {_HINT}")
    return {
        int(place): rle_of(rle, f"{where}, frame {place}")
        for place, rle in found.items()
        if rle is not None
    }


def _records(path: Path, at: str | None) -> Iterator[tuple[str, Any]]:
    """(key or number, record) of a list, a mapping or JSON lines."""
    if path.suffix == ".jsonl":
        yield from _lines(path)
        return
    found = read_json(path, _HINT)
    if at is not None:
        found = _at(found, at, str(path))
    if isinstance(found, dict):
        yield from ((str(key), record) for key, record in found.items())
    elif isinstance(found, list):
        yield from ((str(number), record) for number, record in enumerate(found))
    else:
        raise InputError(
            f"{path}: expected a list or a mapping of records, got {type(found).__name__}; {_HINT}"
        )


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"expected {path} of at most {MAX_FILE_BYTES} bytes, got more")
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file):
                if line.strip():
                    yield str(number), json.loads(line)
    except OSError as error:
        raise InputError(f"expected the file {path}, got: {error.strerror}; {_HINT}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON lines, got {str(error)[:120]}; {_HINT}") from error


def _at(record: Any, keys: str, where: str) -> Any:
    """What stands at a path of keys."""
    for key in keys.split("."):
        if not isinstance(record, dict) or key not in record:
            there = ", ".join(sorted(map(str, record))[:12]) if isinstance(record, dict) else "none"
            raise InputError(
                f"{where}: expected the key {key!r} of {keys!r}, got the keys {there}; {_HINT}"
            )
        record = record[key]
    return record
