"""The language model as TensorRT-Edge-LLM takes it: a checkpoint, and the lines that compile it.

That runtime reads a transformers checkpoint (safetensors, ``config.json``, tokenizer), exports it
to an ONNX file of its own on an x86 machine with a GPU, builds an engine on the Jetson and runs
it in C++. The folder written here holds the checkpoint and a README with those lines, taken from
its quick-start guide and installation page (releases 0.8 to 0.10,
https://nvidia.github.io/TensorRT-Edge-LLM/, and ``-DEMBEDDED_TARGET`` from its CMake files).

Not covered: running any of it. No Jetson was at hand; nothing here says that the runtime takes
the embedded model's small sizes, only that both sides say Qwen3.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
from pathlib import Path
from typing import Any

from ...reasoner.bundle import EMBEDDED
from ...twin.errors import ModelError
from .manifest import LanguageRecord

__all__ = ["write_edge_llm"]

_COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
_TEMPLATE = "chat_template.jinja"
# The embedded model reads plain text: messages follow each other as they are.
_PLAIN = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
_MAX_HEADER = 64 << 20  # bytes of a safetensors file's list of tensors
_DEFAULT_CONTEXT = 4096
_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}


def write_edge_llm(source: str | Path, folder: Path) -> LanguageRecord:
    """Write the checkpoint and its README into a new folder.

    Args:
        source: ``"embedded"`` or a transformers folder of a Qwen3.
        folder: such as ``BUNDLE/tensorrt-edge-llm``.

    Raises:
        ModelError: if the source is no such folder.
    """
    place = EMBEDDED if str(source) == "embedded" else Path(source)
    config = _config(place)
    shards = sorted(place.glob("*.safetensors"))
    if not shards or not (place / "tokenizer.json").is_file():
        raise ModelError(
            f"expected a transformers folder with *.safetensors and tokenizer.json at {place}, got "
            "no such files; save the model with save_pretrained"
        )
    folder.mkdir(parents=True, exist_ok=True)
    parameters, dtype = _tensors(shards)
    for file in (*shards, *place.glob("*.safetensors.index.json")):
        shutil.copyfile(file, folder / file.name)
    for name in _COPIED:
        if (place / name).is_file():
            shutil.copyfile(place / name, folder / name)
    _write_template(place, folder)
    # What the tensors are, whatever the training was in; older readers want the base on top.
    config = {**config, "dtype": dtype, "torch_dtype": dtype}
    theta = (config.get("rope_parameters") or {}).get("rope_theta")
    if theta is not None:
        config.setdefault("rope_theta", theta)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "README.md").write_text(_readme(config, parameters))
    return LanguageRecord(
        runtime="tensorrt-edge-llm",
        place="tensorrt-edge-llm",
        precision={"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}[dtype],
        parameters=parameters,
    )


def _config(place: Path) -> dict[str, Any]:
    file = place / "config.json"
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"expected a transformers folder with config.json at {place}, got: {error}; give "
            "'embedded' or a folder of a Qwen3"
        ) from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "qwen3":
        raise ModelError(
            f"expected a model of type qwen3 in {file}, got {kind!r}; the reasoner is a Qwen3"
        )
    return dict(config)


def _tensors(shards: list[Path]) -> tuple[int, str]:
    """Return the number of parameters and the type of most of them, from the files' headers."""
    counts: dict[str, int] = {}
    for shard in shards:
        for name, tensor in _header(shard).items():
            if name != "__metadata__":
                size = math.prod(tensor["shape"])
                counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + size
    kind = max(counts, key=lambda dtype: counts[dtype])
    if kind not in _DTYPES:
        raise ModelError(
            f"expected tensors of {', '.join(_DTYPES)} in {shards[0]}, got {kind}; give the "
            "checkpoint before quantisation"
        )
    return sum(counts.values()), _DTYPES[kind]


def _header(shard: Path) -> dict[str, Any]:
    try:
        with shard.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _MAX_HEADER:
                raise ValueError(f"a header of {length} bytes")
            return dict(json.loads(stream.read(length)))
    except (OSError, ValueError, struct.error) as error:
        raise ModelError(
            f"expected a safetensors file at {shard}, got: {error}; copy the checkpoint again"
        ) from error


