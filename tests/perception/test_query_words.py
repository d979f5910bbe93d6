"""Our CLIP tokenizer against the tokenizers library's, on words, marks and other alphabets."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from edgetwin.perception.query_words import QueryTokenizer, clip_json
from edgetwin.tests.perception.hub_checkpoints import WORDS, clip_vocabulary
from edgetwin.twin.errors import InputError, ModelError

PHRASES = [
    "a photo of a mug",
    "  A   Photo\tof\na MUG ",
    "it's the dog's bowl, don't we've they're I'll I'd I'm",
    "IT'S",
    "'",
    "''s 'sss",
    "mug!!! (red) a_b __x__ !_! ... !'s",
    "no. 42, 3.5 kg, ½ cup, x² and Ⅳ",
    "café cafe\u0301 naïve ÉCOLE straße ΣΊΣΥΦΟΣ",
    "кружка 马克杯 कप 🥤 ☕️ mug🥤mug",
    'a-b/c\\d|e~f`g^h%i$j#k@l&m*n+o=p<q>r?s;t:u"v{w}x[y]z',
    "\u00a0mug\u2003bowl\u3000it",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaa",
]


@pytest.fixture(scope="module")
def both() -> tuple[QueryTokenizer, object]:
    transformers = pytest.importorskip("transformers")
    vocab = clip_vocabulary(WORDS)
    theirs = transformers.CLIPTokenizer(vocab=vocab, merges=[tuple(m.split(" ")) for m in WORDS])
    return QueryTokenizer(clip_json(vocab, WORDS), 4096), theirs


def random_phrases(count: int) -> list[str]:
    source = random.Random(0)
    letters = [*"abmugphotIT'sd  \t_-.,!?0123456789", *map(chr, range(0xA1, 0x180)), "\u0301", "ß"]
    letters += [
        *map(chr, range(0x391, 0x3CA)),
        *map(chr, range(0x410, 0x450)),
        "中",
        "🥤",
        "½",
        "²",
    ]
    return ["".join(source.choices(letters, k=source.randint(1, 24))) for _ in range(count)]


@pytest.mark.parametrize("phrases", [PHRASES, random_phrases(400)], ids=["by hand", "random"])
def test_ids_are_clip_s(both: tuple[QueryTokenizer, object], phrases: list[str]) -> None:
    ours, theirs = both
    for phrase in phrases:
        want = theirs(phrase)["input_ids"]  # type: ignore[operator]
        if len(want) == 2:  # white space only
            with pytest.raises(InputError, match="a word to look for"):
                ours.encode([phrase])
            continue
        (row,) = ours.encode([phrase]).tolist()
        assert row[: len(want)] == want, repr(phrase)
        assert not any(row[len(want) :])


def test_a_library_s_own_file_is_read(both: tuple[QueryTokenizer, object], tmp_path: Path) -> None:
    ours, theirs = both
    theirs.save_pretrained(tmp_path)  # type: ignore[attr-defined]
    read = QueryTokenizer.from_file(tmp_path / "tokenizer.json", 4096)
    assert read.encode(PHRASES[:4]).tolist() == ours.encode(PHRASES[:4]).tolist()
    assert read.vocab_size == ours.vocab_size


def test_phrases_longer_than_the_text_tower_are_refused() -> None:
    ours = QueryTokenizer(clip_json(clip_vocabulary(WORDS), ["#version: 0.2", *WORDS, ""]), 16)
    fits = " ".join(["mug"] * 14)
    assert (ours.encode([fits]) != 0).all()
    with pytest.raises(InputError, match=r"at most 14 tokens .* got 15 .*use fewer words"):
        ours.encode([fits + " it"])


def test_a_vocabulary_without_a_byte() -> None:
    vocab = clip_vocabulary(WORDS)
    del vocab["z"], vocab["z</w>"]
    with pytest.raises(ModelError, match=r"got none for \['z</w>'\]"):
        QueryTokenizer(clip_json(vocab, WORDS), 16).encode(["z"])


def test_end_of_text_must_be_the_highest() -> None:
    vocab = json.loads(json.dumps(clip_vocabulary())) | {"late": 10**6}
    with pytest.raises(ModelError, match="the highest id"):
        QueryTokenizer(clip_json(vocab, []), 16)
