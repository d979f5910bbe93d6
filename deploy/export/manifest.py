"""``bundle.json``: what a device bundle holds, where it came from, and the hash of every file.

A bundle is a folder::

    bundle.json        this manifest
    perception/        graphs as ONNX with their own manifest (perception/bundle.py)
    reasoner/          the language model for ONNX Runtime GenAI (reasoner/bundle.py)
    gguf/              the same for llama.cpp
    tensorrt-edge-llm/ for Jetson: the checkpoint and the command lines of that runtime
    plans/             TensorRT plans, built on the device, with records of their own
    report.json, report.md    what the verification found

Every file but those of ``plans`` and the reports is listed with its SHA-256; :func:`load`
reads the manifest, :meth:`DeviceBundle.verify` hashes all, and a file that is missing, changed
or not listed is refused by its name.

Not covered: signatures; a manifest changed together with its files is not noticed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ...perception.bundle import Source
from ...twin import files
from ...twin.errors import ModelError, OutputError
from .targets import PRECISIONS, TARGETS, Precision, Target

__all__ = [
    "MANIFEST",
    "PRECISIONS",
    "TARGETS",
    "Calibrated",
    "DeviceBundle",
    "DeviceManifest",
    "FileRecord",
    "GraphRecord",
    "LanguageRecord",
    "PortRecord",
    "Precision",
    "Target",
    "load",
    "write",
]

MANIFEST = "bundle.json"
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_UNLISTED = ("plans", "report.json", "report.md")
_MAX_MANIFEST = 4_000_000  # bytes; ours has some ten kilobytes
_MAX_FILES = 10_000


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class FileRecord(_Strict):
    """One file of the bundle."""

    sha256: Sha256
    bytes: int = Field(ge=0)


class PortRecord(_Strict):
    """An input or output of a graph; free dimensions have names."""

    shape: tuple[int | str | None, ...]
    dtype: str


class GraphRecord(_Strict):
    """One perception graph.

    ``wanted`` is the precision that was asked for, ``precision`` what it is in; where the two
    differ ``fell_back`` says why. ``error`` is its largest output error against the float32
    graph on held-out inputs, relative to the output's scale.
    """

    role: str
    wanted: Precision
    precision: Precision
    fell_back: str | None = None
    error: float | None = None
    opset: int = Field(ge=1)
    inputs: dict[str, PortRecord]
    outputs: dict[str, PortRecord]


class LanguageRecord(_Strict):
    """The language model for one runtime, in a folder or file of the bundle."""

    runtime: Literal["onnxruntime-genai", "llama.cpp", "tensorrt-edge-llm"]
    place: str
    precision: str
    parameters: int | None = None


class Calibrated(_Strict):
    """What int8 ranges were taken from: clips by SHA-256, frames, inputs per graph.

    ``driven`` graphs got boxes on a grid, since the clips showed no object; ``shared`` ones were
    judged on the inputs that calibrate them.
    """

    clips: dict[str, Sha256]
    frames: int
    inputs: dict[str, int]
    driven: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


class DeviceManifest(_Strict):
    """The validated ``bundle.json``; ``counts`` are the planner's operations and bytes."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    name: Annotated[str, Field(min_length=1, max_length=100)]
    target: Target
    precision: Precision
    files: dict[str, FileRecord] = Field(min_length=1, max_length=_MAX_FILES)
    graphs: dict[str, GraphRecord]
    languages: tuple[LanguageRecord, ...] = ()
    preprocessing: dict[str, dict[str, Any]] = Field(default_factory=dict)
    sources: dict[str, Source] = Field(default_factory=dict)
    licences: dict[str, str] = Field(default_factory=dict)
    calibration: Calibrated | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    counts: dict[str, Any] | None = None

    @field_validator("files")
    @classmethod
    def _inside(cls, listed: dict[str, FileRecord]) -> dict[str, FileRecord]:
        for name in listed:
            parts = PurePosixPath(name)
            if parts.is_absolute() or ".." in parts.parts or "\\" in name or str(parts) != name:
                raise ValueError(f"expected a plain path inside the bundle, got {name!r}")
        return listed


