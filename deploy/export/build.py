"""From a model set to a device bundle: graphs, language models, manifest, proof.

The set's graphs are taken as they are, or exported from live hub checkpoints; each is written
in the target's precision, falling back where its outputs would suffer; the language model is
written for the runtimes of the target. The folder appears under its name only when all is in
it, so an interrupted export leaves nothing that looks like a bundle.

Not covered: building TensorRT plans, which takes the device itself (``edgetwin engines``).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...perception.bundle import (
    Bundle,
    NetworkEntry,
    load_bundle,
    write_network_entry,
    write_statistics,
)
from ...perception.engines.tensorrt_build import onnx_ports
from ...twin.errors import InputError, MissingExtraError
from ..machine import version_of
from ..models import picture_size
from .calibrate import Calibration, calibrate, example_clips
from .clip import Clip
from .edge_llm import write_edge_llm
from .fallback import choose, ladder
from .graphs import GraphPrecision
from .language import LANGUAGE_SOURCE, LanguagePrecision, write_language
from .later import masks_of
from .manifest import DeviceBundle, Precision, Target, write
from .verify import Verification, verify

__all__ = ["Built", "Request", "export_set", "graph_precision"]

_PACKAGES = ("onnx", "onnxruntime", "onnxruntime-genai", "torch", "transformers", "gguf")
_LICENCE = "Apache-2.0"  # of what is trained here
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What to export.

    Attributes:
        models: ``embedded``, a named set, or a perception bundle's folder.
        target: what it is for.
        precision: of the perception graphs; ``int4`` is for the language model alone, and the
            graphs get fp16 on GPUs and fp32 on processors.
        out: the bundle's folder; new or empty.
        networks: checkpoints in place of a named set's, by role.
        size: the camera's picture, ``WIDTHxHEIGHT``; depth of hub sets is fixed to its shape.
        language: a transformers folder of Qwen3, or ``embedded``.
        language_precision: of the ONNX Runtime GenAI folder.
        gguf: formats for llama.cpp.
        clips: videos that set int8's ranges; the repository's examples where empty.
        frames: of them, in all.
        words: what to look for on them, where the set knows any word.
    """

    models: str
    target: Target
    precision: Precision
    out: Path
    networks: Mapping[str, str] = field(default_factory=dict)
    size: str = "1920x1080"
    language: str = LANGUAGE_SOURCE
    language_precision: LanguagePrecision = "int4"
    gguf: Sequence[str] = ()
    clips: Sequence[Path] = ()
    frames: int = 64
    words: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """The bundle, and its verification where one was asked for."""

    bundle: DeviceBundle
    verification: Verification | None = None


def graph_precision(precision: Precision, target: Target) -> GraphPrecision:
    """The precision that perception graphs get."""
    if precision == "int4":
        return "fp32" if target == "cpu" else "fp16"
    return precision


def export_set(
    request: Request,
    *,
    check: Sequence[Clip] | None = None,
    progress: Progress = lambda step: None,
) -> Built:
    """Write a bundle; with ``check`` clips compare it with what it was made from, too.

    Raises:
        InputError: if the folder is not empty, or the clips cannot be used.
        MissingExtraError: without the packages of the [export] extra.
        ModelError: if the set cannot be had, or a graph or language model cannot be written.
    """
    if request.out.exists() and (not request.out.is_dir() or any(request.out.iterdir())):
        raise InputError(f"expected a new or empty folder for the bundle, got {request.out}")
    picture_size(request.size)
    source = load_bundle(request.models, networks=dict(request.networks) or None, device="cpu")
    with _unfinished(request.out) as (part, work):
        plain = _plain(source, request, work, progress)
        progress("recording inputs")
        clips = list(request.clips) or example_clips()
        recorded = calibrate(plain, clips, work / "inputs", request.frames, words=request.words)
        graphs = _write_graphs(plain, request, recorded, part / "perception", progress)
        languages = _write_languages(request, part, progress)
        bundle = write(part, _fields(source, request, recorded, graphs, languages, part))
        verification = None
        if check is not None:
            verification = verify(
                part,
                _reference(source, plain, progress),
                feeds=recorded.held_out,
                clips=check,
                language=request.language,
                words=request.words,
                progress=progress,
            )
        if request.out.exists():
            request.out.rmdir()
        part.rename(request.out)
    return Built(DeviceBundle(request.out, bundle.manifest), verification)


