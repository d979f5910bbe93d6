"""Run the model builder of ONNX Runtime GenAI on a transformers folder."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Literal, get_args

from ...twin.errors import InputError, MissingExtraError, ModelError

__all__ = ["PROVIDERS", "Provider", "build_genai", "parameter_count"]

Provider = Literal["cpu", "cuda"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)

# Memory that the builder takes, in sizes of the bfloat16 file (measured at 0.6B: 4.6 for int4,
# 5.6 for fp32).
_NEEDS = {"int4": 5, "int8": 6, "fp16": 5, "fp32": 6}
_ONE_FILE = 1_500_000_000  # bytes; a graph with its weights inside ends at 2 GB
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def build_genai(
    model_dir: Path,
    out_dir: Path,
    precision: str = "int4",
    *,
    provider: Provider = "cpu",
    one_file: bool = True,
    threads: int | None = 1,
) -> None:
    """Write ``out_dir`` (made anew): graph, genai_config.json and the tokenizer's files.

    Args:
        model_dir: config.json, safetensors and tokenizer of a model that the builder knows.
        out_dir: where to.
        precision: int4, int8, fp16 or fp32, as the builder has them for the provider.
        provider: what the graph is made for; those for ``cpu`` run anywhere.
        one_file: weights inside the graph where it stays below 1.5 GB, else beside it.
        threads: written into genai_config.json; None leaves it to the runtime.

    Raises:
        InputError: if the provider is unknown.
        ModelError: if memory is short or the builder fails.
        MissingExtraError: without the packages that it runs on.
    """
    if provider not in PROVIDERS:
        raise InputError(f"expected a provider among {', '.join(PROVIDERS)}, got {provider!r}")
    for package in ("torch", "transformers", "onnx"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "export")
    _enough_memory(model_dir, precision)
    with tempfile.TemporaryDirectory() as cache:
        built = Path(cache) / "built"
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        command += ["-i", str(model_dir), "-o", str(built), "-p", precision, "-e", provider]
        command += ["-c", cache]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode or not (built / "model.onnx").is_file():
            raise ModelError(
                f"expected the GenAI model builder to write {precision} of {model_dir.name}, got: "
                f"{done.stderr[-400:]}; choose another format, or free memory"
            )
        shutil.rmtree(out_dir, ignore_errors=True)
        out_dir.mkdir(parents=True)
        _take_graph(built, out_dir, one_file)
        for name in _TOKENIZER:
            shutil.copy(model_dir / name, out_dir / name)
        config = json.loads((built / "genai_config.json").read_text())
    config["model"].pop("bos_token_id", None)
    if threads is not None:
        config["model"]["decoder"]["session_options"] |= {"intra_op_num_threads": threads}
    (out_dir / "genai_config.json").write_text(json.dumps(config, indent=1) + "\n")


def parameter_count(folder: Path) -> int:
    """Numbers in the safetensors of a folder, read from their headers.

    Raises:
        ModelError: if there are none, or one is damaged.
    """
    count = 0
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with file.open("rb") as opened:
                (length,) = struct.unpack("<Q", opened.read(8))
                header = json.loads(opened.read(min(length, 100_000_000)))
            shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
        except (OSError, struct.error, ValueError, TypeError, KeyError) as error:
            raise ModelError(
                f"expected safetensors at {file}, got: {error!r}; copy the model again"
            ) from error
        count += sum(prod(shape) for shape in shapes)
    if not count:
        raise ModelError(f"expected safetensors of a language model in {folder}, got none")
    return count


def _take_graph(built: Path, out_dir: Path, one_file: bool) -> None:
    """One file instead of a graph with a weights file beside it, where that is possible."""
    files = [file for file in built.iterdir() if file.name.startswith("model.onnx")]
    if not one_file or sum(file.stat().st_size for file in files) > _ONE_FILE:
        for file in files:
            shutil.move(str(file), out_dir / file.name)
        return
    import onnx

    graph = onnx.load(str(built / "model.onnx"))
    onnx.save(graph, str(out_dir / "model.onnx"), save_as_external_data=False)


def _enough_memory(model_dir: Path, precision: str) -> None:
    need = _NEEDS.get(precision, 6) * 2 * parameter_count(model_dir)
    free = _free_bytes()
    if free is not None and free < need:
        raise ModelError(
            f"expected {need / 1e9:.1f} GB of free memory to build {precision} of "
            f"{model_dir.name}, got {free / 1e9:.1f} GB; leave this format out, or build it on a "
            "larger machine"
        )


def _free_bytes() -> int | None:
    """Memory that is free, None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:")), None)
