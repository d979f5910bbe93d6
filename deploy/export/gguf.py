"""Write a Qwen3 folder of transformers as GGUF, the file format of llama.cpp.

Matrices are stored as float32, float16 or Q8_0 (blocks of 32 with one float16 scale), vectors
always as float32; Q4_K_M is made from float16 by llama.cpp itself. The tokenizer goes along:
byte-level BPE with Qwen2's pre-tokenizer, special tokens as control tokens, our tags and
pieces of tool calls as user-defined ones, each of which is encoded as one token.

llama.cpp cuts a text at its longest user-defined token first, transformers at the leftmost;
they differ where two overlap (``],"to":"$``). :mod:`edgetwin.reasoner.models.llama_cpp` cuts as
transformers does, so that tokens are those of ``tokenizer.json``.

Not covered: other architectures than Qwen3, biases in attention, scaled rotary embeddings,
chat templates, importance matrices.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import InputError, MissingExtraError, ModelError

__all__ = ["KINDS", "QWEN2_PATTERN", "Kind", "write_gguf"]

# Pre-tokenizer of Qwen2 and Qwen3, as in their published tokenizer.json.
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

Kind = Literal["f32", "f16", "q8_0", "q4_k_m"]
KINDS: tuple[Kind, ...] = ("f32", "f16", "q8_0", "q4_k_m")

_LLAMA_Q4_K_M = 15  # LLAMA_FTYPE_MOSTLY_Q4_K_M of llama.h
_BLOCK = 32  # values that share a scale in Q8_0
_TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_IN_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(
    folder: Path, target: Path, kind: Kind = "f16", *, name: str = "qwen3", threads: int = 1
) -> Path:
    """Write ``folder`` (config.json, safetensors, tokenizer.json) to the file ``target``.

    Memory holds one matrix at a time. ``threads`` is for Q4_K_M, which also needs
    llama-cpp-python and rows of 256 values; other rows fall back to a finer format.

    Raises:
        InputError: if ``kind`` is unknown.
        ModelError: if the folder is no Qwen3 that this can write.
        MissingExtraError: without the packages gguf or, for Q4_K_M, llama-cpp-python.
    """
    if kind not in KINDS:
        raise InputError(f"expected a kind among {', '.join(KINDS)}, got {kind!r}")
    gguf = _package()
    source = _Source.of(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        written = Path(work) / target.name
        _write(gguf, source, written, "f16" if kind == "q4_k_m" else kind, name)
        if kind == "q4_k_m":
            written = _quantised(written, Path(work) / "quantised.gguf", threads)
        written.replace(target)
    return target


@dataclass(frozen=True, slots=True)
class _Source:
    """A checked folder: ``tensors`` is GGUF name -> (file, name in it, shape)."""

    folder: Path
    config: dict[str, Any]
    tokenizer: dict[str, Any]
    tensors: dict[str, tuple[Path, str, tuple[int, ...]]]

    @classmethod
    def of(cls, folder: Path) -> _Source:
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(
                f"expected a transformers folder with config.json and tokenizer.json in {folder}, "
                f"got: {error}; save the model and its tokenizer there"
            ) from error
        _check(config, tokenizer, folder)
        return cls(folder, config, tokenizer, _tensors(folder, bool(config["tie_word_embeddings"])))

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor as float32."""
        from safetensors import safe_open

        file, own, _ = self.tensors[name]
        with safe_open(file, framework="pt") as opened:
            values: NDArray[np.float32] = opened.get_tensor(own).float().numpy()
        return values


def _check(config: dict[str, Any], tokenizer: dict[str, Any], folder: Path) -> None:
    scaled = (config.get("rope_parameters") or {}).get("rope_type", "default") != "default"
    if config.get("model_type") != "qwen3" or config.get("attention_bias") or scaled:
        raise ModelError(
            f"expected a Qwen3 without biases and with plain rotary embeddings in {folder}, got "
            f"{config.get('model_type')!r}; other architectures are converted by llama.cpp's tools"
        )
    before = json.dumps(tokenizer.get("pre_tokenizer"))
    if tokenizer["model"].get("type") != "BPE" or json.dumps(QWEN2_PATTERN) not in before:
        raise ModelError(
            f"expected a byte-level BPE with Qwen2's pre-tokenizer in {folder}/tokenizer.json, got "
            f"{tokenizer['model'].get('type')!r}; use a tokenizer of that kind"
        )


