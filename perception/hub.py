"""Checkpoints of the model hub: which ones, at which revision, and where their files lie.

A source is ``"owner/name"``, ``"owner/name@revision"`` or the path of a local folder that
holds ``config.json`` and ``*.safetensors``. Ids are looked up in the hub's ordinary cache
(``HF_HUB_CACHE``, ``HF_HOME``) and downloaded into it unless ``HF_HUB_OFFLINE`` is set. Known
ids are pinned to a commit; others are resolved to the commit they have today, which the
manifest records, with a warning.

Neither torch nor transformers is needed here; huggingface_hub is imported at first use. Not
covered: private repositories beyond what huggingface_hub's own login does, weights that are
not safetensors, checkpoints that bring code.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..twin.errors import MissingExtraError, ModelError

__all__ = [
    "HUB_SETS",
    "KNOWN",
    "ROLES",
    "Checkpoint",
    "Known",
    "find_checkpoint",
    "hub_cache",
    "split_source",
]

ROLES = ("depth", "detector", "segmenter")

# What the named sets are made of.
HUB_SETS: dict[str, dict[str, str]] = {
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


@dataclass(frozen=True, slots=True)
class Known:
    """A checkpoint this project knows: its role, the commit it is pinned to, its licence.

    ``revision`` is None where the commit is not known to us: such an id is taken as it is.
    """

    role: str
    revision: str | None
    licence: str


_APACHE, _NON_COMMERCIAL = "Apache-2.0", "CC-BY-NC-4.0"
_DEPTH = "depth-anything/Depth-Anything-V2"

# Commits as public projects pin them (checked against each other, not against the hub).
KNOWN: dict[str, Known] = {
    "facebook/sam2.1-hiera-tiny": Known(
        "segmenter", "de431c4043854a71d8101e17995dfe596bf101a5", _APACHE
    ),
    "facebook/sam2.1-hiera-small": Known(
        "segmenter", "ee5bba1d82bb8749febdf90f45e84b687142ba03", _APACHE
    ),
    "facebook/sam2.1-hiera-base-plus": Known(
        "segmenter", "b7320756a13354e7530a63935656d35b2f91a290", _APACHE
    ),
    "facebook/sam2.1-hiera-large": Known(
        "segmenter", "665f8e2ad61cf5f53d65644ff27c8ee525124610", _APACHE
    ),
    "yonigozlan/EdgeTAM-hf": Known(
        "segmenter", "c266ce53b3fc00f0f495b583f6a116c4e57f53bb", _APACHE
    ),
    "google/owlv2-base-patch16": Known("detector", None, _APACHE),
    "google/owlv2-base-patch16-ensemble": Known(
        "detector", "cfd3195ba4ea9592eec887ded089f4c08eff231d", _APACHE
    ),
    "google/owlv2-large-patch14-ensemble": Known("detector", None, _APACHE),
    f"{_DEPTH}-Small-hf": Known("depth", "5426e4f0f36572d16453bbda7a8389317b1bef99", _APACHE),
    f"{_DEPTH}-Base-hf": Known(
        "depth", "b1958afc87fb45a9e3746cb387596094de553ed8", _NON_COMMERCIAL
    ),
    f"{_DEPTH}-Large-hf": Known(
        "depth", "7581137eff8d4e94f6e796d3baea0e9fa79b22d2", _NON_COMMERCIAL
    ),
    f"{_DEPTH}-Metric-Indoor-Small-hf": Known(
        "depth", "8078d68a9c75a972131914f6afd0c1723be0da7f", _APACHE
    ),
    f"{_DEPTH}-Metric-Indoor-Base-hf": Known("depth", None, _NON_COMMERCIAL),
    f"{_DEPTH}-Metric-Indoor-Large-hf": Known("depth", None, _NON_COMMERCIAL),
    f"{_DEPTH}-Metric-Outdoor-Small-hf": Known("depth", None, _APACHE),
    f"{_DEPTH}-Metric-Outdoor-Base-hf": Known("depth", None, _NON_COMMERCIAL),
    f"{_DEPTH}-Metric-Outdoor-Large-hf": Known("depth", None, _NON_COMMERCIAL),
}

_MODEL_TYPES = {
    "sam2_video": "segmenter",
    "edgetam_video": "segmenter",
    "owlv2": "detector",
    "depth_anything": "depth",
}
_TEXTS = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
)
_PATTERNS = [*_TEXTS, "*.safetensors", "*.safetensors.index.json"]
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_OFFLINE = "`--models embedded` is part of the installation and works offline"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint on this machine.

    ``revision`` is the commit its files belong to (``"local"`` for a plain folder);
    ``pinned`` whether that commit was asked for, by us or by the caller; ``weights`` are its
    safetensors; ``config`` its parsed ``config.json``.
    """

    role: str
    id: str
    revision: str
    pinned: bool
    licence: str | None
    folder: Path
    weights: tuple[Path, ...]
    config: Mapping[str, Any]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user of this checkpoint should know, one line each."""
        lines = []
        if not self.pinned and self.revision != "local":
            lines.append(
                f"{self.id} is not pinned: taken at commit {self.revision}; give "
                f"'{self.id}@{self.revision}' to keep this one"
            )
        if self.licence == _NON_COMMERCIAL:
            lines.append(f"{self.id} is licensed {self.licence}: not for commercial use")
        return tuple(lines)

    def json(self, name: str) -> dict[str, Any] | None:
        """Return a JSON file of the checkpoint, None if it has no such file.

        Raises:
            ModelError: if it is not a JSON object.
        """
        return _read_json(self.folder / name)


def split_source(source: str) -> tuple[str, str | None]:
    """Split ``"owner/name@revision"``; the revision may be left out.

    Raises:
        ModelError: if it is no such id.
    """
    name, at, revision = source.partition("@")
    if not _ID.fullmatch(name) or ".." in name or (at and not _REVISION.fullmatch(revision)):
        raise ModelError(
            "expected a checkpoint as 'owner/name', 'owner/name@revision' or a local folder, "
            f"got {source!r}"
        )
    return name, revision or None


def hub_cache() -> Path:
    """Return the hub's cache folder: ``$HF_HUB_CACHE``, ``$HF_HOME/hub`` or the default."""
    given = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if given:
        return Path(given).expanduser()
    home = os.environ.get("HF_HOME")
    if not home:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        home = str(Path(base) / "huggingface")
    return Path(home).expanduser() / "hub"


