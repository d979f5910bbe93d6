from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import onnxruntime_genai as og
import pytest

from edgetwin.reasoner import bundle as bundles
from edgetwin.reasoner import prompts
from edgetwin.reasoner.bundle import EMBEDDED, load_bundle, write_manifest
from edgetwin.reasoner.models.opening import open_model
from edgetwin.reasoner.models.ort_genai import OrtGenAiModel
from edgetwin.reasoner.models.tokens import TokenContext
from edgetwin.reasoner.rollout import Budget, Reasoner
from edgetwin.twin.errors import InputError, ModelError
from edgetwin.twin.tools.registry import DEFAULT_REGISTRY
from edgetwin.twin.window import TwinWindow

from .conformance import generate, grammar

pytestmark = pytest.mark.skipif(
    not (EMBEDDED / "manifest.json").exists(), reason="no embedded weights"
)


@pytest.fixture(scope="module")
def model() -> OrtGenAiModel:
    return OrtGenAiModel("embedded")


def test_real_answers_on_a_hand_made_window(model: OrtGenAiModel, window: TwinWindow) -> None:
    reasoner = Reasoner(model)
    answer = reasoner.answer("Which mug is left of the box?", window)
    assert (answer.status, answer.ids) == ("ok", [1])
    assert answer.message == ""
    assert answer.plan
    assert answer.model == {"id": model.name, "sha256": model.sha256}
    assert 0 < answer.tokens["rationale"] <= 40
    assert answer.ms["total"] < 5000
    blue = reasoner.answer("Show me the blue object.", window)
    assert blue.ids == [2]
    missing = reasoner.answer("Find the banana.", window)
    assert (missing.status, missing.ids) == ("none", [])


def test_prefix_reuse_changes_nothing(model: OrtGenAiModel, window: TwinWindow) -> None:
    reasoner = Reasoner(model)
    first = reasoner.answer("Find the green thing.", window)
    reasoner.answer("Which objects are mugs?", window)
    again = reasoner.answer("Find the green thing.", window)
    assert again.transcript == first.transcript
    fresh = Reasoner(OrtGenAiModel(model.bundle)).answer("Find the green thing.", window)
    assert fresh.transcript == first.transcript


def test_unknown_words_warn(model: OrtGenAiModel, window: TwinWindow) -> None:
    answer = Reasoner(model).answer("Where is the zeppelin?", window)
    assert "does not know: zeppelin" in answer.message


def test_budget_of_tokens_and_time(model: OrtGenAiModel, window: TwinWindow) -> None:
    few = Reasoner(model, budget=Budget(tokens=3)).answer("the red mug", window)
    assert few.status == "error"
    assert sum(few.tokens[k] for k in ("rationale", "plan", "answer")) == 3
    late = Reasoner(model, budget=Budget(seconds=1e-6)).answer("the red mug", window)
    assert late.status == "error"


def test_prompt_that_does_not_fit(model: OrtGenAiModel) -> None:
    with pytest.raises(ModelError, match="shorter window"):
        model.open().read(["1 red mug\n" * 2000, "question: x\n"])


def copy(tmp_path: Path) -> Path:
    target = tmp_path / "bundle"
    shutil.copytree(EMBEDDED, target)
    return target