@dataclass(frozen=True, slots=True)
class DeviceBundle:
    """A bundle's folder with its manifest."""

    folder: Path
    manifest: DeviceManifest

    def path(self, name: str) -> Path:
        """The path of a listed file after checking its hash.

        Raises:
            ModelError: if the manifest does not list it, or it is missing or changed.
        """
        record = self.manifest.files.get(name)
        if record is None:
            raise ModelError(
                f"expected a file that {self.folder / MANIFEST} lists, got {name!r}; export the "
                "bundle again"
            )
        file = self.folder / name
        if not file.is_file() or file.is_symlink():
            raise ModelError(
                f"expected {file}, which {MANIFEST} lists, got no such file; copy the whole "
                "bundle again"
            )
        if file.stat().st_size != record.bytes or files.sha256_of(file) != record.sha256:
            raise ModelError(
                f"expected {file} with sha256 {record.sha256[:12]}…, got another: the file is "
                "damaged or was changed; copy the bundle again, or export it again"
            )
        return file

    def verify(self) -> int:
        """Hash every listed file and look for others; returns the bytes that were read.

        Raises:
            ModelError: names the first file that is missing, changed or not listed.
        """
        for name in sorted(self.manifest.files):
            self.path(name)
        others = sorted(set(_names(self.folder)) - set(self.manifest.files))
        if others:
            raise ModelError(
                f"expected only files that {MANIFEST} lists in {self.folder}, got {others[0]}"
                f"{f' and {len(others) - 1} more' if others[1:] else ''}; move them elsewhere"
            )
        return sum(record.bytes for record in self.manifest.files.values())


def load(folder: str | Path) -> DeviceBundle:
    """Read a bundle's manifest; hash the files with :meth:`DeviceBundle.verify`.

    Raises:
        ModelError: if there is none, or it is malformed.
    """
    place = Path(folder)
    file = place / MANIFEST
    if not file.is_file() or file.stat().st_size > _MAX_MANIFEST:
        raise ModelError(
            f"expected a device bundle with {MANIFEST} in {place}, got none; make one with "
            "`edgetwin export --target … -o BUNDLE`"
        )
    try:
        return DeviceBundle(place, DeviceManifest.model_validate_json(file.read_bytes()))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelError(
            f"expected a bundle manifest of schema 1 at {file}, got in {where}: {first['msg']}; "
            "export the bundle again"
        ) from error


def write(folder: Path, manifest: dict[str, Any]) -> DeviceBundle:
    """Hash every file of the folder into its ``bundle.json``, written last and whole.

    Args:
        folder: everything but the manifest is there already.
        manifest: the fields of :class:`DeviceManifest` without ``files``.

    Raises:
        ModelError: if a field is malformed.
        OutputError: if it cannot be written.
    """
    listed = {
        name: {"sha256": files.sha256_of(folder / name), "bytes": (folder / name).stat().st_size}
        for name in sorted(_names(folder))
    }
    try:
        made = DeviceManifest.model_validate({"schema": 1, **manifest, "files": listed})
    except ValidationError as error:
        raise ModelError(f"expected a valid bundle manifest, got: {error}") from error
    data = json.dumps(made.model_dump(mode="json", by_alias=True), indent=1, sort_keys=True)
    try:
        files.replace(folder / MANIFEST, data.encode() + b"\n")
    except OSError as error:
        raise OutputError(
            f"expected to write {folder / MANIFEST}, got {error.strerror}; free space there"
        ) from error
    return DeviceBundle(folder, made)


def _names(folder: Path) -> Iterator[str]:
    """Files below a folder that a manifest lists, as POSIX paths."""
    for file in _walk(folder):
        name = file.relative_to(folder).as_posix()
        if name != MANIFEST and name.split("/")[0] not in _UNLISTED:
            yield name


def _walk(folder: Path) -> Iterable[Path]:
    return (file for file in folder.rglob("*") if file.is_file() or file.is_symlink())
