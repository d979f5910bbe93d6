from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tokenizers")

from edgetwin.distill.reasoner import tokenizer as bpe
from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.reasoner.protocol import EOS, TAGS
from edgetwin.twin.tools.registry import DEFAULT_REGISTRY

PLAN = (
    '<reason>mugs nearest the box</reason><plan>[{"tool":"find","words":["mug","toy car"]},'
    '{"tool":"attribute","ids":"$1","name":"color","value":"red"},'
    '{"tool":"nearest","ids":[3,12],"to":"$2","k":2},{"tool":"sort","by":"left","descending":true}]'
    "</plan><results>[[1,2],[3]]</results><answer>$2</answer>"
)
TEXTS = [
    PLAN,
    "question: Which mug isn't near the box, it's 12.5 px away?\n",
    "frame 256x256\n1 red mug x120 y88 w34 h40 z71 moved right toward 1.2-2.4\ntime 0.0-4.0\n",
    "ünïcode ☕ \t tabs  and   spaces\r\n\n'quoted' \"words\" $3 {} [] </plan",
    "",
]


@pytest.fixture(scope="module")
def trained() -> Any:
    corpus = [*TEXTS * 3, "which mug is nearest to the red box? " * 20]
    return bpe.train(corpus, DEFAULT_REGISTRY.json_schemas(), 700)


def test_round_trip(trained: Any) -> None:
    for text in TEXTS:
        assert trained.decode(trained.encode(text).ids, skip_special_tokens=False) == text


def test_tags_and_skeletons_are_one_token_each(trained: Any) -> None:
    for tag in (*TAGS, EOS, '{"tool":"find"', ',"words":["', '","to":"$', ',"ids":"$'):
        assert len(trained.encode(tag).ids) == 1
    tokens = trained.encode('[{"tool":"nearest","ids":"$1","to":"$2"}]').tokens
    assert tokens == ["[", '{"tool":"nearest"', ',"ids":"$', "1", '","to":"$', "2", '"}]']
    assert trained.encode("256").tokens == ["2", "5", "6"]
    special = {t.content for t in trained.get_added_tokens_decoder().values() if t.special}
    assert special == {EOS}


def test_size(trained: Any) -> None:
    assert 450 < trained.get_vocab_size() <= 700


def test_transformers_reads_it_alike(trained: Any, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    bpe.save(trained, tmp_path)
    loaded = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    for text in TEXTS:
        assert loaded(text)["input_ids"] == trained.encode(text).ids


@pytest.mark.skipif(not (EMBEDDED / "manifest.json").exists(), reason="no embedded weights")
def test_ort_genai_reads_the_embedded_one_alike() -> None:
    from tokenizers import Tokenizer

    from edgetwin.reasoner.models.ort_genai import OrtGenAiModel

    reference = Tokenizer.from_file(str(EMBEDDED / "tokenizer.json"))
    model = OrtGenAiModel("embedded")
    for text in TEXTS:
        ids = reference.encode(text).ids
        assert model.encode(text) == ids
        assert model.decode(ids) == text
