"""The language model of a bundle: for ONNX Runtime GenAI and for llama.cpp.

A source is ``embedded``, a reasoner bundle with ``config.json`` and safetensors, or a transformers
folder of a Qwen3. A graph that is in the wanted format already is taken as it is; others are
built from the safetensors. What a manifest says of the training goes along, so that every
runtime prompts the model alike; a model without one gets long prompts and every mode.

``fp16`` for the CPU stores float16 and computes float32, since graphs that compute float16 there
stop after some tokens (ONNX Runtime 1.31: "Shape mismatch attempting to re-use buffer"). Graphs
built for CUDA run nowhere else: their attention norms queries and keys itself.

GGUF files lie side by side with one manifest and one ``tokenizer.json``. Of the embedded model
they are written from the floats that its int4 graph computes with.

Not covered: other architectures than Qwen3 (GGUF), importance matrices, LoRA adapters (merge
them first).
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

from ...reasoner.bundle import EMBEDDED, load_bundle, write_manifest
from ...reasoner.prompts import MODES
from ...twin.errors import InputError, ModelError
from .genai import Provider, build_genai, parameter_count
from .gguf import KINDS, Kind, write_gguf
from .graphs import store_half
from .manifest import LanguageRecord

__all__ = [
    "LANGUAGE_PRECISIONS",
    "LANGUAGE_SOURCE",
    "LanguagePrecision",
    "language_folder",
    "write_language",
]

LANGUAGE_SOURCE = "embedded"
LanguagePrecision = Literal["int4", "fp16", "fp32"]
LANGUAGE_PRECISIONS: tuple[LanguagePrecision, ...] = get_args(LanguagePrecision)

_GRAPH = ("model.onnx", "genai_config.json")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_MAX_CONTEXT = 4096  # tokens; more costs memory that small boards lack, and no question needs it


def write_language(
    source: str | Path,
    folder: Path,
    *,
    precision: LanguagePrecision = "int4",
    gguf: Sequence[str] = (),
    provider: Provider = "cpu",
    threads: int = 1,
) -> list[LanguageRecord]:
    """Write ``folder/reasoner`` and, for each kind of ``gguf``, ``folder/gguf/NAME-KIND.gguf``.

    Args:
        source: ``embedded`` or a folder, see above.
        folder: the bundle.
        precision: of the ONNX Runtime GenAI graph.
        gguf: kinds for llama.cpp, of :data:`~.gguf.KINDS`.
        provider: what the graph is built for: one for ``cpu`` runs anywhere.
        threads: for quantisation to Q4_K_M.

    Raises:
        InputError: if a precision or kind is unknown.
        ModelError: if the source is no such model, or a format cannot be written.
        MissingExtraError: without a package that a format needs.
    """
    if precision not in LANGUAGE_PRECISIONS or not {*gguf} <= {*KINDS}:
        raise InputError(
            f"expected a precision among {', '.join(LANGUAGE_PRECISIONS)} and GGUF kinds among "
            f"{', '.join(KINDS)}, got {precision!r} and {', '.join(gguf) or 'none'}"
        )
    place = language_folder(source)
    count, described = parameter_count(place), _described(place)
    _write_genai(place, folder / "reasoner", precision, provider, described)
    records = [
        LanguageRecord(
            runtime="onnxruntime-genai", place="reasoner", precision=precision, parameters=count
        )
    ]
    for kind in cast(Sequence[Kind], gguf):
        file = folder / "gguf" / f"{_stem(described['name'])}-{kind}.gguf"
        write_gguf(place, file, kind, name=described["name"], threads=threads)
        records.append(
            LanguageRecord(
                runtime="llama.cpp", place=f"gguf/{file.name}", precision=kind, parameters=count
            )
        )
    if gguf:
        for name in _TOKENIZER:
            shutil.copyfile(place / name, folder / "gguf" / name)
        _write_manifest(folder / "gguf", described, "gguf")
    return records


def language_folder(source: str | Path) -> Path:
    """The transformers folder of a source.

    Raises:
        ModelError: if it lacks config.json, safetensors or the tokenizer's files.
    """
    place = EMBEDDED if str(source) == LANGUAGE_SOURCE else Path(source)
    lacking = [name for name in ("config.json", *_TOKENIZER) if not (place / name).is_file()]
    if lacking or not any(place.glob("*.safetensors")):
        raise ModelError(
            f"expected 'embedded' or a folder with config.json, *.safetensors and "
            f"{' and '.join(_TOKENIZER)}, got {place} without "
            f"{', '.join(lacking) or 'safetensors'}; save the model and its tokenizer there"
        )
    return place


def _described(place: Path) -> dict[str, Any]:
    """What a manifest is written from: the source's own, or what holds for any model."""
    if (place / "manifest.json").is_file():
        own = load_bundle(place, needed=("config.json", *_TOKENIZER))
        return {
            "name": own.name,
            "style": own.style,
            "words": None if own.known_words is None else sorted(own.known_words),
            "plan_words": own.plan_words,
            "config": own.config,
            "layout": own.layout,
            "modes": own.modes,
            "tools": own.tools,
            "turns": own.turns,
        }
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        context = int(config.get("max_position_embeddings", _MAX_CONTEXT))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"expected a transformers configuration at {place}/config.json, got: {error}; save "
            "the model there again"
        ) from error
    name = place.resolve().name or "language"
    most = {"max_tokens": min(context, _MAX_CONTEXT)}
    return {"name": name, "style": "long", "modes": MODES, "config": most}


def _write_genai(
    place: Path,
    out: Path,
    precision: LanguagePrecision,
    provider: Provider,
    described: Mapping[str, Any],
) -> None:
    there = (place / "manifest.json").is_file() and all((place / n).is_file() for n in _GRAPH)
    if there and provider == "cpu" and described["config"].get("precision") == precision:
        out.mkdir(parents=True)
        names = [*_GRAPH, *_TOKENIZER, *(f.name for f in place.glob("model.onnx.*"))]
        for name in names:
            shutil.copyfile(place / name, out / name)
    else:
        _build(place, out, precision, provider)
    _write_manifest(out, described, precision)


def _build(place: Path, out: Path, precision: LanguagePrecision, provider: Provider) -> None:
    """Run the builder on nothing but the checkpoint: a graph beside it would mislead it."""
    with tempfile.TemporaryDirectory() as work:
        clean = Path(work) / "model"
        clean.mkdir()
        for file in place.iterdir():
            if file.suffix in (".json", ".safetensors", ".jinja", ".txt"):
                (clean / file.name).symlink_to(file.resolve())
        for name in ("manifest.json", "genai_config.json"):
            (clean / name).unlink(missing_ok=True)
        if precision != "fp16" or provider != "cpu":
            build_genai(clean, out, precision, provider=provider)
            return
        whole = Path(work) / "whole"
        build_genai(clean, whole, "fp32", one_file=False)
        out.mkdir(parents=True)
        store_half(whole / "model.onnx", out / "model.onnx")
        for name in ("genai_config.json", *_TOKENIZER):
            shutil.move(str(whole / name), out / name)


def _write_manifest(folder: Path, described: Mapping[str, Any], precision: str) -> None:
    fields = {key: value for key, value in described.items() if key not in ("name", "config")}
    config = {**described["config"], "precision": precision}
    write_manifest(folder, described["name"], config=config, **fields)


def _stem(name: str) -> str:
    """A file name out of a model's name."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "language"