@contextmanager
def _unfinished(out: Path) -> Iterator[tuple[Path, Path]]:
    """A folder beside ``out`` for what is made, and one for what is thrown away."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-work-"))
    try:
        part.chmod(0o755)
        yield part, work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(part, ignore_errors=True)  # renamed by now if all went well


def _plain(source: Bundle, request: Request, work: Path, progress: Progress) -> Bundle:
    """The set as float32 graphs: its own files, or what its checkpoints export to."""
    if type(source) is Bundle:
        return load_bundle(source.directory, device="cpu")
    from ...perception.graphs.hub_bundle import HubBundle, export_bundle

    assert isinstance(source, HubBundle)
    progress("exporting checkpoints")
    folder = export_bundle(source, work / "plain", frame_hw=picture_size(request.size))
    return load_bundle(folder, device="cpu")


def _write_graphs(
    plain: Bundle, request: Request, recorded: Calibration, folder: Path, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Every graph in its precision, with the perception bundle's manifest; returns records."""
    folder.mkdir()
    wanted = graph_precision(request.precision, request.target)
    records: dict[str, dict[str, Any]] = {}
    for role, entry in sorted(plain.manifest.networks.items()):
        kept = [name for name in entry.files if name.endswith((".onnx", ".json"))]
        for name in sorted(kept):
            if not name.endswith(".onnx"):
                shutil.copyfile(plain.path(name), folder / name)
                continue
            progress(f"{name} in {wanted}")
            chosen = choose(
                plain.path(name),
                folder / name,
                wanted,
                recorded.feeds.get(name, ()),
                recorded.held_out.get(name, ()),
                steps=ladder(wanted, request.target),
                rest="fp32" if request.target == "cpu" else "fp16",
                later=masks_of(name, plain, recorded.held_out) if wanted != "fp32" else None,
            )
            records[name] = {
                "role": role,
                "wanted": wanted,
                "precision": chosen.precision,
                "fell_back": chosen.fell_back,
                "error": chosen.error,
                **_ports(folder / name),
            }
        _write_entry(plain, role, entry, kept, folder)
    if plain.manifest.statistics is not None:
        write_statistics(folder, plain.manifest.statistics)
    return records


def _write_entry(
    plain: Bundle, role: str, entry: NetworkEntry, files: Sequence[str], folder: Path
) -> None:
    words = {"nouns": plain.words.nouns, "colors": plain.words.colors}
    write_network_entry(
        folder,
        role,
        files,
        entry.config,
        words,
        set_name=plain.name,
        fov_deg=plain.fov_deg,
        source=entry.source,
    )


def _ports(path: Path) -> dict[str, Any]:
    """Opset, inputs and outputs of a graph."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "export") from error
    model = onnx.load(str(path), load_external_data=False)
    opset = max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    sides = zip(("inputs", "outputs"), onnx_ports(path), strict=True)
    described = {
        side: {port.name: {"shape": port.shape, "dtype": port.dtype} for port in ports}
        for side, ports in sides
    }
    return {"opset": opset, **described}


def _write_languages(request: Request, part: Path, progress: Progress) -> list[dict[str, Any]]:
    """The language model for each runtime of the target; returns records."""
    progress(f"language model in {request.language_precision}")
    records = write_language(
        request.language, part, precision=request.language_precision, gguf=request.gguf
    )
    found = [record.model_dump() for record in records]
    if request.target.startswith("jetson"):
        progress("directory for TensorRT-Edge-LLM")
        found.append(write_edge_llm(request.language, part / "tensorrt-edge-llm").model_dump())
    return found


def _fields(
    source: Bundle,
    request: Request,
    recorded: Calibration,
    graphs: Mapping[str, Any],
    languages: Sequence[Mapping[str, Any]],
    part: Path,
) -> dict[str, Any]:
    """What the manifest says besides the files."""
    from ..planner.uses import count_set

    entries = source.manifest.networks
    sources = {role: e.source for role, e in entries.items() if e.source is not None}
    licences = {role: (e.source.licence if e.source else _LICENCE) for role, e in entries.items()}
    versions = {name: found for name in _PACKAGES if (found := version_of(name))}
    calibrated = None
    if any(graph["precision"] == "int8" for graph in graphs.values()):
        calibrated = {
            "clips": recorded.clips,
            "frames": recorded.frames,
            "inputs": {name: len(fed) for name, fed in recorded.feeds.items()},
            "driven": recorded.driven,
            "shared": recorded.shared,
        }
    return {
        "name": source.name,
        "target": request.target,
        "precision": request.precision,
        "graphs": graphs,
        "languages": languages,
        "preprocessing": {role: entry.config for role, entry in entries.items()},
        "sources": {role: found.model_dump(mode="json") for role, found in sources.items()},
        "licences": {role: text for role, text in licences.items() if text},
        "calibration": calibrated,
        "versions": {"edgetwin": version("edgetwin"), **versions},
        "counts": count_set(part / "perception").document(),
    }


def _reference(source: Bundle, plain: Bundle, progress: Progress) -> Bundle:
    """The set in torch where it can be had, else its float32 graphs."""
    if type(source) is not Bundle:
        return source
    try:
        from ...perception.graphs.torch_bundle import TorchBundle
    except ImportError:
        progress("no torch here: the float32 graphs are the reference")
        return plain
    listed = {file for entry in source.manifest.networks.values() for file in entry.files}
    if any(f"{role}.safetensors" not in listed for role in source.manifest.networks):
        progress("no safetensors beside the graphs: these are the reference")
        return plain
    return TorchBundle(source)
