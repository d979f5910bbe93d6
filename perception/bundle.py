"""Model bundles: a directory of networks with a manifest that names and hashes every file.

``manifest.json``::

    {"set": "embedded", "schema": 1, "fov_deg": 45.0,
     "words": {"nouns": ["mug", ...], "colors": ["red", ...]},
     "networks": {"detector": {"files": {"detector_image.onnx": "<sha256>", ...},
                               "config": {...}}, ...},
     "statistics": {...} or absent}

Every file is hashed before it is first used. Not covered: signatures; a manifest changed
together with its file is not noticed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..twin.errors import ModelError
from .engines import Engine, open_engine

__all__ = [
    "Bundle",
    "FrameStatistics",
    "Manifest",
    "NetworkEntry",
    "Words",
    "embedded_dir",
    "load_bundle",
    "models_home",
    "sha256_of",
    "write_network_entry",
    "write_statistics",
]

_OFFLINE = "`--models embedded` is part of the installation and works offline"

# Networks a full bundle holds, and what the named sets take them from.
_HUB_SETS: dict[str, dict[str, str]] = {
    "edge": {
        "detector": "google/owlv2-base-patch16-ensemble",
        "segmenter": "facebook/sam2.1-hiera-tiny",
        "depth": "depth-anything/Depth-Anything-V2-Small-hf",
    },
    "server": {
        "detector": "google/owlv2-large-patch14-ensemble",
        "segmenter": "facebook/sam2.1-hiera-large",
        "depth": "depth-anything/Depth-Anything-V2-Large-hf",
    },
}

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[str, Field(min_length=1, max_length=64)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class NetworkEntry(_Strict):
    """One network: its files with their hashes, and whatever its code needs to run them."""

    files: dict[FileName, Sha256] = Field(min_length=1)
    config: dict[str, Any] = Field(default_factory=dict)


class Words(_Strict):
    """What the detector was trained on; empty lists mean an open vocabulary."""

    nouns: tuple[Word, ...] = ()
    colors: tuple[Word, ...] = ()


class FrameStatistics(_Strict):
    """How training pictures look: mean and spread of a few features (``domain.py``)."""

    features: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    limit: Annotated[float, Field(gt=0)]
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.0


class Manifest(_Strict):
    """The validated ``manifest.json``."""

    name: Word = Field(alias="set")
    schema_version: Literal[1] = Field(alias="schema")
    networks: dict[Word, NetworkEntry] = Field(default_factory=dict)
    words: Words = Words()
    fov_deg: Annotated[float, Field(gt=0, lt=180)] | None = None
    statistics: FrameStatistics | None = None


class Bundle:
    """A directory of networks that match their manifest.

    Files are hashed when they are first asked for and remembered as good afterwards;
    :meth:`verify` hashes them all. ``device`` and ``threads`` go to every engine opened.
    """

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        *,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.directory = directory
        self.manifest = manifest
        self.device = device
        self.threads = threads
        self._hashes = {
            file: digest
            for entry in manifest.networks.values()
            for file, digest in entry.files.items()
        }
        self._good: set[str] = set()

    @property
    def name(self) -> str:
        """The set's name, such as ``"embedded"``."""
        return self.manifest.name

    @property
    def words(self) -> Words:
        """Nouns and colours that the detector knows."""
        return self.manifest.words

    @property
    def fov_deg(self) -> float | None:
        """Vertical field of view of the training cameras, used where intrinsics are unknown."""
        return self.manifest.fov_deg

    def network(self, name: str) -> NetworkEntry:
        """Return a network's entry.

        Raises:
            ModelError: if the bundle has no such network.
        """
        entry = self.manifest.networks.get(name)
        if entry is None:
            raise ModelError(
                f"expected network {name!r} in {self.directory}, got "
                f"{sorted(self.manifest.networks) or 'none'}; train and export it with "
                f"`edgetwin distill embedded --net {name}`, or give a complete bundle"
            )
        return entry

    def path(self, filename: str) -> Path:
        """Return the path of a file of the bundle after checking its hash.

        Raises:
            ModelError: if the manifest does not list the file, or it is missing or changed.
        """
        want = self._hashes.get(filename)
        if want is None:
            raise ModelError(
                f"expected a file of bundle {self.directory} ({sorted(self._hashes)}), "
                f"got {filename!r}"
            )
        file = self.directory / filename
        if filename not in self._good:
            _check_file(file, want)
            self._good.add(filename)
        return file

    def engine(self, filename: str) -> Engine:
        """Open a checked file as an engine on the bundle's device.

        Raises:
            ModelError: as :meth:`path`, or if the engine cannot open it.
        """
        return open_engine(self.path(filename), device=self.device, threads=self.threads)

    def verify(self) -> None:
        """Hash every file now.

        Raises:
            ModelError: names the first file that is missing or changed.
        """
        for filename in sorted(self._hashes):
            self.path(filename)


