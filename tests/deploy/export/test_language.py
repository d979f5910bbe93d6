"""The language model of a bundle: the same function in every runtime, told about alike."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gguf")
pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgetwin.deploy.export import genai
from edgetwin.deploy.export.gguf import Kind
from edgetwin.deploy.export.language import LanguagePrecision, language_folder, write_language
from edgetwin.reasoner.bundle import EMBEDDED, load_bundle
from edgetwin.reasoner.models.base import LanguageModel
from edgetwin.reasoner.models.opening import open_model
from edgetwin.twin.errors import InputError, ModelError

PROMPTS = (
    "Which mug is nearest to the red box?",
    '<plan>[{"tool":"find","name":"mug"},{"tool":"nearest","of":"$1","to":"$2"}]</plan>',
    "Find what you could drink from, and tell me what stands left of it.",
)
FLOATS: tuple[Kind, ...] = ("f16", "q8_0")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model in the formats that need no compiled package."""
    folder = tmp_path_factory.mktemp("bundle")
    write_language("embedded", folder, gguf=FLOATS)
    return folder


def rows(model: LanguageModel, prompts: Sequence[str] = PROMPTS) -> np.ndarray:
    """Logits after each token of the prompts -> (T, V)."""
    found = []
    for prompt in prompts:
        sequence: Any = model.start()  # type: ignore[attr-defined]
        for token in model.encode(prompt):  # type: ignore[attr-defined]
            sequence.feed([token])
            found.append(np.array(sequence.logits(), np.float32))
        sequence.close()
    return np.stack(found)


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    return rows(open_model(EMBEDDED, "transformers", device="cpu"))


def test_the_embedded_graph_is_taken_as_it_is(bundle: Path) -> None:
    for name in ("model.onnx", "genai_config.json", "tokenizer.json"):
        assert (bundle / "reasoner" / name).read_bytes() == (EMBEDDED / name).read_bytes()
    assert not (bundle / "reasoner" / "model.safetensors").exists()  # nothing there reads it
    own, made = load_bundle(EMBEDDED), load_bundle(bundle / "reasoner")
    for field in ("name", "style", "layout", "modes", "turns", "tools", "known_words", "config"):
        assert getattr(made, field) == getattr(own, field), field


def test_records_say_where_and_what(tmp_path: Path) -> None:
    found = write_language("embedded", tmp_path, gguf=["f16"])
    assert [(one.runtime, one.place, one.precision) for one in found] == [
        ("onnxruntime-genai", "reasoner", "int4"),
        ("llama.cpp", "gguf/edgetwin-embedded-reasoner-f16.gguf", "f16"),
    ]
    assert {one.parameters for one in found} == {genai.parameter_count(EMBEDDED)}
    assert all((tmp_path / one.place).exists() for one in found)


@pytest.mark.parametrize(
    ("kind", "error", "same"), [("f16", 0.02, 1.0), ("q8_0", 0.6, 0.95), ("q4_k_m", 2.5, 0.9)]
)
def test_llama_cpp_computes_what_torch_does(
    reference: np.ndarray, tmp_path: Path, kind: Kind, error: float, same: float
) -> None:
    """Largest difference of a logit (they span 30), share of the same likeliest next token.

    Measured: .0096 and 1; .31 and .976; 1.14 and .976.
    """
    pytest.importorskip("llama_cpp")
    write_language("embedded", tmp_path, gguf=[kind])
    with open_model(tmp_path / "gguf" / f"edgetwin-embedded-reasoner-{kind}.gguf") as model:  # type: ignore[attr-defined]
        got = rows(model)
    assert np.abs(got - reference).max() <= error
    assert (got.argmax(1) == reference.argmax(1)).mean() >= same


def test_a_gguf_file_is_prompted_like_the_graph(bundle: Path) -> None:
    pytest.importorskip("llama_cpp")
    graph = open_model(bundle / "reasoner")
    for kind in FLOATS:
        with open_model(bundle / "gguf" / f"edgetwin-embedded-reasoner-{kind}.gguf") as model:  # type: ignore[attr-defined]
            assert (model.style, model.layout, model.modes) == (
                graph.style,
                graph.layout,
                graph.modes,
            )
            assert model.known_words == graph.known_words
            assert model.encode(PROMPTS[1]) == graph.encode(PROMPTS[1])  # type: ignore[attr-defined]


def test_a_changed_gguf_file_is_refused(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    copy = shutil.copytree(bundle / "gguf", tmp_path / "gguf")
    file = copy / "edgetwin-embedded-reasoner-q8_0.gguf"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match="sha256"):
        open_model(file)


def stranger(folder: Path) -> Path:
    """The embedded weights as anybody's transformers folder."""
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(EMBEDDED / name, folder / name)
    return folder


@pytest.mark.parametrize(
    ("precision", "error", "size_mb"), [("fp32", 1e-3, 20), ("fp16", 0.01, 10)]
)
def test_a_model_of_anybody_is_built(
    reference: np.ndarray, tmp_path: Path, precision: LanguagePrecision, error: float, size_mb: int
) -> None:
    pytest.importorskip("onnx")
    source = stranger(tmp_path / "My Model")
    write_language(source, tmp_path / "out", precision=precision, gguf=["f16"])
    made = load_bundle(tmp_path / "out" / "reasoner")
    assert (made.name, made.style, made.tools) == ("My Model", "long", None)
    assert made.config == {"max_tokens": 2048, "precision": precision}
    assert (tmp_path / "out" / "gguf" / "my-model-f16.gguf").is_file()
    got = rows(open_model(tmp_path / "out" / "reasoner"))
    assert np.abs(got - reference).max() <= error
    assert (tmp_path / "out" / "reasoner" / "model.onnx").stat().st_size < size_mb * 1e6


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="int3"):
        write_language("embedded", tmp_path, precision="int3")
    with pytest.raises(InputError, match="q5_1"):
        write_language("embedded", tmp_path, gguf=["q5_1"])
    with pytest.raises(ModelError, match=r"without config\.json"):
        language_folder(tmp_path)
    source = stranger(tmp_path / "m")
    (source / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="without safetensors"):
        write_language(source, tmp_path / "out")
    (source / "model.safetensors").write_bytes(b"\xff" * 16)
    with pytest.raises(ModelError, match="copy the model again"):
        write_language(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_parameters_are_counted_without_reading_them() -> None:
    from safetensors.torch import load_file

    tensors = load_file(EMBEDDED / "model.safetensors")
    assert genai.parameter_count(EMBEDDED) == sum(t.numel() for t in tensors.values())


def test_a_provider_has_to_be_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rocm"):
        genai.build_genai(EMBEDDED, tmp_path / "out", provider="rocm")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("EDGETWIN_SLOW"), reason="writes 4 GB and takes minutes: EDGETWIN_SLOW=1"
)
def test_qwen3_of_published_size(tmp_path: Path) -> None:
    """Qwen3-0.6B with random weights: what its files compute is what torch computes.

    Measured, relative RMS: f16 .0010, q8_0 .0313, q4_k_m .248, int4 .380. Four bits cost random
    weights, all of one size, more than trained ones.
    """
    pytest.importorskip("llama_cpp")
    from edgetwin.distill.evaluate.language_sizes import write_random

    source = write_random("0.6B", tmp_path / "qwen3")
    began = time.perf_counter()
    write_language(source, tmp_path / "out", precision="int4", gguf=["f16", "q8_0", "q4_k_m"])
    print(f"written in {time.perf_counter() - began:.0f} s")
    wanted = rows(open_model(source, "transformers", device="cpu"), PROMPTS[:1])
    places = {kind: f"gguf/qwen3-0.6b-random-{kind}.gguf" for kind in ("f16", "q8_0", "q4_k_m")}
    bounds = {"f16": 0.01, "q8_0": 0.05, "q4_k_m": 0.35, "int4": 0.5}
    for kind, place in {**places, "int4": "reasoner"}.items():
        got = rows(open_model(tmp_path / "out" / place), PROMPTS[:1])
        error = np.sqrt(((got - wanted) ** 2).mean() / (wanted**2).mean())
        same = (got.argmax(1) == wanted.argmax(1)).mean()
        files = [tmp_path / "out" / place, *(tmp_path / "out" / place).glob("model.onnx*")]
        size = sum(file.stat().st_size for file in files)
        print(f"{kind}: relative RMS {error:.4f}, same next token {same:.2f}, {size / 1e6:.0f} MB")
        assert error <= bounds[kind]
