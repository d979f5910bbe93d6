"""transformers over the embedded checkpoint, with a growing and with a static cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgetwin.reasoner import prompts
from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.reasoner.models.base import LanguageModel, Piece
from edgetwin.reasoner.models.ort_genai import OrtGenAiModel
from edgetwin.reasoner.models.transformers import TransformersModel
from edgetwin.twin.errors import MissingExtraError, ModelError
from edgetwin.twin.tools.registry import DEFAULT_REGISTRY
from edgetwin.twin.window import TwinWindow

from .conformance import PREFIX, QUESTION, Conformance, generate, grammar

pytestmark = pytest.mark.skipif(
    not (EMBEDDED / "manifest.json").exists(), reason="no embedded weights"
)


@pytest.fixture(scope="module")
def model() -> TransformersModel:
    return TransformersModel("embedded", threads=1, device="cpu")


class TestTransformers(Conformance):
    pass


def static_model() -> TransformersModel:
    return TransformersModel("embedded", threads=1, device="cpu", static=True)


def test_static_cache_says_the_same(model: TransformersModel) -> None:
    static = static_model()
    for question in (QUESTION, "question: Find the green thing.\n", "question: What moved?\n"):
        texts = []
        for each in (model, static):
            context = each.open()
            context.read([PREFIX])
            context.read([PREFIX, question])
            start = context.length
            free = generate(context, 40)
            context.rewind(start)
            fork = context.fork()
            plan = generate(fork, 200, grammar=grammar(references=()))
            fork.append("<results>[[1]]</results>")
            end = generate(fork, 20, grammar=grammar(plan=False, references=(1,)))
            texts.append((free, plan, end, generate(context, 40)))
            context.close()
        assert texts[0] == texts[1]


@pytest.mark.skipif(not os.environ.get("EDGETWIN_SLOW"), reason="15 s; EDGETWIN_SLOW=1 runs it")
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own compiler
def test_compiled_steps_are_three_graphs(model: TransformersModel) -> None:
    """What CUDA records: one graph per size of step, whatever the position and the context."""
    import torch

    graphs = []

    def note(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    static = static_model()
    static.compiled = torch.compile(static._model, backend=note, dynamic=False)
    texts: list[list[Piece]] = [[], []]
    for question in (QUESTION, "question: What moved?\n"):
        for said, each in zip(texts, (model, static), strict=True):
            context = each.open()
            context.read([PREFIX])
            context.read([PREFIX, question])
            said.append(generate(context, 200, grammar=grammar(references=())))
            context.append("<results>[[1],[2]]</results>")
            said.append(generate(context, 20, grammar=grammar(plan=False, references=(1, 2))))
            context.close()
    assert texts[0] == texts[1]
    assert len(graphs) <= 3


def test_static_cache_grows(model: TransformersModel) -> None:
    long = PREFIX + "4 red ball x40 y120 w40 h40 z80\n" * 40  # beyond the first size, 512
    texts = []
    for each in (model, static_model()):
        context = each.open()
        context.read([PREFIX, QUESTION])
        generate(context, 4)
        held = context.read([PREFIX, long, QUESTION])
        assert held.reused >= each.count(PREFIX)
        assert held.tokens > 512
        texts.append(generate(context, 30).text)
        context.close()
    assert texts[0] == texts[1]


QUESTIONS = (
    "Which mug is left of the box?",
    "Show me the blue object.",
    "What could I drink from?",
    "The thing farthest from the red mug",
    "Everything that is not a mug",
    "Find the banana.",
    "Which object is closest to the camera?",
    "how many mugs are there",
)


def test_greedy_text_is_that_of_the_device(tmp_path: Path, window: TwinWindow) -> None:
    """The floats that the shipped int4 graph stands for, in both runtimes, free and guided."""
    pytest.importorskip("onnx")
    from edgetwin.distill.reasoner.quantised import write_checkpoint

    folder = write_checkpoint(EMBEDDED, tmp_path / "floats")
    models = (OrtGenAiModel("embedded"), TransformersModel(folder, device="cpu", threads=1))
    twin = prompts.prefix(window, DEFAULT_REGISTRY, "short", layout=models[0].layout)
    contexts = [each.open() for each in models]
    same = 0
    for question in QUESTIONS:
        said = []
        for context in contexts:
            context.read([twin, prompts.question(question)])
            start = context.length
            free = generate(context, 120)
            context.rewind(start)
            said.append((free, generate(context, 400, grammar=grammar(references=()))))
        same += said[0] == said[1]
    assert same >= len(QUESTIONS) - 1  # activations are rounded to int8 on the device


def test_a_plain_folder(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EMBEDDED / name, tmp_path / name)
    plain = TransformersModel(tmp_path, device="cpu", max_tokens=512)
    assert (plain.name, plain.sha256, plain.style) == (tmp_path.name, "", "long")
    assert plain.max_tokens == 512
    assert plain.known_words is None
    context = plain.open()
    context.read([PREFIX, QUESTION])
    assert generate(context, 4).tokens == 4


def test_sources_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pinned checkpoint"):
        TransformersModel("Qwen/Qwen3-0.6B")
    with pytest.raises(ModelError, match="safetensors"):
        TransformersModel(tmp_path)
    with pytest.raises(ModelError, match="expected dtype"):
        TransformersModel("embedded", dtype="int3")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="safetensors"):
        TransformersModel(tmp_path)


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"edgetwin\[train\]"):
        TransformersModel("embedded")


def test_importing_the_file_imports_no_torch() -> None:
    code = (
        "import sys, edgetwin.reasoner.models.transformers; "
        "sys.exit(int('torch' in sys.modules or 'transformers' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_loading_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    TransformersModel("embedded", device="cpu")
    assert capfd.readouterr() == ("", "")


def test_it_is_a_language_model(model: LanguageModel) -> None:
    assert model.guided
    assert not TransformersModel("embedded", device="cpu", guided=False).guided