def embedded_dir() -> Path:
    """Return the directory of the set that is part of the package."""
    return Path(__file__).parent / "weights" / "embedded"


def models_home() -> Path:
    """Return where named sets are looked for: ``$EDGETWIN_MODELS`` or ``~/.cache/edgetwin``."""
    return Path(os.environ.get("EDGETWIN_MODELS") or Path.home() / ".cache" / "edgetwin")


def load_bundle(
    name_or_path: str | Path = "embedded", *, device: str = "auto", threads: int | None = None
) -> Bundle:
    """Load a set by name (embedded, edge, server) or a bundle by its directory.

    Raises:
        ModelError: if it cannot be had or its manifest is malformed; says what to do next.
    """
    directory = _find(name_or_path)
    manifest = _read_manifest(directory)
    return Bundle(directory, manifest, device=device, threads=threads)


def write_network_entry(
    weights_dir: str | Path,
    name: str,
    files: Iterable[str],
    config: Mapping[str, Any],
    words: Mapping[str, Iterable[str]] | None = None,
    *,
    set_name: str = "embedded",
    fov_deg: float | None = 45.0,
) -> dict[str, str]:
    """Put a network's entry into ``weights_dir/manifest.json``, hashing its files again.

    ``files`` are names inside ``weights_dir``; other networks' entries stay as they are.
    The manifest is replaced atomically under a lock of the directory, so exporters may run
    at the same time. Returns the hashes.

    Raises:
        ModelError: if a file is missing, or the manifest there is malformed.
    """
    directory = Path(weights_dir)
    hashes = {}
    for file in sorted(files):
        if not (directory / file).is_file():
            raise ModelError(f"expected exported file {directory / file}, got no such file")
        hashes[file] = sha256_of(directory / file)
    entry = {"files": hashes, "config": dict(config)}

    def change(manifest: dict[str, Any]) -> None:
        manifest["networks"][name] = entry
        if words is not None:
            manifest["words"] = {key: list(value) for key, value in words.items()}
        manifest.setdefault("fov_deg", fov_deg)

    _change_manifest(directory, set_name, change)
    return hashes


def write_statistics(weights_dir: str | Path, statistics: FrameStatistics) -> None:
    """Put the picture statistics of the training data into an existing manifest."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["statistics"] = statistics.model_dump(mode="json")

    _change_manifest(Path(weights_dir), "embedded", change)


def sha256_of(file: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _find(name_or_path: str | Path) -> Path:
    if name_or_path == "embedded":
        return embedded_dir()
    hub = _HUB_SETS.get(str(name_or_path))
    if hub is not None:
        directory = models_home() / str(name_or_path)
        if (directory / "manifest.json").is_file():
            return directory
        sources = ", ".join(f"{net} from {hub_id}" for net, hub_id in hub.items())
        raise ModelError(
            f"expected model set {name_or_path!r} at {directory} (manifest.json and the ONNX "
            f"files it lists: {sources}), got no such bundle; export these checkpoints on a "
            f"machine with network access and put the bundle there, or set EDGETWIN_MODELS to "
            f"the folder that holds it; {_OFFLINE}"
        )
    directory = Path(name_or_path)
    if not directory.is_dir():
        raise ModelError(
            f"expected a model set (embedded, {', '.join(_HUB_SETS)}) or a bundle directory, "
            f"got {str(name_or_path)!r}, which is neither; {_OFFLINE}"
        )
    return directory


def _read_manifest(directory: Path) -> Manifest:
    file = directory / "manifest.json"
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ModelError(
            f"expected a bundle's manifest at {file}, got {error.strerror}; "
            "reinstall edgetwin or give a bundle directory with a manifest.json"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelError(
            f"expected a bundle manifest of schema 1 at {file}, got in {where}: {first['msg']}; "
            "restore the file, or export the bundle again"
        ) from error


def _check_file(file: Path, want: str) -> None:
    if not file.is_file():
        raise ModelError(
            f"expected weights at {file}, got no such file; reinstall edgetwin or restore "
            "the bundle"
        )
    got = sha256_of(file)
    if got != want:
        raise ModelError(
            f"expected {file} with sha256 {want[:12]}…, got {got[:12]}…: the file is damaged or "
            "was changed; reinstall edgetwin, restore the bundle, or export the network again"
        )


def _change_manifest(directory: Path, set_name: str, change: Any) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = directory / "manifest.json"
        if file.exists():
            _read_manifest(directory)
            manifest = json.loads(file.read_bytes())
        else:
            manifest = {"set": set_name, "schema": 1}
        manifest.setdefault("networks", {})
        change(manifest)
        try:
            Manifest.model_validate(manifest)
        except ValidationError as error:
            raise ModelError(f"expected a valid manifest entry, got: {error}") from error
        _replace(file, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    finally:
        os.close(lock)


def _replace(file: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".manifest-", text=True)
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise
