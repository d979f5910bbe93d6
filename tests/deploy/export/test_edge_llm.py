"""The folder for TensorRT-Edge-LLM is a checkpoint that transformers itself loads and runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from edgetwin.deploy.export.edge_llm import write_edge_llm
from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.twin.errors import ModelError

embedded = pytest.mark.skipif(
    not (EMBEDDED / "model.safetensors").is_file(), reason="needs the embedded reasoner"
)


@embedded
def test_transformers_loads_it_with_the_same_weights(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    numpy = pytest.importorskip("safetensors.numpy")
    folder = tmp_path / "tensorrt-edge-llm"
    record = write_edge_llm("embedded", folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert next(model.parameters()).dtype == torch.float16
    unique = {id(p): p.numel() for p in model.parameters()}
    assert record.parameters == sum(unique.values())
    assert (record.runtime, record.precision) == ("tensorrt-edge-llm", "fp16")
    wanted = numpy.load_file(EMBEDDED / "model.safetensors")["model.embed_tokens.weight"]
    assert np.array_equal(model.get_input_embeddings().weight.detach().numpy(), wanted)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("the red mug")["input_ids"]
    assert tokenizer.decode(ids) == "the red mug"
    said = [{"role": "user", "content": "the red"}, {"role": "user", "content": " mug"}]
    assert tokenizer.apply_chat_template(said, tokenize=False) == "the red mug"


@embedded
def test_the_readme_has_this_models_sizes_and_says_what_was_not_run(tmp_path: Path) -> None:
    write_edge_llm("embedded", tmp_path)
    text = (tmp_path / "README.md").read_text()
    config = json.loads((EMBEDDED / "config.json").read_bytes())
    capacity = re.search(r"--maxInputLen (\d+) --maxKVCacheCapacity (\d+)", text)
    assert capacity is not None
    assert int(capacity[2]) == config["max_position_embeddings"]
    assert 0 < int(capacity[1]) < int(capacity[2])
    assert "None of these lines was ever run" in text
    assert "@" not in text


def test_what_is_no_qwen3_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        write_edge_llm(tmp_path, tmp_path / "out")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match=r"qwen3.*'llama'"):
        write_edge_llm(tmp_path, tmp_path / "out")
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    with pytest.raises(ModelError, match="safetensors and tokenizer"):
        write_edge_llm(tmp_path, tmp_path / "out")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 16)
    with pytest.raises(ModelError, match="safetensors file"):
        write_edge_llm(tmp_path, tmp_path / "out")
