"""The folder that holds an ONNX Runtime GenAI model: found, checked file by file, described."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ..twin.errors import ModelError
from ..twin.files import sha256_of
from ..twin.text import Layout
from .prompts import MODES, Mode, Style

__all__ = ["EMBEDDED", "NEEDED", "ReasonerBundle", "load_bundle", "write_manifest"]

EMBEDDED = Path(__file__).parent / "weights" / "embedded"
NEEDED = ("genai_config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json")
_MAX_MANIFEST = 1_000_000  # bytes; ours has some kilobytes
_MIN_TOKENS = 256  # a context that holds a twin of five objects, a question and its answer
_MAX_TURNS = 16  # earlier questions in a prompt; more would not fit into a small context


@dataclass(frozen=True, slots=True)
class ReasonerBundle:
    """A checked folder; ``sha256`` hashes the manifest and with it every file.

    ``layout``, ``modes``, ``tools`` and ``turns`` say what the model was trained with: the form
    of the twin's text, the modes of explanation, the tools by name (None: any) and how many
    earlier questions it may be shown.
    """

    path: Path
    name: str
    sha256: str
    style: Style
    known_words: frozenset[str] | None
    plan_words: tuple[str, ...]
    config: dict[str, Any]
    layout: Layout = "full"
    modes: tuple[Mode, ...] = ("concise",)
    tools: frozenset[str] | None = None
    turns: int = 0
    files: tuple[str, ...] = ()


def load_bundle(
    name_or_path: str | Path = "embedded",
    verify: bool = True,
    needed: Sequence[str] = NEEDED,
) -> ReasonerBundle:
    """Open ``embedded`` or a folder of the same layout.

    Args:
        name_or_path: the set's name or its folder.
        verify: hash every file (the embedded set takes 20 ms).
        needed: files that the backend reads; they have to be in the manifest.

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
        name = str(record["name"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{manifest}: expected a reasoner manifest, got {error!r}") from error
    if schema != 1:
        raise ModelError(f"{manifest}: expected schema 1, got {schema!r}; update edgetwin")
    for file in (*needed, *files):
        if file not in files or Path(file).name != file or not (path / file).is_file():
            raise ModelError(
                f"expected the file {file} in {path}, listed in its manifest, got none; "
                "copy the whole bundle again"
            )
        if verify and sha256_of(path / file) != files[file]:
            raise ModelError(
                f"{path / file}: expected sha256 {files[file]}, got another; "
                "the file was changed or damaged, copy the bundle again"
            )
    try:
        return ReasonerBundle(
            path, name, hashlib.sha256(raw).hexdigest(), **_learnt(record), files=tuple(files)
        )
    except ModelError as error:
        raise ModelError(f"{manifest}: {error}") from error


def write_manifest(
    path: Path,
    name: str,
    *,
    style: str = "short",
    words: Iterable[str] | None = None,
    plan_words: Iterable[str] = (),
    config: dict[str, Any] | None = None,
    layout: str = "full",
    modes: Sequence[str] = ("concise",),
    tools: Iterable[str] | None = None,
    turns: int = 0,
) -> dict[str, str]:
    """Hash every file of the folder into ``manifest.json``; returns file to sha256.

    Raises:
        ModelError: if a value is none that :func:`load_bundle` reads.
    """
    skipped = ("manifest.json", "card.md")
    files = {
        file.name: sha256_of(file)
        for file in sorted(path.iterdir())
        if file.is_file() and file.name not in skipped
    }
    record: dict[str, Any] = {"schema": 1, "name": name, "style": style, "layout": layout}
    record |= {"modes": list(modes), "turns": turns, "files": files, "config": config or {}}
    record["tools"] = None if tools is None else sorted(tools)
    record["plan_words"] = list(plan_words)
    record["words"] = None if words is None else list(words)
    _learnt(record)
    (path / "manifest.json").write_text(json.dumps(record, indent=1) + "\n")
    return files


def _learnt(record: dict[str, Any]) -> dict[str, Any]:
    """The manifest's fields about the training; those that old manifests lack have defaults."""
    turns = record.get("turns", 0)
    if not isinstance(turns, int) or isinstance(turns, bool) or not 0 <= turns <= _MAX_TURNS:
        raise ModelError(f"expected turns of 0 to {_MAX_TURNS}, got {turns!r}")
    config = record.get("config") or {}
    if not isinstance(config, dict):
        raise ModelError(f"expected config to be an object, got {type(config).__name__}")
    most = config.get("max_tokens", _MIN_TOKENS)
    if not isinstance(most, int) or isinstance(most, bool) or not _MIN_TOKENS <= most <= 2**20:
        raise ModelError(f"expected config max_tokens of {_MIN_TOKENS} to {2**20}, got {most!r}")
    words, tools = _texts(record, "words"), _texts(record, "tools")
    modes = _texts(record, "modes") if "modes" in record else ("concise",)
    if not modes or "concise" not in modes:
        raise ModelError(f"expected modes with concise among them, got {modes!r}")
    return {
        "style": _one_of(record, "style", get_args(Style), None),
        "layout": _one_of(record, "layout", get_args(Layout), "full"),
        "modes": tuple(_one_of({"modes": mode}, "modes", MODES, None) for mode in modes),
        "turns": turns,
        "tools": None if tools is None else frozenset(tools),
        "known_words": None if words is None else frozenset(words),
        "plan_words": _texts(record, "plan_words") or (),
        "config": dict(config),
    }


def _one_of(record: dict[str, Any], key: str, known: Sequence[str], default: str | None) -> str:
    value = record.get(key, default)
    if value not in known:
        raise ModelError(
            f"expected {key} to be {' or '.join(known)}, got {str(value)[:40]!r}; update edgetwin"
        )
    return str(value)


def _texts(record: dict[str, Any], key: str) -> tuple[str, ...] | None:
    value = record.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ModelError(f"expected {key} to be a list of texts, got {type(value).__name__}")
    return tuple(value)