def find_checkpoint(source: str | Path, role: str, *, offline: bool | None = None) -> Checkpoint:
    """Find a checkpoint's files: a local folder, the hub's cache, else a download into it.

    ``offline`` forbids the download (None: as ``HF_HUB_OFFLINE`` says).

    Raises:
        MissingExtraError: if an id is given and huggingface_hub is not installed.
        ModelError: if the checkpoint cannot be had, is no safetensors, needs code of its own
            or is of another architecture than ``role`` takes.
    """
    if role not in ROLES:
        raise ModelError(f"expected a role among {', '.join(ROLES)}, got {role!r}")
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _checkpoint(role, str(source), "local", True, folder)
    name, asked = split_source(str(source))
    known = KNOWN.get(name)
    if known is not None and known.role != role:
        raise ModelError(f"expected a {role} checkpoint, got {name}, which is a {known.role}")
    wanted = asked or (known.revision if known else None)
    if offline is None:
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    folder = _snapshot(name, wanted, offline)
    return _checkpoint(role, name, folder.name, wanted == folder.name, folder)


def _snapshot(name: str, revision: str | None, offline: bool) -> Path:
    """Return the folder of a snapshot whose weights are there, downloading if allowed."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "export") from error
    cache = hub_cache()
    arguments: dict[str, Any] = {
        "revision": revision,
        "cache_dir": cache,
        "allow_patterns": _PATTERNS,
    }
    try:
        folder = Path(snapshot_download(name, local_files_only=True, **arguments))
        if _complete(folder) or offline:
            return folder
    except Exception as error:  # not in the cache, or half of it
        if offline:
            raise _missing(name, revision, cache, "HF_HUB_OFFLINE is set") from error
    try:
        return Path(snapshot_download(name, **arguments))
    except Exception as error:  # a dozen classes of two libraries: all mean "not to be had"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise _missing(name, revision, cache, reason) from error


def _missing(name: str, revision: str | None, cache: Path, reason: str) -> ModelError:
    at = f"@{revision}" if revision else ""
    again = f" --revision {revision}" if revision else ""
    folder = cache / f"models--{name.replace('/', '--')}"
    return ModelError(
        f"expected checkpoint {name}{at} (config.json, preprocessor_config.json, "
        f"*.safetensors, for a detector also its tokenizer) in the hub's cache at {folder}, "
        f"got none: {reason}; with network access run `hf download {name}{again}` and copy "
        f"that folder here (HF_HUB_CACHE names its parent), or give a local folder with these "
        f"files; {_OFFLINE}"
    )


def _complete(folder: Path) -> bool:
    """Whether config and every weight file that the index names are there."""
    try:
        return (folder / "config.json").is_file() and bool(_weights(folder))
    except ModelError:
        return False


def _checkpoint(role: str, name: str, revision: str, pinned: bool, folder: Path) -> Checkpoint:
    config = _read_json(folder / "config.json")
    if config is None:
        raise ModelError(f"expected a checkpoint's config.json in {folder}, got no such file")
    if "auto_map" in config:
        raise ModelError(
            f"expected a checkpoint without code of its own, got {name} with 'auto_map' in its "
            "config.json; such code is never run"
        )
    kind = config.get("model_type")
    if _MODEL_TYPES.get(str(kind)) != role:
        fitting = sorted(t for t, r in _MODEL_TYPES.items() if r == role)
        raise ModelError(
            f"expected a {role} checkpoint (model_type {' or '.join(fitting)}), got {kind!r} in "
            f"{folder / 'config.json'}"
        )
    known = KNOWN.get(name)
    licence = known.licence if known else None
    return Checkpoint(role, name, revision, pinned, licence, folder, _weights(folder), config)


def _weights(folder: Path) -> tuple[Path, ...]:
    """Return the safetensors of a folder: one file, or those that its index names."""
    index = _read_json(folder / "model.safetensors.index.json")
    if (folder / "model.safetensors").is_file():
        return (folder / "model.safetensors",)
    if index is None:
        there = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES)
        found = f"{', '.join(there)}, which may hold code and is never read" if there else "none"
        raise ModelError(
            f"expected model.safetensors in {folder}, got {found}; use a revision with "
            "safetensors, or convert the checkpoint"
        )
    names = sorted({str(name) for name in dict(index.get("weight_map", {})).values()})
    odd = [n for n in names if "/" in n or "\\" in n or not n.endswith(".safetensors")]
    missing = [n for n in names if n not in odd and not (folder / n).is_file()]
    if odd or missing or not names:
        raise ModelError(
            f"expected the safetensors that {folder / 'model.safetensors.index.json'} names, got "
            f"{odd or missing or 'no name'} {'not allowed' if odd else 'missing'}; download again"
        )
    return tuple(folder / n for n in names)


def _read_json(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"expected JSON in {file}, got {error}; download it again") from error
    if not isinstance(value, dict):
        raise ModelError(f"expected a JSON object in {file}, got {type(value).__name__}")
    return value
