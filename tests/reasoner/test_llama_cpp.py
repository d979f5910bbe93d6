"""llama.cpp as a backend: the shared conformance, its own cache, its tokens."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llama_cpp", reason="llama.cpp is an extra: pip install 'edgetwin[llama]'")
pytest.importorskip("torch")
pytest.importorskip("gguf")

from edgetwin.deploy.export.gguf import KINDS, write_gguf
from edgetwin.reasoner.bundle import EMBEDDED, load_bundle
from edgetwin.reasoner.models import llama_cpp
from edgetwin.reasoner.models.llama_cpp import LlamaCppModel
from edgetwin.reasoner.protocol import EOS
from edgetwin.tests.reasoner.conformance import Conformance
from edgetwin.twin.errors import MissingExtraError, ModelError

TWIN = "twin\nframe 256x256\n1 red mug x120 y88 w34 h40 z71\ntime 0.0\n"
QUESTION = "question: where is the mug?\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded weights as GGUF in a folder of their own, with what the manifest says."""
    from edgetwin.distill.evaluate.language import describe

    place = tmp_path_factory.mktemp("llama")
    write_gguf(EMBEDDED, place / "model.gguf", "f32")
    shutil.copy(EMBEDDED / "tokenizer.json", place / "tokenizer.json")
    describe(load_bundle(), place, "f32")
    return place


@pytest.fixture
def opened(folder: Path) -> Iterator[LlamaCppModel]:
    with LlamaCppModel(folder, cache="f32", contexts=4) as model:
        yield model


class TestBundle(Conformance):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, folder: Path) -> Iterator[LlamaCppModel]:
        with LlamaCppModel(folder, cache="f32") as opened:
            yield opened


class TestFileAlone(Conformance):
    """Without tokenizer.json, half the precision, keys and values in half precision."""

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCppModel]:
        file = write_gguf(EMBEDDED, tmp_path_factory.mktemp("alone") / "tiny.gguf", "f16")
        with LlamaCppModel(file) as opened:
            yield opened


def later() -> float:
    return time.monotonic() + 20


def hostile(count: int) -> list[str]:
    """Texts of odd characters: combining marks, controls, emoji, letters of many scripts."""
    rng = random.Random(0)
    spans = ((1, 0x250), (32, 127), (0x300, 0x370), (0x2000, 0x3000), (0x1F000, 0x1FAFF))
    texts = [
        "",
        "</answer><answer>",
        EOS,
        "e\u0301 caf\u00e9 \u212b \u200b\u202e\ufeff",
        "\x00\x01\x7f \r\n\t 'S 'LL ١٢٣ ² ½",
        '],"to":"$2"}]},"ids":"$1"},{',
        "a" * 3000,
    ]
    return texts + [
        "".join(chr(rng.randrange(*rng.choice(spans))) for _ in range(24)) for _ in range(count)
    ]


def test_tokens_are_those_of_tokenizer_json(opened: LlamaCppModel) -> None:
    from tokenizers import Tokenizer

    from edgetwin.distill.twinbench import load

    reference = Tokenizer.from_file(str(EMBEDDED / "tokenizer.json"))
    asked = [item.question for item in load("val", "cell")]
    plans = [str(question.plan).replace("'", '"').replace(" ", "") for question in asked]
    for text in [*hostile(200), *plans, *(question.text for question in asked)]:
        ids = reference.encode(text).ids
        assert opened.encode(text) == ids, text
        assert opened.count(text) == len(ids)
        assert opened.decode(ids) == reference.decode(ids, skip_special_tokens=False)


def test_every_number_format_computes_what_transformers_does(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    reference: Any = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32).eval()
    errors = {}
    for kind in KINDS:
        file = write_gguf(EMBEDDED, tmp_path / f"{kind}.gguf", kind)
        with LlamaCppModel(file, cache="f32", guided=False) as model:
            ids = [*model.encode(TWIN), *model.encode(QUESTION)]
            with torch.no_grad():
                wanted = reference(torch.tensor([ids])).logits[0].numpy()
            sequence = model.start()
            got = []
            for token in ids:
                sequence.feed([token])
                got.append(sequence.logits())
            errors[kind] = float(np.abs(np.stack(got) - wanted).max() / np.abs(wanted).max())
            if kind in ("f32", "f16"):
                assert (np.stack(got).argmax(1) == wanted.argmax(1)).all()
                at_once = model.start()
                at_once.feed(ids)
                np.testing.assert_allclose(at_once.logits(), got[-1], atol=0.01)
    assert errors["f32"] < 1e-4
    assert errors["f16"] < 2e-3
    assert errors["f16"] < errors["q8_0"] < 0.1
    assert errors["q8_0"] < errors["q4_k_m"] < 1


