"""The folder that holds an ONNX Runtime GenAI model: found, checked file by file, described."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..twin.errors import ModelError
from .prompts import Style

__all__ = ["EMBEDDED", "ReasonerBundle", "load_bundle", "write_manifest"]

EMBEDDED = Path(__file__).parent / "weights" / "embedded"
_NEEDED = ("genai_config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json")
_MAX_MANIFEST = 1_000_000  # bytes; ours has some kilobytes


@dataclass(frozen=True, slots=True)
class ReasonerBundle:
    """A checked folder; ``sha256`` hashes the manifest and with it every file."""

    path: Path
    name: str
    sha256: str
    style: Style
    known_words: frozenset[str] | None
    plan_words: tuple[str, ...]
    config: dict[str, Any]


def load_bundle(name_or_path: str | Path = "embedded", verify: bool = True) -> ReasonerBundle:
    """Open ``embedded`` or a folder of the same layout.

    Raises:
        ModelError: if files are missing, differ from the manifest or leave the folder.
    """
    path = EMBEDDED if str(name_or_path) == "embedded" else Path(name_or_path)
    manifest = path / "manifest.json"
    if not manifest.is_file() or manifest.stat().st_size > _MAX_MANIFEST:
        raise ModelError(
            f"expected a reasoner bundle with manifest.json in {path}, got none; "
            "'embedded' is the set that works offline, 'edgetwin distill' makes a new one"
        )
    raw = manifest.read_bytes()
    try:
        record = json.loads(raw)
        files, schema = dict(record["files"]), record["schema"]
        words = record.get("words")
        known = None if words is None else frozenset(str(w) for w in words)
        plan_words = tuple(str(w) for w in record.get("plan_words") or ())
        name = str(record["name"])
        style: Style = "long" if record["style"] == "long" else "short"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{manifest}: expected a reasoner manifest, got {error!r}") from error
    if schema != 1 or record["style"] != style:
        came = f"{schema!r} and {record['style']!r}"
        raise ModelError(f"{manifest}: expected schema 1 and style short or long, got {came}")
    for file in (*_NEEDED, *files):
        if file not in files or Path(file).name != file or not (path / file).is_file():
            raise ModelError(
                f"expected the file {file} in {path}, listed in its manifest, got none; "
                "copy the whole bundle again"
            )
        if verify and _sha256(path / file) != files[file]:
            raise ModelError(
                f"{path / file}: expected sha256 {files[file]}, got another; "
                "the file was changed or damaged, copy the bundle again"
            )
    digest = hashlib.sha256(raw).hexdigest()
    config = dict(record.get("config") or {})
    return ReasonerBundle(path, name, digest, style, known, plan_words, config)


def write_manifest(
    path: Path,
    name: str,
    *,
    style: str = "short",
    words: list[str] | None = None,
    plan_words: list[str] | None = None,
    config: dict[str, Any] | None = None,
) -> dict[str, str]:
    """Hash every file of the folder into ``manifest.json``; returns file to sha256."""
    skipped = ("manifest.json", "card.md")
    files = {
        file.name: _sha256(file)
        for file in sorted(path.iterdir())
        if file.is_file() and file.name not in skipped
    }
    record: dict[str, Any] = {"schema": 1, "name": name, "style": style, "files": files}
    record |= {"config": config or {}, "plan_words": plan_words or [], "words": words}
    (path / "manifest.json").write_text(json.dumps(record, indent=1) + "\n")
    return files


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