def _write_template(place: Path, folder: Path) -> None:
    if (place / _TEMPLATE).is_file():
        shutil.copyfile(place / _TEMPLATE, folder / _TEMPLATE)
    elif "chat_template" not in json.loads((place / "tokenizer_config.json").read_bytes()):
        (folder / _TEMPLATE).write_text(_PLAIN + "\n")


def _readme(config: dict[str, Any], parameters: int) -> str:
    context = min(int(config.get("max_position_embeddings", _DEFAULT_CONTEXT)), _DEFAULT_CONTEXT)
    return (
        _README.replace("@PARAMETERS", f"{parameters / 1e6:.1f}")
        .replace("@DTYPE", str(config["dtype"]))
        .replace("@CONTEXT", str(context))
        .replace("@INPUT", str(context - context // 4))
    )


_README = """# The reasoner for TensorRT-Edge-LLM

A Qwen3 checkpoint of @PARAMETERS million parameters in @DTYPE: `config.json`, safetensors,
tokenizer. TensorRT-Edge-LLM (https://github.com/NVIDIA/TensorRT-Edge-LLM) is NVIDIA's C++ runtime
for language models on Jetson and lists Qwen3-0.6B among its models.

**None of these lines was ever run by EdgeTwin.** They are those of the runtime's own guide
(https://nvidia.github.io/TensorRT-Edge-LLM/, releases 0.8 to 0.10), with this folder's paths and
sizes. What runs without them: ONNX Runtime GenAI (`../reasoner`) and llama.cpp (`../gguf`).

| target | JetPack | `-DEMBEDDED_TARGET` | `-DCUDA_CTK_VERSION` | precisions |
|---|---|---|---|---|
| Orin Nano, Orin NX, AGX Orin | 7.2 | `jetson-orin` | 13.2 | fp16, int8, int4 |
| Orin Nano, Orin NX, AGX Orin | 6.2 | `jetson-orin` | 12.6 | fp16, int8, int4 |
| Thor | 7.2 (7.0 and 7.1: 13.0) | `jetson-thor` | 13.2 | also fp8, nvfp4 |

## 1. Export, on an x86 machine with an NVIDIA GPU

```bash
git clone https://github.com/NVIDIA/TensorRT-Edge-LLM.git && cd TensorRT-Edge-LLM
git submodule update --init --recursive
pip install .
tensorrt-edgellm-export BUNDLE/tensorrt-edge-llm work/onnx
```

In int4, for an Orin with 8 GB, these in place of the last line (`nvfp4` on Thor):

```bash
pip install ".[tools]"
tensorrt-edgellm-quantize llm --model_dir BUNDLE/tensorrt-edge-llm --output_dir work/int4 \\
    --quantization int4_awq
tensorrt-edgellm-export work/int4 work/onnx --externalize-weights int4_ffn
```

## 2. The runtime, on the Jetson

```bash
git clone https://github.com/NVIDIA/TensorRT-Edge-LLM.git && cd TensorRT-Edge-LLM
git submodule update --init --recursive
mkdir -p build && cd build
cmake .. -DCMAKE_BUILD_TYPE=Release -DTRT_PACKAGE_DIR=/usr \\
    -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64_linux_toolchain.cmake \\
    -DEMBEDDED_TARGET=jetson-orin -DCUDA_CTK_VERSION=13.2 -DENABLE_CUTE_DSL=ALL
make -j$(nproc) && cd ..
```

## 3. Engine and a first answer, on the Jetson

```bash
./build/examples/llm/llm_build --onnxDir work/onnx/llm --engineDir work/engine \\
    --maxBatchSize 1 --maxInputLen @INPUT --maxKVCacheCapacity @CONTEXT
./build/examples/llm/llm_bench --engineDir work/engine --mode prefill --inputLen 128 --batchSize 1
./build/examples/llm/llm_inference --engineDir work/engine --inputFile in.json --outputFile out.json
```

An engine is for one GPU, TensorRT and JetPack: build it again after each update.

## 4. EdgeTwin with it

Its experimental OpenAI-compatible server (built with `-DBUILD_PYTHON_BINDINGS=ON`) answers
EdgeTwin as any endpoint does:

```bash
python -m experimental.server --model BUNDLE/tensorrt-edge-llm --port 8000
edgetwin ask TWIN --language http://127.0.0.1:8000/v1#reasoner -q "what could I drink from?"
```

An endpoint is not held to EdgeTwin's grammar: a malformed plan is then reported, not impossible.
"""