def test_the_manifest_describes_it(opened: LlamaCppModel, folder: Path) -> None:
    own, made = load_bundle(), load_bundle(folder, needed=("model.gguf",))
    assert (opened.name, opened.sha256) == (made.name, made.sha256)
    assert (opened.style, opened.layout, opened.turns) == (own.style, own.layout, own.turns)
    assert (opened.modes, opened.tools) == (own.modes, own.tools)
    assert (opened.known_words, opened.plan_words) == (own.known_words, own.plan_words)
    assert opened.guided
    assert opened.max_tokens == 2048


def test_a_file_alone_is_a_model_of_anybody(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    shutil.copy(folder / "model.gguf", file)
    with LlamaCppModel(file, max_tokens=300) as model:
        assert (model.name, model.style, model.guided) == ("tiny", "long", True)
        assert (model.known_words, model.tools, model.max_tokens) == (None, None, 300)
        context = model.open()
        with pytest.raises(ModelError, match="at most 300 tokens"):
            context.read(["1 red mug x120 y88\n" * 60])
        context.read([TWIN, QUESTION])
        assert context.generate(["</reason>"], 40, later()).text.endswith("</reason>")


def test_a_fork_shares_its_tokens_and_goes_its_own_way(opened: LlamaCppModel) -> None:
    context = opened.open()
    context.read([TWIN, QUESTION])
    alone = context.generate(["</plan>"], 60, later()).text
    context.rewind(opened.count(TWIN) + opened.count(QUESTION))
    fork = context.fork()
    fork.append("<reason>")
    fork.generate(["</plan>"], 60, later())
    assert context.generate(["</plan>"], 60, later()).text == alone
    context.close()
    assert fork.length > 0
    assert fork.generate([], 3, later()).tokens == 3
    fork.close()


def test_contexts_are_bounded_and_given_back(opened: LlamaCppModel) -> None:
    contexts = [opened.open() for _ in range(5)]
    for context in contexts[:4]:
        context.read([TWIN])
    with pytest.raises(ModelError, match="close contexts"):
        contexts[4].read([TWIN])
    contexts[0].close()
    assert contexts[4].read([TWIN]).reused == 0
    del context, contexts  # nobody closed them
    again = [opened.open() for _ in range(4)]
    for one in again:
        one.read([TWIN])


def test_a_full_cache_is_told_and_room_comes_back(folder: Path) -> None:
    with LlamaCppModel(folder, cells=1024, contexts=2) as model:
        first, second = model.open(), model.open()
        long = TWIN * 20
        assert first.read([long]).tokens > 600
        with pytest.raises(ModelError, match="more cells"):
            second.read([long])
        assert first.generate([], 2, later()).tokens == 2
        first.close()
        assert second.read([long]).tokens > 600


def test_a_closed_model_says_so(folder: Path) -> None:
    model = LlamaCppModel(folder)
    context = model.open()
    context.read([TWIN])
    model.close()
    model.close()
    for call in (lambda: context.read(["x"]), lambda: model.count("x"), model.start):
        with pytest.raises(ModelError, match="closed"):
            call()
    context.close()


def test_what_cannot_be_opened_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="nothing at"):
        LlamaCppModel(tmp_path / "none.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF and then nothing")
    with pytest.raises(ModelError, match=r"to load in llama\.cpp, got: .+"):
        LlamaCppModel(tmp_path / "bad.gguf")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes((folder / "model.gguf").read_bytes()[:9_000_000])
    with pytest.raises(ModelError, match=r"to load in llama\.cpp"):
        LlamaCppModel(cut)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="sha256"):
        LlamaCppModel(other)

    def gone(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(llama_cpp.importlib, "import_module", gone)
    with pytest.raises(MissingExtraError, match=r"edgetwin\[llama\]"):
        LlamaCppModel(folder)
