from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.reasoner.models import opening
from edgetwin.reasoner.models.opening import open_model
from edgetwin.reasoner.models.ort_genai import OrtGenAiModel
from edgetwin.twin.errors import ModelError

pytestmark = pytest.mark.skipif(
    not (EMBEDDED / "manifest.json").exists(), reason="no embedded weights"
)


def test_embedded_by_name_and_by_folder() -> None:
    by_name, by_folder = open_model(), open_model(EMBEDDED, guided=False)
    assert isinstance(by_name, OrtGenAiModel)
    assert by_name.sha256 == by_folder.sha256
    assert (by_name.guided, by_folder.guided) == (True, False)


def test_a_folder_of_safetensors(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EMBEDDED / name, tmp_path / name)
    model = open_model(tmp_path, device="cpu")
    assert type(model).__name__ == "TransformersModel"
    other = open_model("embedded", "transformers", device="cpu")
    assert other.sha256 == open_model().sha256


def test_a_gguf_file_goes_to_llama_cpp(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for source in (tmp_path, tmp_path / "model.gguf"):
        with pytest.raises(ModelError, match="gguf"):
            open_model(source)


def test_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx2")
    monkeypatch.setenv(opening.KEY_VARIABLE, "secret")
    model: Any = open_model("http://localhost:9/v1#small")
    assert model.name == "small"
    assert not model.guided
    assert "secret" not in repr(model.endpoint)
    with pytest.raises(ModelError, match=r"#name"):
        open_model("http://localhost:9/v1")


@pytest.mark.parametrize("source", ["", "no/such/folder", "Qwen/Qwen3-0.6B", "ftp://x/y"])
def test_what_it_is_not(source: str) -> None:
    with pytest.raises(ModelError, match="expected a language model"):
        open_model(source)


def test_unknown_backend() -> None:
    with pytest.raises(ModelError, match="expected a backend"):
        open_model("embedded", "abacus")  # type: ignore[arg-type]


def test_only_the_chosen_backend_is_imported() -> None:
    code = (
        "import sys; from edgetwin.reasoner.models.opening import open_model\n"
        "assert 'onnxruntime_genai' not in sys.modules\n"
        "open_model()\n"
        "heavy = {'torch', 'transformers', 'llama_cpp', 'httpx2'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
