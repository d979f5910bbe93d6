"""Model bundles: a directory of networks with a manifest that names and hashes every file.

``manifest.json``::

    {"set": "embedded", "schema": 1, "fov_deg": 45.0,
     "words": {"nouns": ["mug", ...], "colors": ["red", ...]},
     "networks": {"detector": {"files": {"detector_image.onnx": "<sha256>", ...},
                               "config": {...},
                               "source": {"id": ..., "revision": ..., ...} or absent}, ...},
     "statistics": {...} or absent}

Every file is hashed before it is first used. A named set is an exported bundle, or, where
torch is installed, live checkpoints of the model hub (:mod:`.graphs.hub_bundle`), behind the
same interface. Not covered: signatures; a manifest changed together with its file is not
noticed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..twin.errors import InputError, ModelError
from ..twin.files import replace, sha256_of
from .engines import Engine, bundle_plans, open_engine
from .hub import HUB_SETS, ROLES

__all__ = [
    "Bundle",
    "FrameStatistics",
    "Manifest",
    "NetworkEntry",
    "Source",
    "Words",
    "embedded_dir",
    "load_bundle",
    "models_home",
    "write_network_entry",
    "write_statistics",
]

_OFFLINE = "`--models embedded` is part of the installation and works offline"
_ROLES = set(ROLES)

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[str, Field(min_length=1, max_length=64)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Source(_Strict):
    """The hub checkpoint that a network was made from; ``revision`` is a commit or "local"."""

    id: Annotated[str, Field(min_length=1, max_length=300)]
    revision: Annotated[str, Field(min_length=1, max_length=100)]
    pinned: bool = True
    licence: str | None = None


class NetworkEntry(_Strict):
    """One network: its files with their hashes, and whatever its code needs to run them."""

    files: dict[FileName, Sha256] = Field(min_length=1)
    config: dict[str, Any] = Field(default_factory=dict)
    source: Source | None = None


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
    :meth:`verify` hashes them all. ``device``, ``threads`` and ``cuda_graphs`` go to every engine
    opened.
    """

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        *,
        device: str = "auto",
        threads: int | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        self.directory = directory
        self.manifest = manifest
        self.device = device
        self.threads = threads
        self.cuda_graphs = cuda_graphs
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

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user of this set should know, one line each."""
        return ()

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
        """Open a checked file, or the plan built from it, as an engine on the bundle's device.

        Raises:
            ModelError: as :meth:`path`, or if the engine cannot open it.
        """
        plans = bundle_plans(self.directory)
        return open_engine(
            self.path(filename),
            device=self.device,
            threads=self.threads,
            plans=plans,
            cuda_graphs=self.cuda_graphs,
        )

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
    name_or_path: str | Path | Mapping[str, str] = "embedded",
    *,
    device: str = "auto",
    threads: int | None = None,
    networks: Mapping[str, str] | None = None,
    cuda_graphs: bool = False,
) -> Bundle:
    """Load a set by name (embedded, edge, server), a bundle by its folder, or hub checkpoints.

    A named set is the exported bundle in :func:`models_home` if there is one; else, where
    torch and transformers are installed, the hub checkpoints it consists of, from the hub's
    cache or downloaded into it. ``networks`` replaces checkpoints of a named set by role
    (``{"segmenter": "yonigozlan/EdgeTAM-hf@main"}``); a mapping of all three roles in place of
    the name is a set of one's own. ``"owner/name@revision"`` pins a commit, branch or tag.
    ``cuda_graphs`` is for bundles with TensorRT plans (:func:`~.engines.open_engine`).

    Raises:
        ModelError: if it cannot be had or its manifest is malformed; says what to do next.
        InputError: if ``device`` is unknown, or ``cuda_graphs`` asked of hub checkpoints.
    """
    if isinstance(name_or_path, Mapping):
        return _load_hub("own", dict(name_or_path) | dict(networks or {}), device, threads)
    hub = HUB_SETS.get(str(name_or_path))
    if networks and hub is None:
        raise ModelError(
            f"expected networks to replace those of a named set ({', '.join(HUB_SETS)}), got the "
            f"set {str(name_or_path)!r}, whose networks are fixed; give a named set"
        )
    directory = _find(name_or_path)
    if networks or directory is None:
        if cuda_graphs:
            raise InputError(
                f"expected an exported bundle for CUDA graphs, got hub checkpoints for "
                f"{str(name_or_path)!r}; write one with `edgetwin export`"
            )
        sources = dict(hub or {}) | dict(networks or {})
        return _load_hub(str(name_or_path), sources, device, threads)
    manifest = _read_manifest(directory)
    return Bundle(directory, manifest, device=device, threads=threads, cuda_graphs=cuda_graphs)


def write_network_entry(
    weights_dir: str | Path,
    name: str,
    files: Iterable[str],
    config: Mapping[str, Any],
    words: Mapping[str, Iterable[str]] | None = None,
    *,
    set_name: str = "embedded",
    fov_deg: float | None = 45.0,
    source: Source | None = None,
) -> dict[str, str]:
    """Put a network's entry into ``weights_dir/manifest.json``, hashing its files again.

    ``files`` are names inside ``weights_dir``; other networks' entries stay as they are.
    The manifest is replaced atomically under a lock of the directory, so exporters may run
    at the same time. ``source`` names the hub checkpoint. Returns the hashes.

    Raises:
        ModelError: if a file is missing, or the manifest there is malformed.
    """
    directory = Path(weights_dir)
    hashes = {}
    for file in sorted(files):
        if not (directory / file).is_file():
            raise ModelError(f"expected exported file {directory / file}, got no such file")
        hashes[file] = sha256_of(directory / file)
    entry: dict[str, Any] = {"files": hashes, "config": dict(config)}
    if source is not None:
        entry["source"] = source.model_dump(mode="json")

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


def _find(name_or_path: str | Path) -> Path | None:
    """Return the folder of an exported set; None for a named set that was not exported."""
    if name_or_path == "embedded":
        return embedded_dir()
    if str(name_or_path) in HUB_SETS:
        directory = _seeing(models_home() / str(name_or_path))
        return directory if (directory / "manifest.json").is_file() else None
    directory = _seeing(Path(name_or_path))
    if not directory.is_dir():
        raise ModelError(
            f"expected a model set (embedded, {', '.join(HUB_SETS)}) or a bundle directory, "
            f"got {str(name_or_path)!r}, which is neither; {_OFFLINE}"
        )
    return directory


def _seeing(folder: Path) -> Path:
    """The part of a device bundle that sees; the folder itself if it is none."""
    inner = folder / "perception"
    return inner if (inner / "manifest.json").is_file() else folder


def _load_hub(name: str, sources: dict[str, str], device: str, threads: int | None) -> Bundle:
    """Load hub checkpoints as live models; needs torch and transformers."""
    if set(sources) != _ROLES:
        raise ModelError(
            f"expected one checkpoint for each of {', '.join(sorted(_ROLES))}, "
            f"got {', '.join(sorted(sources)) or 'none'}"
        )
    missing = [p for p in ("torch", "transformers") if find_spec(p) is None]
    listed = ", ".join(f"{role} from {source}" for role, source in sorted(sources.items()))
    at = models_home() / name
    if missing:
        raise ModelError(
            f"expected model set {name!r} at {at} (manifest.json and the ONNX files it lists: "
            f"{listed}), got no such bundle; export it on a machine with network access and put "
            f"it there, or set EDGETWIN_MODELS to the folder that holds it; or run the "
            f"checkpoints themselves, which needs {' and '.join(missing)}: "
            f"pip install 'edgetwin[export]'; {_OFFLINE}"
        )
    from .graphs.hub_bundle import HubBundle

    try:
        return HubBundle.load(sources, name=name, device=device, threads=threads)
    except ModelError as error:
        if name not in HUB_SETS:
            raise
        raise ModelError(
            f"expected model set {name!r} as an exported bundle at {at} (EDGETWIN_MODELS names "
            f"its parent) or as hub checkpoints ({listed}), got neither: {error}"
        ) from error


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
        replace(file, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())
    finally:
        os.close(lock)
