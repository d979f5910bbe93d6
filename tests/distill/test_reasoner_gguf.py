"""GGUF files of a tiny Qwen3, and quantised graphs read back to floats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("gguf")
pytest.importorskip("onnx")

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from edgetwin.deploy.export import gguf as writer
from edgetwin.deploy.export.gguf import Kind, write_gguf
from edgetwin.distill.reasoner import network, quantised
from edgetwin.distill.reasoner import tokenizer as bpe
from edgetwin.reasoner.protocol import EOS
from edgetwin.twin.errors import InputError, MissingExtraError, ModelError
from edgetwin.twin.tools.registry import DEFAULT_REGISTRY

WIDTHS = {
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of two layers whose outputs depend on every matrix, and a tokenizer."""
    place = tmp_path_factory.mktemp("tiny")
    corpus = ["which mug is nearest to the red box? " * 20, "the café in the Zürich street " * 9]
    tokenizer = bpe.train(corpus, DEFAULT_REGISTRY.json_schemas(), 700)
    bpe.save(tokenizer, place)
    model = network.build(704, bpe.token_id(tokenizer, EOS), widths=WIDTHS)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "o_proj" in name or "down_proj" in name or parameter.ndim < 2:
                parameter += torch.randn_like(parameter) * 0.1
    model.save_pretrained(place)
    return place


def read(path: Path) -> Any:
    from gguf import GGUFReader

    return GGUFReader(path)


@pytest.mark.parametrize(("kind", "error"), [("f32", 0.0), ("f16", 5e-4), ("q8_0", 5e-3)])
def test_tensors_are_those_of_the_folder(
    folder: Path, tmp_path: Path, kind: Kind, error: float
) -> None:
    from gguf.quants import dequantize
    from safetensors.numpy import load_file

    found = read(write_gguf(folder, tmp_path / "m.gguf", kind))
    own = load_file(folder / "model.safetensors")
    tensors = {t.name: dequantize(t.data, t.tensor_type) for t in found.tensors}
    assert len(tensors) == len(own)
    for name, values in own.items():
        stored = tensors[writer._name(name, folder)]
        assert stored.shape == values.shape, name
        bound = 0.0 if values.ndim < 2 else error * np.abs(values).max()
        assert np.abs(stored - values).max() <= bound, name
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_the_shape_and_the_vocabulary_are_written(folder: Path, tmp_path: Path) -> None:
    fields = read(write_gguf(folder, tmp_path / "m.gguf", "f16", name="small")).fields
    values = {name: field.contents() for name, field in fields.items()}
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    assert values["general.architecture"] == "qwen3"
    assert values["general.name"] == "small"
    assert values["qwen3.attention.key_length"] == 32
    assert values["qwen3.attention.head_count_kv"] == 2
    assert values["qwen3.rope.freq_base"] == 10_000
    assert values["qwen3.context_length"] == 2048
    assert (values["tokenizer.ggml.model"], values["tokenizer.ggml.pre"]) == ("gpt2", "qwen2")
    assert values["tokenizer.ggml.eos_token_id"] == config["eos_token_id"]
    tokens, types = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    assert len(tokens) == len(types) == 704
    kinds = {t["content"]: types[t["id"]] for t in tokenizer["added_tokens"]}
    assert kinds[EOS] == 3  # control
    assert {kind for text, kind in kinds.items() if text != EOS} == {4}  # user-defined
    assert [tokens[t["id"]] for t in tokenizer["added_tokens"]] == list(kinds)
    assert types[-1] == 5  # a row of the matrix without a token
    assert len(values["tokenizer.ggml.merges"]) == len(tokenizer["model"]["merges"])


def test_what_cannot_be_written_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="q8_0"):
        write_gguf(folder, tmp_path / "m.gguf", "q5")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"config\.json"):
        write_gguf(tmp_path, tmp_path / "m.gguf")
    for file, old, new in (
        ("config.json", '"qwen3"', '"llama"'),
        ("tokenizer.json", r"\\p{N}|", r"\\p{N}{1,3}|"),
        ("config.json", '"vocab_size": 704', '"vocab_size": 64'),
    ):
        other = tmp_path / file.partition(".")[0]
        other.mkdir(exist_ok=True)
        for source in folder.iterdir():
            (other / source.name).write_bytes(source.read_bytes())
        text = (other / file).read_text()
        assert old in text
        (other / file).write_text(text.replace(old, new))
        with pytest.raises(ModelError, match="expected"):
            write_gguf(other, tmp_path / "m.gguf")
    assert not (tmp_path / "m.gguf").exists()


def test_a_missing_package_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(writer.importlib, "import_module", gone)
    with pytest.raises(MissingExtraError, match=r"edgetwin\[export\]"):
        write_gguf(folder, tmp_path / "m.gguf")