def test_tampered_file_is_refused(tmp_path: Path) -> None:
    path = copy(tmp_path)
    load_bundle(path)
    (path / "genai_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"genai_config.json: expected sha256"):
        load_bundle(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    path = copy(tmp_path)
    (path / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"the file model\.onnx"):
        load_bundle(path)
    with pytest.raises(ModelError, match=r"manifest\.json"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/file"])
def test_manifest_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    path = copy(tmp_path)
    record = json.loads((path / "manifest.json").read_text())
    record["files"][name] = "0" * 64
    (path / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(ModelError, match="the file"):
        load_bundle(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', "[" * 100_000])
def test_broken_manifest(tmp_path: Path, text: str) -> None:
    path = copy(tmp_path)
    (path / "manifest.json").write_text(text)
    with pytest.raises(ModelError, match="manifest"):
        load_bundle(path)


OLD = {"schema", "name", "style", "files", "config", "plan_words", "words"}


def rewritten(path: Path, **fields: object) -> Path:
    record = json.loads((path / "manifest.json").read_text())
    record = {key: record[key] for key in OLD} | fields
    (path / "manifest.json").write_text(json.dumps(record))
    return path


def test_old_manifests_are_read(tmp_path: Path) -> None:
    bundle = load_bundle(rewritten(copy(tmp_path)))
    assert (bundle.layout, bundle.modes, bundle.tools, bundle.turns) == (
        "full",
        ("concise",),
        None,
        0,
    )


def test_what_was_trained_is_written_and_read(tmp_path: Path) -> None:
    path = copy(tmp_path)
    write_manifest(
        path,
        "mine",
        words=["mug"],
        layout="compact",
        modes=("concise", "detailed"),
        tools={"find", "detect"},
        turns=2,
    )
    model = OrtGenAiModel(path)
    assert (model.name, model.layout, model.modes) == ("mine", "compact", ("concise", "detailed"))
    assert (model.tools, model.turns) == (frozenset({"detect", "find"}), 2)
    assert model.known_words == frozenset({"mug"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("style", "medium"),
        ("layout", "circular"),
        ("layout", ["full"]),
        ("modes", ["concise", "poetic"]),
        ("modes", ["detailed"]),
        ("modes", "concise"),
        ("modes", None),
        ("tools", "find"),
        ("tools", [1]),
        ("turns", -1),
        ("turns", 17),
        ("turns", "2"),
        ("turns", True),
        ("words", [None]),
        ("config", "int4"),
        ("config", {"max_tokens": "many"}),
        ("config", {"max_tokens": 8}),
    ],
)
def test_unknown_values_are_refused(tmp_path: Path, field: str, value: object) -> None:
    path = rewritten(copy(tmp_path), **{field: value})
    with pytest.raises(ModelError, match=rf"manifest\.json: expected {field}"):
        load_bundle(path)


def test_forced_tokens_cost_no_step(model: OrtGenAiModel, window: TwinWindow) -> None:
    steps = []
    twin = prompts.prefix(window, DEFAULT_REGISTRY, model.style, layout=model.layout)
    for rules in (None, (grammar(references=()), grammar(plan=False, references=(1, 2, 3)))):
        context = model.open()
        context.read([twin, prompts.question("Which mug is left of the box?")])
        runtime = Counting(context)
        plan = generate(context, grammar=rules and rules[0], max_tokens=200)
        context.append("<results>[[1,2],[3],[1]]</results>")
        answer = generate(context, grammar=rules and rules[1])
        steps.append((runtime.steps, plan.text + answer.text, plan.forced + answer.forced))
        context.close()
    (free, said, none), (held, same, forced) = steps
    assert said == same
    assert (none, forced >= 5) == (0, True)
    assert held <= free - 4  # the first forced token stands where the prompt's logits were


class Counting:
    """Counts the steps of a context's runtime."""

    def __init__(self, context: TokenContext) -> None:
        runtime, self.steps = context._runtime, 0
        assert runtime is not None
        self._feed = runtime.feed
        runtime.feed = self.feed  # type: ignore[method-assign]

    def feed(self, tokens: Sequence[int]) -> None:
        self.steps += 1
        self._feed(tokens)


def test_unknown_values_are_not_written(tmp_path: Path) -> None:
    path = copy(tmp_path)
    before = (path / "manifest.json").read_bytes()
    with pytest.raises(ModelError, match="expected modes"):
        write_manifest(path, "x", modes=("concise", "poetic"))
    assert (path / "manifest.json").read_bytes() == before


def test_needed_files_are_the_backends(tmp_path: Path) -> None:
    path = copy(tmp_path)
    (path / "model.onnx").unlink()
    record = json.loads((path / "manifest.json").read_text())
    del record["files"]["model.onnx"]
    (path / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(ModelError, match=r"model\.onnx"):
        load_bundle(path)
    assert load_bundle(path, needed=("config.json", "model.safetensors")).name


def test_runtime_failure_is_ours(tmp_path: Path) -> None:
    path = copy(tmp_path)
    (path / "model.onnx").write_bytes(b"not a graph")
    write_manifest(path, "broken")
    with pytest.raises(ModelError, match="to load in ONNX Runtime GenAI"):
        OrtGenAiModel(path)


def made_for_cuda(tmp_path: Path) -> Path:
    """The embedded model with a configuration that asks for CUDA."""
    path = copy(tmp_path)
    file = path / "genai_config.json"
    config = json.loads(file.read_text())
    config["model"]["decoder"]["session_options"]["provider_options"] = [{"cuda": {}}]
    file.write_text(json.dumps(config))
    write_manifest(path, "other")
    return path


def test_the_device_is_the_folders_or_the_one_asked_for(
    tmp_path: Path, model: OrtGenAiModel
) -> None:
    assert model.device == "cpu"
    asked = OrtGenAiModel(made_for_cuda(tmp_path), device="cpu")
    assert asked.device == "cpu"
    prompt = "mug 1 is left of box 2"
    rows = []
    for one in (model, asked):
        runtime = one.start()
        runtime.feed(one.encode(prompt))
        rows.append(runtime.logits())
        runtime.close()
    assert (rows[0] == rows[1]).all()
    with pytest.raises(InputError, match=r"auto, cpu, cuda, got 'gpu'"):
        OrtGenAiModel("embedded", device="gpu")


@pytest.mark.skipif(og.is_cuda_available(), reason="has CUDA")
def test_cuda_that_is_not_there_is_said(tmp_path: Path) -> None:
    for given, device in ((EMBEDDED, "cuda"), (made_for_cuda(tmp_path), "auto")):
        with pytest.raises(ModelError, match=r"Cuda.*onnxruntime-genai-cuda.*device 'cpu'"):
            OrtGenAiModel(given, device=device)
    with pytest.raises(ModelError, match="onnxruntime-genai-cuda"):
        open_model("embedded", device="cuda")


def test_public_names() -> None:
    assert bundles.__all__ == sorted(bundles.__all__)