def _tensors(folder: Path, tied: bool) -> dict[str, tuple[Path, str, tuple[int, ...]]]:
    from safetensors import safe_open

    found: dict[str, tuple[Path, str, tuple[int, ...]]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for own in opened.keys():  # noqa: SIM118  (not a mapping)
                if tied and own == "lm_head.weight":
                    continue
                shape = tuple(opened.get_slice(own).get_shape())
                found[_name(own, folder)] = (file, own, shape)
    if "token_embd.weight" not in found:
        raise ModelError(f"expected safetensors of the whole model in {folder}, got {len(found)}")
    return found


def _name(own: str, folder: Path) -> str:
    """GGUF's name of a transformers tensor."""
    if own in _TOP:
        return _TOP[own]
    head, _, rest = own.removeprefix("model.layers.").partition(".")
    part = rest.removesuffix(".weight")
    if not own.startswith("model.layers.") or not head.isdigit() or part not in _IN_LAYER:
        raise ModelError(f"expected the tensors of a Qwen3 in {folder}, got {own}")
    return f"blk.{head}.{_IN_LAYER[part]}.weight"


def _write(gguf: Any, source: _Source, target: Path, kind: Kind, name: str) -> None:
    writer = gguf.GGUFWriter(target, "qwen3")
    writer.add_name(name)
    _add_shape(writer, source.config)
    _add_tokenizer(gguf, writer, source.tokenizer, source.config)
    files = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}
    writer.add_file_type(int(gguf.LlamaFileType[files[kind]]))
    if kind == "q8_0":
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for tensor, (_, _, shape) in source.tensors.items():
        stored = gguf.GGMLQuantizationType[_stored(shape, kind)]
        block, size = gguf.GGML_QUANT_SIZES[stored]
        count = int(np.prod(shape))
        writer.add_tensor_info(tensor, shape, np.dtype(np.float32), count // block * size, stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, (_, _, shape) in source.tensors.items():
        stored = gguf.GGMLQuantizationType[_stored(shape, kind)]
        writer.write_tensor_data(gguf.quants.quantize(source.read(tensor), stored))
    writer.close()


def _stored(shape: tuple[int, ...], kind: Kind) -> str:
    """Name of the number format that a tensor is stored in."""
    if len(shape) < 2 or kind == "f32":
        return "F32"
    return "F16" if kind == "f16" or shape[-1] % _BLOCK else "Q8_0"


def _add_shape(writer: Any, config: dict[str, Any]) -> None:
    heads = int(config["num_attention_heads"])
    head = int(config.get("head_dim") or config["hidden_size"] // heads)
    rope = config.get("rope_parameters") or config

    writer.add_context_length(int(config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(config["num_key_value_heads"]))
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    writer.add_vocab_size(int(config["vocab_size"]))


def _add_tokenizer(
    gguf: Any, writer: Any, tokenizer: dict[str, Any], config: dict[str, Any]
) -> None:
    tokens, types = _vocabulary(gguf, tokenizer, int(config["vocab_size"]))
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    for key, add in (("eos", writer.add_eos_token_id), ("pad", writer.add_pad_token_id)):
        number = config.get(f"{key}_token_id")
        if number is not None:
            add(int(number[0] if isinstance(number, list) else number))
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)


def _vocabulary(gguf: Any, tokenizer: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Texts and types of all token ids; rows of the matrix without a token are unused."""
    texts = {int(number): text for text, number in tokenizer["model"]["vocab"].items()}
    kinds = dict.fromkeys(texts, int(gguf.TokenType.NORMAL))
    for token in tokenizer.get("added_tokens", ()):
        number = int(token["id"])
        texts[number] = str(token["content"])
        kind = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        kinds[number] = int(kind)
    if max(texts) >= size:
        raise ModelError(
            f"expected token ids below the vocabulary of {size}, got {max(texts)}; "
            "the tokenizer does not belong to this model"
        )
    unused = int(gguf.TokenType.UNUSED)
    tokens = [texts.get(number, f"[unused{number}]") for number in range(size)]
    return tokens, [kinds.get(number, unused) for number in range(size)]


def _quantised(source: Path, target: Path, threads: int) -> Path:
    from ...reasoner.models.llama_cpp import library

    low = library()
    parameters = low.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread = _LLAMA_Q4_K_M, threads
    code = low.llama_model_quantize(str(source).encode(), str(target).encode(), parameters)
    if code or not target.is_file():
        raise ModelError(f"expected llama.cpp to write Q4_K_M, got code {code}; try q8_0")
    return target


def _package() -> Any:
    try:
        return importlib.import_module("gguf")
    except ModuleNotFoundError as error:
        raise MissingExtraError("gguf", "export") from error