def quantised_graph(path: Path, tied: bool, bits: int, zeros: bool) -> dict[str, Any]:
    """A graph with the builder's names and operators (they are not run); the true floats."""
    rng = np.random.default_rng(0)
    wide, vocabulary = 32, 48
    arrays: list[Any] = []
    nodes: list[Any] = []
    truth: dict[str, Any] = {}

    def add(name: str, rows: int, columns: int) -> Any:
        block = 16
        values = rng.integers(0, 1 << bits, (rows, columns), np.uint8)
        scales = rng.uniform(0.1, 1, (rows, columns // block)).astype(np.float32)
        packed = values if bits == 8 else values[:, ::2] | values[:, 1::2] << 4
        each = packed.reshape(rows, columns // block, -1)
        stem = f"{name}.MatMul.weight"
        inputs = ["x", f"{stem}_Q{bits}", f"{stem}_scales"]
        zero = np.full(scales.shape, 1 << (bits - 1), np.uint8)
        if zeros:
            zero = rng.integers(0, 1 << bits, scales.shape, np.uint8)
            stored = zero if bits == 8 else zero[:, ::2] | zero[:, 1::2] << 4
            arrays.append(numpy_helper.from_array(stored.reshape(-1), f"{stem}_zero_points"))
            inputs.append(f"{stem}_zero_points")
        arrays.append(numpy_helper.from_array(each, inputs[1]))
        arrays.append(numpy_helper.from_array(scales.reshape(-1), inputs[2]))
        nodes.append(
            helper.make_node("MatMulNBits", inputs, [name], bits=bits, block_size=block, N=rows,
                             K=columns, accuracy_level=4)
        )  # fmt: skip
        floats = values.astype(np.float32) - np.repeat(zero.astype(np.float32), block, axis=1)
        return floats * np.repeat(scales, block, axis=1)

    qkv = add("model.layers.0.attn.qkv_proj", 64 + 32 + 32, wide)
    for part, rows in (("q", qkv[:64]), ("k", qkv[64:96]), ("v", qkv[96:])):
        truth[f"model.layers.0.self_attn.{part}_proj.weight"] = rows
    truth["model.layers.0.self_attn.o_proj.weight"] = add("model.layers.0.attn.o_proj", wide, 64)
    for name, rows, columns in (("gate", 64, wide), ("up", 64, wide), ("down", wide, 64)):
        own = f"model.layers.0.mlp.{name}_proj"
        truth[f"{own}.weight"] = add(own, rows, columns)
    head = add("lm_head", vocabulary, wide)
    for theirs, ours, size in (
        ("model.layers.0.input_layernorm.weight", "model.layers.0.input_layernorm.weight", wide),
        ("model.layers.0.post_attention_layernorm.weight",
         "model.layers.0.post_attention_layernorm.weight", wide),
        ("model.layers.0.attn.q_norm.layernorm.weight",
         "model.layers.0.self_attn.q_norm.weight", 32),
        ("model.layers.0.attn.k_norm.layernorm.weight",
         "model.layers.0.self_attn.k_norm.weight", 32),
        ("model.layers.1.final_norm_layernorm.weight", "model.norm.weight", wide),
    ):  # fmt: skip
        truth[ours] = rng.normal(1, 0.1, size).astype(np.float32)
        arrays.append(numpy_helper.from_array(truth[ours], theirs))
    if tied:
        truth["model.embed_tokens.weight"] = head
        gather = ["packed", "input_ids", "lm_head.MatMul.weight_scales"]
        nodes.append(helper.make_node("GatherBlockQuantized", gather, ["e"]))
    else:
        truth |= {"lm_head.weight": head}
        truth["model.embed_tokens.weight"] = rng.normal(0, 1, (vocabulary, wide)).astype(np.float32)
        arrays.append(
            numpy_helper.from_array(truth["model.embed_tokens.weight"], "model.embed_tokens.weight")
        )
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [value], [value], arrays)), str(path))
    return truth


CONFIG = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 48,
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("bits", "zeros"), [(4, False), (4, True), (8, False), (8, True)])
def test_floats_of_a_quantised_graph(tmp_path: Path, tied: bool, bits: int, zeros: bool) -> None:
    truth = quantised_graph(tmp_path / "model.onnx", tied, bits, zeros)
    found = quantised.dequantised(tmp_path / "model.onnx", CONFIG)
    assert found.keys() == truth.keys()
    for name, values in truth.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(("bits", "half"), [(4, True), (8, False)])
def test_settled_weights_are_the_same_to_the_last_bit(
    folder: Path, tmp_path: Path, bits: int, half: bool
) -> None:
    from safetensors.torch import load_file

    truth = quantised_graph(tmp_path / "model.onnx", True, bits, False)
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "tie_word_embeddings": True}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert quantised.settle(tmp_path, level=1) is half
    computed = quantised.dequantised(tmp_path / "model.onnx", CONFIG)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored.keys() == computed.keys() == truth.keys()
    for name, values in stored.items():
        assert values.dtype == (torch.float16 if half else torch.float32)
        np.testing.assert_array_equal(values.float().numpy(), computed[name], err_msg=name)
        np.testing.assert_allclose(computed[name], truth[name], rtol=4e-3, err_msg=name)


def test_a_graph_that_lacks_tensors_is_refused(tmp_path: Path) -> None:
    quantised_graph(tmp_path / "model.onnx", True, 4, False)
    with pytest.raises(ModelError, match="expected 24 tensors"):
        quantised.dequantised(tmp_path / "model.onnx", {**CONFIG, "num_hidden_layers": 2})


def test_accuracy_level_is_all_that_changes(tmp_path: Path) -> None:
    quantised_graph(tmp_path / "model.onnx", True, 4, False)
    quantised.set_accuracy_level(tmp_path / "model.onnx", tmp_path / "one.onnx", 1)
    was, now = (onnx.load(str(tmp_path / name)).graph for name in ("model.onnx", "one.onnx"))
    levels = {
        helper.get_attribute_value(a)
        for node in now.node
        for a in node.attribute
        if a.name == "accuracy_level"
    }
    assert levels == {1}
    assert [i.SerializeToString() for i in was.initializer] == [
        i.SerializeToString() for i in now.initializer
    ]
    assert [list(n.input) for n in was.node] == [list(n.input) for n in now.node]
