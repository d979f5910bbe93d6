"""Language models of published size with random weights, in every format that runs here.

The sizes are those of ``Qwen/Qwen3-0.6B`` and ``Qwen/Qwen3-1.7B``. Random weights say nothing,
but they cost what trained ones cost. The tokenizer is the embedded set's (the same pre-tokenizer,
fewer merges); the matrix of embeddings has all 151,936 rows, since the head's product is a good
part of the work.

Nothing here is ever committed: 0.6B takes 1.2 GB in bfloat16. Importing this needs torch.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from ...deploy.export.genai import build_genai
from ...deploy.export.gguf import KINDS, write_gguf
from ...reasoner.bundle import EMBEDDED, write_manifest
from ...reasoner.protocol import EOS
from ...twin.errors import InputError

__all__ = ["FORMATS", "SIZES", "formatted", "write_random"]

SIZES: dict[str, dict[str, int]] = {
    "0.6B": {"hidden_size": 1024, "intermediate_size": 3072},
    "1.7B": {"hidden_size": 2048, "intermediate_size": 6144},
}
_COMMON: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151_936,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "hidden_act": "silu",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "tie_word_embeddings": True,
    "use_cache": True,
    "use_sliding_window": False,
    "sliding_window": None,
    "max_window_layers": 28,
    "bos_token_id": None,
    "initializer_range": 0.02,
    "dtype": "bfloat16",
}
_CONTEXT = 2048  # tokens; what the embedded reasoner is used with

FORMATS: dict[str, str] = {
    "int4": "model.onnx",
    "int8": "model.onnx",
    "fp32": "model.onnx",
    **dict.fromkeys(KINDS, "model.gguf"),
}
"""Format -> the file that holds it: the GenAI builder's and llama.cpp's."""


def write_random(size: str, folder: Path, seed: int = 0, **changes: int) -> Path:
    """Write a transformers folder in bfloat16; one that is there is kept.

    ``changes`` replace values of the configuration (tests make it tiny).

    Raises:
        InputError: if the size is unknown.
    """
    if size not in SIZES:
        raise InputError(f"expected a size among {', '.join(SIZES)}, got {size!r}")
    from safetensors.torch import save_file

    if (folder / "manifest.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    added = json.loads((EMBEDDED / "tokenizer.json").read_text())["added_tokens"]
    eos = next(int(token["id"]) for token in added if token["content"] == EOS)
    config: dict[str, Any] = {
        **_COMMON,
        **SIZES[size],
        **changes,
        "eos_token_id": eos,
        "pad_token_id": eos,
    }
    config["layer_types"] = ["full_attention"] * config["num_hidden_layers"]
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: _drawn(shape, generator) for name, shape in _shapes(config).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EMBEDDED / name, folder / name)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    write_manifest(folder, f"qwen3-{size}-random", config={"max_tokens": _CONTEXT})
    return folder


def formatted(source: Path, kind: str, folder: Path, threads: int = 1) -> Path:
    """The folder of one format beside the source's name and context; kept if it is there.

    Raises:
        InputError: if the format is unknown.
        ModelError: if the builder or llama.cpp fails.
        MissingExtraError: without the packages that write it.
    """
    if kind not in FORMATS:
        raise InputError(f"expected a format among {', '.join(FORMATS)}, got {kind!r}")
    if (folder / "manifest.json").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
    if FORMATS[kind] == "model.onnx":
        build_genai(source, folder, kind, one_file=False, threads=None)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_gguf(source, folder / "model.gguf", kind, name=source.name, threads=threads)  # type: ignore[arg-type]
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(source / name, folder / name)
    write_manifest(folder, f"{source.name}-{kind}", config={"max_tokens": _CONTEXT})
    return folder


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    wide, inner, head = (config[k] for k in ("hidden_size", "intermediate_size", "head_dim"))
    heads, few = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], wide),
        "model.norm.weight": (wide,),
    }
    for layer in range(config["num_hidden_layers"]):
        stem = f"model.layers.{layer}"
        shapes |= {
            f"{stem}.input_layernorm.weight": (wide,),
            f"{stem}.post_attention_layernorm.weight": (wide,),
            f"{stem}.self_attn.q_norm.weight": (head,),
            f"{stem}.self_attn.k_norm.weight": (head,),
            f"{stem}.self_attn.q_proj.weight": (heads, wide),
            f"{stem}.self_attn.k_proj.weight": (few, wide),
            f"{stem}.self_attn.v_proj.weight": (few, wide),
            f"{stem}.self_attn.o_proj.weight": (wide, heads),
            f"{stem}.mlp.gate_proj.weight": (inner, wide),
            f"{stem}.mlp.up_proj.weight": (inner, wide),
            f"{stem}.mlp.down_proj.weight": (wide, inner),
        }
    return shapes


def _drawn(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    return (torch.randn(shape, generator=generator) * 0.02).to(torch.bfloat16)
